//! Start and end logits to the spans that answer a question.
//!
//! A passage comes in windows, each with a start and an end logit for every piece of it:
//!
//! ```text
//! window ──► the n_best_size best starts × the n_best_size best ends     candidates()
//!    │         inside the passage, i <= j, at most max_answer_length pieces
//!    │                     └──► the n_best_size best spans of all windows
//!    ├─────► start[CLS] + end[CLS], the least of all windows: no answer
//!    └─────► every piece's best logits among the windows that hold it    Pool
//!                          └──► the sums that probabilities are divided by
//! ```
//!
//! That choice is the one of Hugging Face's `run_qa` (`postprocess_qa_predictions`), with three
//! differences: a span that several windows hold counts once; where no window has a candidate,
//! because questions and added tokens take all the best places, the best span of the passage is
//! found among all of them; and "no answer" comes beside the `n_best_size` spans, where there it
//! takes the place of one of them.
//!
//! **Scores.** A span's score is the probability of its start times that of its end. Each is one
//! softmax over all pieces of the passage, not over those of a window; a piece that stands in
//! several windows takes part once, with its largest logit. Where there may be no answer, `[CLS]`
//! takes part too, with the logits of the window in which it has the least sum. So the scores of
//! spans from different windows can be compared, and are ordered as `start + end` is, at any
//! [`Temperature`]. A passage without a piece has no span; that there is no answer then scores 0 where there should be one,
//! and 1 where there may be none.

use core::cmp::Ordering;
use core::ops::Range;

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::scores::{exp, rank};
use crate::temperature::Temperature;

/// The most starts, ends and spans that are kept, `n_best_size` at its largest.
pub const MAX_N_BEST: usize = 64;

/// The most entries of a ranked answer: the spans, and that there is none.
pub const MAX_SPANS: usize = MAX_N_BEST + 1;

/// How passages are cut into windows and spans are chosen. Fields are named as `run_qa`'s flags.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SpanRules {
    /// How many pieces of the passage neighbouring windows share.
    pub doc_stride: u32,
    /// How many of the best starts, ends and spans are looked at; 1 to [`MAX_N_BEST`].
    pub n_best_size: u32,
    /// The most pieces of an answer.
    pub max_answer_length: u32,
    /// There is no answer where `start[CLS] + end[CLS]` exceeds the best span's sum by more than
    /// this. `None`: there always is one.
    pub null_score_diff_threshold: Option<f32>,
}

impl Default for SpanRules {
    fn default() -> Self {
        SpanRules {
            doc_stride: 128,
            n_best_size: 20,
            max_answer_length: 30,
            null_score_diff_threshold: None,
        }
    }
}

/// What a model says of one window: `[CLS] question [SEP] part of the passage [SEP]`.
#[derive(Clone, Debug)]
pub struct Window<'w> {
    /// A start and an end logit for each piece of the window, `[pieces][2]`.
    pub logits: &'w [f32],
    /// The pieces of the window that are the passage's.
    pub passage: Range<usize>,
    /// How many of these, at their beginning, the window before holds as well.
    pub before: usize,
    /// How many of these, at their end, the next window will hold as well; 0 in the last one.
    pub after: usize,
}

/// A start and an end logit.
pub type Pair = [f32; 2];

/// A part of the passage, or none of it.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Span {
    /// Its first byte in the passage.
    pub start: u32,
    /// The byte after its last one. Equal to `start`, and 0, where the answer is that there is none.
    pub end: u32,
    /// The logits of its start and its end.
    pub logits: Pair,
    /// The product of their probabilities, from 0 to 1.
    pub score: f32,
}

impl Span {
    /// Whether this says that the passage has no answer.
    pub fn is_none(&self) -> bool {
        self.start == self.end
    }
}

/// Collects the spans of one passage, window by window.
#[derive(Clone, Debug)]
pub struct SpanDecoder {
    rules: SpanRules,
    /// Best first; equals in the order in which they came.
    best: Vec<Candidate, MAX_N_BEST>,
    /// The best span of the windows without a candidate.
    spare: Option<Candidate>,
    /// The logits of `[CLS]` in the window where their sum is least.
    null: Option<Pair>,
    pools: [Pool; 2],
    temperature: Temperature,
}

#[derive(Copy, Clone, PartialEq, Debug)]
struct Candidate {
    start: u32,
    end: u32,
    logits: Pair,
    sum: f32,
}

impl SpanDecoder {
    /// Nothing collected yet.
    pub fn new(rules: SpanRules) -> Self {
        SpanDecoder {
            rules,
            best: Vec::new(),
            spare: None,
            null: None,
            pools: [Pool::EMPTY; 2],
            temperature: Temperature::ONE,
        }
    }

    /// The same with probabilities at another temperature. To be said before the first window.
    pub fn at(self, temperature: Temperature) -> Self {
        SpanDecoder {
            temperature,
            ..self
        }
    }

    /// Looks at the next window of the passage. `bytes` gives the bytes of the passage that a
    /// piece of the window is from, and is asked for pieces of `window.passage` alone.
    ///
    /// `shared` holds the logits of the pieces that two windows share, from one call to the next:
    /// as many as the larger of `before` and `after`. The first call may find anything in it.
    ///
    /// # Panics
    /// If the passage's pieces are not among the window's, or don't hold the shared ones, or if
    /// `shared` is too short for them.
    pub fn window(
        &mut self,
        window: &Window<'_>,
        bytes: impl Fn(usize) -> (u32, u32),
        shared: &mut [Pair],
    ) {
        let (logits, odd) = window.logits.as_chunks::<2>();
        assert!(odd.is_empty(), "a start and an end for every piece");
        self.pool(&logits[window.passage.clone()], window, shared);
        if let Some(&null) = logits.first() {
            let sum = |pair: Pair| rank(pair[0]) + rank(pair[1]);
            self.null = Some(match self.null {
                Some(least) if sum(least) <= sum(null) => least,
                _ => null,
            });
        }
        let candidate = |i: usize, j: usize| Candidate::new(logits, i, j, &bytes);
        if !self.candidates(logits, &window.passage, candidate) {
            let best = self.exhaustive(logits, &window.passage);
            let best = best.map(|(i, j)| candidate(i, j));
            if best.is_some_and(|best| self.spare.is_none_or(|spare| best.sum > spare.sum)) {
                self.spare = best;
            }
        }
    }

    /// Adds the logits of pieces that no later window holds to the sums, and puts the others by.
    fn pool(&mut self, passage: &[Pair], window: &Window<'_>, shared: &mut [Pair]) {
        let most = window.before.max(window.after);
        assert!(most <= passage.len(), "shared pieces are the passage's");
        let kept = passage.len() - window.after;
        for (piece, &logits) in passage.iter().enumerate() {
            let mut best = logits.map(rank);
            if piece < window.before {
                // What is put by below goes to places that have been read already.
                let earlier = shared[piece];
                best = [best[0].max(earlier[0]), best[1].max(earlier[1])];
            }
            if piece < kept {
                self.pools[0].add(best[0], self.temperature);
                self.pools[1].add(best[1], self.temperature);
            } else {
                shared[piece - kept] = best;
            }
        }
    }

    /// Takes in every pair of the best starts and ends that is a span; whether there was one.
    fn candidates(
        &mut self,
        logits: &[Pair],
        passage: &Range<usize>,
        candidate: impl Fn(usize, usize) -> Candidate,
    ) -> bool {
        let most = self.most();
        let starts = largest(logits.iter().map(|pair| pair[0]), most);
        let ends = largest(logits.iter().map(|pair| pair[1]), most);
        let mut found = false;
        for &i in starts.iter().filter(|i| passage.contains(i)) {
            for &j in ends.iter().filter(|j| passage.contains(j)) {
                if i <= j && j - i < self.longest() {
                    found = true;
                    self.keep(candidate(i, j));
                }
            }
        }
        found
    }

    /// The span with the largest sum of all there are.
    fn exhaustive(&self, logits: &[Pair], passage: &Range<usize>) -> Option<(usize, usize)> {
        let mut best: Option<(f32, usize, usize)> = None;
        for i in passage.clone() {
            let last = i.saturating_add(self.longest()).min(passage.end);
            for (j, pair) in logits.iter().enumerate().take(last).skip(i) {
                let sum = rank(logits[i][0]) + rank(pair[1]);
                if best.is_none_or(|(largest, ..)| sum > largest) {
                    best = Some((sum, i, j));
                }
            }
        }
        best.map(|(_, i, j)| (i, j))
    }

    /// Puts a candidate in its place among the best, if it has one. Of two that are the same span,
    /// the better one stays.
    fn keep(&mut self, candidate: Candidate) {
        let full = self.best.len() >= self.most();
        if full
            && self
                .best
                .last()
                .is_some_and(|last| last.sum >= candidate.sum)
        {
            return;
        }
        let same = |other: &Candidate| (other.start, other.end) == (candidate.start, candidate.end);
        if let Some(place) = self.best.iter().position(same) {
            if self.best[place].sum >= candidate.sum {
                return;
            }
            self.best.remove(place);
        } else if full {
            self.best.pop();
        }
        let place = self
            .best
            .partition_point(|other| other.sum >= candidate.sum);
        // There is a place: one was made above, or not all were taken.
        let _ = self.best.insert(place, candidate);
    }

    /// The spans that were kept, best first: at least one, unless the passage has no pieces.
    fn kept(&self) -> &[Candidate] {
        match (&self.best[..], &self.spare) {
            ([], Some(spare)) => core::slice::from_ref(spare),
            (best, _) => best,
        }
    }

    /// By how much the sum of `[CLS]` exceeds that of the best span. `None` where there is no span.
    pub fn null_odds(&self) -> Option<f32> {
        let best = self.kept().first()?;
        let [start, end] = self.null?;
        Some(rank(start) + rank(end) - best.sum)
    }

    /// Fills `out` with the spans, best first, and, where the rules know of it, with the entry that
    /// there is no answer. That entry is the first one if it is the answer; else its sum decides
    /// about its place, which is the second one at best. Without pieces in the passage it is all
    /// there is, whatever the rules.
    pub fn rank(&self, out: &mut Vec<Span, MAX_SPANS>) {
        out.clear();
        let threshold = self.rules.null_score_diff_threshold;
        let mut pools = self.pools;
        let null = self.null.filter(|_| threshold.is_some());
        if let Some([start, end]) = null {
            pools[0].add(rank(start), self.temperature);
            pools[1].add(rank(end), self.temperature);
        }
        let score = |logits: Pair| {
            let of = |at: usize| pools[at].probability(rank(logits[at]), self.temperature);
            of(0) * of(1)
        };
        out.extend(self.kept().iter().map(|candidate| Span {
            start: candidate.start,
            end: candidate.end,
            logits: candidate.logits,
            score: score(candidate.logits),
        }));
        let none = |logits, score| Span {
            start: 0,
            end: 0,
            logits,
            score,
        };
        let place = match (null, threshold, self.null_odds()) {
            (Some(null), Some(threshold), Some(odds)) => {
                let sum = rank(null[0]) + rank(null[1]);
                let better = self
                    .kept()
                    .iter()
                    .take_while(|other| other.sum >= sum)
                    .count();
                let place = if odds > threshold { 0 } else { better.max(1) };
                Some((place, none(null, score(null))))
            }
            (Some(null), ..) => Some((0, none(null, score(null)))),
            (None, ..) if out.is_empty() => Some((0, none([0.0; 2], 0.0))),
            (None, ..) => None,
        };
        if let Some((place, none)) = place {
            // One place more than there are spans is there for it.
            let _ = out.insert(place, none);
        }
    }

    fn most(&self) -> usize {
        (self.rules.n_best_size as usize).clamp(1, MAX_N_BEST)
    }

    fn longest(&self) -> usize {
        self.rules.max_answer_length as usize
    }
}

impl Candidate {
    fn new(logits: &[Pair], i: usize, j: usize, bytes: impl Fn(usize) -> (u32, u32)) -> Self {
        let logits = [logits[i][0], logits[j][1]];
        Candidate {
            start: bytes(i).0,
            end: bytes(j).1,
            logits,
            sum: rank(logits[0]) + rank(logits[1]),
        }
    }
}

/// The places of the `most` largest values, largest first, equals by place.
fn largest(values: impl Iterator<Item = f32>, most: usize) -> Vec<usize, MAX_N_BEST> {
    let mut best: Vec<(f32, usize), MAX_N_BEST> = Vec::new();
    for (place, value) in values.enumerate() {
        let value = rank(value);
        if best.len() == most {
            if best.last().is_some_and(|&(least, _)| least >= value) {
                continue;
            }
            best.pop();
        }
        let at =
            best.partition_point(|&(other, _)| other.partial_cmp(&value) != Some(Ordering::Less));
        // The place was made above.
        let _ = best.insert(at, (value, place));
    }
    best.iter().map(|&(_, place)| place).collect()
}

/// The sum of a softmax whose values come one by one: how large they all are beside the largest.
#[derive(Copy, Clone, Debug)]
struct Pool {
    largest: f32,
    sum: f32,
}

impl Pool {
    const EMPTY: Pool = Pool {
        largest: f32::NEG_INFINITY,
        sum: 0.0,
    };

    fn add(&mut self, logit: f32, temperature: Temperature) {
        if logit > self.largest {
            self.sum *= exp((self.largest - logit) / temperature.get());
            self.largest = logit;
        }
        self.sum += self.weight(logit, temperature);
    }

    fn probability(&self, logit: f32, temperature: Temperature) -> f32 {
        self.weight(logit, temperature) / self.sum
    }

    /// `logit` is not above the largest one; said apart, since the difference of two infinities is
    /// not a number.
    fn weight(&self, logit: f32, temperature: Temperature) -> f32 {
        if logit == self.largest {
            1.0
        } else {
            exp((logit - self.largest) / temperature.get())
        }
    }
}

#[cfg(test)]
mod tests;

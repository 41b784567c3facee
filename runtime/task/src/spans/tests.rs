//! Against a plain transcription of what `run_qa` does, and a softmax over a whole passage in f64.

extern crate std;

use super::*;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec as List;

/// A passage's logits, window by window, as a model would give them.
struct Case {
    question: usize,
    windows: List<List<Pair>>,
    /// The range of the passage's pieces that each window holds.
    ranges: List<Range<usize>>,
    stride: usize,
}

/// The numbers of a generator that needs three lines.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    /// Between -8 and 8, seldom twice the same.
    fn logit(&mut self) -> f32 {
        self.below(1 << 22) as f32 / (1 << 18) as f32 - 8.0
    }
}

impl Case {
    fn random(numbers: &mut Numbers) -> Self {
        let question = numbers.below(6);
        let room = 2 + numbers.below(40);
        let stride = numbers.below(room);
        let pieces = 1 + numbers.below(120);
        let (mut windows, mut ranges) = (vec![], vec![]);
        let mut start = 0;
        loop {
            let end = (start + room).min(pieces);
            let len = question + 3 + end - start;
            windows.push(
                (0..len)
                    .map(|_| [numbers.logit(), numbers.logit()])
                    .collect(),
            );
            ranges.push(start..end);
            if end == pieces {
                return Case {
                    question,
                    windows,
                    ranges,
                    stride,
                };
            }
            start += room - stride;
        }
    }

    /// Where the passage begins in each window.
    fn first(&self) -> usize {
        self.question + 2
    }

    fn decode(&self, rules: SpanRules) -> SpanDecoder {
        self.decode_at(rules, Temperature::ONE)
    }

    fn decode_at(&self, rules: SpanRules, temperature: Temperature) -> SpanDecoder {
        let mut decoder = SpanDecoder::new(rules).at(temperature);
        let mut shared = vec![[f32::NAN; 2]; self.stride];
        for (index, (logits, range)) in self.windows.iter().zip(&self.ranges).enumerate() {
            let last = index + 1 == self.windows.len();
            let window = Window {
                logits: logits.as_flattened(),
                passage: self.first()..self.first() + range.len(),
                before: if index == 0 { 0 } else { self.stride },
                after: if last { 0 } else { self.stride },
            };
            let bytes = |piece| self.bytes(range.start + piece - self.first());
            decoder.window(&window, bytes, &mut shared);
        }
        decoder
    }

    /// The bytes of a piece of the passage: three of every four.
    fn bytes(&self, piece: usize) -> (u32, u32) {
        (4 * piece as u32, 4 * piece as u32 + 3)
    }
}

/// `postprocess_qa_predictions`, with spans by piece instead of text.
struct Plain {
    /// Sum, first and last piece, the logits; best first.
    spans: List<(f32, usize, usize, Pair)>,
    null: f32,
    null_logits: Pair,
}

fn by_run_qa(case: &Case, rules: SpanRules) -> Plain {
    let mut prelim = vec![];
    let mut null: Option<(f32, Pair)> = None;
    for (logits, range) in case.windows.iter().zip(&case.ranges) {
        let sum = logits[0][0] + logits[0][1];
        if null.is_none_or(|(least, _)| least > sum) {
            null = Some((sum, logits[0]));
        }
        let sorted = |side: usize| {
            let mut places: List<usize> = (0..logits.len()).collect();
            places.sort_by(|&a, &b| logits[b][side].total_cmp(&logits[a][side]));
            places.truncate(rules.n_best_size as usize);
            places
        };
        for &i in &sorted(0) {
            for &j in &sorted(1) {
                let inside = |k: usize| (case.first()..case.first() + range.len()).contains(&k);
                if !inside(i) || !inside(j) || j < i || j - i + 1 > rules.max_answer_length as usize
                {
                    continue;
                }
                let piece = |k: usize| range.start + k - case.first();
                let pair = [logits[i][0], logits[j][1]];
                prelim.push((pair[0] + pair[1], piece(i), piece(j), pair));
            }
        }
    }
    prelim.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut spans: List<(f32, usize, usize, Pair)> = vec![];
    for span in prelim {
        if !spans
            .iter()
            .any(|other| (other.1, other.2) == (span.1, span.2))
        {
            spans.push(span);
        }
    }
    spans.truncate(rules.n_best_size as usize);
    let (null, null_logits) = null.unwrap();
    Plain {
        spans,
        null,
        null_logits,
    }
}

/// For each side the largest logit of every piece, and so the probability of any logit.
fn probabilities(
    case: &Case,
    null: Option<Pair>,
    temperature: Temperature,
) -> impl Fn(usize, f32) -> f64 {
    let mut best = BTreeMap::new();
    for (logits, range) in case.windows.iter().zip(&case.ranges) {
        for piece in range.clone() {
            for (side, &logit) in logits[case.first() + piece - range.start]
                .iter()
                .enumerate()
            {
                let place = best.entry((side, piece)).or_insert(logit);
                *place = place.max(logit);
            }
        }
    }
    for (side, &logit) in null.iter().flatten().enumerate() {
        best.insert((side, usize::MAX), logit);
    }
    let power = move |logit: f32| (f64::from(logit) / f64::from(temperature.get())).exp();
    move |side, logit| {
        let of_side = best.iter().filter(|((s, _), _)| *s == side);
        let sum: f64 = of_side.map(|(_, &other)| power(other)).sum();
        power(logit) / sum
    }
}

fn ranked(decoder: &SpanDecoder) -> List<Span> {
    let mut out = Vec::new();
    decoder.rank(&mut out);
    out.iter().copied().collect()
}

fn rules(numbers: &mut Numbers) -> SpanRules {
    SpanRules {
        n_best_size: 1 + numbers.below(25) as u32,
        max_answer_length: 1 + numbers.below(30) as u32,
        ..SpanRules::default()
    }
}

#[test]
fn spans_are_those_of_run_qa() {
    let mut numbers = Numbers(7);
    let mut with_spans = 0;
    for round in 0..3000 {
        let case = Case::random(&mut numbers);
        let rules = rules(&mut numbers);
        let plain = by_run_qa(&case, rules);
        let decoder = case.decode(rules);
        let found = ranked(&decoder);
        if plain.spans.is_empty() {
            assert_eq!(found.len(), 1, "{round}");
            continue;
        }
        with_spans += 1;
        let expected: List<_> = plain
            .spans
            .iter()
            .map(|&(_, i, j, logits)| (case.bytes(i).0, case.bytes(j).1, logits))
            .collect();
        let spans: List<_> = found
            .iter()
            .map(|span| (span.start, span.end, span.logits))
            .collect();
        assert_eq!(spans, expected, "round {round}");
        let odds = plain.null - plain.spans[0].0;
        assert_eq!(decoder.null_odds(), Some(odds), "round {round}");
    }
    assert!(with_spans > 2500, "{with_spans}");
}

#[test]
fn scores_are_one_softmax_over_all_pieces_of_the_passage() {
    let mut numbers = Numbers(11);
    let mut worst = 0.0f64;
    for round in 0..1000 {
        let case = Case::random(&mut numbers);
        let mut rules = rules(&mut numbers);
        rules.null_score_diff_threshold = (round % 2 == 0).then_some(0.0);
        let null = by_run_qa(&case, rules).null_logits;
        let temperature = Temperature::new([1.0, 0.7, 2.5][round % 3]).unwrap();
        let probability = probabilities(&case, (round % 2 == 0).then_some(null), temperature);
        for span in ranked(&case.decode_at(rules, temperature)) {
            let exact = probability(0, span.logits[0]) * probability(1, span.logits[1]);
            worst = worst.max((f64::from(span.score) / exact - 1.0).abs());
        }
    }
    assert!(worst < 1e-5, "{worst:e}");
}

#[test]
fn that_there_is_no_answer_stands_where_threshold_and_sum_put_it() {
    let mut numbers = Numbers(5);
    for round in 0..2000 {
        let case = Case::random(&mut numbers);
        let threshold = numbers.logit();
        let rules = SpanRules {
            null_score_diff_threshold: Some(threshold),
            ..rules(&mut numbers)
        };
        let decoder = case.decode(rules);
        let found = ranked(&decoder);
        let nones: List<_> = (0..found.len()).filter(|&at| found[at].is_none()).collect();
        let [place] = nones[..] else {
            panic!("{round}: {nones:?}")
        };
        let odds = decoder.null_odds().unwrap();
        assert_eq!(place == 0, odds > threshold, "{round}");
        if place > 0 {
            let sum = |span: &Span| span.logits[0] + span.logits[1];
            let better = found
                .iter()
                .filter(|span| sum(span) > sum(&found[place]))
                .count();
            assert_eq!(place, better.max(1), "{round}");
        }
    }
}

#[test]
fn without_a_candidate_the_best_span_of_all_is_found() {
    // The two best starts and ends lie on the question and the added tokens.
    let logits = [
        [9.0, 9.0],
        [8.0, 8.0],
        [7.0, 7.0],
        [0.0, 3.0],
        [1.0, 0.0],
        [0.5, 2.0],
        [0.0, -1.0],
        [6.0, 6.0],
    ];
    let rules = SpanRules {
        n_best_size: 2,
        max_answer_length: 2,
        ..SpanRules::default()
    };
    let mut decoder = SpanDecoder::new(rules);
    let window = Window {
        logits: logits.as_flattened(),
        passage: 3..7,
        before: 0,
        after: 0,
    };
    decoder.window(
        &window,
        |piece| (10 * piece as u32, 10 * piece as u32 + 9),
        &mut [],
    );
    let found = ranked(&decoder);
    // 0 + 3 at piece 3, 1 + 2 at pieces 4 to 5: the first of equals.
    assert_eq!(
        (found[0].start, found[0].end, found[0].logits),
        (30, 39, [0.0, 3.0])
    );
    assert_eq!(found.len(), 1);
    assert_eq!(decoder.null_odds(), Some(15.0));
}

/// What is found in windows that share nothing, each `[CLS]` and a part of the passage. A piece has ten
/// bytes, less one, and a window a hundred.
fn found_in(windows: &[&[Pair]], rules: SpanRules) -> List<Span> {
    let mut decoder = SpanDecoder::new(rules);
    for (index, logits) in windows.iter().enumerate() {
        let window = Window {
            logits: logits.as_flattened(),
            passage: 1..logits.len(),
            before: 0,
            after: 0,
        };
        let at = |piece: usize| (100 * index + 10 * piece) as u32;
        decoder.window(&window, |piece| (at(piece), at(piece) + 9), &mut []);
    }
    ranked(&decoder)
}

fn places(spans: &[Span]) -> List<(u32, u32)> {
    spans.iter().map(|span| (span.start, span.end)).collect()
}

const ONE_BEST: SpanRules = SpanRules {
    doc_stride: 128,
    n_best_size: 1,
    max_answer_length: 30,
    null_score_diff_threshold: None,
};

#[test]
fn at_the_threshold_itself_there_is_an_answer() {
    let windows: [&[Pair]; 1] = [&[[1.0, 2.0], [1.0, 1.0]]];
    for (threshold, none) in [(1.0, false), (0.5, true)] {
        let rules = SpanRules {
            null_score_diff_threshold: Some(threshold),
            ..ONE_BEST
        };
        let found = found_in(&windows, rules);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].is_none(), none, "{threshold}: {found:?}");
    }
}

#[test]
fn of_windows_without_a_candidate_the_best_one_answers_and_the_first_of_equals() {
    let better: &[Pair] = &[[9.0, 9.0], [2.0, 3.0]];
    let equal: &[Pair] = &[[9.0, 9.0], [3.0, 2.0]];
    let worse: &[Pair] = &[[9.0, 9.0], [1.0, 1.0]];
    for (windows, place) in [
        ([better, worse], (10, 19)),
        ([worse, better], (110, 119)),
        ([better, equal], (10, 19)),
    ] {
        assert_eq!(
            places(&found_in(&windows, ONE_BEST)),
            [place],
            "{windows:?}"
        );
    }
}

#[test]
fn what_is_found_without_a_candidate_is_no_longer_than_an_answer_may_be() {
    let windows: [&[Pair]; 1] = [&[[9.0, 9.0], [3.0, 1.0], [0.0, 3.0], [1.0, 1.0]]];
    for (max_answer_length, place) in [(1, (10, 19)), (2, (10, 29))] {
        let rules = SpanRules {
            max_answer_length,
            ..ONE_BEST
        };
        assert_eq!(places(&found_in(&windows, rules)), [place]);
    }
}

#[test]
fn of_equals_the_first_ones_are_kept_in_their_order() {
    let window: &[Pair] = &[[0.0, 0.0], [1.0, 1.0]];
    let windows = [window; 3];
    assert_eq!(places(&found_in(&windows, ONE_BEST)), [(10, 19)]);
    let two = SpanRules {
        n_best_size: 2,
        ..ONE_BEST
    };
    assert_eq!(places(&found_in(&windows, two)), [(10, 19), (110, 119)]);
    // Within a window as well: of two starts that are equal, the earlier one.
    let windows: [&[Pair]; 1] = [&[[0.0, 0.0], [5.0, 0.0], [5.0, 5.0]]];
    assert_eq!(places(&found_in(&windows, ONE_BEST)), [(10, 29)]);
}

#[test]
fn of_equal_sums_without_an_answer_the_first_window_counts() {
    let rules = SpanRules {
        null_score_diff_threshold: Some(-1e30),
        ..ONE_BEST
    };
    let first: &[Pair] = &[[2.0, 1.0], [3.0, 3.0]];
    let second: &[Pair] = &[[1.0, 2.0], [3.0, 3.0]];
    let found = found_in(&[first, second], rules);
    assert!(found[0].is_none());
    assert_eq!(found[0].logits, [2.0, 1.0]);
}

#[test]
fn shared_pieces_that_the_window_lacks_are_refused() {
    for (before, after) in [(2, 0), (0, 2)] {
        let refused = std::panic::catch_unwind(|| {
            let window = Window {
                logits: &[0.0; 4],
                passage: 1..2,
                before,
                after,
            };
            let mut decoder = SpanDecoder::new(SpanRules::default());
            decoder.window(&window, |_| (0, 1), &mut [[0.0; 2]; 2]);
        });
        assert!(refused.is_err(), "{before} {after}");
    }
}

#[test]
fn a_passage_without_pieces_has_no_answer() {
    for threshold in [None, Some(0.0), Some(1e30)] {
        let rules = SpanRules {
            null_score_diff_threshold: threshold,
            ..SpanRules::default()
        };
        let mut decoder = SpanDecoder::new(rules);
        assert!(ranked(&decoder)[0].is_none());
        let logits = [0.5, 1.0, 2.0, 3.0, 4.0, 5.0];
        let window = Window {
            logits: &logits,
            passage: 2..2,
            before: 0,
            after: 0,
        };
        decoder.window(&window, |_| panic!("no piece to ask for"), &mut []);
        let found = ranked(&decoder);
        assert_eq!((found.len(), found[0].is_none()), (1, true));
        assert_eq!(found[0].score, if threshold.is_some() { 1.0 } else { 0.0 });
        assert_eq!(decoder.null_odds(), None);
    }
}

#[test]
fn logits_that_are_no_numbers_never_win() {
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, 1.0];
    for code in 0..odd.len().pow(4) {
        let pick = |place: u32| odd[code / odd.len().pow(place) % odd.len()];
        let logits = [
            [0.0, 0.0],
            [0.0, 0.0],
            [pick(0), pick(1)],
            [pick(2), pick(3)],
            [0.0, 0.0],
        ];
        for threshold in [None, Some(0.0)] {
            let rules = SpanRules {
                null_score_diff_threshold: threshold,
                ..SpanRules::default()
            };
            let mut decoder = SpanDecoder::new(rules);
            let window = Window {
                logits: logits.as_flattened(),
                passage: 2..4,
                before: 0,
                after: 0,
            };
            decoder.window(&window, |piece| (piece as u32, piece as u32 + 1), &mut []);
            let found = ranked(&decoder);
            assert!(!found.is_empty());
            assert!(
                found.iter().all(|span| (0.0..=1.0).contains(&span.score)),
                "{logits:?} {found:?}"
            );
        }
    }
}

#[test]
fn the_same_span_of_two_windows_counts_once_with_the_better_logits() {
    let mut decoder = SpanDecoder::new(SpanRules::default());
    let mut shared = [[0.0; 2]; 1];
    let window = |logits, before, after| Window {
        logits,
        passage: 2..3,
        before,
        after,
    };
    let bytes = |_| (5, 9);
    decoder.window(
        &window(&[0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0], 0, 1),
        bytes,
        &mut shared,
    );
    decoder.window(
        &window(&[0.0, 0.0, 0.0, 0.0, 2.0, 0.5, 0.0, 0.0], 1, 0),
        bytes,
        &mut shared,
    );
    let found = ranked(&decoder);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].logits, [2.0, 0.5]);
    // Alone in the passage, but its end is likelier by the other window's logit.
    assert_eq!(found[0].score, exp(-0.5));
}

#[test]
fn the_rules_are_read_back() {
    let rules = SpanRules {
        null_score_diff_threshold: Some(-1.5),
        ..SpanRules::default()
    };
    let mut space = [0; 32];
    let bytes = postcard::to_slice(&rules, &mut space).unwrap();
    assert_eq!(postcard::from_bytes::<SpanRules>(bytes).unwrap(), rules);
}

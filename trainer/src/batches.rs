//! From encoded examples to packed batches, in an order that depends on the seed and the epoch alone, and from a batch to
//! the passes that go through the network.

use std::ops::Range;
use std::sync::Arc;

use berth_data::{Encoded, Target};
use serde::{Deserialize, Serialize};

use crate::kernels::embed::Token;
use crate::kernels::loss::IGNORED;
use crate::memory::Load;
use crate::ops::Packing;
use crate::ops::loss::Targets;
use crate::random::{self, Random};

/// About how many pieces go through the network at a time on a CPU, unless a single sequence has more. What a layer leaves
/// for the next one is then still near, and a large batch takes no more memory than a small one.
pub const PASS: usize = 1024;

/// The sequences of each pass over a batch whose sequences are so long: as equal as whole sequences can be.
pub fn passes(lengths: impl Iterator<Item = usize> + Clone) -> Vec<Range<usize>> {
    let tokens: usize = lengths.clone().sum();
    let count = tokens.div_ceil(PASS).max(1);
    let mut start = 0;
    // A sequence belongs to the pass that its middle lies in.
    let pass_of = |length| {
        let twice_its_middle = 2 * start + length;
        start += length;
        twice_its_middle * count / (2 * tokens).max(1)
    };
    let numbers: Vec<usize> = lengths.map(pass_of).collect();
    let mut first = 0;
    let passes = numbers.chunk_by(|one, next| one == next).map(|pass| {
        first += pass.len();
        first - pass.len()..first
    });
    passes.collect()
}

/// Sequences one after the other, without padding.
pub struct Batch {
    /// What each row takes from the embedding tables.
    pub tokens: Vec<Token>,
    /// Where the sequences lie.
    pub packing: Arc<Packing>,
}

impl Batch {
    /// Packs `rows` in their order.
    pub fn new<'a>(rows: impl Iterator<Item = &'a Encoded> + Clone) -> Self {
        let tokens = rows.clone().flat_map(|row| {
            row.ids.iter().zip(0..).map(|(&word, position)| Token {
                word,
                position,
                kind: u32::from(position as usize >= row.second),
            })
        });
        Self {
            tokens: tokens.collect(),
            packing: Arc::new(Packing::new(rows.map(|row| row.ids.len()))),
        }
    }

    /// Some of its sequences.
    ///
    /// # Panics
    /// If it has no such sequences.
    pub fn part(&self, sequences: Range<usize>) -> Self {
        let rows = self.packing.rows_of(sequences.clone());
        Self {
            tokens: self.tokens[rows].to_vec(),
            packing: Arc::new(self.packing.part(sequences)),
        }
    }
}

/// The targets of `rows`, or the index among them of the first whose target is not of the kind of the first one.
///
/// # Errors
/// The index.
pub fn targets<'a>(rows: impl Iterator<Item = &'a Encoded> + Clone) -> Result<Targets, usize> {
    let packing = || Packing::new(rows.clone().map(|row| row.ids.len()));
    let mut targets = match rows.clone().next().map(|row| &row.target) {
        Some(Target::Set(_)) => Targets::Sets(Vec::new()),
        Some(Target::Value(_)) => Targets::Values(Vec::new()),
        Some(Target::Span(..)) => Targets::Spans(packing(), Vec::new()),
        _ => Targets::Classes(Vec::new()),
    };
    let class = |class: &Option<u32>| class.map_or(IGNORED, i64::from);
    for (index, row) in rows.enumerate() {
        match (&mut targets, &row.target) {
            (Targets::Classes(all), Target::Class(class)) => all.push(i64::from(*class)),
            (Targets::Classes(all), Target::Classes(classes)) => {
                all.extend(classes.iter().map(class))
            }
            (Targets::Sets(all), Target::Set(set)) => all.push(set.clone()),
            (Targets::Values(all), Target::Value(value)) => all.push(*value),
            (Targets::Spans(_, all), Target::Span(first, last)) => {
                all.push([*first as usize, *last as usize])
            }
            _ => return Err(index),
        }
    }
    Ok(targets)
}

/// How the examples of an epoch are put in order; names as in `transformers`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Shuffled anew for each epoch.
    Random,
    /// Shuffled, then sorted by length inside stretches of fifty updates, the longest example first of all.
    GroupByLength,
    /// The file's order.
    Sequential,
}

/// Which examples each update of a run sees.
pub struct Plan {
    lengths: Vec<usize>,
    sampling: Sampling,
    seed: u64,
    batch: usize,
    accumulation: usize,
}

impl Plan {
    /// A plan over examples of the given lengths, `batch` at a time and `accumulation` batches an update; all of
    /// them at least one.
    pub fn new(
        lengths: Vec<usize>,
        sampling: Sampling,
        seed: u64,
        batch: usize,
        accumulation: usize,
    ) -> Self {
        Self {
            lengths,
            sampling,
            seed,
            batch: batch.max(1),
            accumulation: accumulation.max(1),
        }
    }

    /// Sequences in a batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Batches of an update.
    pub fn accumulation(&self) -> usize {
        self.accumulation
    }

    /// The same examples in other batches; in the same order where an update has as many of them.
    pub fn cut_into(&self, batch: usize, accumulation: usize) -> Self {
        let lengths = self.lengths.clone();
        Self::new(lengths, self.sampling, self.seed, batch, accumulation)
    }

    /// What decides how much memory each pass over the batch of these examples takes.
    pub fn loads(&self, batch: &[usize]) -> Vec<Load> {
        let lengths: Vec<usize> = batch.iter().map(|&row| self.lengths[row]).collect();
        let passes = passes(lengths.iter().copied()).into_iter();
        let load = |pass: Range<usize>| Load::of(lengths[pass].iter().copied());
        passes.map(load).collect()
    }

    /// Updates that see every example once.
    pub fn updates_per_epoch(&self) -> u64 {
        self.lengths
            .len()
            .div_ceil(self.batch)
            .div_ceil(self.accumulation) as u64
    }

    /// The batches of epoch `epoch`, by update: indices of examples.
    pub fn epoch(&self, epoch: u64) -> Vec<Vec<Vec<usize>>> {
        let order = self.order(epoch);
        let batches: Vec<Vec<usize>> = order.chunks(self.batch).map(<[usize]>::to_vec).collect();
        batches
            .chunks(self.accumulation)
            .map(<[Vec<usize>]>::to_vec)
            .collect()
    }

    fn order(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.lengths.len()).collect();
        if self.sampling == Sampling::Sequential {
            return order;
        }
        Random::new(random::key(&[self.seed, random::text_key("order"), epoch]))
            .shuffle(&mut order);
        if self.sampling == Sampling::GroupByLength {
            self.group(&mut order);
        }
        order
    }

    /// As `transformers` groups: stretches of fifty updates (fewer for small data, so that there are four stretches)
    /// sorted from long to short, and the longest example of all in the first place, so that memory that would not
    /// suffice is noticed at once.
    fn group(&self, order: &mut [usize]) {
        let update = self.batch.saturating_mul(self.accumulation);
        let updates = (order.len() / update.saturating_mul(4)).clamp(1, 50);
        for stretch in order.chunks_mut(updates.saturating_mul(update)) {
            stretch.sort_by_key(|&i| std::cmp::Reverse(self.lengths[i]));
        }
        if let Some(longest) = (0..order.len())
            .max_by_key(|&place| (self.lengths[order[place]], std::cmp::Reverse(place)))
        {
            order.swap(0, longest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLINGS: [Sampling; 3] = [
        Sampling::Random,
        Sampling::GroupByLength,
        Sampling::Sequential,
    ];

    fn plan(sampling: Sampling, seed: u64) -> Plan {
        Plan::new(
            (0..103).map(|i| 5 + i * 37 % 41).collect(),
            sampling,
            seed,
            4,
            3,
        )
    }

    fn flat(updates: Vec<Vec<Vec<usize>>>) -> Vec<usize> {
        updates.into_iter().flatten().flatten().collect()
    }

    #[test]
    fn a_batch_is_cut_into_passes_between_its_sequences() {
        let cut = |lengths: &[usize]| passes(lengths.iter().copied());
        assert!(cut(&[]).is_empty());
        assert_eq!((cut(&[PASS]).len(), cut(&[128; 8]).len()), (1, 1));
        assert_eq!(cut(&[128; 32]), [0..8, 8..16, 16..24, 24..32]);
        assert_eq!(cut(&[384; 8]), [0..3, 3..5, 5..8]);
        assert_eq!(cut(&[3 * PASS, 1, 1]), [0..1, 1..3]);
        assert_eq!(cut(&[1, 3 * PASS, 0, 5]), [0..1, 1..2, 2..4]);
        for count in 1..200 {
            let lengths: Vec<usize> = (0..count).map(|i| 1 + i * 97 % 512).collect();
            let found = cut(&lengths);
            assert!(found.iter().all(|pass| !pass.is_empty()));
            assert!(found.windows(2).all(|two| two[0].end == two[1].start));
            assert_eq!((found[0].start, found[found.len() - 1].end), (0, count));
            let longest = |pass: &Range<usize>| lengths[pass.clone()].iter().sum::<usize>();
            assert!(found.iter().map(longest).all(|tokens| tokens < PASS + 512));
        }
    }

    #[test]
    fn every_strategy_sees_every_example_once_an_epoch() {
        for sampling in SAMPLINGS {
            let updates = plan(sampling, 1).epoch(0);
            assert_eq!(updates.len() as u64, plan(sampling, 1).updates_per_epoch());
            assert!(
                updates
                    .iter()
                    .flatten()
                    .all(|batch| (1..=4).contains(&batch.len()))
            );
            let mut seen = flat(updates);
            seen.sort_unstable();
            assert_eq!(seen, (0..103).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_order_depends_on_seed_and_epoch_except_for_the_files_own() {
        for sampling in SAMPLINGS {
            let first = flat(plan(sampling, 1).epoch(0));
            assert_eq!(first, flat(plan(sampling, 1).epoch(0)));
            let fixed = sampling == Sampling::Sequential;
            assert_eq!(first == flat(plan(sampling, 1).epoch(1)), fixed);
            assert_eq!(first == flat(plan(sampling, 2).epoch(0)), fixed);
        }
    }

    #[test]
    fn grouping_starts_with_the_longest_and_keeps_lengths_together() {
        let plan = plan(Sampling::GroupByLength, 1);
        let length = |i: &usize| plan.lengths[*i];
        let order = flat(plan.epoch(0));
        assert_eq!(order.iter().map(length).max(), Some(length(&order[0])));
        let spread = |order: &[usize]| -> usize {
            let of = |batch: &[usize]| {
                batch.iter().map(length).max().unwrap_or(0)
                    - batch.iter().map(length).min().unwrap_or(0)
            };
            order.chunks(4).map(of).sum()
        };
        assert!(spread(&order) * 2 < spread(&(0..103).collect::<Vec<_>>()));
    }

    #[test]
    fn the_order_is_the_same_however_an_update_is_cut_into_batches() {
        for sampling in SAMPLINGS {
            let whole = plan(sampling, 1);
            let order = flat(whole.epoch(0));
            for (batch, accumulation) in [(12, 1), (6, 2), (2, 6), (1, 12)] {
                let cut = whole.cut_into(batch, accumulation);
                assert_eq!(flat(cut.epoch(0)), order, "{sampling:?}, {batch}");
            }
        }
    }

    /// 103 examples, 12 an update: two updates a stretch.
    #[test]
    fn grouping_sorts_stretches_of_whole_updates() {
        let plan = plan(Sampling::GroupByLength, 1).cut_into(1, 12);
        let order = flat(plan.epoch(0));
        let lengths: Vec<usize> = order.iter().map(|&i| plan.lengths[i]).collect();
        let rises = |stretch: &[usize]| stretch.windows(2).filter(|two| two[0] < two[1]).count();
        let within: usize = lengths.chunks(24).map(rises).sum();
        // What the longest of all changed places with begins a stretch that may have a longer one.
        assert!(within <= 1, "{lengths:?}");
        assert!(rises(&lengths) > 2, "{lengths:?}");
    }

    #[test]
    fn packing_numbers_positions_and_types_for_each_sequence() {
        let row = |ids: &[u32], second| Encoded {
            ids: ids.to_vec(),
            second,
            target: Target::Class(1),
            ..Encoded::default()
        };
        let rows = [row(&[7, 8, 9], 2), row(&[5], 1)];
        let batch = Batch::new(rows.iter());
        let seen: Vec<_> = batch
            .tokens
            .iter()
            .map(|t| (t.word, t.position, t.kind))
            .collect();
        assert_eq!(seen, [(7, 0, 0), (8, 1, 0), (9, 2, 1), (5, 0, 0)]);
        assert_eq!(batch.packing.starts(), [0, 3, 4]);
        assert_eq!(targets(rows.iter()), Ok(Targets::Classes(vec![1, 1])));
        let with = |row: usize, target| Encoded {
            target,
            ..rows[row].clone()
        };
        let unlabelled = with(0, Target::None);
        assert_eq!(targets([&rows[0], &unlabelled].into_iter()), Err(1));
        let tagged = [
            with(0, Target::Classes(vec![None, Some(4), None])),
            with(1, Target::Classes(vec![Some(2)])),
        ];
        let classes = vec![IGNORED, 4, IGNORED, 2];
        assert_eq!(targets(tagged.iter()), Ok(Targets::Classes(classes)));
        let sets = [
            with(0, Target::Set(vec![0, 2])),
            with(1, Target::Set(vec![])),
        ];
        let expected = Targets::Sets(vec![vec![0, 2], vec![]]);
        assert_eq!(targets(sets.iter()), Ok(expected));
        assert_eq!(targets([&sets[0], &rows[1]].into_iter()), Err(1));
        let spans = [with(0, Target::Span(1, 2)), with(1, Target::Span(0, 0))];
        let expected = Targets::Spans(Packing::new([3, 1]), vec![[1, 2], [0, 0]]);
        assert_eq!(targets(spans.iter()), Ok(expected));
    }
}

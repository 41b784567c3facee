//! The memory that a run will need, told before it begins: a batch that would not fit is refused then, with the one
//! that would.
//!
//! ```text
//! parameters, their gradients and moments          4 + 4 + 8 bytes a number; of tables, gradients and moments of the
//!                                                  rows that the examples take
//! + the largest pass over a batch of the plan      what is kept for the backward pass, and its scratch
//! + some for the program itself
//! ```
//!
//! With `H` the hidden size, `I` the intermediate one and `n` the pieces of a pass, a layer keeps `n·(6H + I)` numbers
//! (queries, keys and values, the context, two sums, the first product of the feed-forward half), and going back
//! through one takes `4nH` more for a while, and `2I` for each row of a block of the feed-forward half. Where the head
//! reads first rows alone, the last layer keeps but keys and values. The estimate is held to the measured peak by a
//! test: between it and 15 % below.

mod available;

pub use available::available;

use berth_checkpoint::{Config, names};
use thiserror::Error;

use crate::batches::Plan;
use crate::kernels::gemm::Precision;
use crate::model::HeadKind;
use crate::ops::feed_forward::ROWS;

/// Query rows that attention works on at a time, for each of three squares a thread.
const ATTENTION_BLOCK: f64 = 128.0;
/// The program itself, packed factors of products, the tokenizer's tables.
const PROGRAM: f64 = 52e6;
/// Epochs of a plan that are looked at.
const EPOCHS: u64 = 20;

/// What decides how much memory a run needs, beside its batches.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Sizes {
    /// Numbers of the parameters that are no tables.
    pub dense: f64,
    /// Numbers of the embedding tables.
    pub tables: f64,
    /// Rows of the tables that the examples take.
    pub rows: f64,
    /// `hidden_size`
    pub hidden: f64,
    /// `intermediate_size`
    pub inner: f64,
    /// Layers that work on every row.
    pub layers: f64,
    /// Threads of the run.
    pub threads: f64,
    /// Whether the factors of products are packed as bf16.
    pub mixed: bool,
}

/// What of a pass decides how much memory it needs.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Pieces of all its sequences.
    pub tokens: u64,
    /// How many sequences.
    pub sequences: u64,
    /// Pieces of the longest.
    pub longest: u64,
}

impl Load {
    /// Of sequences of these lengths.
    pub fn of(lengths: impl Iterator<Item = usize>) -> Self {
        lengths.fold(Self::default(), |load, length| Self {
            tokens: load.tokens + length as u64,
            sequences: load.sequences + 1,
            longest: load.longest.max(length as u64),
        })
    }
}

impl Sizes {
    /// Of a model with a head of this kind, trained on examples that take `rows` rows of its tables.
    pub fn new(
        config: &Config,
        kind: HeadKind,
        rows: usize,
        threads: usize,
        precision: Precision,
    ) -> Self {
        let table = |name: &str| name.ends_with("_embeddings.weight");
        let encoder = names::encoder(config);
        let sum = |tables: bool| -> f64 {
            let these = encoder.iter().filter(|(name, _)| table(name) == tables);
            let count = |shape: &[usize]| shape.iter().map(|&size| size as f64).product::<f64>();
            these.map(|(_, shape)| count(shape)).sum()
        };
        let hidden = config.hidden_size as f64;
        let dense = |outputs: usize| (hidden + 1.0) * outputs as f64;
        let all = config.num_hidden_layers;
        // Under a head on first rows the last layer keeps next to nothing.
        let (head, layers) = match kind {
            HeadKind::Sequence { outputs } => (
                dense(config.hidden_size) + dense(outputs),
                all.saturating_sub(1),
            ),
            HeadKind::Token { outputs } => (dense(outputs), all),
            HeadKind::Span => (dense(2), all),
        };
        Self {
            dense: sum(false) + head,
            tables: sum(true),
            rows: rows as f64,
            hidden,
            inner: config.intermediate_size as f64,
            layers: layers as f64,
            threads: threads as f64,
            mixed: precision != Precision::F32,
        }
    }

    /// The most memory that the process holds at once, in bytes, but for its examples: `training` is the run's largest
    /// pass, `measuring` the largest of its evaluations.
    pub fn peak(&self, training: Load, measuring: Load) -> u64 {
        let pass = f64::max(self.training_pass(training), self.measuring_pass(measuring));
        // In f64, where no size is too large.
        (self.model() + pass + self.scratch(training, measuring) + PROGRAM) as u64
    }

    /// Parameters, gradients and moments.
    fn model(&self) -> f64 {
        let of_rows = f64::min(self.rows * self.hidden, self.tables);
        16.0 * self.dense + 4.0 * self.tables + 12.0 * of_rows
    }

    fn training_pass(&self, load: Load) -> f64 {
        let kept = self.layers * (6.0 * self.hidden + self.inner) + 3.0 * self.hidden;
        let tokens = load.tokens as f64;
        let block = 2.0 * self.inner * tokens.min(ROWS as f64);
        4.0 * (tokens * (kept + 4.0 * self.hidden) + block)
    }

    fn measuring_pass(&self, load: Load) -> f64 {
        let tokens = load.tokens as f64;
        let block = self.inner * tokens.min(ROWS as f64);
        4.0 * (tokens * (6.0 * self.hidden + self.inner) + block)
    }

    fn scratch(&self, training: Load, measuring: Load) -> f64 {
        let longest = training.longest.max(measuring.longest) as f64;
        let squares = 3.0 * longest * f64::min(longest, ATTENTION_BLOCK) * self.threads;
        let packed = if self.mixed {
            0.5 * training.tokens as f64 * self.inner
        } else {
            0.0
        };
        // Two stacks of queries, keys and values.
        let stacks = 2.0 * 3.0 * self.hidden * self.hidden;
        4.0 * (squares + packed + stacks)
    }
}

/// A run would need more memory than there is.
#[derive(Clone, Debug, PartialEq, Error)]
#[error(
    "a batch of {batch} sequences needs about {} MB, with up to {tokens} pieces at a time, and {} MB are there; {}",
    megabytes(*needed),
    available / 1_000_000,
    way_out(*fits)
)]
pub struct TooLarge {
    /// Sequences of a batch.
    pub batch: usize,
    /// Pieces of the largest pass over a batch.
    pub tokens: u64,
    /// Bytes that the run needs.
    pub needed: u64,
    /// Bytes that are there.
    pub available: u64,
    /// A batch size that fits, with the accumulation that puts as many sequences into an update.
    pub fits: Option<(usize, usize)>,
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

fn way_out(fits: Option<(usize, usize)>) -> String {
    match fits {
        Some((batch, accumulation)) => format!(
            "--per_device_train_batch_size {batch} --gradient_accumulation_steps {accumulation} fits, with as many \
             sequences an update"
        ),
        None => "no batch size fits; a smaller --max_seq_length or a smaller model may".to_owned(),
    }
}

/// Whether a run over `plan` has room in `available` bytes: `epochs` epochs, and evaluations of `measuring`.
///
/// # Errors
/// If it has not, with the largest batch size that has.
pub fn check(
    sizes: &Sizes,
    plan: &Plan,
    epochs: u64,
    measuring: Load,
    available: u64,
) -> Result<(), TooLarge> {
    let peak = |plan: &Plan| {
        let largest = largest(sizes, plan, epochs);
        (sizes.peak(largest, measuring), largest.tokens)
    };
    let (needed, tokens) = peak(plan);
    if needed <= available {
        return Ok(());
    }
    let (batch, update) = (plan.batch(), plan.batch() * plan.accumulation());
    let smaller = (1..batch)
        .rev()
        .filter(|batch| update.is_multiple_of(*batch));
    let fits = smaller
        .map(|batch| (batch, update / batch))
        .find(|&(batch, accumulation)| peak(&plan.cut_into(batch, accumulation)).0 <= available);
    Err(TooLarge {
        batch,
        tokens,
        needed,
        available,
        fits,
    })
}

/// The pass of a plan's batches that needs the most memory, in the first [`EPOCHS`] epochs.
fn largest(sizes: &Sizes, plan: &Plan, epochs: u64) -> Load {
    let of_epoch = |epoch| {
        let batches = plan.epoch(epoch).into_iter().flatten();
        let loads: Vec<Load> = batches.flat_map(|batch| plan.loads(&batch)).collect();
        loads
    };
    let all = (0..epochs.clamp(1, EPOCHS)).flat_map(of_epoch);
    all.max_by_key(|&load| sizes.peak(load, Load::default()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batches::Sampling;

    /// all-MiniLM-L6-v2 with two labels, on examples that take a tenth of its vocabulary.
    fn sizes() -> Sizes {
        Sizes {
            dense: 10_795_778.0,
            tables: 11_917_824.0,
            rows: 3000.0,
            hidden: 384.0,
            inner: 1536.0,
            layers: 5.0,
            threads: 1.0,
            mixed: false,
        }
    }

    fn plan(length: usize, batch: usize, accumulation: usize) -> Plan {
        Plan::new(vec![length; 512], Sampling::Random, 1, batch, accumulation)
    }

    #[test]
    fn what_fits_is_let_through_and_what_does_not_is_told_what_would() {
        let sizes = sizes();
        let needed = |batch| sizes.peak(Load::of([512].repeat(batch).into_iter()), Load::default());
        // Two sequences are a pass.
        check(&sizes, &plan(512, 32, 1), 3, Load::default(), needed(2)).unwrap();
        let error =
            check(&sizes, &plan(512, 32, 1), 3, Load::default(), needed(2) - 1).unwrap_err();
        assert_eq!((error.fits, error.tokens), (Some((1, 32)), 1024));
        assert_eq!(
            error.to_string(),
            format!(
                "a batch of 32 sequences needs about {} MB, with up to 1024 pieces at a time, and {} MB are there; \
                 --per_device_train_batch_size 1 --gradient_accumulation_steps 32 fits, with as many sequences an update",
                needed(2).div_ceil(1_000_000),
                (needed(2) - 1) / 1_000_000
            )
        );
        // Only what divides an update makes others of the same size.
        let needed = |batch| sizes.peak(Load::of([100].repeat(batch).into_iter()), Load::default());
        let error = check(&sizes, &plan(100, 6, 5), 3, Load::default(), needed(5)).unwrap_err();
        assert_eq!(error.fits, Some((5, 6)));
        let error = check(&sizes, &plan(100, 6, 1), 3, Load::default(), needed(1) - 1).unwrap_err();
        assert_eq!(error.fits, None);
        assert!(
            error
                .to_string()
                .ends_with("no batch size fits; a smaller --max_seq_length or a smaller model may")
        );
    }

    #[test]
    fn the_largest_pass_is_one_that_the_plan_has() {
        let lengths: Vec<usize> = (1..=64).collect();
        let in_order = Plan::new(lengths.clone(), Sampling::Sequential, 1, 8, 1);
        let largest_of = |plan: &Plan| largest(&sizes(), plan, 3);
        assert_eq!(largest_of(&in_order), Load::of(57..=64));
        let shuffled = largest_of(&Plan::new(lengths, Sampling::Random, 1, 8, 1));
        assert!(
            shuffled.tokens < (57..=64).sum::<usize>() as u64,
            "{shuffled:?}"
        );
        // However large a batch is.
        assert_eq!(
            largest_of(&plan(512, 512, 1)),
            Load::of([512; 2].into_iter())
        );
    }

    #[test]
    fn sizes_that_no_machine_has_do_not_overflow() {
        let huge = Sizes {
            dense: 1e30,
            inner: 1e30,
            ..sizes()
        };
        let load = Load::of([usize::MAX].into_iter());
        assert_eq!(huge.peak(load, load), u64::MAX);
    }
}

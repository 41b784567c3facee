//! Why a run or a prediction could not go on.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use berth_checkpoint::{CheckpointError, SaveError};
use berth_data::EvaluationError;
use berth_task::Task;
use thiserror::Error;

use crate::device::DeviceError;
use crate::imbalance::Imbalance;
use crate::memory::TooLarge;
use crate::model::ModelError;
use crate::recipe::RecipeError;

/// What an error says, without the backtrace that candle puts below it where `RUST_BACKTRACE` asks for one.
fn first_line(error: &impl Display) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

/// The reason, in one line with the way out where there is one.
#[derive(Debug, Error)]
pub enum TrainError {
    /// A setting is wrong.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The model could not be made.
    #[error("{}", first_line(.0))]
    Model(#[from] ModelError),
    /// A checkpoint could not be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A checkpoint could not be written.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// The predictions could not be measured.
    #[error(transparent)]
    Evaluation(#[from] EvaluationError),
    /// The device that was asked for can't be had, or failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// candle refused a computation.
    #[error("{}", first_line(.0))]
    Candle(#[from] candle_core::Error),
    /// The threads could not be started.
    #[error(
        "threads could not be started: {0}; take fewer with --threads, or allow more (ulimit -u)"
    )]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// A folder could not be read or tidied up.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The checkpoint was fine-tuned for something else.
    #[error("{}: {head} does not answer {task}; say the task that it was fine-tuned for", checkpoint.display())]
    OtherHead {
        /// Its folder.
        checkpoint: PathBuf,
        /// The class of `transformers` that it is.
        head: String,
        /// What was asked of it.
        task: Task,
    },
    /// There is nothing to learn from.
    #[error("no examples to train on")]
    NoExamples,
    /// A loss over classes is to be weighed where there are no classes, or not so many.
    #[error(transparent)]
    Imbalance(#[from] Imbalance),
    /// No evaluation has what is to decide which checkpoint is best.
    #[error("metric_for_best_model is {name}, which no evaluation has; there are {}", known.join(", "))]
    NoMetric {
        /// The metric's name.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// The memory would not suffice.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// An example that the model can't read or learn from.
    #[error("example {row} {problem}")]
    Example {
        /// Counted from 1.
        row: usize,
        /// What is wrong with it.
        problem: ExampleProblem,
    },
    /// A new run would write into a folder that holds something.
    #[error(
        "{}: not empty; `--overwrite_output_dir` starts anew in it, `--resume_from_checkpoint true` goes on with it",
        .0.display()
    )]
    OutputNotEmpty(PathBuf),
    /// A run would go on from a checkpoint elsewhere in a folder that holds something.
    #[error(
        "{}: not empty; with `--overwrite_output_dir` the run goes on from {} in it; or name an empty --output_dir",
        output_dir.display(),
        checkpoint.display()
    )]
    InUsedFolder {
        /// Where it would go on.
        output_dir: PathBuf,
        /// Where it would go on from.
        checkpoint: PathBuf,
    },
    /// Another run has not ended yet that writes into the folder.
    #[error("{}: another run writes here; wait for its end, or name another --output_dir", .0.display())]
    InUse(PathBuf),
    /// The model to start from would be removed with the checkpoints of an earlier run.
    #[error(
        "{}: the model to start from, which `--overwrite_output_dir` would remove; name another --output_dir, or copy \
         the model out of it",
        .0.display()
    )]
    BaseInTheWay(PathBuf),
    /// There is no checkpoint to go on from.
    #[error("{}: no checkpoint to resume from", .0.display())]
    NothingToResume(PathBuf),
    /// The weights that a run is to end with, unless it finds better ones, are gone.
    #[error(
        "{}: the best evaluation until then was that of {}, which is not there whole; put it back, or leave out \
         load_best_model_at_end",
        checkpoint.display(),
        folder.display()
    )]
    BestMissing {
        /// The checkpoint to go on with.
        checkpoint: PathBuf,
        /// Where the best one should be.
        folder: PathBuf,
    },
    /// The run to go on with was another one.
    #[error("{}: {what} was {then} and is now {now}, which would be another run", checkpoint.display())]
    OtherRun {
        /// Its checkpoint.
        checkpoint: PathBuf,
        /// What differs.
        what: String,
        /// In the checkpoint.
        then: String,
        /// Now.
        now: String,
    },
    /// A run that has finished was measured on other rows than are given now.
    #[error(
        "{}: the run has finished, and was measured on {then} and not on {now}; `berth evaluate` measures it on these",
        output_dir.display()
    )]
    MeasuredOtherwise {
        /// Its folder.
        output_dir: PathBuf,
        /// Until then.
        then: String,
        /// Now.
        now: String,
    },
    /// A file of a checkpoint is not what a run leaves there, or nothing can be made of its weights.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Parameters that take no part in the computation, by name. It is a mistake in the model, not in the input.
    #[error("no gradient reaches {}", .0.join(", "))]
    NoGradient(Vec<String>),
    /// The run has diverged, or started with damaged weights.
    #[error(
        "step {step}: the {what} is not finite (examples {}); {}",
        numbers(rows),
        last_good(last.as_deref())
    )]
    NotFinite {
        /// `loss` or `gradient`.
        what: &'static str,
        /// Counted from 1.
        step: u64,
        /// The step's examples, counted from 1.
        rows: Vec<usize>,
        /// The newest checkpoint.
        last: Option<PathBuf>,
    },
    /// An update was too large for the numbers.
    #[error("after step {step}: `{name}` has numbers that are not finite; {}", last_good(last.as_deref()))]
    Overflow {
        /// The parameter.
        name: String,
        /// Steps done.
        step: u64,
        /// The newest checkpoint.
        last: Option<PathBuf>,
    },
}

/// What is wrong with an example.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
pub enum ExampleProblem {
    /// It has no pieces, not even `[CLS]`.
    #[error("is empty")]
    Empty,
    /// It has more pieces than the model has positions.
    #[error("has {length} pieces; the model has {positions} positions")]
    TooLong {
        /// Its pieces.
        length: usize,
        /// The model's limit.
        positions: usize,
    },
    /// A piece is not in the model's vocabulary.
    #[error("has piece {id}; the model's vocabulary has {vocabulary}")]
    UnknownPiece {
        /// The piece.
        id: u32,
        /// Pieces of the vocabulary.
        vocabulary: usize,
    },
    /// A second text where the model has one type.
    #[error("has two texts; the model has one token type")]
    SecondText,
    /// No label, or not one of the task's.
    #[error("has no label that fits the task")]
    Label,
}

fn last_good(checkpoint: Option<&Path>) -> String {
    checkpoint.map_or_else(
        || "no checkpoint was saved yet".to_owned(),
        |dir| format!("the last good checkpoint is {}", dir.display()),
    )
}

fn numbers(rows: &[usize]) -> String {
    rows.iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backtrace_is_left_out() {
        let bare = candle_core::Error::Msg("index 1000 is out of range".into());
        let traced = candle_core::Error::WithBacktrace {
            inner: Box::new(bare),
            backtrace: Box::new(std::backtrace::Backtrace::force_capture()),
        };
        assert!(traced.to_string().lines().count() > 1);
        let model = ModelError::Tensor {
            name: "bert.pooler".into(),
            source: candle_core::Error::Msg("no\n  0: candle".into()),
        };
        assert_eq!(
            TrainError::from(traced).to_string(),
            "index 1000 is out of range"
        );
        assert_eq!(TrainError::from(model).to_string(), "bert.pooler: no");
    }
}

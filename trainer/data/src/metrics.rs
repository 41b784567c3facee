//! Predictions to figures, under Hugging Face's names.
//!
//! ```text
//!  inputs, gold ──┐
//!                 Evaluator ──► Evaluation    loss and metrics of the file
//!  logits ────────┘       ├───► Decision…     what the model says to each thing that is asked
//!                         ├───► Units         the main metric for any draw of the examples
//!                         ├───► Judged…       how sure it is of that, and whether it is right
//!                         └───► files         the same, as other tools read it
//! ```
//!
//! f32 and int8 logits go through the same [`Evaluator`], so a difference between two reports
//! is a difference between two models. One room for each kind of answer:
//!
//! | room | metrics |
//! |---|---|
//! | `sets` | any number of labels for each row: `f1`, `precision`, `recall` over all decisions (micro), `f1_macro`, `accuracy`, the share of rows with every decision right |
//! | `texts` | classification: `accuracy`, `f1`, `precision`, `recall`, `matthews_correlation`; regression: `pearson`, `spearmanr`; the mean of two as `combined_score` for the data sets for which GLUE reports it |
//! | `tags` | `precision`, `recall` and `f1` of entities where labels begin with `B-` or `I-`, and `accuracy`, the share of words with the right tag |
//! | `calibration` | the expected calibration error of scores, and the temperature that makes them fit |
//! | `questions`, [`squad`] | `exact_match` and `f1` from 0 to 100, as SQuAD's official scripts count them, and the further figures of version 2.0 |
//! | `reliability` | how far probabilities are from the shares of right answers, for whatever has probabilities |

mod answer;
mod calibration;
mod classification;
mod correlation;
mod entities;
mod evaluator;
mod files;
mod outcome;
mod questions;
mod reliability;
mod sets;
pub mod squad;
mod tags;
mod texts;
mod units;

pub use answer::{Answer, Decision};
pub use calibration::{Judged, expected_calibration_error};
pub use classification::Counts;
pub use correlation::{pearson, spearmanr};
pub use entities::EntityCounts;
pub use evaluator::Evaluator;
pub use files::{MEASURED as MEASURED_FILES, predicted as predicted_files};
pub use questions::SpanScoring;
pub use reliability::{Bin, Reliability};
pub use units::Units;

use berth_task::Task;

/// What a model's answers to a labelled file are worth.
#[derive(Clone, PartialEq, Debug)]
pub struct Evaluation {
    /// How many rows of the file were measured.
    pub samples: usize,
    /// The mean of what training minimizes over everything that is asked: cross entropy in nats, for any
    /// number of labels binary, or the squared difference. None where it is not known of anything: of questions
    /// whose answers all stand elsewhere than the file says.
    pub loss: Option<f64>,
    /// Names without `eval_`, and values as fractions; from 0 to 100 for questions.
    pub metrics: Vec<(&'static str, f64)>,
    /// Settings that were fitted to this file, and belong to the model from now on: names as in
    /// training_args.json.
    pub fitted: Vec<(&'static str, f64)>,
}

impl Evaluation {
    /// The metric of that name, with or without `eval_`; `loss` too.
    pub fn get(&self, name: &str) -> Option<f64> {
        let name = name.strip_prefix("eval_").unwrap_or(name);
        let named = |metric: &(&str, f64)| (metric.0 == name).then_some(metric.1);
        if name == "loss" {
            self.loss
        } else {
            self.metrics.iter().find_map(named)
        }
    }

    /// `eval_loss`, where it is known, and every metric, under the names that reports have them by.
    pub fn entries(&self) -> Vec<(String, f64)> {
        let loss = self.loss.map(|loss| ("loss", loss));
        let all = loss.into_iter().chain(self.metrics.iter().copied());
        all.map(|(name, value)| (format!("eval_{name}"), value))
            .collect()
    }
}

/// Why there is nothing to measure.
#[derive(thiserror::Error, Copy, Clone, Eq, PartialEq, Debug)]
pub enum EvaluationError {
    /// Not as many answers as labels.
    #[error("{logits} rows of logits for {labels} labels")]
    RowCount {
        /// Rows of logits.
        logits: usize,
        /// Rows with labels.
        labels: usize,
    },
    /// Neither answers nor labels.
    #[error("no rows to measure")]
    NoRows,
    /// A row without a label, or with one of the wrong kind.
    #[error("row {row} has no label of the task's kind")]
    NoLabel {
        /// Counted from 0.
        row: usize,
    },
    /// A row whose label is not among the outputs, or with another number of outputs than it should
    /// have.
    #[error("row {row} has {outputs} outputs, which don't fit its label or the other rows")]
    Outputs {
        /// Counted from 0.
        row: usize,
        /// How many logits the row has.
        outputs: usize,
    },
    /// No metrics are known for this task.
    #[error("{task} is not measured")]
    OtherTask {
        /// The task.
        task: Task,
    },
}

/// Figures by name.
type Figures = Vec<(&'static str, f64)>;

/// The loss, where it is known, and the metrics.
type Measured = (Option<f64>, Figures);

/// Numbers below `bound` from a generator that every language has in three lines, so that other
/// libraries' figures can be had for the same ones.
#[cfg(test)]
fn sequence(seed: u64, bound: usize, length: usize) -> Vec<usize> {
    let mut state = seed;
    let mut next = || {
        state = (state * 1_103_515_245 + 12_345) % (1 << 31);
        (state >> 16) as usize % bound
    };
    (0..length).map(|_| next()).collect()
}

//! Predictions to figures, under Hugging Face's names.
//!
//! f32 and int8 logits go through the same [`Evaluation::of`], so a difference between two reports
//! is a difference between two models. Classification gives `accuracy`, `f1`, `precision`,
//! `recall` and `matthews_correlation`, regression `pearson` and `spearmanr`; the data sets for
//! which GLUE reports the mean of two metrics have it as `combined_score`.

mod classification;
mod correlation;
pub mod squad;

pub use classification::Counts;
pub use correlation::{pearson, spearmanr};

use berth_task::{Task, argmax};

use crate::dataset::Label;
use crate::task_name::TaskName;

/// The metric that stands for a task where a single figure is wanted, such as the accuracy gate of
/// `quantize` or the best checkpoint. Of all of them, more is better.
pub fn main_metric(task: Task, task_name: Option<TaskName>) -> &'static str {
    match (task_name, task) {
        (Some(TaskName::Cola), _) => "matthews_correlation",
        (Some(TaskName::Mrpc), _) | (_, Task::QuestionAnswering) => "f1",
        (_, Task::TextPairRegression) => "spearmanr",
        _ => "accuracy",
    }
}

/// What a model's answers to a labelled file are worth.
#[derive(Clone, PartialEq, Debug)]
pub struct Evaluation {
    /// How many rows were measured.
    pub samples: usize,
    /// The mean of what training minimizes: cross entropy in nats, or the squared difference.
    pub loss: f64,
    /// Names without `eval_`, and values as fractions.
    pub metrics: Vec<(&'static str, f64)>,
}

impl Evaluation {
    /// Measures `logits`, the model's outputs for each row, against the rows' labels.
    ///
    /// # Errors
    /// Where logits and labels don't fit together, or the task is not one on whole texts.
    pub fn of<L: AsRef<[f32]>>(
        task: Task,
        task_name: Option<TaskName>,
        logits: &[L],
        labels: &[Label],
    ) -> Result<Self, EvaluationError> {
        if logits.len() != labels.len() {
            let (logits, labels) = (logits.len(), labels.len());
            return Err(EvaluationError::RowCount { logits, labels });
        }
        if logits.is_empty() {
            return Err(EvaluationError::NoRows);
        }
        let (loss, mut metrics) = match task {
            Task::TextClassification | Task::TextPairClassification => classify(logits, labels)?,
            Task::TextPairRegression => regress(logits, labels)?,
            Task::TokenClassification | Task::QuestionAnswering => {
                return Err(EvaluationError::OtherTask { task });
            }
        };
        if let Some(score) = combined_score(task_name, &metrics) {
            metrics.push(("combined_score", score));
        }
        Ok(Evaluation {
            samples: logits.len(),
            loss,
            metrics,
        })
    }

    /// The metric of that name, with or without `eval_`; `loss` too.
    pub fn get(&self, name: &str) -> Option<f64> {
        let name = name.strip_prefix("eval_").unwrap_or(name);
        let named = |metric: &(&str, f64)| (metric.0 == name).then_some(metric.1);
        if name == "loss" {
            Some(self.loss)
        } else {
            self.metrics.iter().find_map(named)
        }
    }

    /// `eval_loss` and every metric, under the names that reports have them by.
    pub fn entries(&self) -> Vec<(String, f64)> {
        let all = std::iter::once(("loss", self.loss)).chain(self.metrics.iter().copied());
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
    /// A row whose label is not among the outputs, or with another number of outputs than the
    /// first.
    #[error("row {row} has {outputs} outputs, which don't fit its label or the other rows")]
    Outputs {
        /// Counted from 0.
        row: usize,
        /// How many logits the row has.
        outputs: usize,
    },
    /// The answers of this task are not a row of logits for each text.
    #[error("{task} is not measured from one row of logits a text")]
    OtherTask {
        /// The task.
        task: Task,
    },
}

type Measured = (f64, Vec<(&'static str, f64)>);

fn classify<L: AsRef<[f32]>>(logits: &[L], labels: &[Label]) -> Result<Measured, EvaluationError> {
    let outputs = logits[0].as_ref().len();
    let mut counts = Counts::new(outputs);
    let mut loss = 0.0;
    for (row, (logits, label)) in logits.iter().zip(labels).enumerate() {
        let logits = logits.as_ref();
        let Label::Class(gold) = *label else {
            return Err(EvaluationError::NoLabel { row });
        };
        let gold = gold as usize;
        if logits.len() != outputs || gold >= outputs {
            return Err(EvaluationError::Outputs {
                row,
                outputs: logits.len(),
            });
        }
        counts.add(gold, argmax(logits));
        loss += cross_entropy(logits, gold);
    }
    let metrics = vec![
        ("accuracy", counts.accuracy()),
        ("f1", counts.f1()),
        ("precision", counts.precision()),
        ("recall", counts.recall()),
        ("matthews_correlation", counts.matthews_correlation()),
    ];
    Ok((loss / labels.len() as f64, metrics))
}

/// Minus the logarithm of the probability of `gold`, in f64.
fn cross_entropy(logits: &[f32], gold: usize) -> f64 {
    let largest = f64::from(logits[argmax(logits)]);
    let sum: f64 = logits
        .iter()
        .map(|&logit| (f64::from(logit) - largest).exp())
        .sum();
    sum.ln() + largest - f64::from(logits[gold])
}

fn regress<L: AsRef<[f32]>>(logits: &[L], labels: &[Label]) -> Result<Measured, EvaluationError> {
    let mut predicted = Vec::with_capacity(labels.len());
    let mut gold = Vec::with_capacity(labels.len());
    for (row, (logits, label)) in logits.iter().zip(labels).enumerate() {
        let Label::Value(value) = *label else {
            return Err(EvaluationError::NoLabel { row });
        };
        let &[answer] = logits.as_ref() else {
            return Err(EvaluationError::Outputs {
                row,
                outputs: logits.as_ref().len(),
            });
        };
        predicted.push(f64::from(answer));
        gold.push(f64::from(value));
    }
    let squares = predicted.iter().zip(&gold).map(|(p, g)| (p - g) * (p - g));
    let loss = squares.sum::<f64>() / gold.len() as f64;
    let (pearson, spearmanr) = (pearson(&predicted, &gold), spearmanr(&predicted, &gold));
    Ok((loss, vec![("pearson", pearson), ("spearmanr", spearmanr)]))
}

/// The mean of the two metrics that GLUE reports for MRPC and for the relatedness of texts.
fn combined_score(task_name: Option<TaskName>, metrics: &[(&str, f64)]) -> Option<f64> {
    let parts = match task_name? {
        TaskName::Mrpc => ["accuracy", "f1"],
        TaskName::Stsb | TaskName::SickR => ["pearson", "spearmanr"],
        _ => return None,
    };
    let chosen = metrics.iter().filter(|(name, _)| parts.contains(name));
    Some(chosen.map(|(_, value)| value).sum::<f64>() / parts.len() as f64)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [[f32; 3]; 4] = [
        [2.0, -1.0, 0.5],
        [0.1, 0.2, 0.3],
        [-3.0, 1.5, 1.5],
        [80.0, -80.0, 0.0],
    ];

    fn classes(of: &[u32]) -> Vec<Label> {
        of.iter().map(|&class| Label::Class(class)).collect()
    }

    /// The first figure is `torch.nn.functional.cross_entropy(rows.double(), [0, 0, 2, 1])`.
    #[test]
    fn the_loss_is_the_mean_cross_entropy_or_squared_difference() {
        let task = Task::TextClassification;
        let of = Evaluation::of(task, None, &ROWS, &classes(&[0, 0, 2, 1])).unwrap();
        assert!((of.loss - 40.5354851146753).abs() < 1e-9, "{}", of.loss);
        assert_eq!((of.samples, of.get("accuracy")), (4, Some(0.25)));

        let labels = [1.0, 2.5, 4.0].map(Label::Value);
        let logits = [[1.5], [2.0], [4.25]];
        let of = Evaluation::of(Task::TextPairRegression, None, &logits, &labels).unwrap();
        assert_eq!(of.loss, 0.1875);
    }

    #[test]
    fn reports_have_hugging_faces_names_in_one_order() {
        let task = Task::TextPairClassification;
        let two: Vec<_> = ROWS.iter().map(|row| &row[..2]).collect();
        let of = Evaluation::of(task, Some(TaskName::Mrpc), &two, &classes(&[0, 1, 1, 1])).unwrap();
        let names: Vec<_> = of.entries().into_iter().map(|(name, _)| name).collect();
        let expected = [
            "loss",
            "accuracy",
            "f1",
            "precision",
            "recall",
            "matthews_correlation",
        ];
        let expected = expected
            .iter()
            .chain(&["combined_score"])
            .map(|name| format!("eval_{name}"));
        assert_eq!(names, expected.collect::<Vec<_>>());
        // One of three positives is missed, none is wrong: f1 = 2 * 2 / (2 * 2 + 1).
        assert_eq!(
            (of.get("eval_accuracy"), of.get("f1")),
            (Some(0.75), Some(0.8))
        );
        assert_eq!(of.get("combined_score"), Some((0.75 + 0.8) / 2.0));
        assert_eq!(of.get("pearson"), None);
    }

    #[test]
    fn every_main_metric_is_among_the_metrics() {
        for name in TaskName::ALL {
            let regression = name.task() == Task::TextPairRegression;
            let labels = if regression {
                [Label::Value(0.5)]
            } else {
                [Label::Class(0)]
            };
            let logits = if regression {
                vec![0.5]
            } else {
                vec![0.5; name.labels().len()]
            };
            let of = Evaluation::of(name.task(), Some(name), &[logits], &labels).unwrap();
            assert!(
                of.get(main_metric(name.task(), Some(name))).is_some(),
                "{name}"
            );
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let of = |logits: &[&[f32]], labels: &[Label]| {
            Evaluation::of(Task::TextClassification, None, logits, labels).unwrap_err()
        };
        let two = [0.0, 1.0];
        assert_eq!(of(&[], &[]), EvaluationError::NoRows);
        let error = EvaluationError::RowCount {
            logits: 1,
            labels: 0,
        };
        assert_eq!(of(&[&two], &[]), error);
        assert_eq!(
            of(&[&two], &[Label::None]),
            EvaluationError::NoLabel { row: 0 }
        );
        assert_eq!(
            of(&[&two], &[Label::Value(1.0)]),
            EvaluationError::NoLabel { row: 0 }
        );
        let error = EvaluationError::Outputs { row: 1, outputs: 2 };
        assert_eq!(of(&[&two, &two], &classes(&[1, 2])), error);
        let error = EvaluationError::Outputs { row: 1, outputs: 1 };
        assert_eq!(of(&[&two, &two[..1]], &classes(&[0, 0])), error);
        let error = EvaluationError::Outputs { row: 0, outputs: 0 };
        assert_eq!(of(&[&[]], &classes(&[0])), error);
    }
}

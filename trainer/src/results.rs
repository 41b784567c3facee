//! The figures of a run.

use serde_json::{Map, Value};

/// The file of all the figures of a run.
pub const ALL_RESULTS: &str = "all_results.json";

/// The file of those that are measured.
pub const EVAL_RESULTS: &str = "eval_results.json";

/// The figures of a finished run, as `all_results.json` has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// `train_loss`, `train_runtime` and so on.
    pub train: Map<String, Value>,
    /// `eval_accuracy` and so on; empty without examples to measure on.
    pub eval: Map<String, Value>,
    /// What the result says to each of the inputs to measure on; empty without any.
    pub logits: Vec<Vec<f32>>,
}

impl Results {
    /// Both in one.
    pub fn all(&self) -> Map<String, Value> {
        self.train
            .iter()
            .chain(&self.eval)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

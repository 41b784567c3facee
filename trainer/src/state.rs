//! What a run has come to: `trainer_state.json`, with the fields that `transformers` writes.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::curve::LossCurve;
use crate::error::TrainError;

/// The file's name, in checkpoints and in the finished folder.
pub const STATE_FILE: &str = "trainer_state.json";

/// The state of a run after some step.
///
/// The fields from `is_hyper_param_search` on have one value here; they are written so that tools made for
/// `transformers` can read the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainerState {
    /// The step of the best evaluation.
    pub best_global_step: Option<u64>,
    /// Its metric.
    pub best_metric: Option<f64>,
    /// Its checkpoint's folder, where it has one.
    pub best_model_checkpoint: Option<String>,
    /// Epochs done, with the fraction of the current one.
    pub epoch: f64,
    /// Steps done.
    pub global_step: u64,
    /// Steps of the whole run.
    pub max_steps: u64,
    /// Epochs of the whole run.
    pub num_train_epochs: u64,
    /// Sequences in a batch.
    pub train_batch_size: usize,
    /// Steps between log entries.
    pub logging_steps: u64,
    /// Steps between evaluations.
    pub eval_steps: u64,
    /// Steps between checkpoints.
    pub save_steps: u64,
    /// Tokens that the model was trained on.
    pub num_input_tokens_seen: u64,
    /// An object for each log entry and each evaluation.
    pub log_history: Vec<Map<String, Value>>,
    /// Examples to train on. Not a field of `transformers`.
    pub train_samples: usize,
    /// Sum of the steps' losses. Not a field of `transformers`.
    pub loss_sum: f64,
    /// The part of it since the last log entry. Not a field of `transformers`.
    pub loss_sum_since_log: f64,
    /// The step of the last log entry. Not a field of `transformers`.
    pub last_logged_step: u64,
    /// The course of the steps' losses. Not a field of `transformers`.
    pub loss_curve: LossCurve,
    /// Whether the step's evaluation is still to be made, since the run was stopped in it; left out where it is not. Not
    /// a field of `transformers`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub evaluation_due: bool,
    /// How far early stopping is, where a run has it.
    pub stateful_callbacks: Map<String, Value>,
    /// False.
    pub is_hyper_param_search: bool,
    /// True.
    pub is_local_process_zero: bool,
    /// True.
    pub is_world_process_zero: bool,
    /// 0: not counted.
    pub total_flos: f64,
    /// Null.
    pub trial_name: Value,
    /// Null.
    pub trial_params: Value,
}

/// The state in a folder, if there is one.
///
/// # Errors
/// If the file can't be read or is no state.
pub fn read(folder: &Path) -> Result<Option<TrainerState>, TrainError> {
    let path = folder.join(STATE_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read(&path).map_err(|source| TrainError::Io {
        path: path.clone(),
        source,
    })?;
    match serde_json::from_slice(&text) {
        Ok(state) => Ok(Some(state)),
        Err(error) => Err(TrainError::Damaged {
            path,
            problem: error.to_string(),
        }),
    }
}

impl TrainerState {
    /// Adds an entry to the log, with epoch and step.
    pub fn log(&mut self, values: impl IntoIterator<Item = (String, f64)>) {
        let mut entry: Map<String, Value> = values
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect();
        entry.insert("epoch".into(), self.epoch.into());
        entry.insert("step".into(), self.global_step.into());
        self.log_history.push(entry);
    }

    /// Counts a step with its loss.
    pub fn add_loss(&mut self, loss: f64) {
        self.loss_sum += loss;
        self.loss_sum_since_log += loss;
        self.loss_curve.add(loss);
    }

    /// The mean loss of the steps since it was last asked for.
    pub fn take_logged_loss(&mut self) -> f64 {
        let steps = self.global_step - self.last_logged_step;
        self.last_logged_step = self.global_step;
        std::mem::take(&mut self.loss_sum_since_log) / steps.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_survives_its_file_to_the_last_bit() {
        let mut state = TrainerState {
            global_step: 7,
            epoch: 1.0 / 3.0,
            ..TrainerState::default()
        };
        for i in 1..200 {
            state.add_loss(1.0 / f64::from(i) + 1e-9 * f64::from(i).sin());
        }
        state.log([("loss".to_owned(), state.loss_sum / 7.0)]);
        let text = serde_json::to_string_pretty(&state).unwrap();
        assert_eq!(serde_json::from_str::<TrainerState>(&text).unwrap(), state);
        assert_eq!(state.log_history[0]["step"], 7);
    }

    #[test]
    fn the_logged_loss_is_the_mean_since_the_last_entry() {
        let mut state = TrainerState::default();
        for (step, loss) in [(1, 1.0), (2, 2.0), (3, 6.0)] {
            state.global_step = step;
            state.add_loss(loss);
            if step == 2 {
                assert_eq!(state.take_logged_loss(), 1.5);
            }
        }
        assert_eq!((state.take_logged_loss(), state.loss_sum), (6.0, 9.0));
    }
}

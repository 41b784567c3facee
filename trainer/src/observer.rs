//! Who watches a run, and may end it.

use std::path::Path;

use crate::error::TrainError;
use crate::model::OldClassifier;

/// A step that was just made.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct StepInfo {
    /// Its number, counted from 1.
    pub step: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Epochs done.
    pub epoch: f64,
    /// Mean loss of its batches.
    pub loss: f64,
    /// The learning rate it used.
    pub learning_rate: f64,
    /// The gradients' norm before clipping.
    pub grad_norm: f64,
    /// Tokens of its batches.
    pub tokens: usize,
    /// Tokens a second, over this step alone.
    pub tokens_per_second: f64,
}

/// Whether to go on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// With the next step, or the next batch of an evaluation.
    Continue,
    /// Save a checkpoint and end the run.
    Stop,
}

/// Gets to know what a run does. It is called on a thread of the run's pool.
pub trait Observer: Send {
    /// Before the first step that is made, after `done` of the whole run's `of`.
    fn on_begin(&mut self, _done: u64, _of: u64) {}

    /// When a step's figures go into the log, with the mean loss of the steps since those before.
    fn on_log(&mut self, _step: &StepInfo, _loss: f64) {}

    /// After each step.
    fn on_step(&mut self, _step: &StepInfo) -> Control {
        Control::Continue
    }

    /// Before each batch of an evaluation, when the model has answered `done` of its `of` inputs; and once more when it
    /// has answered all, where nothing is left to stop. Nothing remains of an evaluation that is stopped: a run that
    /// is resumed makes it anew.
    fn on_evaluating(&mut self, _done: usize, _of: usize) -> Control {
        Control::Continue
    }

    /// After an evaluation at some step, with its metrics.
    fn on_evaluate(&mut self, _step: u64, _metrics: &[(String, f64)]) {}

    /// After a checkpoint was written.
    fn on_save(&mut self, _checkpoint: &Path) {}

    /// When a run ends before its last step, since `evaluations` in a row have not bettered the best.
    fn on_early_stop(&mut self, _step: u64, _evaluations: u32) {}

    /// When a checkpoint is passed over in favour of an older one, since it is not whole.
    fn on_damaged(&mut self, _problem: &TrainError) {}

    /// When a run begins at a base whose classifier, with one row for each of `labels`, it does not take as it is.
    fn on_old_classifier(&mut self, _labels: &[String], _became: OldClassifier) {}

    /// When a run goes on from a checkpoint.
    fn on_resume(&mut self, _checkpoint: &Path, _step: u64) {}

    /// When it goes on with another value of a setting than it had until then.
    fn on_changed(&mut self, _setting: &str, _then: &str, _now: &str) {}
}

/// Watches nothing.
pub struct Unobserved;

impl Observer for Unobserved {}

//! How far a bundle's scores can be trusted: a temperature, and what was measured with it.

use berth_task::Temperature;
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// The most thresholds of a [`Calibration`].
pub const MAX_THRESHOLDS: usize = 16;

/// The temperature that was fitted on a validation file, and how well scores tell there how often an
/// answer is right.
///
/// An error here is an *expected calibration error*: answers are sorted by score into 15 bins of equal
/// width, and it is the mean over all answers of how far the mean score of a bin is from the share of
/// right answers in it.
///
/// The fields are encoded in this order. All but the first are for people.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Calibration {
    /// What logits are divided by before they become scores, as [`Temperature`] takes it.
    pub temperature: f32,
    /// How many answers were measured.
    pub answers: u32,
    /// The error at temperature 1.
    pub error_before: f32,
    /// The error at the temperature, which was fitted on these very answers.
    pub error_after: f32,
    /// The error where each half of the rows is measured at the temperature that was fitted on the other.
    pub error_held_out: f32,
    /// What abstaining buys, by rising score.
    pub thresholds: Vec<Threshold, MAX_THRESHOLDS>,
}

/// What is left when answers with a lower score are held back.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Threshold {
    /// The lowest score that is answered with, from 0 to 1.
    pub min_score: f32,
    /// How many answers are left.
    pub answered: u32,
    /// How many of these are right.
    pub right: u32,
}

impl Calibration {
    /// What logits are divided by; 1 where the number is no temperature, which no opened bundle has.
    pub fn temperature(&self) -> Temperature {
        Temperature::new(self.temperature).unwrap_or_default()
    }

    /// Whether the temperature is one, and the counts can be.
    pub(crate) fn is_sound(&self) -> bool {
        let errors = [self.error_before, self.error_after, self.error_held_out];
        Temperature::new(self.temperature).is_some()
            && errors.iter().all(|error| (0.0..=1.0).contains(error))
            && self.thresholds.iter().all(|threshold| {
                (0.0..=1.0).contains(&threshold.min_score)
                    && threshold.right <= threshold.answered
                    && threshold.answered <= self.answers
            })
    }
}

impl Threshold {
    /// The share of the answers left that are right; `None` where none is left.
    pub fn precision(&self) -> Option<f64> {
        (self.answered > 0).then(|| f64::from(self.right) / f64::from(self.answered))
    }

    /// The share that is left of so many `answers`.
    pub fn coverage(&self, answers: u32) -> f64 {
        f64::from(self.answered) / f64::from(answers.max(1))
    }
}

//! One answer about a text that is longer than a model's input.
//!
//! The logits of the windows are averaged, each window weighing as much as it has pieces that no window
//! before it has: every piece of the text counts once, and a short last window counts little. Softmax
//! of that mean is the weighted geometric mean of the windows' probabilities, made to sum up to 1; that
//! is, log-probabilities are averaged. So a window that tells nothing leaves the others as they are, and
//! one that is sure counts for more than one that is not. Of labels that are decided one by one the log-odds
//! are averaged, numbers of a regression as they are.

use core::fmt;
use core::str::FromStr;

use heapless::Vec;

use crate::labels::MAX_LABELS;

/// What becomes of a text that is longer than a model's input, where the answer is one for all of it.
#[derive(Copy, Clone, Default, Eq, PartialEq, Hash, Debug)]
pub enum LongTexts {
    /// It is read by windows, whose answers are put together as [`Merge`] does.
    #[default]
    Windows,
    /// What is beyond the input is not read.
    Cut,
}

impl LongTexts {
    /// Both.
    pub const ALL: [LongTexts; 2] = [LongTexts::Windows, LongTexts::Cut];

    /// The name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            LongTexts::Windows => "windows",
            LongTexts::Cut => "cut",
        }
    }
}

impl fmt::Display for LongTexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for LongTexts {
    type Err = UnknownLongTexts;

    fn from_str(name: &str) -> Result<Self, UnknownLongTexts> {
        let found = LongTexts::ALL.into_iter().find(|one| one.name() == name);
        found.ok_or(UnknownLongTexts)
    }
}

/// A name that is none of [`LongTexts::ALL`].
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct UnknownLongTexts;

impl fmt::Display for UnknownLongTexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("long texts are read by `windows`, or `cut`")
    }
}

impl core::error::Error for UnknownLongTexts {}

/// Sums up the logits of a text's windows.
///
/// ```
/// let mut merge = berth_task::Merge::new();
/// merge.add(&[1.0, 0.0], 30);
/// merge.add(&[0.0, 4.0], 10);
/// assert_eq!(merge.logits(), [0.75, 1.0]);
/// ```
#[derive(Clone, Debug)]
pub struct Merge {
    sums: Vec<f32, MAX_LABELS>,
    weight: f32,
}

impl Merge {
    /// No window yet.
    pub const fn new() -> Self {
        Merge {
            sums: Vec::new(),
            weight: 0.0,
        }
    }

    /// Forgets all windows.
    pub fn clear(&mut self) {
        self.sums.clear();
        self.weight = 0.0;
    }

    /// Takes in a window that has so many `pieces` of its own. One without any, of a text without
    /// pieces, counts as if it had one.
    ///
    /// Products and sums are rounded one by one, in the order of the windows: the same bits on every
    /// machine.
    ///
    /// # Panics
    /// If there are more than [`MAX_LABELS`] logits, or not as many as in the window before.
    pub fn add(&mut self, logits: &[f32], pieces: usize) {
        if self.weight == 0.0 {
            self.sums.clear();
            let room = self.sums.resize(logits.len(), 0.0);
            assert!(room.is_ok(), "at most {MAX_LABELS} labels");
        }
        assert_eq!(logits.len(), self.sums.len(), "as many logits as before");
        let weight = pieces.max(1) as f32;
        for (sum, &logit) in self.sums.iter_mut().zip(logits) {
            *sum += weight * logit;
        }
        self.weight += weight;
    }

    /// The mean over the windows that were added; it ends the sum, and the next window begins another.
    pub fn logits(&mut self) -> &[f32] {
        if self.weight != 0.0 {
            for sum in &mut self.sums {
                *sum /= self.weight;
            }
        }
        self.weight = 0.0;
        &self.sums
    }
}

impl Default for Merge {
    fn default() -> Self {
        Merge::new()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::{Temperature, softmax};

    /// Label by label the mean of logarithms, in f64, made to sum up to 1.
    fn geometric_mean(windows: &[([f32; 3], usize)]) -> [f64; 3] {
        let total: usize = windows.iter().map(|(_, pieces)| pieces).sum();
        let mut logs = [0.0; 3];
        for (logits, pieces) in windows {
            let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
            for (log, &logit) in logs.iter_mut().zip(logits) {
                *log += *pieces as f64 / total as f64 * (f64::from(logit) - sum.ln());
            }
        }
        let sum: f64 = logs.iter().map(|log| log.exp()).sum();
        logs.map(|log| log.exp() / sum)
    }

    #[test]
    fn probabilities_are_the_weighted_geometric_mean_of_the_windows() {
        let windows = [
            ([0.5, -1.0, 2.0], 40),
            ([9.0, 8.0, 7.5], 30),
            ([0.0, 0.0, 0.0], 7),
        ];
        let mut merge = Merge::new();
        for (logits, pieces) in windows {
            merge.add(&logits, pieces);
        }
        let mut found = [0.0; 3];
        softmax(merge.logits(), Temperature::ONE, &mut found);
        for (found, expected) in found.iter().zip(geometric_mean(&windows)) {
            assert!(
                (f64::from(*found) - expected).abs() < 1e-6,
                "{found} {expected}"
            );
        }
    }

    #[test]
    fn names_are_read_back() {
        for one in LongTexts::ALL {
            assert_eq!(std::format!("{one}").parse(), Ok(one));
        }
        assert_eq!("longest_first".parse::<LongTexts>(), Err(UnknownLongTexts));
    }

    #[test]
    fn a_single_window_says_what_it_says_and_the_next_text_begins_anew() {
        let mut merge = Merge::new();
        assert!(merge.logits().is_empty());
        merge.add(&[1.5, -0.25], 0);
        assert_eq!(merge.logits(), [1.5, -0.25]);
        merge.add(&[7.0], 3);
        merge.add(&[1.0], 3);
        assert_eq!(merge.logits(), [4.0]);
        merge.add(&[9.0], 3);
        merge.clear();
        merge.add(&[2.0, 4.0], 1);
        assert_eq!(merge.logits(), [2.0, 4.0]);
    }
}

//! The course of the loss over a run of any length, in a few hundred numbers.

use serde::{Deserialize, Serialize};

/// How many means are kept at most.
const MOST: usize = 256;

/// Means of the loss over equally many steps each, from the first step on.
///
/// When there would be too many, neighbours become one, and from then on each stands for twice as many steps. Every
/// step is added in turn, so a resumed run has the curve of an uninterrupted one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LossCurve {
    /// Steps of each mean.
    pub steps_per_mean: u64,
    /// The means.
    pub means: Vec<f64>,
    /// The sum of the losses since the last mean.
    sum: f64,
    /// Their number.
    count: u64,
}

impl Default for LossCurve {
    fn default() -> Self {
        LossCurve {
            steps_per_mean: 1,
            means: Vec::new(),
            sum: 0.0,
            count: 0,
        }
    }
}

impl LossCurve {
    /// Adds the loss of the next step.
    pub fn add(&mut self, loss: f64) {
        self.sum += loss;
        self.count += 1;
        if self.count < self.steps_per_mean {
            return;
        }
        if self.means.len() == MOST {
            let pairs = self.means.chunks_exact(2);
            self.means = pairs.map(|pair| (pair[0] + pair[1]) / 2.0).collect();
            self.steps_per_mean *= 2;
            // What was a whole mean is half of one now.
            return;
        }
        self.means.push(self.sum / self.count as f64);
        (self.sum, self.count) = (0.0, 0);
    }

    /// Each mean with the last step that it stands for.
    pub fn points(&self) -> impl Iterator<Item = (u64, f64)> + '_ {
        let steps = (1..).map(|mean| mean * self.steps_per_mean);
        steps.zip(self.means.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(steps: u64) -> LossCurve {
        let mut curve = LossCurve::default();
        (0..steps).for_each(|step| curve.add(step as f64));
        curve
    }

    #[test]
    fn a_short_run_has_every_step() {
        let points: Vec<_> = curve(3).points().collect();
        assert_eq!(points, [(1, 0.0), (2, 1.0), (3, 2.0)]);
    }

    /// The losses are the steps' numbers, so each mean must be the middle of its steps.
    #[test]
    fn a_long_run_has_means_of_equally_many_steps() {
        for steps in [256, 257, 258, 512, 513, 1_000, 100_000] {
            let curve = curve(steps);
            let every = curve.steps_per_mean;
            assert!(curve.means.len() <= MOST && curve.means.len() >= MOST / 2);
            assert_eq!(curve.means.len() as u64, steps / every, "{steps}");
            for (last, mean) in curve.points() {
                let middle = last as f64 - (every + 1) as f64 / 2.0;
                assert!((mean - middle).abs() < 1e-6, "{steps}: {mean} at {last}");
            }
        }
    }

    #[test]
    fn a_curve_goes_on_from_its_file() {
        let whole = curve(777);
        let mut halves = curve(500);
        let text = serde_json::to_string(&halves).unwrap();
        halves = serde_json::from_str(&text).unwrap();
        (500..777).for_each(|step| halves.add(step as f64));
        assert_eq!(halves, whole);
    }
}

//! The learning rate over a run: a warm-up, then constant or falling, with the formulas of `transformers`' schedulers.

use serde::{Deserialize, Serialize};

/// What follows the warm-up; names as `--lr_scheduler_type` has them.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// In a straight line to 0 at the last step.
    Linear,
    /// Along half a cosine wave to 0.
    Cosine,
    /// Not at all, and no warm-up either.
    Constant,
    /// Not at all, after the warm-up.
    ConstantWithWarmup,
    /// By a polynomial of degree 1, as `transformers` has it where nothing else is said: in a straight line to
    /// [`LAST_RATE`].
    Polynomial,
}

/// Where a polynomial decay ends, in `transformers` and in BERT's own code.
pub const LAST_RATE: f64 = 1e-7;

/// The learning rate at every step.
#[derive(Copy, Clone, Debug)]
pub struct Schedule {
    peak: f64,
    decay: Decay,
    warmup: f64,
    total: f64,
}

impl Schedule {
    /// A run of `total` steps. `warmup` counts steps, or, below 1, is their share of the run, rounded up.
    pub fn new(peak: f64, decay: Decay, warmup: f64, total: u64) -> Self {
        let total = total as f64;
        let warmup = if warmup < 1.0 {
            (total * warmup).ceil()
        } else {
            warmup.floor()
        };
        Self {
            peak,
            decay,
            warmup,
            total,
        }
    }

    /// The learning rate of step `step`, counted from 0.
    pub fn at(&self, step: u64) -> f64 {
        self.peak * self.factor(step as f64)
    }

    fn factor(&self, step: f64) -> f64 {
        if self.decay == Decay::Constant {
            return 1.0;
        }
        if step < self.warmup {
            return step / self.warmup.max(1.0);
        }
        let progress = (step - self.warmup) / (self.total - self.warmup).max(1.0);
        match self.decay {
            Decay::Linear => ((self.total - step) / (self.total - self.warmup).max(1.0)).max(0.0),
            Decay::Cosine => (0.5 * (1.0 + (std::f64::consts::PI * progress).cos())).max(0.0),
            Decay::Constant | Decay::ConstantWithWarmup => 1.0,
            Decay::Polynomial => {
                let left = (1.0 - progress).max(0.0);
                ((self.peak - LAST_RATE) * left + LAST_RATE) / self.peak
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(decay: Decay, warmup: f64, total: u64, steps: [u64; 5]) -> [f64; 5] {
        steps.map(|step| Schedule::new(2.0, decay, warmup, total).at(step))
    }

    /// The figures are twice those of `transformers.get_scheduler(...).get_last_lr()` for a rate of 1.
    #[test]
    fn rates_are_those_of_transformers() {
        let steps = [0, 1, 4, 10, 19];
        assert_eq!(
            at(Decay::Linear, 4.0, 20, steps),
            [0.0, 0.5, 2.0, 1.25, 0.125]
        );
        assert_eq!(
            at(Decay::ConstantWithWarmup, 4.0, 20, steps),
            [0.0, 0.5, 2.0, 2.0, 2.0]
        );
        assert_eq!(at(Decay::Constant, 4.0, 20, steps), [2.0; 5]);
        let cosine = at(Decay::Cosine, 4.0, 20, steps);
        let expected = [
            0.0,
            0.5,
            2.0,
            1.382_683_432_365_089_8,
            0.019_214_719_596_769_57,
        ];
        assert!(
            cosine
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-15),
            "{cosine:?}"
        );
    }

    /// Likewise, for a peak of 3e-5.
    #[test]
    fn a_polynomial_ends_at_its_last_rate() {
        let schedule = Schedule::new(3e-5, Decay::Polynomial, 81.0, 801);
        for (step, expected) in [
            (0, 0.0),
            (40, 1.481_481_481_481_481_5e-5),
            (81, 3e-5),
            (500, 1.259_986_111_111_111_2e-5),
            (800, 1.415_277_777_777_776_3e-7),
            (801, 1e-7),
            (900, 1e-7),
        ] {
            let rate = schedule.at(step);
            assert!((rate - expected).abs() < 1e-18, "{step}: {rate:e}");
        }
    }

    #[test]
    fn a_warm_up_below_one_is_a_share_rounded_up() {
        assert_eq!(Schedule::new(1.0, Decay::Linear, 0.1, 801).warmup, 81.0);
        assert_eq!(Schedule::new(1.0, Decay::Linear, 0.0, 801).at(0), 1.0);
        assert_eq!(Schedule::new(1.0, Decay::Linear, 1.0, 801).warmup, 1.0);
        assert_eq!(Schedule::new(1.0, Decay::Linear, 10.0, 10).at(10), 0.0);
    }
}

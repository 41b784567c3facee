//! Whether a model is right as often as it says.
//!
//! Answers are sorted by their probability into bins of equal width; in each the share of right answers
//! is held against the mean probability. The mean of the differences, each bin weighed by its answers,
//! is the expected calibration error: Naeini, Cooper and Hauskrecht, *Obtaining Well Calibrated
//! Probabilities Using Bayesian Binning* (2015), with the 15 bins of Guo, Pleiss, Sun and Weinberger,
//! *On Reliability of Modern Neural Networks* (2017).

/// How many bins there are.
const BINS: usize = 15;

/// Answers by their probability.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Reliability {
    bins: [Bin; BINS],
}

/// The answers whose probability is above the end of the bin before, and at most this one's.
#[derive(Copy, Clone, PartialEq, Debug, Default)]
pub struct Bin {
    answers: u64,
    right: u64,
    sum: f64,
}

impl Reliability {
    /// Of answers with their probability, and whether they are right.
    pub fn of(answers: impl IntoIterator<Item = (f32, bool)>) -> Self {
        let mut reliability = Reliability::default();
        for (probability, is_right) in answers {
            let probability = f64::from(probability);
            // Not a number counts as the lowest probability.
            let place = (probability * BINS as f64).ceil() as usize;
            let bin = &mut reliability.bins[place.clamp(1, BINS) - 1];
            bin.answers += 1;
            bin.right += u64::from(is_right);
            bin.sum += probability;
        }
        reliability
    }

    /// The bins that have answers, by ascending probability.
    pub fn bins(&self) -> impl Iterator<Item = &Bin> {
        self.bins.iter().filter(|bin| bin.answers > 0)
    }

    /// The expected calibration error, from 0 to 1; 0 without answers.
    pub fn error(&self) -> f64 {
        let answers: u64 = self.bins.iter().map(|bin| bin.answers).sum();
        let off = |bin: &Bin| (bin.right as f64 - bin.sum).abs();
        self.bins().map(off).sum::<f64>() / answers.max(1) as f64
    }
}

impl Bin {
    /// How many answers it has.
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// The mean of their probabilities.
    pub fn probability(&self) -> f64 {
        self.sum / self.answers as f64
    }

    /// The share of them that are right.
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.answers as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_end_with_their_upper_bound() {
        let at = |probability: f32| {
            let reliability = Reliability::of([(probability, true)]);
            reliability.bins.iter().position(|bin| bin.answers == 1)
        };
        for (probability, bin) in [
            (0.0, 0),
            (0.01, 0),
            // Either side of a bound; the nearest number to 0.2 is above it.
            (0.19999999, 2),
            (0.2, 3),
            (0.4, 6),
            (0.5, 7),
            (0.95, 14),
            (1.0, 14),
            (f32::NAN, 0),
        ] {
            assert_eq!(at(probability), Some(bin), "{probability}");
        }
    }

    /// Worked by hand: three bins off by 0.6, 0.25 and 0.5 with 1, 2 and 1 of the 4 answers.
    #[test]
    fn the_error_is_the_mean_over_answers() {
        let answers = [(0.4, true), (0.75, true), (0.75, false), (0.5, false)];
        let reliability = Reliability::of(answers);
        let expected = (0.6 + 2.0 * 0.25 + 0.5) / 4.0;
        assert!((reliability.error() - expected).abs() < 1e-7);
        let bins: Vec<_> = reliability
            .bins()
            .map(|bin| (bin.answers(), bin.accuracy()))
            .collect();
        assert_eq!(bins, [(1, 1.0), (1, 0.0), (2, 0.5)]);
        assert_eq!(Reliability::default().error(), 0.0);
    }

    #[test]
    fn a_model_that_is_right_as_often_as_it_says_has_none() {
        let answers = (0..100).map(|answer| (0.75, answer % 4 != 0));
        assert!(Reliability::of(answers).error() < 1e-12);
    }
}

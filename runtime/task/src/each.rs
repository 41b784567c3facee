//! Labels of which any number may go: each has a probability of its own, whatever the others have.

use heapless::Vec;

use crate::labels::MAX_LABELS;
use crate::scores::{Score, best_first, exp};

/// The probability that a logit stands for by itself: `1 / (1 + exp(-logit))`.
///
/// It is within a relative 2e-7 of the exact one, as a test asserts; 0 below -87, and for what is not a number.
/// Above one half it is for logits above 1e-6, one half for 0.
pub fn sigmoid(logit: f32) -> f32 {
    if logit.is_nan() {
        return 0.0;
    }
    let rest = exp(-logit.abs());
    if logit >= 0.0 {
        1.0 / (1.0 + rest)
    } else {
        rest / (1.0 + rest)
    }
}

/// Fills `out` with every label and its own probability, the most probable first, equals by index.
///
/// # Panics
/// If there are more than [`MAX_LABELS`] logits.
pub fn classify_each(logits: &[f32], out: &mut Vec<Score, MAX_LABELS>) {
    assert!(logits.len() <= MAX_LABELS, "at most {MAX_LABELS} labels");
    out.clear();
    let score = |(label, &logit)| Score {
        label,
        score: sigmoid(logit),
    };
    out.extend((0..).zip(logits).map(score));
    out.sort_unstable_by(|a, b| {
        let logit = |score: &Score| logits[usize::from(score.label)];
        best_first(logit(a), logit(b)).then(a.label.cmp(&b.label))
    });
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec;

    #[test]
    fn the_probability_keeps_its_bound_over_its_whole_range() {
        let mut worst = 0.0f64;
        for step in -870_000..=870_000 {
            let x = step as f32 * 1e-4;
            let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
            worst = worst.max((f64::from(sigmoid(x)) / exact - 1.0).abs());
        }
        assert!(worst < 2e-7, "{worst:e}");
    }

    #[test]
    fn the_sides_of_one_half_are_those_of_zero() {
        for x in [0.0, -0.0] {
            assert_eq!(sigmoid(x), 0.5);
        }
        assert!(sigmoid(1e-6) > 0.5 && sigmoid(-1e-6) < 0.5);
        assert_eq!([sigmoid(f32::INFINITY), sigmoid(100.0)], [1.0; 2]);
        assert_eq!(
            [
                sigmoid(f32::NEG_INFINITY),
                sigmoid(-100.0),
                sigmoid(f32::NAN)
            ],
            [0.0; 3]
        );
        assert_eq!(sigmoid(2.5).to_bits(), 1064080527);
    }

    #[test]
    fn the_most_probable_is_first_and_no_label_takes_from_another() {
        let logits = [0.5, 20.0, f32::NAN, 21.0, 0.5];
        let mut scores = Vec::new();
        classify_each(&logits, &mut scores);
        let order: vec::Vec<u16> = scores.iter().map(|score| score.label).collect();
        assert_eq!(order, [3, 1, 0, 4, 2]);
        for Score { label, score } in &scores {
            assert_eq!(*score, sigmoid(logits[usize::from(*label)]));
        }
        assert_eq!(scores[0].score, 1.0);
        classify_each(&[], &mut scores);
        assert!(scores.is_empty());
    }
}

//! Logits to probabilities and to a ranked answer.
//!
//! A logit that is not a number counts as minus infinity everywhere: it never wins and gets the
//! probability 0. Were all of them like that, the answer is the first label, and every label has
//! the same probability.

use core::cmp::Ordering;

use heapless::Vec;

use crate::labels::MAX_LABELS;
use crate::temperature::Temperature;

/// A label and how probable the model finds it.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Score {
    /// Which output of the model, and so which entry of its [`Labels`](crate::Labels).
    pub label: u16,
    /// Probability, from 0 to 1.
    pub score: f32,
}

/// The index of the largest logit, the first of equals; 0 where there is none.
pub fn argmax(logits: &[f32]) -> usize {
    let mut best = 0;
    for (index, &logit) in logits.iter().enumerate() {
        if rank(logit) > rank(logits[best]) {
            best = index;
        }
    }
    best
}

/// Writes to `out` the probabilities that the logits stand for: `exp(logit / temperature)` over the sum
/// of all.
///
/// The largest logit is subtracted first, the difference is divided, and the sum runs in index order.
/// From those quotients on, each probability is within a relative 1e-6 of the exact one for up to
/// [`MAX_LABELS`] logits, as a test asserts; what is smaller than `exp(-87)` beside the largest is 0.
///
/// # Panics
/// If the two slices differ in length.
pub fn softmax(logits: &[f32], temperature: Temperature, out: &mut [f32]) {
    assert_eq!(logits.len(), out.len(), "a probability for every logit");
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for (probability, &logit) in out.iter_mut().zip(logits) {
        // Said apart, since the difference of two infinities is not a number.
        *probability = if logit == largest {
            1.0
        } else {
            exp((logit - largest) / temperature.get())
        };
        sum += *probability;
    }
    for probability in out.iter_mut() {
        *probability = if sum > 0.0 {
            *probability / sum
        } else {
            1.0 / logits.len() as f32
        };
    }
}

/// The probability of one label alone, with the bits that [`softmax`] gives it.
///
/// # Panics
/// If there are more than [`MAX_LABELS`] logits, or `label` is not one of them.
pub(crate) fn probability(logits: &[f32], temperature: Temperature, label: usize) -> f32 {
    let mut probabilities = [0.0; MAX_LABELS];
    let probabilities = &mut probabilities[..logits.len()];
    softmax(logits, temperature, probabilities);
    probabilities[label]
}

/// Fills `out` with every label and its probability, best first, equals by index. The order is that of
/// the logits, whatever the temperature.
///
/// # Panics
/// If there are more than [`MAX_LABELS`] logits.
pub fn classify(logits: &[f32], temperature: Temperature, out: &mut Vec<Score, MAX_LABELS>) {
    assert!(logits.len() <= MAX_LABELS, "at most {MAX_LABELS} labels");
    let mut probabilities = [0.0; MAX_LABELS];
    let probabilities = &mut probabilities[..logits.len()];
    softmax(logits, temperature, probabilities);
    out.clear();
    out.extend(
        (0..)
            .zip(probabilities)
            .map(|(label, &mut score)| Score { label, score }),
    );
    out.sort_unstable_by(|a, b| {
        let logit = |score: &Score| logits[usize::from(score.label)];
        best_first(logit(a), logit(b)).then(a.label.cmp(&b.label))
    });
}

/// Orders logits from the largest to the smallest.
pub(crate) fn best_first(a: f32, b: f32) -> Ordering {
    rank(b).partial_cmp(&rank(a)).unwrap_or(Ordering::Equal)
}

/// The logit as it counts beside others.
pub(crate) fn rank(logit: f32) -> f32 {
    if logit.is_nan() {
        f32::NEG_INFINITY
    } else {
        logit
    }
}

/// `e` to the power of `x` for `x <= 0`, within a relative 1.5e-7; 0 below -87 and for NaN.
///
/// `x` is split into `n ln 2 + r` with `|r| <= ln 2 / 2` (Cody and Waite's two-part `ln 2`), and
/// `e^r` is its Taylor polynomial of degree 7, whose remainder is below 6e-9. Adding and taking
/// away 1.5 * 2^23 rounds to the nearest integer with nothing but two additions.
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    if x.is_nan() || x < -87.0 {
        return 0.0;
    }
    let n = (x * core::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut power = 1.0 / 5040.0;
    for factor in [720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0] {
        power = power * r + 1.0 / factor;
    }
    let exponent = (n as i32 + 127) as u32;
    power * f32::from_bits(exponent << 23)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec;

    fn ranked(logits: &[f32]) -> vec::Vec<u16> {
        let mut scores = Vec::new();
        classify(logits, Temperature::ONE, &mut scores);
        scores.iter().map(|score| score.label).collect()
    }

    #[test]
    fn the_exponential_keeps_its_bound_over_its_whole_range() {
        let mut worst = 0.0f64;
        for step in 0..=8_700_000 {
            let x = -(step as f32) * 1e-5;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) / exact - 1.0).abs());
        }
        assert!(worst < 1.5e-7, "{worst:e}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-87.1), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn probabilities_keep_their_bound_for_as_many_labels_as_there_can_be() {
        for count in [1, 2, 3, 17, MAX_LABELS] {
            let logits: vec::Vec<f32> = (0..count)
                .map(|i| ((i * 7919 + 13) % 1009) as f32 * 0.03 - 11.0)
                .collect();
            let largest = logits.iter().copied().fold(f32::MIN, f32::max);
            let exact = |x: f32| f64::from(x - largest).exp();
            let sum: f64 = logits.iter().map(|&x| exact(x)).sum();
            let mut out = vec![0.0; count];
            softmax(&logits, Temperature::ONE, &mut out);
            for (&logit, &probability) in logits.iter().zip(&out) {
                let error = f64::from(probability) / (exact(logit) / sum) - 1.0;
                assert!(error.abs() < 1e-6, "{count} labels: {error:e}");
            }
        }
    }

    #[test]
    fn probabilities_are_these_very_bits() {
        let mut out = [0.0; 4];
        softmax(&[1.0, -2.5, 0.25, 3.0], Temperature::ONE, &mut out);
        assert_eq!(
            out.map(f32::to_bits),
            [1038505032, 996053541, 1029282178, 1062518092]
        );
    }

    /// At two labels the odds are the exponential of the difference over the temperature.
    #[test]
    fn a_temperature_evens_probabilities_out_and_leaves_the_order() {
        let logits = [1.0f32, 1.0f32.next_up(), -30.0, 4.0];
        for value in [Temperature::LEAST, 0.5, 1.7, Temperature::MOST] {
            let temperature = Temperature::new(value).unwrap();
            let mut two = [0.0; 2];
            softmax(&[3.0, 1.0], temperature, &mut two);
            let expected = 1.0 / (1.0 + (-2.0 / f64::from(value)).exp());
            assert!(
                (f64::from(two[0]) - expected).abs() < 1e-6,
                "{value}: {two:?}"
            );
            let mut scores = Vec::new();
            classify(&logits, temperature, &mut scores);
            let order = scores.iter().map(|score| score.label);
            assert!(order.eq([3, 1, 0, 2]), "{value}: {scores:?}");
        }
    }

    #[test]
    fn far_apart_and_infinite_logits_still_sum_to_one() {
        let mut out = [0.0; 3];
        softmax(&[f32::MAX, 0.0, f32::MIN], Temperature::ONE, &mut out);
        assert_eq!(out, [1.0, 0.0, 0.0]);
        softmax(
            &[f32::INFINITY, 5.0, f32::INFINITY],
            Temperature::ONE,
            &mut out,
        );
        assert_eq!(out, [0.5, 0.0, 0.5]);
        softmax(
            &[f32::NAN, 5.0, f32::NEG_INFINITY],
            Temperature::ONE,
            &mut out,
        );
        assert_eq!(out, [0.0, 1.0, 0.0]);
        softmax(&[f32::NAN; 3], Temperature::ONE, &mut out);
        assert_eq!(out, [1.0 / 3.0; 3]);
        softmax(&[], Temperature::ONE, &mut []);
    }

    #[test]
    fn the_best_is_first_and_equals_keep_their_order() {
        assert_eq!(ranked(&[0.5, 2.0, -1.0, 2.0, 0.5]), [1, 3, 0, 4, 2]);
        assert_eq!(ranked(&[0.0, -0.0, 0.0]), [0, 1, 2]);
        assert_eq!(ranked(&[f32::NAN, f32::INFINITY, 0.0]), [1, 2, 0]);
        assert!(ranked(&[]).is_empty());
        assert_eq!(ranked(&[1.0; MAX_LABELS]).len(), MAX_LABELS);
    }

    #[test]
    fn the_first_row_is_the_label_that_argmax_names() {
        let close = [1.0f32, 1.0f32.next_up(), -30.0];
        assert_eq!(argmax(&close), 1);
        let odd = [f32::NAN, f32::NEG_INFINITY, f32::INFINITY, -1.0, 0.0, 3.0];
        let mut logits = [0.0; 4];
        for code in 0..odd.len().pow(4) {
            for (place, logit) in logits.iter_mut().enumerate() {
                *logit = odd[code / odd.len().pow(place as u32) % odd.len()];
            }
            assert_eq!(
                argmax(&logits),
                usize::from(ranked(&logits)[0]),
                "{logits:?}"
            );
        }
        assert_eq!(argmax(&[]), 0);
    }
}

//! How far the bundle's scores can be trusted: a temperature for them, and what abstaining buys.
//!
//! ```text
//!  int8 logits, labels ──► temperature of all rows ──────────► kept, if it does good below
//!          │               of the even rows, of the odd rows
//!          │                     └── each measured on the other half: held out
//!          └── scores at the kept temperature ──► precision and coverage by least score
//! ```
//!
//! The temperature is fitted to the answers of the very bundle that carries it, since int8 moves logits. On
//! the rows that it was fitted on it does good by itself; what it does on others is told by halves, each
//! measured at the temperature that the other half gave. Where that is no better than none, none is kept.

use berth_bundle::{Calibration, Threshold};
use berth_data::{EvaluationError, Evaluator, Judged, expected_calibration_error};
use berth_task::Temperature;

/// The least scores for which precision and coverage are told.
const THRESHOLDS: [f32; 7] = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99];

/// From fewer answers nothing is fitted.
const FEWEST_ANSWERS: usize = 100;

/// The temperature of `logits`, and what was measured with it; `None` for numbers, which have no scores, and
/// where there are fewer than [`FEWEST_ANSWERS`].
///
/// Rows are parted into halves by their number, even and odd.
///
/// # Errors
/// As [`Evaluator::evaluate`].
pub(crate) fn calibrate<L: AsRef<[f32]>>(
    evaluator: &Evaluator<'_>,
    logits: &[L],
) -> Result<Option<Calibration>, EvaluationError> {
    let plain = evaluator.judged(logits, Temperature::ONE)?;
    if plain.len() < FEWEST_ANSWERS {
        return Ok(None);
    }
    let fit = |chosen: &dyn Fn(usize) -> bool| -> Result<Temperature, EvaluationError> {
        let fitted = evaluator.fit_temperature(logits, chosen)?;
        Ok(fitted.unwrap_or_default())
    };
    let before = expected_calibration_error(&plain);
    let halves = [0, 1].map(|half| fit(&|example| example % 2 == half));
    let [even, odd] = halves;
    let mut held_out = half(evaluator.judged(logits, odd?)?, 0);
    held_out.extend(half(evaluator.judged(logits, even?)?, 1));
    let held_out = expected_calibration_error(&held_out);
    // One that does not help the other half is not kept.
    let temperature = match held_out <= before {
        true => fit(&|_| true)?,
        false => Temperature::ONE,
    };
    let judged = evaluator.judged(logits, temperature)?;
    Ok(Some(Calibration {
        temperature: temperature.get(),
        answers: judged.len() as u32,
        error_before: before as f32,
        error_after: expected_calibration_error(&judged) as f32,
        error_held_out: held_out as f32,
        thresholds: THRESHOLDS
            .into_iter()
            .map(|least| threshold(&judged, least))
            .collect(),
    }))
}

/// The answers to the even rows (0) or the odd ones (1).
fn half(mut judged: Vec<Judged>, half: usize) -> Vec<Judged> {
    judged.retain(|one| one.example % 2 == half);
    judged
}

/// What is left when answers with a lower score are held back.
fn threshold(judged: &[Judged], min_score: f32) -> Threshold {
    let left = || judged.iter().filter(|one| one.score >= min_score);
    Threshold {
        min_score,
        answered: left().count() as u32,
        right: left().filter(|one| one.right).count() as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_data::{Encoded, Target};
    use berth_task::Task;

    /// Rows of two labels whose logits are `apart`; of every ten, `right` are right.
    fn calibrated(rows: usize, right: usize, apart: impl Fn(usize) -> f32) -> Option<Calibration> {
        let input = |row: usize| Encoded {
            target: Target::Class(u32::from(row / 2 % 10 >= right)),
            example: row,
            ..Encoded::default()
        };
        let inputs: Vec<_> = (0..rows).map(input).collect();
        let logits: Vec<_> = (0..rows).map(|row| [apart(row), 0.0]).collect();
        let evaluator = Evaluator {
            task: Task::TextClassification,
            task_name: None,
            multi_label: false,
            labels: &[],
            examples: &[],
            inputs: &inputs,
            spans: Default::default(),
        };
        calibrate(&evaluator, &logits).unwrap()
    }

    /// Seven of ten are right where the model says 95 %: the temperature brings the odds of 19 to those of
    /// 7 to 3.
    #[test]
    fn a_model_that_is_too_sure_is_cooled_down() {
        let apart = f32::ln(19.0);
        let found = calibrated(400, 7, |_| apart).unwrap();
        let expected = apart / f32::ln(7.0 / 3.0);
        assert!((found.temperature - expected).abs() < 2e-3, "{found:?}");
        assert!((found.error_before - 0.25).abs() < 1e-3, "{found:?}");
        assert!(
            found.error_after < 1e-3 && found.error_held_out < 1e-3,
            "{found:?}"
        );
        assert_eq!(found.answers, 400);
        let left: Vec<_> = found
            .thresholds
            .iter()
            .map(|threshold| (threshold.answered, threshold.right))
            .collect();
        // All scores are 0.7, give or take the rounding of the temperature.
        assert_eq!(
            (left[0], left[1], left[3]),
            ((400, 280), (400, 280), (0, 0))
        );
    }

    /// Even rows say that the model is not sure enough, odd ones that it is too sure: what one half tells
    /// makes the other worse.
    #[test]
    fn a_temperature_that_does_no_good_on_other_rows_is_not_kept() {
        let apart = |row: usize| if row.is_multiple_of(2) { 0.2 } else { 1.9 };
        let found = calibrated(400, 7, apart).unwrap();
        assert_eq!(found.temperature, 1.0, "{found:?}");
        assert_eq!(found.error_after, found.error_before);
        assert!(found.error_held_out > found.error_before, "{found:?}");
    }

    #[test]
    fn an_answer_with_just_the_least_score_is_given() {
        let judged = [(0.5, true), (0.75, false), (0.75, true), (0.9, true)];
        let judged = judged.map(|(score, right)| Judged {
            example: 0,
            score,
            right,
        });
        let found = threshold(&judged, 0.75);
        assert_eq!((found.answered, found.right), (3, 2));
    }

    #[test]
    fn too_few_answers_tell_nothing() {
        assert_eq!(calibrated(99, 7, |_| 3.0), None);
        assert!(calibrated(100, 7, |_| 3.0).is_some());
    }
}

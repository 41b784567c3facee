//! Any number of labels for each row: every label is a decision of its own, for it where the model finds it more
//! probable than not, which is where its logit is above 0.
//!
//! `f1`, `precision` and `recall` are over all decisions together (scikit-learn's `average="micro"`), `f1_macro` is
//! the plain mean over the labels, and `accuracy` the share of rows with every decision right, as scikit-learn counts
//! it for such labels. What would be a division by zero is 0.

use berth_task::sigmoid;

use super::answer::{Answer, Decision};
use super::texts::{Row, unlabelled};
use super::{EvaluationError, Measured};
use crate::encode::Target;

/// How often a label was right, was answered, and would have been right.
#[derive(Copy, Clone, Default)]
struct Count {
    correct: u64,
    predicted: u64,
    gold: u64,
}

impl Count {
    fn add(&mut self, gold: bool, predicted: bool) {
        self.correct += u64::from(gold && predicted);
        self.predicted += u64::from(predicted);
        self.gold += u64::from(gold);
    }

    fn f1(&self) -> f64 {
        ratio(2 * self.correct, self.predicted + self.gold)
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        whole => part as f64 / whole as f64,
    }
}

/// The figures of sets of labels, one for each row.
pub(super) fn measure(rows: &[Row<'_>]) -> Result<Measured, EvaluationError> {
    let outputs = rows.first().map_or(0, |row| row.logits.len());
    let mut counts = vec![Count::default(); outputs];
    let (mut loss, mut exact) = (0.0, 0);
    for (row, Row { logits, input }) in rows.iter().enumerate() {
        let Target::Set(gold) = &input.target else {
            return Err(EvaluationError::NoLabel { row });
        };
        let known = gold.iter().all(|&label| (label as usize) < outputs);
        if logits.len() != outputs || outputs == 0 || !known {
            let outputs = logits.len();
            return Err(EvaluationError::Outputs { row, outputs });
        }
        let mut right = true;
        for ((label, &logit), count) in (0..).zip(logits.iter()).zip(&mut counts) {
            let (gold, predicted) = (gold.contains(&label), is_decided(logit));
            count.add(gold, predicted);
            right &= gold == predicted;
            loss += binary_cross_entropy(logit, gold);
        }
        exact += u64::from(right);
    }
    let mut all = Count::default();
    for count in &counts {
        all.correct += count.correct;
        all.predicted += count.predicted;
        all.gold += count.gold;
    }
    let metrics = vec![
        ("f1", all.f1()),
        (
            "f1_macro",
            counts.iter().map(Count::f1).sum::<f64>() / outputs as f64,
        ),
        ("precision", ratio(all.correct, all.predicted)),
        ("recall", ratio(all.correct, all.gold)),
        ("accuracy", ratio(exact, rows.len() as u64)),
    ];
    Ok((Some(loss / (rows.len() * outputs) as f64), metrics))
}

fn is_decided(logit: f32) -> bool {
    logit > 0.0
}

/// Minus the logarithm of the probability of what is right, in f64 and without overflow.
fn binary_cross_entropy(logit: f32, gold: bool) -> f64 {
    let wrong = f64::from(if gold { -logit } else { logit });
    wrong.max(0.0) + (-wrong.abs()).exp().ln_1p()
}

/// Those labels that are decided for, and all probabilities.
pub(super) fn decided(logits: &[f32]) -> Answer {
    let chosen = logits
        .iter()
        .enumerate()
        .filter(|(_, logit)| is_decided(**logit));
    Answer::Set {
        labels: chosen.map(|(label, _)| label).collect(),
        probabilities: logits.iter().map(|&logit| sigmoid(logit)).collect(),
    }
}

/// What is said to examples that need no label.
pub(super) fn answers(rows: &[Row<'_>], labels: usize) -> Result<Vec<Decision>, EvaluationError> {
    let fits = |logits: &[f32]| labels > 0 && logits.len() == labels;
    unlabelled(rows, |logits| fits(logits).then(|| decided(logits)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Encoded;
    use crate::metrics::sequence;
    use crate::metrics::texts::rows;

    fn inputs(sets: Vec<Vec<u32>>) -> Vec<Encoded> {
        let input = |(example, set)| Encoded {
            target: Target::Set(set),
            example,
            ..Encoded::default()
        };
        sets.into_iter().enumerate().map(input).collect()
    }

    /// The figures are scikit-learn 1.9's for the same rows (`f1_score`, `precision_score`, `recall_score` with
    /// `average="micro"`, `f1_score` with `average="macro"`, `accuracy_score`; `zero_division=0`), the loss is that of
    /// `torch.nn.BCEWithLogitsLoss` in f64. Of the four labels the last is never right and never answered.
    #[test]
    fn figures_are_those_of_scikit_learn_and_torch() {
        let (truth, noise) = (sequence(3, 8, 60), sequence(4, 8, 60));
        let gold = truth
            .iter()
            .map(|bits| (0..3).filter(|label| bits >> label & 1 == 1).collect());
        let logits: Vec<Vec<f32>> = truth
            .iter()
            .zip(&noise)
            .enumerate()
            .map(|(row, (truth, noise))| {
                let said = if row % 2 == 0 { truth } else { noise };
                let logit = |label: usize| match said >> label & 1 {
                    1 => 0.25 + label as f32 + (row % 5) as f32,
                    _ => -0.5 - (row % 7) as f32,
                };
                (0..4).map(logit).collect()
            })
            .collect();
        let inputs = inputs(gold.collect());
        let (loss, metrics) = measure(&rows(&logits, &inputs).unwrap()).unwrap();
        let expected = (
            0.8067414683382572,
            [
                ("f1", 0.7419354838709677),
                ("f1_macro", 0.5498423441079376),
                ("precision", 0.6831683168316832),
                ("recall", 0.8117647058823529),
                ("accuracy", 0.5166666666666667),
            ],
        );
        let loss = loss.unwrap();
        assert!((loss - expected.0).abs() < 1e-12, "{loss}");
        for ((name, found), (expected_name, expected)) in metrics.into_iter().zip(expected.1) {
            assert_eq!(name, expected_name);
            assert!((found - expected).abs() < 1e-14, "{name}: {found}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let of = |logits: &[&[f32]], inputs: &[Encoded]| {
            measure(&rows(logits, inputs).unwrap()).unwrap_err()
        };
        let two = [1.0, -1.0];
        assert_eq!(
            of(&[&two], &[Encoded::default()]),
            EvaluationError::NoLabel { row: 0 }
        );
        let error = EvaluationError::Outputs { row: 1, outputs: 2 };
        assert_eq!(of(&[&two, &two], &inputs(vec![vec![1], vec![2]])), error);
        let error = EvaluationError::Outputs { row: 1, outputs: 1 };
        assert_eq!(of(&[&two, &two[..1]], &inputs(vec![vec![], vec![]])), error);
        let error = EvaluationError::Outputs { row: 0, outputs: 0 };
        assert_eq!(of(&[&[]], &inputs(vec![vec![]])), error);
    }

    #[test]
    fn no_label_and_extreme_logits_have_finite_figures() {
        let logits: [&[f32]; 2] = [&[-900.0, f32::NEG_INFINITY], &[-0.0, 0.0]];
        let (loss, metrics) = {
            let inputs = inputs(vec![vec![], vec![]]);
            measure(&rows(&logits, &inputs).unwrap()).unwrap()
        };
        let loss = loss.unwrap();
        assert!(
            (loss - 0.5 * std::f64::consts::LN_2).abs() < 1e-12,
            "{loss}"
        );
        assert_eq!(metrics[0], ("f1", 0.0));
        assert_eq!(metrics[4], ("accuracy", 1.0));
        let Answer::Set {
            labels,
            probabilities,
        } = decided(&[f32::NAN, 3.0, 0.0])
        else {
            panic!()
        };
        assert_eq!(
            (labels, probabilities[0], probabilities[2]),
            (vec![1], 0.0, 0.5)
        );
    }
}

//! Answers about whole texts: a label, or a number.

use std::borrow::Cow;

use berth_task::{MAX_LABELS, Merge, Temperature, argmax, softmax};

use super::answer::{Answer, Decision};
use super::{Counts, EvaluationError, Measured, pearson, sets, spearmanr};
use crate::dataset::Label;
use crate::encode::{Encoded, Target};
use crate::task_name::TaskName;

/// What a model says of one example.
pub(super) struct Row<'r> {
    /// Its input's outputs, or the mean of those of its windows.
    pub(super) logits: Cow<'r, [f32]>,
    /// Its input, or its first window.
    pub(super) input: &'r Encoded,
}

/// A row for each example.
pub(super) fn rows<'r, L: AsRef<[f32]>>(
    logits: &'r [L],
    inputs: &'r [Encoded],
) -> Result<Vec<Row<'r>>, EvaluationError> {
    let mut rows = Vec::with_capacity(inputs.len());
    let mut merge = Merge::new();
    let mut begun = 0;
    for windows in inputs.chunk_by(|a, b| a.example == b.example) {
        let logits = &logits[begun..begun + windows.len()];
        let logits = match logits {
            [one] => Cow::Borrowed(one.as_ref()),
            several => Cow::Owned(mean(&mut merge, windows, several, begun)?),
        };
        let input = &windows[0];
        rows.push(Row { logits, input });
        begun += windows.len();
    }
    Ok(rows)
}

/// The mean over windows, the first of which is number `row` of all inputs.
fn mean<L: AsRef<[f32]>>(
    merge: &mut Merge,
    windows: &[Encoded],
    logits: &[L],
    row: usize,
) -> Result<Vec<f32>, EvaluationError> {
    let outputs = logits[0].as_ref().len();
    for (index, (window, logits)) in windows.iter().zip(logits).enumerate() {
        let logits = logits.as_ref();
        if logits.len() != outputs || outputs > MAX_LABELS {
            let (row, outputs) = (row + index, logits.len());
            return Err(EvaluationError::Outputs { row, outputs });
        }
        merge.add(logits, window.own);
    }
    Ok(merge.logits().to_vec())
}

/// The figures of labels, one for each row.
pub(super) fn classify(rows: &[Row<'_>]) -> Result<Measured, EvaluationError> {
    let outputs = rows.first().map_or(0, |row| row.logits.len());
    let mut counts = Counts::new(outputs);
    let mut loss = 0.0;
    for (row, Row { logits, input }) in rows.iter().enumerate() {
        let Target::Class(gold) = input.target else {
            return Err(EvaluationError::NoLabel { row });
        };
        let gold = gold as usize;
        if logits.len() != outputs || gold >= outputs {
            return Err(EvaluationError::Outputs {
                row,
                outputs: logits.len(),
            });
        }
        counts.add(gold, argmax(logits));
        loss += cross_entropy(logits, gold);
    }
    let metrics = vec![
        ("accuracy", counts.accuracy()),
        ("f1", counts.f1()),
        ("precision", counts.precision()),
        ("recall", counts.recall()),
        ("matthews_correlation", counts.matthews_correlation()),
    ];
    Ok((Some(loss / rows.len() as f64), metrics))
}

/// Minus the logarithm of the probability of `gold`, in f64.
pub(super) fn cross_entropy(logits: &[f32], gold: usize) -> f64 {
    surprise(logits, logits[gold], 1.0)
}

/// The same for a logit that may be none of `logits`, at a temperature whose `inverse` is given.
pub(super) fn surprise(logits: &[f32], logit: f32, inverse: f64) -> f64 {
    let largest = f64::from(logits[argmax(logits)]);
    let sum: f64 = logits
        .iter()
        .map(|&logit| (inverse * (f64::from(logit) - largest)).exp())
        .sum();
    sum.ln() + inverse * (largest - f64::from(logit))
}

/// The figures of numbers, one for each row.
pub(super) fn regress(rows: &[Row<'_>]) -> Result<Measured, EvaluationError> {
    let mut predicted = Vec::with_capacity(rows.len());
    let mut gold = Vec::with_capacity(rows.len());
    for (row, Row { logits, input }) in rows.iter().enumerate() {
        let Target::Value(value) = input.target else {
            return Err(EvaluationError::NoLabel { row });
        };
        let &[answer] = &logits[..] else {
            return Err(EvaluationError::Outputs {
                row,
                outputs: logits.len(),
            });
        };
        predicted.push(f64::from(answer));
        gold.push(f64::from(value));
    }
    let squares = predicted.iter().zip(&gold).map(|(p, g)| (p - g) * (p - g));
    let loss = squares.sum::<f64>() / gold.len() as f64;
    let (pearson, spearmanr) = (pearson(&predicted, &gold), spearmanr(&predicted, &gold));
    let metrics = vec![("pearson", pearson), ("spearmanr", spearmanr)];
    Ok((Some(loss), metrics))
}

/// The mean of the two metrics that GLUE reports for MRPC and for the relatedness of texts.
pub(super) fn combined_score(task_name: Option<TaskName>, metrics: &[(&str, f64)]) -> Option<f64> {
    let parts = match task_name? {
        TaskName::Mrpc => ["accuracy", "f1"],
        TaskName::Stsb | TaskName::SickR => ["pearson", "spearmanr"],
        _ => return None,
    };
    let chosen = metrics.iter().filter(|(name, _)| parts.contains(name));
    Some(chosen.map(|(_, value)| value).sum::<f64>() / parts.len() as f64)
}

/// What is said to one example.
pub(super) fn decision(row: &Row<'_>, temperature: Temperature) -> Decision {
    let (gold, answer) = match &row.input.target {
        Target::Value(value) => (Label::Value(*value), Answer::Value(row.logits[0])),
        Target::Class(class) => (Label::Class(*class), best(&row.logits, temperature)),
        Target::Set(classes) => (Label::Set(classes.clone()), sets::decided(&row.logits)),
        _ => (Label::None, best(&row.logits, temperature)),
    };
    Decision {
        example: row.input.example,
        word: None,
        gold,
        answer,
    }
}

/// What is said to examples that need no label: one of so many, or without any a number.
pub(super) fn answers(
    rows: &[Row<'_>],
    labels: Option<usize>,
    temperature: Temperature,
) -> Result<Vec<Decision>, EvaluationError> {
    unlabelled(rows, |logits| match (labels, logits) {
        (None, &[value]) => Some(Answer::Value(value)),
        (Some(labels), _) if labels > 0 && logits.len() == labels => {
            Some(best(logits, temperature))
        }
        _ => None,
    })
}

/// The answers to rows that need no label; `answer` has none where there are not as many outputs as it
/// needs.
pub(super) fn unlabelled(
    rows: &[Row<'_>],
    answer: impl Fn(&[f32]) -> Option<Answer>,
) -> Result<Vec<Decision>, EvaluationError> {
    let decision = |(row, Row { logits, input }): (usize, &Row<'_>)| {
        let outputs = logits.len();
        let answer = answer(logits).ok_or(EvaluationError::Outputs { row, outputs })?;
        Ok(Decision {
            example: input.example,
            word: None,
            gold: Label::None,
            answer,
        })
    };
    rows.iter().enumerate().map(decision).collect()
}

/// The best label and its probability.
pub(super) fn best(logits: &[f32], temperature: Temperature) -> Answer {
    let label = argmax(logits);
    let mut probabilities = vec![0.0; logits.len()];
    softmax(logits, temperature, &mut probabilities);
    let probability = probabilities.get(label).copied().unwrap_or_default();
    Answer::Class { label, probability }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(example: usize, own: usize) -> Encoded {
        Encoded {
            target: Target::Class(1),
            example,
            own,
            ..Encoded::default()
        }
    }

    #[test]
    fn the_windows_of_an_example_are_one_row() {
        let inputs = [window(0, 0), window(1, 30), window(1, 10), window(2, 0)];
        let logits = [[1.0, 0.5], [1.0, 0.0], [0.0, 4.0], [0.25, 0.0]];
        let found = rows(&logits, &inputs).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|row| (row.input.example, row.logits.to_vec()))
            .collect();
        let expected = [
            (0, vec![1.0, 0.5]),
            (1, vec![0.75, 1.0]),
            (2, vec![0.25, 0.0]),
        ];
        assert_eq!(found, expected);
        let (_, metrics) = classify(&rows(&logits, &inputs).unwrap()).unwrap();
        assert_eq!(metrics[0], ("accuracy", 1.0 / 3.0));
    }

    #[test]
    fn windows_of_different_sizes_are_refused() {
        let inputs = [window(0, 0), window(1, 30), window(1, 10)];
        let logits = [vec![1.0, 0.5], vec![1.0, 0.0], vec![0.0]];
        let error = EvaluationError::Outputs { row: 2, outputs: 1 };
        assert_eq!(rows(&logits, &inputs).map(drop), Err(error));
        let many = vec![vec![0.0; MAX_LABELS + 1]; 3];
        assert!(rows(&many, &inputs).is_err());
    }
}

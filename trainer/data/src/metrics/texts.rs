//! Answers about whole texts: a label, or a number.

use berth_task::{argmax, softmax};

use super::evaluator::{Answer, Decision};
use super::{Counts, EvaluationError, Measured, pearson, sets, spearmanr};
use crate::dataset::Label;
use crate::encode::{Encoded, Target};
use crate::task_name::TaskName;

/// The figures of labels, one for each input.
pub(super) fn classify<L: AsRef<[f32]>>(
    logits: &[L],
    inputs: &[Encoded],
) -> Result<Measured, EvaluationError> {
    let outputs = logits[0].as_ref().len();
    let mut counts = Counts::new(outputs);
    let mut loss = 0.0;
    for (row, (logits, input)) in logits.iter().zip(inputs).enumerate() {
        let logits = logits.as_ref();
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
    Ok((loss / inputs.len() as f64, metrics))
}

/// Minus the logarithm of the probability of `gold`, in f64.
pub(super) fn cross_entropy(logits: &[f32], gold: usize) -> f64 {
    let largest = f64::from(logits[argmax(logits)]);
    let sum: f64 = logits
        .iter()
        .map(|&logit| (f64::from(logit) - largest).exp())
        .sum();
    sum.ln() + largest - f64::from(logits[gold])
}

/// The figures of numbers, one for each input.
pub(super) fn regress<L: AsRef<[f32]>>(
    logits: &[L],
    inputs: &[Encoded],
) -> Result<Measured, EvaluationError> {
    let mut predicted = Vec::with_capacity(inputs.len());
    let mut gold = Vec::with_capacity(inputs.len());
    for (row, (logits, input)) in logits.iter().zip(inputs).enumerate() {
        let Target::Value(value) = input.target else {
            return Err(EvaluationError::NoLabel { row });
        };
        let &[answer] = logits.as_ref() else {
            return Err(EvaluationError::Outputs {
                row,
                outputs: logits.as_ref().len(),
            });
        };
        predicted.push(f64::from(answer));
        gold.push(f64::from(value));
    }
    let squares = predicted.iter().zip(&gold).map(|(p, g)| (p - g) * (p - g));
    let loss = squares.sum::<f64>() / gold.len() as f64;
    let (pearson, spearmanr) = (pearson(&predicted, &gold), spearmanr(&predicted, &gold));
    Ok((loss, vec![("pearson", pearson), ("spearmanr", spearmanr)]))
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

/// What is said to one input.
pub(super) fn decision(logits: &[f32], input: &Encoded) -> Decision {
    let (gold, answer) = match &input.target {
        Target::Value(value) => (Label::Value(*value), Answer::Value(logits[0])),
        Target::Class(class) => (Label::Class(*class), best(logits)),
        Target::Set(classes) => (Label::Set(classes.clone()), sets::decided(logits)),
        _ => (Label::None, best(logits)),
    };
    Decision {
        example: input.example,
        word: None,
        gold,
        answer,
    }
}

/// What is said to inputs that need no label: one of so many, or without any a number.
pub(super) fn answers<L: AsRef<[f32]>>(
    logits: &[L],
    inputs: &[Encoded],
    labels: Option<usize>,
) -> Result<Vec<Decision>, EvaluationError> {
    let answer = |(row, (logits, input)): (usize, (&L, &Encoded))| {
        let logits = logits.as_ref();
        let answer = match (labels, logits) {
            (None, &[value]) => Answer::Value(value),
            (Some(labels), _) if labels > 0 && logits.len() == labels => best(logits),
            _ => {
                let outputs = logits.len();
                return Err(EvaluationError::Outputs { row, outputs });
            }
        };
        Ok(Decision {
            example: input.example,
            word: None,
            gold: Label::None,
            answer,
        })
    };
    logits.iter().zip(inputs).enumerate().map(answer).collect()
}

/// The best label and its probability.
pub(super) fn best(logits: &[f32]) -> Answer {
    let label = argmax(logits);
    let mut probabilities = vec![0.0; logits.len()];
    softmax(logits, &mut probabilities);
    let probability = probabilities.get(label).copied().unwrap_or_default();
    Answer::Class { label, probability }
}

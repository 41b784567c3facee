//! Answers about words: the tag of each.
//!
//! A word is asked about at its first piece. Words that were cut off with the end of a long text are
//! in no figure; `run_ner` of Hugging Face's examples leaves them out too.

use berth_task::{argmax, is_entity_label};

use super::evaluator::Decision;
use super::texts::{best, cross_entropy};
use super::{EntityCounts, EvaluationError, Measured};
use crate::dataset::{Example, Label};
use crate::encode::{Encoded, Target, word_at};

/// A word that is asked about: the position of its first piece, its class and the outputs there.
struct Asked<'l> {
    piece: usize,
    gold: usize,
    logits: &'l [f32],
}

/// Loss over words, and the figures of entities and words.
pub(super) fn measure<L: AsRef<[f32]>>(
    logits: &[L],
    inputs: &[Encoded],
    labels: &[String],
) -> Result<Measured, EvaluationError> {
    let mut entities = EntityCounts::default();
    let (mut loss, mut right, mut words) = (0.0, 0, 0);
    for (row, (logits, input)) in logits.iter().zip(inputs).enumerate() {
        let (mut gold, mut answered) = (Vec::new(), Vec::new());
        for word in asked(row, logits.as_ref(), input, labels.len())? {
            let answer = argmax(word.logits);
            loss += cross_entropy(word.logits, word.gold);
            right += usize::from(answer == word.gold);
            words += 1;
            gold.push(labels[word.gold].as_str());
            answered.push(labels[answer].as_str());
        }
        entities.add(&gold, &answered);
    }
    if words == 0 {
        return Err(EvaluationError::NoRows);
    }
    let mut metrics = Vec::new();
    if are_entities(labels) {
        metrics.extend([
            ("precision", entities.precision()),
            ("recall", entities.recall()),
            ("f1", entities.f1()),
        ]);
    }
    metrics.push(("accuracy", right as f64 / words as f64));
    Ok((loss / words as f64, metrics))
}

/// Whether the labels mark the beginnings and insides of entities.
pub(super) fn are_entities(labels: &[String]) -> bool {
    labels.iter().any(|label| is_entity_label(label))
}

/// What is said to each word, of logits that were measured before.
pub(super) fn decisions<L: AsRef<[f32]>>(
    logits: &[L],
    inputs: &[Encoded],
    labels: &[String],
    examples: &[Example],
) -> Vec<Decision> {
    let mut decisions = Vec::new();
    for (row, (logits, input)) in logits.iter().zip(inputs).enumerate() {
        let asked = asked(row, logits.as_ref(), input, labels.len());
        let words = examples
            .get(input.example)
            .map(|example| &example.words[..]);
        decisions.extend(asked.into_iter().flatten().map(|word| Decision {
            example: input.example,
            word: word_at(words.unwrap_or_default(), &input.offsets[word.piece]),
            gold: Label::Class(word.gold as u32),
            answer: best(word.logits),
        }));
    }
    decisions
}

/// The words of an input that have a piece in it.
fn asked<'l>(
    row: usize,
    logits: &'l [f32],
    input: &'l Encoded,
    outputs: usize,
) -> Result<impl Iterator<Item = Asked<'l>>, EvaluationError> {
    let Target::Classes(classes) = &input.target else {
        return Err(EvaluationError::NoLabel { row });
    };
    let fits = outputs > 0
        && logits.len() == outputs * classes.len()
        && classes
            .iter()
            .flatten()
            .all(|&class| (class as usize) < outputs);
    if !fits {
        let outputs = logits.len();
        return Err(EvaluationError::Outputs { row, outputs });
    }
    let pieces = logits.chunks_exact(outputs).zip(classes).enumerate();
    Ok(pieces.filter_map(|(piece, (logits, class))| {
        let gold = (*class)? as usize;
        Some(Asked {
            piece,
            gold,
            logits,
        })
    }))
}

//! Answers about words: the tag of each.
//!
//! A word is asked about at its first piece. Words that were cut off with the end of a long text are
//! in no figure; `run_ner` of Hugging Face's examples leaves them out too.

use std::ops::Range;

use berth_task::{Temperature, argmax, is_entity_label};

use super::answer::Decision;
use super::evaluator::Evaluator;
use super::outcome::{Graded, Outcome, Output};
use super::texts::{best, cross_entropy};
use super::{EntityCounts, EvaluationError, Measured};
use crate::dataset::Label;
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
    Ok((Some(loss / words as f64), metrics))
}

/// Whether the labels mark the beginnings and insides of entities.
pub(super) fn are_entities(labels: &[String]) -> bool {
    labels.iter().any(|label| is_entity_label(label))
}

/// What is said to each word, of logits that were measured before.
pub(super) fn decisions<L: AsRef<[f32]>>(
    evaluator: &Evaluator<'_>,
    logits: &[L],
    temperature: Temperature,
) -> Vec<Decision> {
    let mut decisions = Vec::new();
    for (row, (logits, input)) in logits.iter().zip(evaluator.inputs).enumerate() {
        let asked = asked(row, logits.as_ref(), input, evaluator.labels.len());
        let words = words(evaluator, input);
        decisions.extend(asked.into_iter().flatten().map(|word| Decision {
            example: input.example,
            word: word_at(words, &input.offsets[word.piece]),
            gold: Label::Class(word.gold as u32),
            answer: best(word.logits, temperature),
        }));
    }
    decisions
}

/// The outputs at each word that is asked about, and its class.
pub(super) fn graded<L: AsRef<[f32]>>(
    evaluator: &Evaluator<'_>,
    logits: &[L],
) -> Result<Vec<Graded>, EvaluationError> {
    let mut graded = Vec::new();
    for (row, (logits, input)) in logits.iter().zip(evaluator.inputs).enumerate() {
        let asked = asked(row, logits.as_ref(), input, evaluator.labels.len())?;
        graded.extend(asked.map(|word| Graded {
            example: input.example,
            outcome: Outcome::Label(Output::of(word.logits.to_vec(), word.gold)),
        }));
    }
    Ok(graded)
}

/// The words of the text that an input is from.
fn words<'e>(evaluator: &Evaluator<'e>, input: &Encoded) -> &'e [Range<usize>] {
    let example = evaluator.examples.get(input.example);
    example.map_or(&[][..], |example| &example.words)
}

/// What is said to the words of inputs that need no tags, at the first piece of each.
pub(super) fn answers<L: AsRef<[f32]>>(
    evaluator: &Evaluator<'_>,
    logits: &[L],
    temperature: Temperature,
) -> Result<Vec<Decision>, EvaluationError> {
    let labels = evaluator.labels;
    let mut decisions = Vec::new();
    for (row, (logits, input)) in logits.iter().zip(evaluator.inputs).enumerate() {
        let logits = logits.as_ref();
        if labels.is_empty() || logits.len() != labels.len() * input.ids.len() {
            let outputs = logits.len();
            return Err(EvaluationError::Outputs { row, outputs });
        }
        let words = words(evaluator, input);
        let mut before = None;
        for (logits, offset) in logits.chunks_exact(labels.len()).zip(&input.offsets) {
            let Some(word) = word_at(words, offset) else {
                continue;
            };
            if before.replace(word) != Some(word) {
                decisions.push(Decision {
                    example: input.example,
                    word: Some(word),
                    gold: Label::None,
                    answer: best(logits, temperature),
                });
            }
        }
    }
    Ok(decisions)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Example;
    use crate::metrics::{Answer, SpanScoring};
    use berth_task::Task;

    const ENTITIES: [&str; 3] = ["O", "B-PER", "I-PER"];

    fn input(example: usize, classes: &[Option<u32>]) -> Encoded {
        Encoded {
            ids: vec![5; classes.len()],
            target: Target::Classes(classes.to_vec()),
            example,
            offsets: (0..).map(|at| at..at + 1).take(classes.len()).collect(),
            ..Encoded::default()
        }
    }

    /// Logits that answer with these labels, a piece after the other.
    fn answers(labels: &[usize]) -> Vec<f32> {
        let one = |&label: &usize| (0..3).map(move |at| f32::from(u8::from(at == label)));
        labels.iter().flat_map(one).collect()
    }

    fn inputs() -> [Encoded; 2] {
        [
            input(0, &[None, Some(1), None, Some(2), None]),
            input(1, &[None, Some(0), None]),
        ]
    }

    fn evaluator<'a>(labels: &'a [String], inputs: &'a [Encoded]) -> Evaluator<'a> {
        Evaluator {
            task: Task::TokenClassification,
            task_name: None,
            labels,
            multi_label: false,
            examples: &[],
            inputs,
            spans: SpanScoring::default(),
        }
    }

    #[test]
    fn only_the_pieces_that_are_asked_about_count() {
        let labels = ENTITIES.map(str::to_owned);
        let inputs = inputs();
        let evaluator = evaluator(&labels, &inputs);
        // Of three words two are right; the entity ends too early.
        let logits = [answers(&[2, 1, 2, 0, 1]), answers(&[1, 0, 1])];
        let of = evaluator.evaluate(&logits).unwrap();
        assert_eq!((of.samples, of.get("accuracy")), (2, Some(2.0 / 3.0)));
        assert_eq!(of.get("f1"), Some(0.0));
        let (right, wrong) = (
            (1.0 + 2.0 * f64::exp(-1.0)).ln(),
            (2.0 + f64::exp(1.0)).ln(),
        );
        let loss = of.loss.unwrap();
        assert!((loss - (2.0 * right + wrong) / 3.0).abs() < 1e-12, "{loss}");
        assert_eq!(evaluator.main_metric(), "f1");
        let all = [answers(&[2, 1, 0, 2, 1]), answers(&[1, 0, 1])];
        let of = evaluator.evaluate(&all).unwrap();
        let names: Vec<_> = of.metrics.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["precision", "recall", "f1", "accuracy"]);
        assert!(of.metrics.iter().all(|(_, value)| *value == 1.0), "{of:?}");
    }

    #[test]
    fn tags_without_entities_have_the_accuracy_alone() {
        let labels = ["DET", "NOUN", "VERB"].map(str::to_owned);
        let inputs = inputs();
        let evaluator = evaluator(&labels, &inputs);
        let logits = [answers(&[0, 1, 0, 2, 0]), answers(&[0, 1, 0])];
        let of = evaluator.evaluate(&logits).unwrap();
        assert_eq!(of.metrics, [("accuracy", 2.0 / 3.0)]);
        assert_eq!(evaluator.main_metric(), "accuracy");
    }

    #[test]
    fn a_decision_names_its_word() {
        let labels = ENTITIES.map(str::to_owned);
        let inputs = inputs();
        let words = |words: &[(usize, usize)]| Example {
            words: words.iter().map(|&(start, end)| start..end).collect(),
            ..Example::default()
        };
        // Pieces lie at their own positions; the first word of the first text has two.
        let examples = [words(&[(1, 3), (3, 5)]), words(&[(1, 2)])];
        let evaluator = Evaluator {
            examples: &examples,
            ..evaluator(&labels, &inputs)
        };
        let logits = [answers(&[0, 1, 0, 2, 0]), answers(&[0, 1, 0])];
        let decisions = evaluator.decisions(&logits).unwrap();
        let told: Vec<_> = decisions
            .iter()
            .map(|one| {
                let Answer::Class { label, .. } = one.answer else {
                    panic!("{one:?}");
                };
                (one.example, one.word, one.gold.clone(), label)
            })
            .collect();
        let class = Label::Class;
        let expected = [
            (0, Some(0), class(1), 1),
            (0, Some(1), class(2), 2),
            (1, Some(0), class(0), 1),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn logits_of_another_size_and_inputs_without_tags_are_refused() {
        let labels = ENTITIES.map(str::to_owned);
        let inputs = inputs();
        let refused = |inputs: &[Encoded], logits: &[Vec<f32>]| {
            evaluator(&labels, inputs).evaluate(logits).unwrap_err()
        };
        let short = [answers(&[0; 5]), answers(&[0; 2])];
        let error = EvaluationError::Outputs { row: 1, outputs: 6 };
        assert_eq!(refused(&inputs, &short), error);
        let beyond = [input(0, &[Some(3)])];
        let error = EvaluationError::Outputs { row: 0, outputs: 3 };
        assert_eq!(refused(&beyond, &[answers(&[0])]), error);
        let untagged = [Encoded::default()];
        let error = EvaluationError::NoLabel { row: 0 };
        assert_eq!(refused(&untagged, &[Vec::new()]), error);
        let error = EvaluationError::NoRows;
        assert_eq!(refused(&[input(0, &[None])], &[answers(&[0])]), error);
    }
}

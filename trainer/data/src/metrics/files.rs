//! What a model says to each row, as the files that Hugging Face's example scripts write.
//!
//! | task | by | file |
//! |---|---|---|
//! | classification, regression | `run_glue` | `predict_results.txt`: a header, then each row's number from 0 on and what is predicted, parted by a tab; where there may be several labels, a list of JSON |
//! | tagging | `run_ner` | `predictions.txt`: the tags of a sentence on a line, parted by spaces; words that were cut off have none |
//! | questions | `run_qa` | `predict_predictions.json`, `predict_nbest_predictions.json`, and `predict_null_odds.json` where there may be no answer |

use std::fmt::Write;

use berth_task::Task;
use serde_json::Value;

use super::answer::{Answer, Decision};
use super::evaluator::Evaluator;
use super::{EvaluationError, questions};

/// A file's name and its content.
type File = (&'static str, String);

/// The names of the files of questions while a labelled file is measured: answers, best spans, and by
/// how much "no answer" exceeds the best of them.
pub const MEASURED: [&str; 3] = [
    "eval_predictions.json",
    "eval_nbest_predictions.json",
    "eval_null_odds.json",
];

/// The same files where nothing is measured.
const PREDICTED: [&str; 3] = [
    "predict_predictions.json",
    "predict_nbest_predictions.json",
    "predict_null_odds.json",
];

/// The names of the files that a task's predictions may be written to.
pub fn predicted(task: Task) -> &'static [&'static str] {
    match task {
        Task::QuestionAnswering => &PREDICTED,
        Task::TokenClassification => &["predictions.txt"],
        _ => &["predict_results.txt"],
    }
}

/// The tag of a word that the model was not sure enough about, CoNLL-U's for what is not told.
const ABSTAINED: &str = "_";

/// The files of what `logits` say; `answers` are the decisions that they make.
pub(super) fn of<L: AsRef<[f32]>>(
    evaluator: &Evaluator<'_>,
    logits: &[L],
    answers: &[Decision],
) -> Result<Vec<File>, EvaluationError> {
    match evaluator.task {
        Task::QuestionAnswering => {
            let mut files = questions::predictions(evaluator, logits, PREDICTED)?;
            questions::abstain(evaluator, &mut files, answers);
            Ok(files
                .into_iter()
                .map(|(name, value)| (name, format!("{value:#}\n")))
                .collect())
        }
        task => {
            let write = match task {
                Task::TokenClassification => tags,
                _ => results,
            };
            Ok(vec![(predicted(task)[0], write(evaluator, answers))])
        }
    }
}

/// A line for each row: its number and what is predicted.
fn results(evaluator: &Evaluator<'_>, answers: &[Decision]) -> String {
    let mut text = "index\tprediction\n".to_owned();
    for decision in answers {
        let index = decision.example;
        // Writing to a string does not fail.
        let _ = match &decision.answer {
            Answer::Value(value) => writeln!(text, "{index}\t{value:.3}"),
            Answer::Class { label, .. } => writeln!(text, "{index}\t{}", name(evaluator, *label)),
            Answer::Set { labels, .. } => {
                let names = labels.iter().map(|&label| name(evaluator, label));
                writeln!(text, "{index}\t{}", names.collect::<Value>())
            }
            Answer::Span { text: span, .. } => writeln!(text, "{index}\t{span}"),
            Answer::Abstained => writeln!(text, "{index}\t"),
        };
    }
    text
}

/// A line for each sentence: its words' tags.
fn tags(evaluator: &Evaluator<'_>, answers: &[Decision]) -> String {
    let mut lines = vec![String::new(); evaluator.samples()];
    for decision in answers {
        let tag = match decision.answer {
            Answer::Class { label, .. } => name(evaluator, label),
            Answer::Abstained => ABSTAINED,
            _ => continue,
        };
        let line = &mut lines[decision.example];
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(tag);
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The name of an output, whose number was held against the labels before.
fn name<'e>(evaluator: &Evaluator<'e>, label: usize) -> &'e str {
    evaluator.labels.get(label).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Example;
    use crate::encode::Encoded;
    use crate::metrics::SpanScoring;
    use berth_task::SpanRules;
    use serde_json::json;

    fn files(
        task: Task,
        labels: &[&str],
        examples: &[Example],
        inputs: &[Encoded],
        logits: &[Vec<f32>],
    ) -> Result<Vec<File>, EvaluationError> {
        let labels: Vec<String> = labels.iter().map(|label| label.to_string()).collect();
        let evaluator = Evaluator {
            task,
            task_name: None,
            labels: &labels,
            multi_label: false,
            examples,
            inputs,
            spans: SpanScoring::default(),
        };
        evaluator.files(logits)
    }

    /// Inputs of so many pieces, each of an example of its own, without a label.
    fn inputs(lengths: &[usize]) -> Vec<Encoded> {
        let input = |(example, &length): (usize, &usize)| Encoded {
            ids: vec![5; length],
            example,
            ..Encoded::default()
        };
        lengths.iter().enumerate().map(input).collect()
    }

    /// The expected texts are what the loops of `run_glue` write: `f"{index}\t{item}\n"` and
    /// `f"{index}\t{item:3.3f}\n"` behind their header.
    #[test]
    fn labels_and_numbers_stand_behind_their_index() {
        let two = inputs(&[3, 3]);
        let logits = [vec![0.0, 2.0], vec![1.0, -1.0]];
        let task = Task::TextClassification;
        let written = files(task, &["bad", "good"], &[], &two, &logits).unwrap();
        let expected = "index\tprediction\n0\tgood\n1\tbad\n";
        assert_eq!(written, [("predict_results.txt", expected.to_owned())]);
        let logits = [vec![2.0625], vec![-0.5]];
        let written = files(Task::TextPairRegression, &[], &[], &two, &logits).unwrap();
        let expected = "index\tprediction\n0\t2.062\n1\t-0.500\n";
        assert_eq!(written, [("predict_results.txt", expected.to_owned())]);
    }

    #[test]
    fn several_labels_are_a_list_of_json() {
        let three = inputs(&[3, 3, 3]);
        let labels = ["a\"b".to_owned(), "c".to_owned()];
        let evaluator = Evaluator {
            task: Task::TextClassification,
            task_name: None,
            labels: &labels,
            multi_label: true,
            examples: &[],
            inputs: &three,
            spans: SpanScoring::default(),
        };
        let written = evaluator
            .files(&[[1.0, 0.5], [-1.0, 0.0], [-1.0, 1.0]])
            .unwrap();
        let expected = "index\tprediction\n0\t[\"a\\\"b\",\"c\"]\n1\t[]\n2\t[\"c\"]\n";
        assert_eq!(written, [("predict_results.txt", expected.to_owned())]);
        let error = evaluator.files(&[[1.0]; 3]).unwrap_err();
        assert_eq!(error, EvaluationError::Outputs { row: 0, outputs: 1 });
    }

    #[test]
    fn a_sentence_has_the_tags_of_its_words_on_a_line() {
        let example = |words: &[std::ops::Range<usize>]| Example {
            words: words.to_vec(),
            ..Example::default()
        };
        // Two words, the first of two pieces; a sentence without any; a word that was cut off.
        let examples = [example(&[0..2, 3..4]), example(&[]), example(&[0..1, 2..3])];
        let mut inputs = inputs(&[5, 2, 3]);
        inputs[0].offsets = vec![0..0, 0..1, 1..2, 3..4, 0..0];
        inputs[1].offsets = vec![0..0, 0..0];
        inputs[2].offsets = vec![0..0, 0..1, 0..0];
        let piece = |label: usize| {
            [
                f32::from(u8::from(label == 0)),
                f32::from(u8::from(label == 1)),
            ]
        };
        let logits = [vec![0, 1, 0, 0, 1], vec![1, 1], vec![0, 1, 0]]
            .map(|labels| labels.into_iter().flat_map(piece).collect::<Vec<f32>>());
        let task = Task::TokenClassification;
        let written = files(task, &["O", "B-X"], &examples, &inputs, &logits).unwrap();
        assert_eq!(written, [("predictions.txt", "B-X O\n\nB-X\n".to_owned())]);
        let error = files(task, &["O", "B-X"], &examples, &inputs, &logits[..2]).unwrap_err();
        let (logits, labels) = (2, 3);
        assert_eq!(error, EvaluationError::RowCount { logits, labels });
    }

    #[test]
    fn questions_without_labels_have_answers() {
        let examples = [Example {
            id: Some("q".into()),
            pair: Some("alpha beta".into()),
            ..Example::default()
        }];
        let mut one = inputs(&[6]);
        one[0].second = 3;
        one[0].offsets = vec![0..0, 0..0, 0..0, 0..5, 6..10, 0..0];
        let logits = [vec![
            5.0, 4.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 3.0, 2.0, 0.0, 0.0,
        ]];
        let task = Task::QuestionAnswering;
        let written = files(task, &[], &examples, &one, &logits).unwrap();
        let names: Vec<_> = written.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, PREDICTED[..2]);
        let answers: Value = serde_json::from_str(&written[0].1).unwrap();
        assert_eq!(answers, json!({"q": "beta"}));

        // With a threshold there may be none, whether or not one was to be fitted.
        for (threshold, fit_threshold, answer) in [
            (Some(0.0), false, ""),
            (Some(9.0), false, "beta"),
            (None, true, ""),
        ] {
            let rules = SpanRules {
                null_score_diff_threshold: threshold,
                ..SpanRules::default()
            };
            let evaluator = Evaluator {
                task,
                task_name: None,
                labels: &[],
                multi_label: false,
                examples: &examples,
                inputs: &one,
                spans: SpanScoring {
                    rules,
                    fit_threshold,
                },
            };
            let written = evaluator.files(&logits).unwrap();
            assert_eq!(written.len(), 3);
            let answers: Value = serde_json::from_str(&written[0].1).unwrap();
            assert_eq!(answers, json!({"q": answer}), "{threshold:?}");
            // The best span has the sum 5, no answer 9.
            let odds: Value = serde_json::from_str(&written[2].1).unwrap();
            assert_eq!(odds, json!({"q": 4.0}));
            let error = EvaluationError::NoLabel { row: 0 };
            assert_eq!(evaluator.evaluate(&logits).unwrap_err(), error);
        }
    }

    #[test]
    fn outputs_that_are_not_those_of_the_labels_are_refused() {
        let one = inputs(&[3]);
        for (task, labels, outputs) in [
            (Task::TextClassification, &["a", "b"][..], 3),
            (Task::TextClassification, &[], 0),
            (Task::TextPairRegression, &[], 2),
            (Task::TokenClassification, &["a", "b"], 5),
            (Task::TokenClassification, &[], 0),
        ] {
            let error = files(task, labels, &[], &one, &[vec![0.0; outputs]]).unwrap_err();
            assert_eq!(
                error,
                EvaluationError::Outputs { row: 0, outputs },
                "{task}"
            );
        }
    }
}

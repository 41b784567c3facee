//! training_args.json: how a checkpoint was trained, so that later commands need no flags.

use std::path::Path;

use berth_task::{SpanRules, Task};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::CheckpointError;
use crate::json;
use crate::provenance::Provenance;

/// The file's name in a checkpoint.
pub const TRAINING_ARGS_FILE: &str = "training_args.json";

/// What a checkpoint remembers of its training. Flags given to a later command override it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingArgs {
    /// What the head answers.
    pub task: Task,
    /// The published data set that the training file's layout was taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_name: Option<String>,
    /// The data format, where it was named, since the file's extension did not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The column that the text was read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_column_name: Option<String>,
    /// The column that the second text was read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_pair_column_name: Option<String>,
    /// The column that the label was read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_column_name: Option<String>,
    /// The longest input in pieces, `[CLS]` and `[SEP]` included, in training and evaluation.
    pub max_seq_length: usize,
    /// The recipe, in Hugging Face's names.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub recipe: Value,
    /// What the model was made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// Everything else in the file.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl TrainingArgs {
    /// Arguments with nothing but a task and a length.
    pub fn new(task: Task, max_seq_length: usize) -> Self {
        TrainingArgs {
            task,
            task_name: None,
            format: None,
            text_column_name: None,
            text_pair_column_name: None,
            label_column_name: None,
            max_seq_length,
            recipe: Value::Null,
            provenance: None,
            other: Map::new(),
        }
    }

    /// How spans are chosen, for question answering: flags by their names in `run_qa` of Hugging
    /// Face's examples, each with its usual value where it is missing or no number.
    pub fn span_rules(&self) -> SpanRules {
        let usual = SpanRules::default();
        let number = |name: &str, usual: u32| {
            let found = self.other.get(name).and_then(Value::as_u64);
            found
                .and_then(|number| u32::try_from(number).ok())
                .unwrap_or(usual)
        };
        let negative = self.other.get(NEGATIVE).and_then(Value::as_bool) == Some(true);
        let threshold = self.other.get(THRESHOLD).and_then(Value::as_f64);
        SpanRules {
            doc_stride: number(STRIDE, usual.doc_stride),
            n_best_size: number(N_BEST, usual.n_best_size),
            max_answer_length: number(LONGEST, usual.max_answer_length),
            null_score_diff_threshold: negative.then_some(threshold.unwrap_or(0.0) as f32),
        }
    }

    /// Keeps the rules, to be found by [`span_rules`](Self::span_rules).
    pub fn remember_spans(&mut self, rules: &SpanRules) {
        let mut keep = |name: &str, value: Value| self.other.insert(name.to_owned(), value);
        keep(STRIDE, rules.doc_stride.into());
        keep(N_BEST, rules.n_best_size.into());
        keep(LONGEST, rules.max_answer_length.into());
        keep(NEGATIVE, rules.null_score_diff_threshold.is_some().into());
        if let Some(threshold) = rules.null_score_diff_threshold {
            keep(THRESHOLD, threshold.into());
        }
    }

    /// How the training file spelt the labels, where that is not what they are called; else nothing.
    pub fn spellings(&self) -> Vec<String> {
        let kept = self.other.get(SPELLINGS).and_then(Value::as_array);
        let kept = kept.into_iter().flatten().filter_map(Value::as_str);
        kept.map(str::to_owned).collect()
    }

    /// Keeps them, to be found by [`spellings`](Self::spellings).
    pub fn remember_spellings(&mut self, spellings: &[String]) {
        self.other.insert(SPELLINGS.to_owned(), spellings.into());
    }

    /// Reads a checkpoint's file; none for a checkpoint made elsewhere.
    ///
    /// # Errors
    /// When there is a file that is not of this form.
    pub fn read(dir: impl AsRef<Path>) -> Result<Option<Self>, CheckpointError> {
        json::read_if_there(&dir.as_ref().join(TRAINING_ARGS_FILE))
    }
}

const STRIDE: &str = "doc_stride";
const N_BEST: &str = "n_best_size";
const LONGEST: &str = "max_answer_length";
const NEGATIVE: &str = "version_2_with_negative";
const THRESHOLD: &str = "null_score_diff_threshold";
const SPELLINGS: &str = "label_spellings";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_for_spans_are_kept_under_the_names_of_their_flags() {
        let mut args = TrainingArgs::new(Task::QuestionAnswering, 384);
        assert_eq!(args.span_rules(), SpanRules::default());
        let rules = SpanRules {
            doc_stride: 64,
            null_score_diff_threshold: Some(-1.25),
            ..SpanRules::default()
        };
        args.remember_spans(&rules);
        assert_eq!(args.span_rules(), rules);
        let written = serde_json::to_value(&args).unwrap();
        assert_eq!(
            (&written["doc_stride"], &written["version_2_with_negative"]),
            (&json!(64), &json!(true))
        );
        args.other["null_score_diff_threshold"] = json!(0.5);
        assert_eq!(args.span_rules().null_score_diff_threshold, Some(0.5));
        args.other["version_2_with_negative"] = json!(false);
        assert_eq!(args.span_rules().null_score_diff_threshold, None);
    }
    use serde_json::json;

    fn read(text: &str) -> Result<Option<TrainingArgs>, CheckpointError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(TRAINING_ARGS_FILE), text).unwrap();
        TrainingArgs::read(dir.path())
    }

    #[test]
    fn unknown_fields_survive() {
        let text = r#"{"task":"text-classification","task_name":"mr","max_seq_length":128,
            "recipe":{"learning_rate":5e-05},"doc_stride":128}"#;
        let args = read(text).unwrap().unwrap();
        assert_eq!(args.task_name.as_deref(), Some("mr"));
        assert_eq!(args.other["doc_stride"], 128);
        let written = serde_json::to_value(&args).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(text).unwrap());
        let least = serde_json::to_value(TrainingArgs::new(Task::TextPairRegression, 64)).unwrap();
        assert_eq!(
            least,
            json!({"task": "text-pair-regression", "max_seq_length": 64})
        );
    }

    #[test]
    fn a_wrong_file_is_named_with_its_line() {
        let error = read("{\n\"task\": \"cooking\",\n\"max_seq_length\": 1}").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("training_args.json:2: unknown variant"),
            "{error}"
        );
        assert!(TrainingArgs::read("/nowhere").unwrap().is_none());
    }
}

//! training_args.json: how a checkpoint was trained, so that later commands need no flags.

use std::path::Path;

use berth_task::Task;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::CheckpointError;
use crate::json;

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
    /// The data format, where the file's extension did not say it.
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
            other: Map::new(),
        }
    }

    /// Reads a checkpoint's file; none for a checkpoint made elsewhere.
    ///
    /// # Errors
    /// When there is a file that is not of this form.
    pub fn read(dir: impl AsRef<Path>) -> Result<Option<Self>, CheckpointError> {
        json::read_if_there(&dir.as_ref().join(TRAINING_ARGS_FILE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

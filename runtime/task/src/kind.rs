//! The five applications, and what the rest of the road has to know about each.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a head answers. The encoder below it is the same for all.
///
/// The order of the variants is part of the bundle format: a new one is added at the end.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// One text, one label.
    TextClassification,
    /// Two texts, one label.
    TextPairClassification,
    /// Two texts, a number.
    TextPairRegression,
    /// One text, a label for each word.
    TokenClassification,
    /// A question and a passage, a span of the passage.
    QuestionAnswering,
}

impl Task {
    /// Every task, in the order in which people list them.
    pub const ALL: [Task; 5] = [
        Task::TextClassification,
        Task::TextPairClassification,
        Task::TextPairRegression,
        Task::TokenClassification,
        Task::QuestionAnswering,
    ];

    /// The name on command lines and in files, such as `text-classification`.
    pub fn name(self) -> &'static str {
        match self {
            Task::TextClassification => "text-classification",
            Task::TextPairClassification => "text-pair-classification",
            Task::TextPairRegression => "text-pair-regression",
            Task::TokenClassification => "token-classification",
            Task::QuestionAnswering => "question-answering",
        }
    }

    /// Whether an input is two texts rather than one.
    pub fn takes_pair(self) -> bool {
        match self {
            Task::TextClassification | Task::TokenClassification => false,
            Task::TextPairClassification | Task::TextPairRegression | Task::QuestionAnswering => {
                true
            }
        }
    }

    /// Whether an answer is one of the model's labels, or some of them, rather than a number or a span.
    pub fn has_labels(self) -> bool {
        match self {
            Task::TextClassification | Task::TextPairClassification | Task::TokenClassification => {
                true
            }
            Task::TextPairRegression | Task::QuestionAnswering => false,
        }
    }

    /// Whether the head looks at the `[CLS]` row alone, so that the last layer needs to compute
    /// only that one.
    pub fn reads_first_row_only(self) -> bool {
        match self {
            Task::TextClassification | Task::TextPairClassification | Task::TextPairRegression => {
                true
            }
            Task::TokenClassification | Task::QuestionAnswering => false,
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Task {
    type Err = UnknownTask;

    fn from_str(name: &str) -> Result<Self, UnknownTask> {
        let found = Task::ALL.into_iter().find(|task| task.name() == name);
        found.ok_or(UnknownTask)
    }
}

/// A name that is none of [`Task::ALL`].
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct UnknownTask;

impl fmt::Display for UnknownTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a task; the tasks are ")?;
        for (i, task) in Task::ALL.into_iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(f, "{separator}{task}")?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownTask {}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::string::ToString;

    #[test]
    fn names_are_read_back() {
        for task in Task::ALL {
            assert_eq!(task.to_string().parse(), Ok(task));
        }
        assert_eq!("text_classification".parse::<Task>(), Err(UnknownTask));
        assert!(UnknownTask.to_string().ends_with("question-answering"));
    }

    #[test]
    fn files_hold_the_same_names_and_bundles_the_same_numbers() {
        for (i, task) in Task::ALL.into_iter().enumerate() {
            let json = serde_json::to_string(&task).unwrap();
            assert_eq!(json, std::format!("\"{task}\""));
            assert_eq!(serde_json::from_str::<Task>(&json).unwrap(), task);
            assert_eq!(postcard::to_slice(&task, &mut [0; 4]).unwrap(), [i as u8]);
        }
    }
}

//! Published data sets that are read by name: their columns, label names and files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use berth_task::Task;
use serde::{Deserialize, Serialize};

use crate::error::DataError;

/// A data set whose files are read as they were published.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskName {
    /// CoLA: is a sentence acceptable English?
    Cola,
    /// SST-2: is a phrase of a movie review positive?
    Sst2,
    /// STS Benchmark: how alike are two sentences, from 0 to 5?
    Stsb,
    /// RTE: does a text entail a hypothesis?
    Rte,
    /// QNLI: does a sentence answer a question?
    Qnli,
    /// MultiNLI: entailment, neutral or contradiction?
    Mnli,
    /// MRPC: do two sentences say the same?
    Mrpc,
    /// SICK: entailment, neutral or contradiction?
    Sick,
    /// SICK: how related are two sentences, from 1 to 5?
    SickR,
    /// Sentence Polarity 1.0: is a sentence of a movie review positive?
    Mr,
}

/// What a task name stands for. The columns come before the usual ones in the search for a
/// column's name.
pub(crate) struct Layout {
    pub(crate) text: &'static [&'static str],
    pub(crate) pair: &'static [&'static str],
    pub(crate) label: &'static [&'static str],
    /// Where the columns stand in files without a header.
    pub(crate) positions: Option<Positions>,
    /// The labels in the order of their ids; none for regression.
    pub(crate) names: &'static [&'static str],
    /// The same labels as the files spell them, where that differs.
    pub(crate) spellings: &'static [&'static str],
}

/// The columns of a file without a header, counted from 0.
#[derive(Copy, Clone)]
pub(crate) struct Positions {
    /// The fewest and the most columns that a row has.
    pub(crate) columns: (usize, usize),
    pub(crate) text: usize,
    pub(crate) pair: Option<usize>,
    pub(crate) label: usize,
}

const PLAIN: Layout = Layout {
    text: &[],
    pair: &[],
    label: &[],
    positions: None,
    names: &[],
    spellings: &[],
};
const POLARITY: &[&str] = &["negative", "positive"];
const TWO_WAY: &[&str] = &["entailment", "not_entailment"];
const THREE_WAY: &[&str] = &["entailment", "neutral", "contradiction"];

impl TaskName {
    /// Every task name.
    pub const ALL: [TaskName; 10] = [
        TaskName::Cola,
        TaskName::Sst2,
        TaskName::Stsb,
        TaskName::Rte,
        TaskName::Qnli,
        TaskName::Mnli,
        TaskName::Mrpc,
        TaskName::Sick,
        TaskName::SickR,
        TaskName::Mr,
    ];

    /// The name on command lines and in files.
    pub fn name(self) -> &'static str {
        match self {
            TaskName::Cola => "cola",
            TaskName::Sst2 => "sst2",
            TaskName::Stsb => "stsb",
            TaskName::Rte => "rte",
            TaskName::Qnli => "qnli",
            TaskName::Mnli => "mnli",
            TaskName::Mrpc => "mrpc",
            TaskName::Sick => "sick",
            TaskName::SickR => "sick_r",
            TaskName::Mr => "mr",
        }
    }

    /// What kind of answer the data set teaches.
    pub fn task(self) -> Task {
        match self {
            TaskName::Cola | TaskName::Sst2 | TaskName::Mr => Task::TextClassification,
            TaskName::Stsb | TaskName::SickR => Task::TextPairRegression,
            TaskName::Rte | TaskName::Qnli | TaskName::Mnli | TaskName::Mrpc | TaskName::Sick => {
                Task::TextPairClassification
            }
        }
    }

    /// The labels in the order of their ids; none for regression.
    pub fn labels(self) -> &'static [&'static str] {
        self.layout().names
    }

    /// How far the lowest label that the data set can have lies from the highest, for regression; none for
    /// classification.
    pub fn label_range(self) -> Option<f64> {
        match self {
            TaskName::Stsb => Some(5.0),
            TaskName::SickR => Some(4.0),
            TaskName::Cola
            | TaskName::Sst2
            | TaskName::Rte
            | TaskName::Qnli
            | TaskName::Mnli
            | TaskName::Mrpc
            | TaskName::Sick
            | TaskName::Mr => None,
        }
    }

    /// What the Hub calls the data set.
    pub fn hub_name(self) -> &'static str {
        match self {
            TaskName::Sick | TaskName::SickR => "RobZamp/sick",
            TaskName::Mr => "cornell-movie-review-data/rotten_tomatoes",
            _ => "nyu-mll/glue",
        }
    }

    /// Under which licence it is, as far as its publishers say.
    pub fn licence(self) -> &'static str {
        match self {
            TaskName::Mr => "CC BY 4.0",
            TaskName::Sick | TaskName::SickR => "CC BY-NC-SA 3.0",
            TaskName::Qnli => "CC BY-SA 4.0, as SQuAD",
            TaskName::Stsb => "mixed, part by part in its LICENSE.txt",
            TaskName::Mnli => "mixed, part by part in its paper",
            TaskName::Mrpc => "Microsoft's, for research",
            TaskName::Cola => "none stated: sentences quoted from publications, for research",
            TaskName::Sst2 | TaskName::Rte => "none stated",
        }
    }

    /// Where the data set is found.
    pub fn home(self) -> &'static str {
        match self {
            TaskName::Cola => "https://nyu-mll.github.io/CoLA/",
            TaskName::Sick | TaskName::SickR => "https://marcobaroni.org/composes/sick.html",
            TaskName::Mr => "https://www.cs.cornell.edu/people/pabo/movie-review-data/",
            _ => "https://gluebenchmark.com/tasks",
        }
    }

    /// The file to learn from in the folder `dir`: `train.tsv`, or what the data set's own
    /// distribution calls it, each also `.gz`.
    ///
    /// # Errors
    /// [`DataError::NoFile`] where none of them is there.
    pub fn train_file(self, dir: &Path) -> Result<PathBuf, DataError> {
        self.file_in(
            dir,
            &match self {
                TaskName::Cola => ["train.tsv", "in_domain_train.tsv"],
                TaskName::Stsb => ["train.tsv", "sts-train.csv"],
                TaskName::Sick | TaskName::SickR => ["train.tsv", "SICK_train.txt"],
                TaskName::Mnli => ["train.tsv", "multinli_1.0_train.jsonl"],
                TaskName::Mrpc => ["train.tsv", "msr_paraphrase_train.txt"],
                _ => ["train.tsv", "train.jsonl"],
            },
        )
    }

    /// The file to measure on in the folder `dir`: `dev.tsv`, or what the data set's own
    /// distribution calls it, each also `.gz`.
    ///
    /// # Errors
    /// [`DataError::NoFile`] where none of them is there.
    pub fn dev_file(self, dir: &Path) -> Result<PathBuf, DataError> {
        self.file_in(
            dir,
            match self {
                TaskName::Cola => &["dev.tsv", "in_domain_dev.tsv"][..],
                TaskName::Stsb => &["dev.tsv", "sts-dev.csv"],
                TaskName::Sick | TaskName::SickR => &["dev.tsv", "SICK_trial.txt"],
                TaskName::Mnli => &[
                    "dev_matched.tsv",
                    "dev.tsv",
                    "multinli_1.0_dev_matched.jsonl",
                ],
                _ => &["dev.tsv", "dev.jsonl"],
            },
        )
    }

    /// A second file to measure on in the folder `dir`, where the data set has one: MultiNLI's, of other
    /// genres than those that are learnt from.
    ///
    /// # Errors
    /// [`DataError::NoFile`] where it should be there and isn't.
    pub fn mismatched_file(self, dir: &Path) -> Result<Option<PathBuf>, DataError> {
        let names = ["dev_mismatched.tsv", "multinli_1.0_dev_mismatched.jsonl"];
        match self {
            TaskName::Mnli => self.file_in(dir, &names).map(Some),
            _ => Ok(None),
        }
    }

    fn file_in(self, dir: &Path, candidates: &[&str]) -> Result<PathBuf, DataError> {
        let names = candidates
            .iter()
            .flat_map(|name| [name.to_string(), format!("{name}.gz")]);
        let names: Vec<_> = names.collect();
        let found = names
            .iter()
            .map(|name| dir.join(name))
            .find(|path| path.is_file());
        let missing = || DataError::NoFile {
            dir: dir.to_owned(),
            name: self,
            names,
        };
        found.ok_or_else(missing)
    }

    pub(crate) fn layout(self) -> Layout {
        match self {
            TaskName::Cola => Layout {
                text: &["sentence"],
                positions: Some(Positions {
                    columns: (4, 4),
                    text: 3,
                    pair: None,
                    label: 1,
                }),
                names: &["unacceptable", "acceptable"],
                ..PLAIN
            },
            TaskName::Sst2 | TaskName::Mr => Layout {
                text: &["sentence"],
                names: POLARITY,
                ..PLAIN
            },
            TaskName::Stsb => Layout {
                text: &["sentence1"],
                pair: &["sentence2"],
                label: &["score"],
                positions: Some(Positions {
                    columns: (7, 9),
                    text: 5,
                    pair: Some(6),
                    label: 4,
                }),
                ..PLAIN
            },
            TaskName::Rte => Layout {
                names: TWO_WAY,
                ..PLAIN
            },
            TaskName::Qnli => Layout {
                text: &["question"],
                pair: &["sentence"],
                names: TWO_WAY,
                ..PLAIN
            },
            TaskName::Mnli => Layout {
                text: &["sentence1"],
                pair: &["sentence2"],
                label: &["gold_label"],
                names: THREE_WAY,
                ..PLAIN
            },
            TaskName::Mrpc => Layout {
                text: &["#1 String"],
                pair: &["#2 String"],
                label: &["Quality"],
                names: &["not_equivalent", "equivalent"],
                ..PLAIN
            },
            TaskName::Sick => Layout {
                text: &["sentence_A"],
                pair: &["sentence_B"],
                label: &["entailment_judgment"],
                names: THREE_WAY,
                spellings: &["ENTAILMENT", "NEUTRAL", "CONTRADICTION"],
                ..PLAIN
            },
            TaskName::SickR => Layout {
                text: &["sentence_A"],
                pair: &["sentence_B"],
                label: &["relatedness_score"],
                ..PLAIN
            },
        }
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for TaskName {
    type Err = UnknownTaskName;

    fn from_str(name: &str) -> Result<Self, UnknownTaskName> {
        let found = TaskName::ALL.into_iter().find(|task| task.name() == name);
        found.ok_or(UnknownTaskName)
    }
}

/// A name that is none of [`TaskName::ALL`].
#[derive(thiserror::Error, Copy, Clone, Eq, PartialEq, Debug)]
#[error("not a task name; the names are {}", TaskName::ALL.map(TaskName::name).join(", "))]
pub struct UnknownTaskName;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_from_command_lines_and_files() {
        for name in TaskName::ALL {
            assert_eq!(name.to_string().parse(), Ok(name));
            let json = serde_json::to_string(&name).unwrap();
            assert_eq!(json, format!("\"{name}\""));
            assert_eq!(serde_json::from_str::<TaskName>(&json).unwrap(), name);
        }
        assert_eq!("sst-2".parse::<TaskName>(), Err(UnknownTaskName));
    }

    #[test]
    fn classification_has_labels_and_regression_a_range() {
        for name in TaskName::ALL {
            let regression = name.task() == Task::TextPairRegression;
            assert_eq!(name.labels().is_empty(), regression, "{name}");
            assert_eq!(name.label_range().is_some(), regression, "{name}");
            let spellings = name.layout().spellings.len();
            assert!(spellings == 0 || spellings == name.labels().len(), "{name}");
        }
    }
}

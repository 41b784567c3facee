//! What to read, and how: the file, the task, and all that a command line can say about them.

use std::path::PathBuf;

use berth_task::Task;

use crate::error::DataError;
use crate::format::Format;
use crate::task_name::TaskName;

/// A data file and how to understand it.
///
/// [`new`](Source::new) and [`named`](Source::named) fill in what a file usually is; the fields
/// change that.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file; gzip is seen by its content.
    pub path: PathBuf,
    /// Which texts and what kind of label a row has.
    pub task: Task,
    /// The published data set that this is a file of, which settles columns and labels.
    pub task_name: Option<TaskName>,
    /// The format, where neither task name nor extension should tell it.
    pub format: Option<Format>,
    /// The columns, where they are not to be found by their usual names.
    pub columns: Columns,
    /// What parts the labels of a row that may have several in one cell.
    pub label_delimiter: Option<String>,
    /// Whether a row has any number of labels rather than one. `None` while learning: it has where a
    /// delimiter is given, and where the file has lists of labels.
    pub multi_label: Option<bool>,
    /// Whether rows need a label. Without, the label column is not looked at.
    pub labelled: bool,
    /// The labels of the model that is measured, in the order of its outputs. `None` while
    /// learning: the file's own labels are taken then.
    pub labels: Option<Vec<String>>,
    /// How the training file spelt those labels ([`Dataset::spellings`](crate::Dataset)); may be
    /// empty.
    pub spellings: Vec<String>,
    /// New names for the labels, in their order.
    pub label_names: Option<Vec<String>>,
}

/// Names of columns, as `--text_column_name` and its like give them.
#[derive(Clone, Default, Debug)]
pub struct Columns {
    /// The text, or the first of two.
    pub text: Option<String>,
    /// The second text.
    pub text_pair: Option<String>,
    /// The label.
    pub label: Option<String>,
}

impl Source {
    /// A labelled file for `task`, with everything else as the file says.
    pub fn new(path: impl Into<PathBuf>, task: Task) -> Self {
        Source {
            path: path.into(),
            task,
            task_name: None,
            format: None,
            columns: Columns::default(),
            label_delimiter: None,
            multi_label: None,
            labelled: true,
            labels: None,
            spellings: Vec::new(),
            label_names: None,
        }
    }

    /// A labelled file of a published data set.
    pub fn named(path: impl Into<PathBuf>, name: TaskName) -> Self {
        let task_name = Some(name);
        Source {
            task_name,
            ..Source::new(path, name.task())
        }
    }

    /// That the format holds no rows of this task.
    pub(crate) fn wrong_format(&self, format: Format) -> DataError {
        DataError::FormatForTask {
            path: self.path.clone(),
            format,
            task: self.task,
            known: Format::of_task(self.task).to_vec(),
        }
    }
}

//! File formats: one module each, and the rule that chooses between them.
//!
//! | format | rows |
//! |---|---|
//! | [`Tsv`](Format::Tsv) | a line each, cells parted by tabs, everything else taken as it stands |
//! | [`Csv`](Format::Csv) | as RFC 4180 has it: cells parted by commas, quoted where needed |
//! | [`Jsonl`](Format::Jsonl), [`Json`](Format::Json) | JSON objects: one after another, or in one array |
//! | [`Conll`](Format::Conll), [`Conllu`](Format::Conllu) | sentences between blank lines, a word and its columns a line |
//!
//! A format knows lines and cells, and nothing of tasks: `tsv` and `csv` give [`Row`]s of cells,
//! `json` gives objects, `conll` sentences. What the cells mean is said in `table`, and for words in
//! `read`.

pub(crate) mod conll;
pub(crate) mod csv;
pub(crate) mod json;
pub(crate) mod parts;
pub(crate) mod tsv;

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use berth_task::Task;
use serde::{Deserialize, Serialize};

use crate::task_name::TaskName;

/// How a file is laid out.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Tab-separated, raw: a quote is a character like any other.
    Tsv,
    /// Comma-separated, with quotes.
    Csv,
    /// A JSON object a line.
    Jsonl,
    /// An array of JSON objects.
    Json,
    /// A word and its columns a line.
    Conll,
    /// The same in the ten columns of Universal Dependencies.
    Conllu,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 6] = [
        Format::Tsv,
        Format::Csv,
        Format::Jsonl,
        Format::Json,
        Format::Conll,
        Format::Conllu,
    ];

    /// Those that can hold rows of a task.
    pub(crate) fn of_task(task: Task) -> &'static [Format] {
        match task {
            Task::TextClassification | Task::TextPairClassification | Task::TextPairRegression => {
                &[Format::Tsv, Format::Csv, Format::Jsonl, Format::Json]
            }
            Task::TokenClassification => {
                &[Format::Conll, Format::Conllu, Format::Jsonl, Format::Json]
            }
            Task::QuestionAnswering => &[Format::Json, Format::Jsonl],
        }
    }

    /// The name in `--format`, which is the extension too.
    pub fn name(self) -> &'static str {
        match self {
            Format::Tsv => "tsv",
            Format::Csv => "csv",
            Format::Jsonl => "jsonl",
            Format::Json => "json",
            Format::Conll => "conll",
            Format::Conllu => "conllu",
        }
    }

    /// The format that the file's extension stands for; a `.gz` behind it changes nothing.
    pub fn of_path(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        let (_, extension) = name.rsplit_once('.')?;
        extension.parse().ok()
    }

    /// The format to read `path` in: the one asked for, else the task name's for a file that may be one of
    /// its own, else the extension's.
    ///
    /// The files behind the task names are raw TSV whatever they are called (`SICK_train.txt`, and
    /// `sts-train.csv` of STS-B alone). A name that ends as that of another format does, such as `.csv` or
    /// `.jsonl`, is believed: it is a file of the user's, or one of MultiNLI's.
    pub(crate) fn choose(
        asked: Option<Format>,
        task_name: Option<TaskName>,
        path: &Path,
    ) -> Option<Self> {
        let by_extension = Format::of_path(path);
        let published = |name: TaskName| match by_extension {
            Some(Format::Csv) if name == TaskName::Stsb => Format::Tsv,
            Some(format) => format,
            None => Format::Tsv,
        };
        asked.or(task_name.map(published)).or(by_extension)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormatName;

    fn from_str(name: &str) -> Result<Self, UnknownFormatName> {
        let found = Format::ALL.into_iter().find(|format| format.name() == name);
        found.ok_or(UnknownFormatName)
    }
}

/// A name that is none of [`Format::ALL`].
#[derive(thiserror::Error, Copy, Clone, Eq, PartialEq, Debug)]
#[error("not a format; the formats are {}", Format::ALL.map(Format::name).join(", "))]
pub struct UnknownFormatName;

/// A row of cells, and the line that it begins on.
pub(crate) struct Row<'t> {
    pub(crate) line: u64,
    pub(crate) cells: Vec<Cow<'t, str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_tells_the_format() {
        let of = |path: &str| Format::of_path(Path::new(path));
        assert_eq!(of("a/b.tsv"), Some(Format::Tsv));
        assert_eq!(of("b.CSV.gz"), Some(Format::Csv));
        assert_eq!(of("b.x.jsonl.GZ"), Some(Format::Jsonl));
        for path in ["b", "b.txt", "tsv", "b.gz", "", "a.tsv/b"] {
            assert_eq!(of(path), None, "{path}");
        }
        for format in Format::ALL {
            assert_eq!(of(&format!("x.{format}")), Some(format));
        }
    }

    #[test]
    fn what_is_asked_for_goes_before_the_task_name_and_that_before_the_extension() {
        let choose = |asked, name, path| Format::choose(asked, name, Path::new(path));
        assert_eq!(choose(None, None, "a.csv"), Some(Format::Csv));
        assert_eq!(
            choose(None, Some(TaskName::Stsb), "a.csv"),
            Some(Format::Tsv)
        );
        assert_eq!(
            choose(None, Some(TaskName::Sick), "a.txt"),
            Some(Format::Tsv)
        );
        for (path, format) in [
            ("a.csv", Format::Csv),
            ("a.csv.gz", Format::Csv),
            ("a.json", Format::Json),
            ("a.jsonl", Format::Jsonl),
            ("a.conll", Format::Conll),
            ("a.tsv.gz", Format::Tsv),
        ] {
            let found = choose(None, Some(TaskName::Sst2), path);
            assert_eq!(found, Some(format), "{path}");
        }
        assert_eq!(
            choose(Some(Format::Csv), Some(TaskName::Sst2), "a"),
            Some(Format::Csv)
        );
        assert_eq!(choose(None, None, "a.txt"), None);
    }
}

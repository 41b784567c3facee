//! What can be wrong with a data file: where it is, what was found, and the way out.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use berth_task::{MAX_LABEL_BYTES, MAX_LABELS, Task};

use crate::format::Format;
use crate::task_name::TaskName;

/// A line of a file, written `file:line` as editors and compilers do; `file:line:column` or with the id of a
/// question where a whole file may be one line.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Place {
    /// The file as the caller named it.
    pub path: PathBuf,
    /// The line, counted from 1.
    pub line: u64,
    /// Where on the line, if that is known.
    pub(crate) spot: Option<Box<Spot>>,
}

/// A place on a line.
#[derive(Clone, Eq, PartialEq, Debug)]
pub(crate) enum Spot {
    /// The byte, counted from 1.
    Column(usize),
    /// The question with this id.
    Question(String),
}

impl Place {
    pub(crate) fn new(path: &Path, line: u64) -> Self {
        Place {
            path: path.to_owned(),
            line,
            spot: None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)?;
        match self.spot.as_deref() {
            None => Ok(()),
            Some(Spot::Column(column)) => write!(f, ":{column}"),
            Some(Spot::Question(id)) => write!(f, ": question {}", shortened(id)),
        }
    }
}

/// Why a data file was not read. Its text is one line.
#[derive(thiserror::Error, Debug)]
#[allow(missing_docs, reason = "each variant's message names its fields")]
pub enum DataError {
    /// The file can't be opened or read.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },

    /// The compressed data is damaged or ends too early.
    #[error("{}: damaged gzip data ({source}); get or compress the file again", path.display())]
    Gzip { path: PathBuf, source: io::Error },

    /// None of the files that a task name reads lies in the folder.
    #[error("{}: holds none of {}; Berth downloads no data sets, {name} is found at {}",
        dir.display(), list(names), name.home())]
    NoFile {
        dir: PathBuf,
        name: TaskName,
        names: Vec<String>,
    },

    /// The extension belongs to no format.
    #[error("{}: the name does not tell the format, which ends in {} (each also .gz); say --format {}",
        path.display(), list(Format::ALL.map(|format| format!(".{format}"))),
        Format::ALL.map(Format::name).join("|"))]
    UnknownFormat { path: PathBuf },

    /// The format holds no rows of this task's kind.
    #[error("{}: {task} is not read from {format}; the formats are {}{}", path.display(),
        list(known.iter().map(|format| format.name())), match (task, format) {
            (Task::TokenClassification, Format::Tsv) => "; say --format conll where each line is a word and its tag",
            _ => "",
        })]
    FormatForTask {
        path: PathBuf,
        format: Format,
        task: Task,
        known: Vec<Format>,
    },

    /// A task name goes with one task, and another one was asked for.
    #[error("{}: {name} is a data set for {}, not for {asked}", path.display(), name.task())]
    OtherTask {
        path: PathBuf,
        name: TaskName,
        asked: Task,
    },

    /// Bytes that are no UTF-8.
    #[error("{place}: not UTF-8 at byte {byte} of the line; save the file as UTF-8")]
    Utf8 { place: Place, byte: u64 },

    /// Not one row is left.
    #[error("{place}: {}", match unlabelled {
        0 => "no rows; the file is empty or holds a header alone".to_owned(),
        n => format!("no labelled rows; all {n} are without a label"),
    })]
    NoRows { place: Place, unlabelled: u64 },

    /// Rows may have any number of labels, and not one has any.
    #[error("{place}: no row has a label, so that there is none to learn")]
    NoLabels { place: Place },

    /// A column that the task needs is not there.
    #[error("{place}: no column {}; the columns are {}; {}{}", alternatives(wanted), list(found),
        way_to_columns(found, flag), match name {
            Some(name) => format!(
                ", or --format {} where the file is none of {name}'s own", formats(name.task())
            ),
            None => String::new(),
        })]
    MissingColumn {
        place: Place,
        wanted: Vec<String>,
        found: Vec<String>,
        flag: &'static str,
        /// The data set that the file is taken for.
        name: Option<TaskName>,
    },

    /// A file that is none of those that a task name stands for, whose columns are known by position.
    #[error("{place}: {found} column{} where the files of {name} have {expected} and no header; where the file \
        is none of its own, say --format {}", plural(*found), formats(name.task()))]
    OtherLayout {
        place: Place,
        name: TaskName,
        expected: usize,
        found: usize,
    },

    /// Two columns with the name of one that is read.
    #[error("{place}: the columns {} and {} are both called {}; rename one of them", columns[0], columns[1],
        shortened(name))]
    RepeatedColumn {
        place: Place,
        name: String,
        columns: [usize; 2],
    },

    /// A row with more or fewer columns than the file has.
    #[error("{place}: {found} column{} where there should be {expected}{}", plural(*found),
        if found > expected { "; is there a stray separator in a text?" } else { "; is the row cut off?" })]
    ColumnCount {
        place: Place,
        expected: usize,
        found: usize,
    },

    /// A JSON object without one of the task's keys.
    #[error(
        "{place}: the object has no {column:?}, which the first one has; write null where there is none"
    )]
    MissingKey { place: Place, column: String },

    /// A JSON value that is itself an array or an object, where a text or label is read.
    #[error("{place}: {column:?} holds an array or object; a text, number or boolean is read here")]
    Nested { place: Place, column: String },

    /// A quoted CSV field without its end.
    #[error(
        "{place}: the quote that opens here never closes; double a quote that belongs to the \
        text, or read the file raw with --format tsv if tabs part its columns"
    )]
    OpenQuote { place: Place },

    /// A quoted CSV field with text behind it.
    #[error("{place}: text behind a closing quote; {}", match behind {
        '\t' => "say --format tsv if tabs part the columns",
        ';' => "semicolons part no columns here: save the file with commas",
        _ => "double a quote that belongs to the text",
    })]
    TextBehindQuote {
        place: Place,
        /// The character that stands there.
        behind: char,
    },

    /// An object of a file of questions that lacks a member.
    #[error("{place}: no {name:?}; there are {}", list(found))]
    MissingMember {
        place: Place,
        name: String,
        found: Vec<String>,
    },

    /// A member that is something else than it has to be.
    #[error("{place}: {name:?} is not {expected}")]
    WrongMember {
        place: Place,
        name: String,
        expected: &'static str,
    },

    /// Not a place for each answer.
    #[error("{place}: {texts} answers with {starts} places in \"answer_start\"")]
    AnswerCount {
        place: Place,
        texts: usize,
        starts: usize,
    },

    /// A question without an answer where each must have one.
    #[error(
        "{place}: question {} has no answer; say --version_2_with_negative if there are such",
        shortened(id)
    )]
    Unanswerable { place: Place, id: String },

    /// Two questions with the same id.
    #[error("{place}: the id {} {}; predictions are told by id", shortened(id),
        match *first == place.line {
            true => "is that of two questions".to_owned(),
            false => format!("stands on line {first} already"),
        })]
    RepeatedId {
        place: Place,
        id: String,
        first: u64,
    },

    /// A CoNLL-U file whose columns are parted by spaces.
    #[error(
        "{place}: spaces part the columns, and tabs do in CoNLL-U; put tabs there, or, where no line is a \
         comment, say --format conll --text_column_name 2 --label_column_name 4"
    )]
    NoTabs { place: Place },

    /// A CoNLL file's words have nothing beside them.
    #[error("{place}: a word and no tag beside it; say --label_column_name NUMBER")]
    NoTagColumn { place: Place },

    /// No question can be learned from.
    #[error(
        "{}: the answer to none of {questions} questions is where its answer_start says, counted in characters from 0",
        path.display()
    )]
    NothingPlaced { path: PathBuf, questions: u64 },

    /// A list has a number for each label that there is.
    #[error(
        "{place}: a list with a zero or a one for each label, where the names or numbers of the row's own labels \
         should be: [0, 2] rather than [1, 0, 1]"
    )]
    LabelVector { place: Place },

    /// Some labels of a file of cells are lists, as JSON writes them, and others are not.
    #[error("{place}: the label {} is {}, unlike those of the rows before; write all of them as lists, or say \
        --label_delimiter for what parts the labels of a cell", shortened(label),
        if *listed { "a list" } else { "no list" })]
    MixedLists {
        place: Place,
        label: String,
        /// What this one is.
        listed: bool,
    },

    /// A tag is what Hugging Face's losses leave out.
    #[error(
        "{place}: the tag -100, which elsewhere marks what is not to be learned; here each word has a tag, \
         and further pieces of a word are left out anyway"
    )]
    IgnoredTag { place: Place },

    /// A word's tag is empty.
    #[error("{place}: a word without a tag")]
    EmptyTag { place: Place },

    /// Not as many tags as words.
    #[error("{place}: {words} word{} and {tags} tag{}", plural(*words), plural(*tags))]
    TagCount {
        place: Place,
        words: usize,
        tags: usize,
    },

    /// A column of a CoNLL file that it does not have.
    #[error("{place}: no column {}; there are {width}, {}; say {flag} {}", shortened(asked),
        match names.is_empty() {
            true => "with numbers from 1 on".to_owned(),
            false => list(names),
        },
        if names.is_empty() { "NUMBER" } else { "NAME" })]
    ColumnNumber {
        place: Place,
        asked: String,
        names: Vec<String>,
        width: usize,
        flag: &'static str,
    },

    /// A line of a CoNLL-U file that does not begin as words do.
    #[error("{place}: a word's number expected, found {}", shortened(found))]
    WordNumber { place: Place, found: String },

    /// Something else where a list of words or tags should be.
    #[error("{place}: {column:?} is no list of texts or numbers")]
    NotAList { place: Place, column: String },

    /// Broken JSON.
    #[error("{place}: not valid JSON at column {column}: {reason}")]
    Json {
        place: Place,
        column: usize,
        reason: String,
    },

    /// JSON, but not rows.
    #[error(
        "{place}: a row is a JSON object like {{\"text\": …, \"label\": …}}; one a line, or an \
        array of them"
    )]
    NotAnObject { place: Place },

    /// A label that the model doesn't have.
    #[error("{place}: unknown label {}; the labels are {}{}", shortened(label), list(known),
        if *alone { "; where a cell has several, say --label_delimiter" } else { "" })]
    UnknownLabel {
        place: Place,
        label: String,
        known: Vec<String>,
        /// It is all of a cell where there may be several.
        alone: bool,
    },

    /// A label of a task name, and none of the model's can be told to be that one.
    #[error("{place}: unknown label {}; the labels of {name} are {}, and the model's are {}; {}", shortened(label),
        list(name.labels()), list(known), match known.len() == name.labels().len() {
            true => format!("call them as {name} does, in the model's order, with --label_names"),
            false => format!("where the file has the model's, say --task {} instead", name.task()),
        })]
    OtherLabels {
        place: Place,
        label: String,
        name: TaskName,
        known: Vec<String>,
    },

    /// A label that would not stay on its line where answers are written out.
    #[error(
        "{place}: the label {} has a tab, a line end or the like in it; take it out, or name the labels \
        with --label_names",
        shortened(label)
    )]
    LabelOverLines { place: Place, label: String },

    /// More labels, or longer names, than a model can have.
    #[error(
        "{place}: label {} is one too many; a model has at most {MAX_LABELS} labels with \
        {MAX_LABEL_BYTES} bytes of names. Is this the label column? For numbers, say --task {}",
        shortened(label),
        Task::TextPairRegression
    )]
    TooManyLabels { place: Place, label: String },

    /// `--label_names` has not one name for each label.
    #[error("{place}: --label_names gives {given} name{} for the {} labels {}", plural(*given),
        found.len(), list(found))]
    LabelNames {
        place: Place,
        given: usize,
        found: Vec<String>,
    },

    /// A name of `--label_names` is what another label is called.
    #[error(
        "{place}: --label_names calls the label {} {}, which is another label's name; give the labels' own names, \
        in any order, or new ones in the order {}",
        shortened(label),
        shortened(name),
        list(found)
    )]
    NameOfAnother {
        place: Place,
        name: String,
        label: String,
        found: Vec<String>,
    },

    /// `--label_names` says a name twice.
    #[error("{}: --label_names gives {} twice", path.display(), shortened(name))]
    RepeatedName { path: PathBuf, name: String },

    /// A label that should be a number and isn't.
    #[error(
        "{place}: the label {} is no number; regression learns from numbers such as 3.5",
        shortened(label)
    )]
    NotANumber { place: Place, label: String },
}

impl DataError {
    /// The same of the question with an id, where a column was named.
    pub(crate) fn of_question(mut self, id: &str) -> Self {
        if let DataError::MissingMember { place, .. }
        | DataError::WrongMember { place, .. }
        | DataError::AnswerCount { place, .. } = &mut self
        {
            place.spot = Some(Box::new(Spot::Question(id.to_owned())));
        }
        self
    }
}

/// The formats that a task is read from, as a flag takes them.
fn formats(task: Task) -> String {
    let names = Format::of_task(task).iter().map(|format| format.name());
    names.collect::<Vec<_>>().join("|")
}

/// `a, b, c`, shortened where there are many.
fn list<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    const SHOWN: usize = 24;
    let names: Vec<S> = names.into_iter().collect();
    let shown: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| one_line(name.as_ref()))
        .collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// What leads to the columns that were found: their names, or, where the header is a single one, what parts it.
fn way_to_columns(found: &[String], flag: &str) -> String {
    match found {
        [one] if one.contains('\t') => "say --format tsv if tabs part the columns".into(),
        [one] if one.contains(';') => {
            "if semicolons part the columns, save the file with commas".into()
        }
        [one] | [_, one, ..] if one.contains('\r') => {
            "if carriage returns alone end the lines, save the file with line feeds".into()
        }
        _ if found
            .iter()
            .any(|name| name.len() > 1 && name.starts_with('"') && name.ends_with('"')) =>
        {
            "quotes are part of a text here: take them out".into()
        }
        _ => format!("say {flag} NAME"),
    }
}

/// `a`, or `a or b` with all that would do.
fn alternatives(names: &[String]) -> String {
    names
        .iter()
        .map(|name| one_line(name))
        .collect::<Vec<_>>()
        .join(" or ")
}

/// A cell in quotes, with its control characters escaped and cut at 60 characters.
fn shortened(cell: &str) -> String {
    match cell.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}…", &cell[..end]),
        None => format!("{cell:?}"),
    }
}

/// A name as it is, or quoted where it would not stand well among others.
fn one_line(name: &str) -> String {
    let plain = |c: char| !c.is_control() && c != ',';
    match !name.is_empty() && name.chars().all(plain) && name.chars().count() <= 60 {
        true => name.to_owned(),
        false => shortened(name),
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stays_one_line_of_bearable_length_whatever_the_file_holds() {
        let place = Place::new(Path::new("some/train.csv"), 7);
        let wild = format!("a\nb\u{7}{}", "x".repeat(10_000));
        let error = DataError::UnknownLabel {
            place: place.clone(),
            label: wild.clone(),
            known: vec![wild; 600],
            alone: false,
        };
        let text = error.to_string();
        assert!(
            text.starts_with(r#"some/train.csv:7: unknown label "a\nb\u{7}xxx"#),
            "{text}"
        );
        assert!(text.ends_with("… and 576 more"), "{text}");
        assert!(!text.contains('\n') && text.len() < 3000, "{}", text.len());

        let (expected, found) = (3, 1);
        let error = DataError::ColumnCount {
            place,
            expected,
            found,
        };
        let text = "some/train.csv:7: 1 column where there should be 3; is the row cut off?";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn an_unknown_format_names_those_that_are_known() {
        let error = DataError::UnknownFormat {
            path: "a.xlsx".into(),
        };
        assert_eq!(
            error.to_string(),
            "a.xlsx: the name does not tell the format, which ends in .tsv, .csv, .jsonl, .json, \
             .conll, .conllu (each also .gz); say --format tsv|csv|jsonl|json|conll|conllu"
        );
    }
}

//! A file to examples: here for the tasks whose rows are one or two texts and a label; [`words`] has
//! tagging, [`questions`] those on passages.

mod questions;
mod words;

use std::borrow::Cow;
use std::collections::HashSet;

use berth_task::Task;

use crate::dataset::{Dataset, Example, Label};
use crate::error::DataError;
use crate::format::{Format, json};
use crate::input::Text;
use crate::labels::{self, Spellings};
use crate::source::Source;
use crate::table::{self, Cell};

/// Reads a file whole.
///
/// Labels are taken without the white space around them; a row whose label is empty (or `null`)
/// is left out and counted, and so is one whose `gold_label` is `-`, as SNLI and MultiNLI have it
/// where annotators did not agree. Texts are taken as they stand, empty ones too.
///
/// Where a row may have several labels, they are a list of JSON, in a cell too, or what a delimiter parts in a
/// cell. An empty list, or an empty cell beside a delimiter, is a row that has none of them, and counts.
///
/// # Errors
/// At the first thing that is wrong, naming the line. Nothing is guessed and no row is skipped
/// but those without a label.
pub fn read(source: &Source) -> Result<Dataset, DataError> {
    let format = check(source)?;
    parse(source, format, &Text::read(&source.path)?)
}

fn parse(source: &Source, format: Format, text: &Text) -> Result<Dataset, DataError> {
    let read = match source.task {
        Task::QuestionAnswering => questions::read(source, text),
        Task::TokenClassification => words::examples(source, format, text),
        _ => examples(source, format, text),
    };
    read.map_err(|error| match (&error, format) {
        (DataError::Json { .. }, Format::Jsonl) => json::broken_line(text).unwrap_or(error),
        _ => error,
    })
}

/// What can be wrong with a source before its file is opened.
fn check(source: &Source) -> Result<Format, DataError> {
    let path = || source.path.clone();
    if let Some(name) = source.task_name.filter(|name| name.task() != source.task) {
        return Err(DataError::OtherTask {
            path: path(),
            name,
            asked: source.task,
        });
    }
    let format = Format::choose(source.format, source.task_name, &source.path);
    let format = format.ok_or_else(|| DataError::UnknownFormat { path: path() })?;
    match Format::of_task(source.task).contains(&format) {
        true => Ok(format),
        false => Err(source.wrong_format(format)),
    }
}

fn examples(source: &Source, format: Format, text: &Text) -> Result<Dataset, DataError> {
    let regression = source.task == Task::TextPairRegression;
    let delimiter = source.label_delimiter.as_deref();
    let mut several = source.multi_label.unwrap_or(delimiter.is_some());
    let mut spellings = Spellings::default();
    let mut vectors = Vectors::default();
    let mut examples = Vec::new();
    let mut unlabelled = 0;
    for fields in table::rows(source, format, text)? {
        let fields = fields?;
        let line = fields.line;
        let label = match (fields.label, delimiter) {
            (None, _) => Label::None,
            (Some(Cell::Several(names)), _) => {
                several = true;
                check_named(text, line, &names)?;
                vectors.add(line, &names);
                Label::Set(spellings.numbers(names.iter().map(|name| &**name), line))
            }
            (Some(Cell::One(cell)), Some(delimiter)) => {
                vectors.refuted = true;
                Label::Set(spellings.numbers(cell.split(delimiter), line))
            }
            (Some(Cell::One(cell)), None) => match cell.trim() {
                "" => {
                    unlabelled += 1;
                    continue;
                }
                label if regression => Label::Value(value(text, line, label)?),
                label => {
                    vectors.refuted = true;
                    Label::Class(spellings.number(label, line))
                }
            },
        };
        let pair = fields.pair.map(Into::into);
        examples.push(Example {
            text: fields.text.into(),
            pair,
            label,
            line,
            ..Example::default()
        });
    }
    if examples.is_empty() {
        return Err(DataError::NoRows {
            place: text.place(1),
            unlabelled,
        });
    }
    vectors.check(source, text)?;
    let path = source.path.clone();
    let none = Vec::new;
    let mut dataset = Dataset {
        path,
        examples,
        labels: none(),
        spellings: none(),
        multi_label: several && !regression,
        unlabelled,
        unread: table::unread(source, format, text),
    };
    if source.labelled && !regression {
        name_labels(source, text, spellings, &mut dataset)?;
    }
    Ok(dataset)
}

/// A list names the labels that a row has. Zeros and ones, some of them repeated, are a number for each label that there
/// is, and not names.
fn check_named(text: &Text, line: u64, names: &[Cow<'_, str>]) -> Result<(), DataError> {
    let mut seen = HashSet::new();
    let repeated = names.iter().any(|name| !seen.insert(name.trim()));
    match repeated && seen.iter().all(|name| bit(name).is_some()) {
        true => Err(DataError::LabelVector {
            place: text.place(line),
        }),
        false => Ok(()),
    }
}

/// Zero or one, as lists have them.
fn bit(name: &str) -> Option<bool> {
    match name.trim() {
        "0" | "0.0" | "false" => Some(false),
        "1" | "1.0" | "true" => Some(true),
        _ => None,
    }
}

/// Whether all the lists of a file are a number for each label, of which there are two where none is repeated. As ids
/// they would say that each row has both, in one order here and in another there.
#[derive(Default)]
struct Vectors {
    /// How long a list is.
    length: Option<usize>,
    /// The line of the first list that is not in order.
    unordered: Option<u64>,
    /// A label is no such list.
    refuted: bool,
}

impl Vectors {
    fn add(&mut self, line: u64, names: &[Cow<'_, str>]) {
        let length = *self.length.get_or_insert(names.len());
        let bits: Option<Vec<bool>> = names.iter().map(|name| bit(name)).collect();
        match bits.filter(|bits| bits.len() == length && length > 1) {
            None => self.refuted = true,
            Some(bits) if bits.is_sorted_by(|a, b| a < b) => {}
            Some(_) => {
                self.unordered.get_or_insert(line);
            }
        }
    }

    fn check(&self, source: &Source, text: &Text) -> Result<(), DataError> {
        let labels = source.labels.as_ref().map(Vec::len);
        let one_each = labels.is_none() || labels == self.length;
        match self.unordered.filter(|_| one_each && !self.refuted) {
            None => Ok(()),
            Some(line) => Err(DataError::LabelVector {
                place: text.place(line),
            }),
        }
    }
}

/// Turns the numbers of spellings into those of labels.
fn name_labels(
    source: &Source,
    text: &Text,
    spellings: Spellings,
    dataset: &mut Dataset,
) -> Result<(), DataError> {
    let several = dataset.multi_label;
    let classes = labels::classes(source, text, spellings).map_err(|mut error| {
        if let DataError::UnknownLabel { place, alone, .. } = &mut error {
            let mut rows = dataset.examples.iter();
            let row = rows.find(|row| row.line == place.line);
            *alone = several && row.is_some_and(|row| matches!(row.label, Label::Class(_)));
        }
        error
    })?;
    if classes.names.is_empty() {
        let place = text.place(1);
        return Err(DataError::NoLabels { place });
    }
    for example in &mut dataset.examples {
        let class = |spelling: u32| classes.of_spelling[spelling as usize];
        example.label = match std::mem::take(&mut example.label) {
            Label::Class(spelling) if several => Label::Set(vec![class(spelling)]),
            Label::Class(spelling) => Label::Class(class(spelling)),
            Label::Set(spellings) => {
                let mut set: Vec<u32> = spellings.into_iter().map(class).collect();
                set.sort_unstable();
                set.dedup();
                Label::Set(set)
            }
            other => other,
        };
    }
    dataset.labels = classes.names;
    dataset.spellings = classes.spellings;
    Ok(())
}

/// The number that a regression label is.
fn value(text: &Text, line: u64, label: &str) -> Result<f32, DataError> {
    let value = labels::number(label)
        .map(|value| value as f32)
        .filter(|value| value.is_finite());
    value.ok_or_else(|| DataError::NotANumber {
        place: text.place(line),
        label: label.to_owned(),
    })
}

#[cfg(test)]
mod tests;

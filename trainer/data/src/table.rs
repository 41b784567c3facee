//! From rows with columns to what a text task looks at: a text, perhaps a second one, a label.
//!
//! Columns are found once, in the first row: by the name that was asked for, else the task name's,
//! else the usual names. The files of a task name that have no header have them by position; they are
//! raw TSV, so that in any other format a header is looked for.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use berth_task::Task;
use serde_json::Value;

use crate::error::DataError;
use crate::format::json::{self, Object};
use crate::format::{Format, Row, csv, tsv};
use crate::input::Text;
use crate::source::Source;
use crate::task_name::Positions;

const TEXT: [&str; 5] = ["text", "sentence", "sentence1", "premise", "question"];
const PAIR: [&str; 4] = ["text_pair", "sentence2", "hypothesis", "context"];
const LABEL: [&str; 3] = ["label", "labels", GOLD];

/// The label's column in SNLI and MultiNLI, where `-` says that annotators did not agree on one.
const GOLD: &str = "gold_label";

/// What a task reads from a row.
pub(crate) struct Fields<'t> {
    pub(crate) line: u64,
    pub(crate) text: Cow<'t, str>,
    pub(crate) pair: Option<Cow<'t, str>>,
    pub(crate) label: Option<Cell<'t>>,
}

/// What a row has for a label.
pub(crate) enum Cell<'t> {
    /// A cell or a value.
    One(Cow<'t, str>),
    /// A list of values.
    Several(Vec<Cow<'t, str>>),
}

impl Cell<'_> {
    /// Whether a cell holds nothing but white space.
    fn is_blank(&self) -> bool {
        matches!(self, Cell::One(cell) if cell.trim().is_empty())
    }
}

/// What is asked for, for each of the columns that a task reads.
struct Columns<C> {
    text: C,
    pair: Option<C>,
    label: Option<C>,
}

impl Fields<'_> {
    /// Leaves the label empty where annotators did not agree on one.
    fn agreed(mut self, gold: bool) -> Self {
        let undecided = |cell: &Cell| matches!(cell, Cell::One(label) if label.trim() == "-");
        if gold && self.label.as_ref().is_some_and(undecided) {
            self.label = Some(Cell::One("".into()));
        }
        self
    }
}

type Rows<'t> = Box<dyn Iterator<Item = Result<Fields<'t>, DataError>> + 't>;

/// The rows of `text`, in its order. No rows at all is not an error here.
pub(crate) fn rows<'t>(
    source: &Source,
    format: Format,
    text: &'t Text,
) -> Result<Rows<'t>, DataError> {
    match format {
        Format::Tsv => cells(source, format, text, tsv::rows(&text.body).map(Ok)),
        Format::Csv => cells(source, format, text, csv::rows(text)),
        Format::Json | Format::Jsonl => objects(source, text, json::objects(text)),
        Format::Conll | Format::Conllu => Err(source.wrong_format(format)),
    }
}

/// Rows of cells, with a header or with columns by position.
fn cells<'t>(
    source: &Source,
    format: Format,
    text: &'t Text,
    mut rows: impl Iterator<Item = Result<Row<'t>, DataError>> + 't,
) -> Result<Rows<'t>, DataError> {
    let Some(first) = rows.next().transpose()? else {
        return Ok(Box::new(std::iter::empty()));
    };
    let names: Vec<&str> = first.cells.iter().map(|cell| cell.trim()).collect();
    let positions = match format {
        Format::Tsv => headerless(source, &names),
        _ => None,
    };
    let (columns, widths, gold, first) = match positions {
        Some(positions) => {
            let (fewest, most) = positions.columns;
            if let Some(name) = source.task_name.filter(|_| names.len() < fewest) {
                let (place, found) = (text.place(first.line), names.len());
                return Err(DataError::OtherLayout {
                    place,
                    name,
                    expected: fewest,
                    found,
                });
            }
            (
                positions.columns_of(source),
                fewest..=most,
                false,
                Some(first),
            )
        }
        None => {
            let columns = find(source, text, first.line, &names)?;
            let gold = columns.label.is_some_and(|label| names[label] == GOLD);
            (columns, names.len()..=names.len(), gold, None)
        }
    };
    let rows = first.map(Ok).into_iter().chain(rows);
    let mut lists = Lists {
        sought: may_be_listed(source) && !may_be_named(source),
        found: None,
    };
    Ok(Box::new(rows.map(move |row| {
        let fields = pick(text, row?, &columns, &widths)?.agreed(gold);
        lists.take(text, fields)
    })))
}

/// Whether the labels of a file of cells are lists as JSON writes them, which the first label tells.
struct Lists {
    /// Whether such lists may be there.
    sought: bool,
    found: Option<bool>,
}

impl Lists {
    /// Makes a list of a label that is written as one.
    fn take<'t>(&mut self, text: &Text, mut fields: Fields<'t>) -> Result<Fields<'t>, DataError> {
        let label = fields.label.as_ref().filter(|_| self.sought);
        let Some(Cell::One(cell)) = label.filter(|label| !label.is_blank()) else {
            return Ok(fields);
        };
        let list = listed(cell);
        if *self.found.get_or_insert(list.is_some()) != list.is_some() {
            return Err(DataError::MixedLists {
                place: text.place(fields.line),
                label: cell.to_string(),
                listed: list.is_some(),
            });
        }
        if let Some(names) = list {
            fields.label = Some(Cell::Several(names));
        }
        Ok(fields)
    }
}

/// The labels in a cell that holds a list of JSON.
fn listed(cell: &str) -> Option<Vec<Cow<'static, str>>> {
    if !cell.trim_start().starts_with('[') {
        return None;
    }
    names_of(&serde_json::from_str::<Vec<Value>>(cell).ok()?)
}

/// The columns by position, if the task name's files have no header and this one hasn't either.
fn headerless(source: &Source, first: &[&str]) -> Option<Positions> {
    let layout = source.task_name?.layout();
    let header = first.iter().any(|name| layout.text.contains(name));
    layout.positions.filter(|_| !header)
}

impl Positions {
    fn columns_of(self, source: &Source) -> Columns<usize> {
        Columns {
            text: self.text,
            pair: self.pair.filter(|_| source.task.takes_pair()),
            label: source.labelled.then_some(self.label),
        }
    }
}

/// Takes the cells of `columns` out of a row whose number of cells must be one of `widths`. Empty
/// cells behind the last column are borne, as spreadsheets write them.
fn pick<'t>(
    text: &Text,
    row: Row<'t>,
    columns: &Columns<usize>,
    widths: &RangeInclusive<usize>,
) -> Result<Fields<'t>, DataError> {
    let Row { line, cells } = row;
    let (fewest, most) = (*widths.start(), *widths.end());
    let surplus = cells.iter().skip(most).any(|cell| !cell.is_empty());
    if cells.len() < fewest || surplus {
        let (expected, found) = (if surplus { most } else { fewest }, cells.len());
        return Err(DataError::ColumnCount {
            place: text.place(line),
            expected,
            found,
        });
    }
    let cell = |column: usize| cells[column].clone();
    Ok(Fields {
        line,
        text: cell(columns.text),
        pair: columns.pair.map(cell),
        label: columns.label.map(cell).map(Cell::One),
    })
}

/// JSON objects, whose columns are the keys of the first one.
fn objects<'t>(
    source: &Source,
    text: &'t Text,
    mut rows: impl Iterator<Item = Result<Object, DataError>> + 't,
) -> Result<Rows<'t>, DataError> {
    let Some(first) = rows.next().transpose()? else {
        return Ok(Box::new(std::iter::empty()));
    };
    let names: Vec<&str> = first.fields.keys().map(String::as_str).collect();
    let columns = find(source, text, first.line, &names)?;
    let key = |column: usize| names[column].to_owned();
    let keys = Columns {
        text: key(columns.text),
        pair: columns.pair.map(key),
        label: columns.label.map(key),
    };
    let gold = keys.label.as_deref() == Some(GOLD);
    let lists = may_be_listed(source);
    let rows = std::iter::once(Ok(first)).chain(rows);
    Ok(Box::new(rows.map(move |object| {
        let mut object = object?;
        let fields = Fields {
            line: object.line,
            text: value(text, &mut object, &keys.text)?,
            pair: keys
                .pair
                .as_ref()
                .map(|key| value(text, &mut object, key))
                .transpose()?,
            label: keys
                .label
                .as_ref()
                .map(|key| label(text, &mut object, key, lists))
                .transpose()?,
        };
        Ok(fields.agreed(gold))
    })))
}

/// The text of a JSON value; `null` is an empty one, numbers keep their spelling.
fn value(text: &Text, object: &mut Object, key: &str) -> Result<Cow<'static, str>, DataError> {
    let (place, column) = (text.place(object.line), key.to_owned());
    match object.fields.get_mut(key) {
        Some(Value::String(string)) => Ok(std::mem::take(string).into()),
        Some(Value::Null) => Ok("".into()),
        Some(Value::Bool(boolean)) => Ok(boolean.to_string().into()),
        Some(Value::Number(number)) => Ok(number.to_string().into()),
        Some(Value::Array(_) | Value::Object(_)) => Err(DataError::Nested { place, column }),
        None => Err(DataError::MissingKey { place, column }),
    }
}

/// Whether a row may have a list of labels.
fn may_be_listed(source: &Source) -> bool {
    let one_of = matches!(
        source.task,
        Task::TextClassification | Task::TextPairClassification
    );
    one_of && source.multi_label != Some(false)
}

/// Whether a cell that begins as a list of JSON does may be names with the delimiter between them: always while the
/// names are not known.
fn may_be_named(source: &Source) -> bool {
    let Some(delimiter) = &source.label_delimiter else {
        return false;
    };
    let renamed = source.label_names.iter().flatten();
    let names = source.labels.iter().flatten();
    let mut names = names.chain(&source.spellings).chain(renamed);
    source.labels.is_none() || delimiter.contains('[') || names.any(|name| name.starts_with('['))
}

/// A label, or a list of them where there may be one.
fn label(
    text: &Text,
    object: &mut Object,
    key: &str,
    lists: bool,
) -> Result<Cell<'static>, DataError> {
    let Some(Value::Array(values)) = object.fields.get(key).filter(|_| lists) else {
        return value(text, object, key).map(Cell::One);
    };
    let names = names_of(values).map(Cell::Several);
    names.ok_or_else(|| DataError::NotAList {
        place: text.place(object.line),
        column: key.to_owned(),
    })
}

/// The labels that a list of JSON has, if it has nothing else.
fn names_of(values: &[Value]) -> Option<Vec<Cow<'static, str>>> {
    let name = |value: &Value| match value {
        Value::String(name) => Some(name.clone().into()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string().into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    values.iter().map(name).collect()
}

/// A column with a usual name of second texts in a file whose task reads one text, if it is not that text.
pub(crate) fn unread(source: &Source, format: Format, text: &Text) -> Option<String> {
    if source.task.takes_pair() || source.task_name.is_some() {
        return None;
    }
    let header = |row: Row| {
        row.cells
            .iter()
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    let names: Vec<String> = match format {
        Format::Tsv => header(tsv::rows(&text.body).next()?),
        Format::Csv => header(csv::rows(text).next()?.ok()?),
        Format::Json | Format::Jsonl => {
            let first = json::objects(text).next()?.ok()?;
            first.fields.keys().cloned().collect()
        }
        Format::Conll | Format::Conllu => return None,
    };
    let asked = &source.columns;
    let read = |name: &String| [&asked.text, &asked.label].contains(&&Some(name.clone()));
    let mut names = names.into_iter();
    names.find(|name| PAIR.contains(&name.as_str()) && !read(name))
}

/// Finds the task's columns among the `names` that stand on `line`.
fn find(
    source: &Source,
    text: &Text,
    line: u64,
    names: &[&str],
) -> Result<Columns<usize>, DataError> {
    let asked = &source.columns;
    let layout = source.task_name.map(|name| name.layout());
    let (own_text, own_pair, own_label) = layout.map_or((&[][..], &[][..], &[][..]), |own| {
        (own.text, own.pair, own.label)
    });
    let column = |asked: &Option<String>, own: &[&str], usual: &[&str], flag| {
        let wanted: Vec<&str> = match asked {
            Some(name) => vec![name],
            None => {
                let others = usual.iter().filter(|name| !own.contains(name));
                own.iter().chain(others).copied().collect()
            }
        };
        let found = wanted
            .iter()
            .find_map(|wanted| names.iter().position(|name| name == wanted));
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let found = found.ok_or_else(|| DataError::MissingColumn {
            place: text.place(line),
            wanted: owned(&wanted),
            found: owned(names),
            flag,
            name: source.task_name,
        })?;
        match (found + 1..names.len()).find(|&other| names[other] == names[found]) {
            None => Ok(found),
            Some(other) => Err(DataError::RepeatedColumn {
                place: text.place(line),
                name: names[found].to_owned(),
                columns: [found + 1, other + 1],
            }),
        }
    };
    let pair = || column(&asked.text_pair, own_pair, &PAIR, "--text_pair_column_name");
    let label = || column(&asked.label, own_label, &LABEL, "--label_column_name");
    Ok(Columns {
        text: column(&asked.text, own_text, &TEXT, "--text_column_name")?,
        pair: source.task.takes_pair().then(pair).transpose()?,
        label: source.labelled.then(label).transpose()?,
    })
}

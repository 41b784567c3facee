//! From what a file writes as a label to the number of a model's output.
//!
//! While learning, the labels are the task name's, or else all that the file holds, sorted. When
//! measuring, they are the model's. A file may write a label by its name, as the training file
//! spelt it, or as its id; ids only where no name is a number itself, for then `1` could mean two
//! things.

use std::cmp::Ordering;
use std::collections::HashMap;

use berth_task::{LabelError, Labels};

use crate::error::DataError;
use crate::input::Text;
use crate::source::Source;

/// The different labels of a file, in the order in which they come, and the line of each.
#[derive(Default)]
pub(crate) struct Spellings {
    index: HashMap<String, u32>,
    seen: Vec<(String, u64)>,
}

impl Spellings {
    /// The number of `spelling`, which stands on `line`.
    pub(crate) fn number(&mut self, spelling: &str, line: u64) -> u32 {
        if let Some(&number) = self.index.get(spelling) {
            return number;
        }
        let number = self.seen.len() as u32;
        self.index.insert(spelling.to_owned(), number);
        self.seen.push((spelling.to_owned(), line));
        number
    }

    /// The numbers of several, which stand on one line; white space around them, and those that are nothing
    /// else, don't count.
    pub(crate) fn numbers<'s>(
        &mut self,
        spellings: impl Iterator<Item = &'s str>,
        line: u64,
    ) -> Vec<u32> {
        let spellings = spellings.map(str::trim);
        let spellings = spellings.filter(|spelling| !spelling.is_empty());
        spellings
            .map(|spelling| self.number(spelling, line))
            .collect()
    }
}

/// The labels of a data set, and which of them each spelling of its file means.
pub(crate) struct Classes {
    /// In the order of the model's outputs.
    pub(crate) names: Vec<String>,
    /// The same, as the file that was learnt from spells them.
    pub(crate) spellings: Vec<String>,
    /// By [`Spellings::number`].
    pub(crate) of_spelling: Vec<u32>,
}

/// Decides what the spellings of a file mean.
pub(crate) fn classes(
    source: &Source,
    text: &Text,
    found: Spellings,
) -> Result<Classes, DataError> {
    let (names, spellings) = match settled_names(source) {
        Some(names) => renamed(source, text, names)?,
        None => own_names(source, text, &found)?,
    };
    let mut known = Known::default();
    known.add(&names);
    known.add(&spellings);
    known.add(&source.spellings);
    let layout = source.task_name.map(|name| name.layout());
    if let Some(layout) = layout.filter(|layout| layout.names.len() == names.len()) {
        known.add(layout.names);
        known.add(layout.spellings);
    }
    known.add_ids(names.len());
    let of_spelling = found.seen.into_iter().map(|(label, line)| {
        let class = known.classes.get(&label).copied();
        let unknown = || DataError::UnknownLabel {
            place: text.place(line),
            label,
            known: names.clone(),
        };
        class.ok_or_else(unknown)
    });
    let of_spelling = of_spelling.collect::<Result<_, _>>()?;
    Ok(Classes {
        names,
        spellings,
        of_spelling,
    })
}

/// The labels that are settled whatever the file holds: the model's, or the task name's.
fn settled_names(source: &Source) -> Option<Vec<String>> {
    let named = || {
        source
            .task_name
            .map(|name| name.labels().iter().map(|s| s.to_string()))
    };
    source
        .labels
        .clone()
        .or_else(|| named().map(Iterator::collect))
}

/// Settled labels under the names that were asked for, and their old names as spellings.
fn renamed(
    source: &Source,
    text: &Text,
    names: Vec<String>,
) -> Result<(Vec<String>, Vec<String>), DataError> {
    let Some(new) = &source.label_names else {
        return Ok((names.clone(), names));
    };
    check_names(text, new)?;
    match new.len() == names.len() {
        true => Ok((new.clone(), names)),
        false => Err(miscounted(text, new, names)),
    }
}

/// The file's own labels, sorted; and renamed, if that was asked for. Names that the file holds
/// already, or ids, mean what they say; else the first name goes to the first label.
fn own_names(
    source: &Source,
    text: &Text,
    found: &Spellings,
) -> Result<(Vec<String>, Vec<String>), DataError> {
    let mut own: Vec<String> = found
        .seen
        .iter()
        .map(|(spelling, _)| spelling.clone())
        .collect();
    own.sort_unstable_by(|a, b| numbers_first(a, b));
    let Some(new) = &source.label_names else {
        check_capacity(text, &found.seen)?;
        return Ok((own.clone(), own));
    };
    check_names(text, new)?;
    let mut known = Known::default();
    known.add(new);
    known.add_ids(new.len());
    if own
        .iter()
        .all(|spelling| known.classes.contains_key(spelling))
    {
        Ok((new.clone(), new.clone()))
    } else if own.len() == new.len() {
        Ok((new.clone(), own))
    } else {
        Err(miscounted(text, new, own))
    }
}

fn miscounted(text: &Text, names: &[String], found: Vec<String>) -> DataError {
    DataError::LabelNames {
        place: text.place(1),
        given: names.len(),
        found,
    }
}

/// A model can hold so many labels and no more, and files of answers have one on a line.
fn check_capacity(text: &Text, seen: &[(String, u64)]) -> Result<(), DataError> {
    let mut labels = Labels::new();
    for (label, line) in seen {
        if label.contains(char::is_control) {
            return Err(DataError::LabelOverLines {
                place: text.place(*line),
                label: label.clone(),
            });
        }
        let too_many = |_| DataError::TooManyLabels {
            place: text.place(*line),
            label: label.clone(),
        };
        labels.push(label).map_err(too_many)?;
    }
    Ok(())
}

/// The same for names that were given, of which also none may stand twice.
fn check_names(text: &Text, names: &[String]) -> Result<(), DataError> {
    let mut labels = Labels::new();
    for name in names {
        labels.push(name).map_err(|error| match error {
            LabelError::Repeated => DataError::RepeatedName {
                path: text.path.clone(),
                name: name.clone(),
            },
            LabelError::TooMany | LabelError::TooLong => DataError::TooManyLabels {
                place: text.place(1),
                label: name.clone(),
            },
        })?;
    }
    Ok(())
}

/// Every way to write a label. What is added first wins.
#[derive(Default)]
struct Known {
    classes: HashMap<String, u32>,
}

impl Known {
    fn add(&mut self, names: &[impl ToString]) {
        for (class, name) in (0..).zip(names) {
            self.classes.entry(name.to_string()).or_insert(class);
        }
    }

    /// `0`, `1` and so on, also as `1.0`: so tables write whole numbers where a cell is missing.
    fn add_ids(&mut self, count: usize) {
        if self.classes.keys().any(|name| number(name).is_some()) {
            return;
        }
        for class in 0..count as u32 {
            self.classes.insert(class.to_string(), class);
            self.classes.insert(format!("{class}.0"), class);
        }
    }
}

/// Numbers by size, then everything else by its characters.
fn numbers_first(a: &str, b: &str) -> Ordering {
    match (number(a), number(b)) {
        (Some(x), Some(y)) => x.total_cmp(&y).then_with(|| a.cmp(b)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// The finite number that `text` spells.
pub(crate) fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

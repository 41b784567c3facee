//! From what a file writes as a label to the number of a model's output.
//!
//! While learning, the labels are the task name's, or else all that the file holds, sorted. When
//! measuring, they are the model's, in the order of its outputs. A file may write a label by its name,
//! as the training file spelt it, or as its id; ids only where no name is a number itself, for then `1`
//! could mean two things. Names and ids in the files of a task name are that data set's, and a model may
//! have the same labels in another order: they are told by name.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

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
    let named = source.task_name.filter(|name| !name.labels().is_empty());
    let ids = match named {
        Some(name) => linked(name.labels(), [&names, &spellings, &source.spellings]),
        None => Some((0..names.len() as u32).collect()),
    };
    if let (Some(name), Some(ids)) = (named, &ids) {
        let layout = name.layout();
        known.add_as(layout.names, ids.iter().copied());
        known.add_as(layout.spellings, ids.iter().copied());
    }
    known.add_ids(ids.as_deref().unwrap_or_default());
    let unlinked = named.filter(|_| ids.is_none());
    let of_spelling = found.seen.into_iter().map(|(label, line)| {
        let class = known.classes.get(&label).copied();
        class.ok_or_else(|| {
            let (place, known) = (text.place(line), names.clone());
            match unlinked {
                Some(name) => DataError::OtherLabels {
                    place,
                    label,
                    name,
                    known,
                },
                None => DataError::UnknownLabel {
                    place,
                    label,
                    known,
                    alone: false,
                },
            }
        })
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

/// Which class each label of a data set is: by name, where one of the lists of the classes' names has the same
/// names; else in their order, where the names are numbers alone. `None` where neither tells.
fn linked(labels: &[&str], lists: [&[String]; 3]) -> Option<Vec<u32>> {
    let by_name = lists.iter().find_map(|&list| order(labels, list));
    let in_order = || {
        let same = |list: &&[String]| list.len() == labels.len() && are_numbers(list);
        let found = lists.iter().any(same);
        found.then(|| (0..labels.len() as u32).collect())
    };
    by_name.or_else(in_order)
}

/// Whether names say no more than which output they stand for: `LABEL_0`, as models have it whose labels were
/// never named, or `0`.
pub fn are_numbers(names: &[String]) -> bool {
    names.iter().enumerate().all(|(id, name)| {
        let name = name.to_lowercase();
        name.strip_prefix("label_").unwrap_or(&name) == id.to_string()
    })
}

/// Where each of `names` stands in `others`, if these are the same names in any order and case.
pub fn order(names: &[impl AsRef<str>], others: &[impl AsRef<str>]) -> Option<Vec<u32>> {
    order_as(names, others, str::to_lowercase)
}

/// The same for names that are told apart by what `told` makes of them.
pub fn order_as(
    names: &[impl AsRef<str>],
    others: &[impl AsRef<str>],
    told: impl Fn(&str) -> String,
) -> Option<Vec<u32>> {
    let others_told = others.iter().map(|name| told(name.as_ref()));
    let places: HashMap<String, u32> = others_told.zip(0..).collect();
    let place = |name: &str| places.get(&told(name)).copied();
    let found = names.iter().map(|name| place(name.as_ref()));
    let found: Vec<u32> = found.collect::<Option<_>>()?;
    let different = found.iter().collect::<HashSet<_>>().len();
    let same = names.len() == others.len() && different == others.len();
    same.then_some(found)
}

/// Settled labels under the names that were asked for, and their old names as spellings.
fn renamed(
    source: &Source,
    text: &Text,
    names: Vec<String>,
) -> Result<(Vec<String>, Vec<String>), DataError> {
    let Some(new) = new_names(source) else {
        return Ok((names.clone(), names));
    };
    check_names(text, &new)?;
    if new.len() != names.len() {
        return Err(miscounted(text, &new, names));
    }
    match &source.labels {
        None => respelled(text, new, names),
        Some(_) => match names_in_order(&names, &new) {
            Ok(new) => Ok((new, names)),
            Err(at) => Err(name_of_another(text, at, &new, names)),
        },
    }
}

/// New names in the order of the labels that they are for, as many as labels: each is for the label of this name,
/// where both are the same names in any order and case; else the first is for the first.
///
/// # Errors
/// The place of a name that is another label's.
///
/// # Panics
/// When there are more names than labels.
pub fn names_in_order(labels: &[String], names: &[String]) -> Result<Vec<String>, usize> {
    let mut ordered = labels.to_vec();
    for (name, place) in names.iter().zip(places(names, labels)?) {
        ordered[place as usize].clone_from(name);
    }
    Ok(ordered)
}

/// The names that were asked for, without the white space around them.
fn new_names(source: &Source) -> Option<Vec<String>> {
    let names = source.label_names.as_ref()?;
    Some(names.iter().map(|name| name.trim().to_owned()).collect())
}

/// New names, as many as labels, and for each the label that it is for.
fn respelled(
    text: &Text,
    new: Vec<String>,
    old: Vec<String>,
) -> Result<(Vec<String>, Vec<String>), DataError> {
    match places(&new, &old) {
        Ok(places) => {
            let places = places.into_iter();
            let old = places.map(|place| old[place as usize].clone()).collect();
            Ok((new, old))
        }
        Err(at) => Err(name_of_another(text, at, &new, old)),
    }
}

/// Which label each of `names` is for, as many as labels: the one of this name, where both are the same names in any
/// order and case; else the first is for the first, and the place of one that is another label's is an error.
fn places(names: &[String], labels: &[String]) -> Result<Vec<u32>, usize> {
    if let Some(places) = order(names, labels) {
        return Ok(places);
    }
    let alike = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
    for (at, (name, label)) in names.iter().zip(labels).enumerate() {
        let kept = alike(name, label);
        let mut others = labels.iter().enumerate().filter(|(other, _)| *other != at);
        if others.any(|(_, other)| other == name || (!kept && alike(name, other))) {
            return Err(at);
        }
    }
    Ok((0..names.len() as u32).collect())
}

fn name_of_another(text: &Text, at: usize, names: &[String], found: Vec<String>) -> DataError {
    DataError::NameOfAnother {
        place: text.place(1),
        name: names[at].clone(),
        label: found[at].clone(),
        found,
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
    // A whole number with a point and the same one without are one label, as [`Known::add_ids`] knows them.
    own.retain(|spelling| {
        let whole = spelling.strip_suffix(".0");
        let whole = whole.filter(|whole| whole.parse::<i64>().is_ok());
        whole.is_none_or(|whole| !found.index.contains_key(whole))
    });
    own.sort_unstable_by(|a, b| numbers_first(a, b));
    let Some(new) = new_names(source) else {
        check_capacity(text, &found.seen)?;
        return Ok((own.clone(), own));
    };
    check_names(text, &new)?;
    let mut known = Known::default();
    known.add(&new);
    let ids: Vec<u32> = (0..new.len() as u32).collect();
    known.add_ids(&ids);
    if own
        .iter()
        .all(|spelling| known.classes.contains_key(spelling))
    {
        Ok((new.clone(), new))
    } else if own.len() == new.len() {
        respelled(text, new, own)
    } else {
        Err(miscounted(text, &new, own))
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
    fn add(&mut self, names: &[String]) {
        self.add_as(names, 0..);
    }

    fn add_as(&mut self, names: &[impl ToString], classes: impl IntoIterator<Item = u32>) {
        for (name, class) in names.iter().zip(classes) {
            self.classes.entry(name.to_string()).or_insert(class);
        }
    }

    /// The class of each id, where no name is a number; else the names stand for themselves. Either is known
    /// both as `1` and as `1.0`: so tables write whole numbers where a cell is missing.
    fn add_ids(&mut self, classes: &[u32]) {
        let names = self.classes.iter();
        let numbers = names.filter(|(name, _)| number(name).is_some());
        let numbers = numbers.map(|(name, &class)| (name.clone(), class));
        let mut numbers: Vec<(String, u32)> = numbers.collect();
        if numbers.is_empty() {
            let ids = classes.iter().enumerate();
            numbers.extend(ids.map(|(id, &class)| (id.to_string(), class)));
        }
        for (name, class) in numbers {
            let whole = name.strip_suffix(".0").unwrap_or(&name);
            if whole.parse::<i64>().is_ok() {
                let with_point = format!("{whole}.0");
                self.add_as(&[whole, with_point.as_str()], [class; 2]);
            }
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

//! Examples, and what can be said about a file of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;

/// A row of a file, ready to be encoded.
#[derive(Clone, PartialEq, Debug)]
pub struct Example {
    /// The text, or the first of two. May be empty.
    pub text: String,
    /// The second text, for tasks that take two.
    pub pair: Option<String>,
    /// What a model should answer.
    pub label: Label,
    /// The line of the file that the row begins on, counted from 1.
    pub line: u64,
}

/// What a model should answer for a row.
#[derive(Copy, Clone, PartialEq, Debug)]
pub enum Label {
    /// Not known.
    None,
    /// An output of the model.
    Class(u32),
    /// A finite number, for regression.
    Value(f32),
}

/// A file that was read.
#[derive(Clone, PartialEq, Debug)]
pub struct Dataset {
    /// The file.
    pub path: PathBuf,
    /// The rows in the file's order; never none.
    pub examples: Vec<Example>,
    /// The names of the labels in the order of a model's outputs; empty for regression and where
    /// labels were not read.
    pub labels: Vec<String>,
    /// The same labels, as the file to learn from spells them. Whoever measures on another file
    /// of the same data set hands them on in [`Source::spellings`](crate::Source).
    pub spellings: Vec<String>,
    /// How many rows were left out because their label is empty.
    pub unlabelled: u64,
}

/// Rows whose texts stand in an earlier row.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub struct Duplicates {
    /// With the same label as the first row that has these texts.
    pub repeated: u64,
    /// With another label.
    pub contradicting: u64,
}

impl Dataset {
    /// How many rows the file has, those that were left out included.
    pub fn rows(&self) -> u64 {
        self.examples.len() as u64 + self.unlabelled
    }

    /// How many examples each label has, in the order of the labels.
    pub fn histogram(&self) -> Vec<u64> {
        let mut counts = vec![0; self.labels.len()];
        for example in &self.examples {
            if let Label::Class(class) = example.label
                && let Some(count) = counts.get_mut(class as usize)
            {
                *count += 1;
            }
        }
        counts
    }

    /// The smallest and the largest number among the labels, for regression.
    pub fn range(&self) -> Option<(f32, f32)> {
        let values = self
            .examples
            .iter()
            .filter_map(|example| match example.label {
                Label::Value(value) => Some((value, value)),
                Label::None | Label::Class(_) => None,
            });
        values.reduce(|(low, high), (value, _)| (low.min(value), high.max(value)))
    }

    /// How many examples say again what an earlier one said, or contradict it.
    pub fn duplicates(&self) -> Duplicates {
        let mut first = HashMap::with_capacity(self.examples.len());
        let mut duplicates = Duplicates::default();
        for Example {
            text, pair, label, ..
        } in &self.examples
        {
            match first.entry((text, pair)) {
                Entry::Vacant(entry) => {
                    entry.insert(label);
                }
                Entry::Occupied(entry) if *entry.get() == label => duplicates.repeated += 1,
                Entry::Occupied(_) => duplicates.contradicting += 1,
            }
        }
        duplicates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(rows: &[(&str, Option<&str>, Label)]) -> Dataset {
        let example = |(line, (text, pair, label)): (u64, &(&str, Option<&str>, Label))| Example {
            text: text.to_string(),
            pair: pair.map(str::to_owned),
            label: *label,
            line,
        };
        Dataset {
            path: "f".into(),
            examples: (1..).zip(rows).map(example).collect(),
            labels: vec!["no".into(), "yes".into(), "maybe".into()],
            spellings: Vec::new(),
            unlabelled: 2,
        }
    }

    #[test]
    fn rows_labels_and_duplicates_are_counted() {
        let counted = dataset(&[
            ("a", None, Label::Class(1)),
            ("a", None, Label::Class(1)),
            ("a", Some(""), Label::Class(1)),
            ("a", None, Label::Class(0)),
            ("b", None, Label::Class(1)),
        ]);
        assert_eq!(counted.rows(), 7);
        assert_eq!(counted.histogram(), [1, 4, 0]);
        assert_eq!(
            counted.duplicates(),
            Duplicates {
                repeated: 1,
                contradicting: 1
            }
        );
        assert_eq!(counted.range(), None);
    }

    #[test]
    fn the_range_is_that_of_the_numbers() {
        let numbers = [3.0, -1.5, 4.25].map(|value| ("a", None, Label::Value(value)));
        assert_eq!(dataset(&numbers).range(), Some((-1.5, 4.25)));
    }
}

//! Examples, and what can be said about a file of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::path::PathBuf;

use crate::error::{DataError, Place};

/// A row of a file, ready to be encoded.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Example {
    /// What the file calls the row; none where its format names no rows.
    pub id: Option<String>,
    /// The text, or the first of two: a question. May be empty.
    pub text: String,
    /// The second text, for tasks that take two: a passage.
    pub pair: Option<String>,
    /// The bytes of `text` that each word takes, for tagging, where the file splits texts into words;
    /// they are joined by one space. Empty for other tasks.
    pub words: Vec<Range<usize>>,
    /// What a model should answer.
    pub label: Label,
    /// The line of the file that the row begins on, counted from 1.
    pub line: u64,
}

impl Example {
    /// Whether this is a question with answers, none of which stands in the passage where the file
    /// says: nothing can be learnt from it.
    pub fn is_misplaced(&self) -> bool {
        match &self.label {
            Label::Answers(answers) => {
                !answers.is_empty() && answers.iter().all(|answer| answer.start.is_none())
            }
            _ => false,
        }
    }
}

/// What a model should answer for a row.
#[derive(Clone, Default, PartialEq, Debug)]
pub enum Label {
    /// Not known.
    #[default]
    None,
    /// An output of the model.
    Class(u32),
    /// Any number of the outputs, each once, in their order.
    Set(Vec<u32>),
    /// A finite number, for regression.
    Value(f32),
    /// A class for each of the words.
    Tags(Vec<u32>),
    /// Every answer to a question that counts as right; none where the passage has no answer.
    Answers(Vec<GoldAnswer>),
}

impl Label {
    /// The smallest and the largest of the labels that are numbers; none where none is.
    pub fn range<'l>(labels: impl IntoIterator<Item = &'l Label>) -> Option<(f32, f32)> {
        let values = labels.into_iter().filter_map(|label| match label {
            Label::Value(value) => Some((*value, *value)),
            _ => None,
        });
        values.reduce(|(low, high), (value, _)| (low.min(value), high.max(value)))
    }
}

/// An answer that people gave to a question.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct GoldAnswer {
    /// The answer, as it is written there.
    pub text: String,
    /// The byte of the passage that it begins at. `None` where the passage does not have it at the
    /// place that the file tells.
    pub start: Option<usize>,
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
    /// Whether a row has any number of labels rather than one.
    pub multi_label: bool,
    /// How many rows were left out because their label is empty, or is `-` in a column `gold_label`.
    pub unlabelled: u64,
    /// A column whose name is one of second texts, where the task reads only one text and no data set was named.
    pub unread: Option<String>,
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

    /// Every question must have an answer, as in SQuAD 1.1.
    ///
    /// # Errors
    /// [`DataError::Unanswerable`] names the first that has none.
    pub fn check_answerable(&self) -> Result<(), DataError> {
        let none =
            |row: &&Example| matches!(&row.label, Label::Answers(answers) if answers.is_empty());
        match self.examples.iter().find(none) {
            None => Ok(()),
            Some(row) => Err(DataError::Unanswerable {
                place: Place::new(&self.path, row.line),
                id: row.id.clone().unwrap_or_default(),
            }),
        }
    }

    /// How many questions have answers, none of which stands in the passage where the file says.
    pub fn misplaced(&self) -> usize {
        self.examples
            .iter()
            .filter(|row| row.is_misplaced())
            .count()
    }

    /// How many examples, or words that are tagged, have each label, in the order of the labels.
    pub fn histogram(&self) -> Vec<u64> {
        let mut counts = vec![0; self.labels.len()];
        let classes = self
            .examples
            .iter()
            .flat_map(|example| match &example.label {
                Label::Class(class) => std::slice::from_ref(class),
                Label::Set(classes) | Label::Tags(classes) => classes,
                Label::None | Label::Value(_) | Label::Answers(_) => &[],
            });
        for &class in classes {
            if let Some(count) = counts.get_mut(class as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// The smallest and the largest number among the labels, for regression.
    pub fn range(&self) -> Option<(f32, f32)> {
        Label::range(self.examples.iter().map(|example| &example.label))
    }

    /// How many examples say again what an earlier one said, or contradict it.
    pub fn duplicates(&self) -> Duplicates {
        let mut first = HashMap::with_capacity(self.examples.len());
        let mut duplicates = Duplicates::default();
        for Example {
            text,
            pair,
            words,
            label,
            ..
        } in &self.examples
        {
            match first.entry((text, pair, words)) {
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
            label: label.clone(),
            line,
            ..Example::default()
        };
        Dataset {
            path: "f".into(),
            examples: (1..).zip(rows).map(example).collect(),
            labels: vec!["no".into(), "yes".into(), "maybe".into()],
            spellings: Vec::new(),
            multi_label: false,
            unlabelled: 2,
            unread: None,
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
    fn texts_that_are_split_into_other_words_are_others() {
        let tags = |tags: [u32; 2]| ("a b c", None, Label::Tags(tags.to_vec()));
        let mut split = dataset(&[[1, 0], [1, 2], [1, 0], [0, 0]].map(tags));
        for (row, example) in split.examples.iter_mut().enumerate() {
            example.words = match row % 2 {
                0 => vec![0..1, 2..5],
                _ => vec![0..3, 4..5],
            };
        }
        let expected = Duplicates {
            repeated: 1,
            contradicting: 1,
        };
        assert_eq!(split.duplicates(), expected);
    }

    #[test]
    fn the_tags_of_all_words_are_counted() {
        let tags = |tags: &[u32]| ("a b", None, Label::Tags(tags.to_vec()));
        let counted = dataset(&[tags(&[2, 0]), tags(&[2, 2])]);
        assert_eq!(counted.histogram(), [1, 0, 3]);
    }

    #[test]
    fn the_range_is_that_of_the_numbers() {
        let numbers = [3.0, -1.5, 4.25].map(|value| ("a", None, Label::Value(value)));
        assert_eq!(dataset(&numbers).range(), Some((-1.5, 4.25)));
    }
}

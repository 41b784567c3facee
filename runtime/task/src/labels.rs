//! Label names in memory of fixed size: one block of text, and where each name ends in it.

use core::fmt;

use heapless::{String, Vec};
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

/// The most labels that a model can have.
pub const MAX_LABELS: usize = 512;

/// The most bytes that all label names together can have, in UTF-8.
pub const MAX_LABEL_BYTES: usize = 8192;

/// The names of a model's labels, in the order of its outputs. No name stands twice.
///
/// About 9 KiB, without pointers. In files it is a sequence of strings.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Labels {
    text: String<MAX_LABEL_BYTES>,
    ends: Vec<u16, MAX_LABELS>,
}

impl Labels {
    /// No labels yet.
    pub const fn new() -> Self {
        Labels {
            text: String::new(),
            ends: Vec::new(),
        }
    }

    /// All of `names`, in their order.
    ///
    /// # Errors
    /// As [`push`](Self::push), at the first name that doesn't go in.
    pub fn of<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Self, LabelError> {
        let mut labels = Labels::new();
        for name in names {
            labels.push(name)?;
        }
        Ok(labels)
    }

    /// Adds a label behind the others. After an error nothing has changed.
    ///
    /// # Errors
    /// When the name is there already, or when one of the two capacities is used up.
    pub fn push(&mut self, name: &str) -> Result<(), LabelError> {
        if self.position(name).is_some() {
            return Err(LabelError::Repeated);
        }
        if self.ends.is_full() {
            return Err(LabelError::TooMany);
        }
        let too_long = |_| LabelError::TooLong;
        self.text.push_str(name).map_err(too_long)?;
        let end = self.text.len() as u16;
        self.ends.push(end).map_err(|_| LabelError::TooMany)
    }

    /// The name of output `index`.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.text.get(usize::from(start)..usize::from(end))
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none, as for a head that answers with a number or a span.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The names in the order of the outputs.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// The output that `name` belongs to.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.iter().position(|label| label == name)
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(self.len()))?;
        for label in self.iter() {
            sequence.serialize_element(label)?;
        }
        sequence.end()
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(SequenceOfNames)
    }
}

/// Reads the sequence; each name goes straight from the input into the block of text.
struct SequenceOfNames;

impl<'de> Visitor<'de> for SequenceOfNames {
    type Value = Labels;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX_LABELS} different label names")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Labels, A::Error> {
        let mut labels = Labels::new();
        while names.next_element_seed(Next(&mut labels))?.is_some() {}
        Ok(labels)
    }
}

/// Reads one name into the labels that it holds.
struct Next<'l>(&'l mut Labels);

impl<'de> DeserializeSeed<'de> for Next<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Next<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a label name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<(), E> {
        self.0.push(name).map_err(E::custom)
    }
}

/// Why a label was not taken.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum LabelError {
    /// There are [`MAX_LABELS`] labels already.
    TooMany,
    /// With this name, all together would be longer than [`MAX_LABEL_BYTES`].
    TooLong,
    /// The name is there already.
    Repeated,
}

impl fmt::Display for LabelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LabelError::TooMany => write!(f, "more than {MAX_LABELS} labels"),
            LabelError::TooLong => write!(f, "label names of more than {MAX_LABEL_BYTES} bytes"),
            LabelError::Repeated => f.write_str("a label name that stands twice"),
        }
    }
}

impl core::error::Error for LabelError {}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::{format, vec};

    #[test]
    fn names_are_found_by_index_and_index_by_name() {
        let labels = Labels::of(["negative", "", "größer"]).unwrap();
        assert_eq!(labels.len(), 3);
        assert_eq!(labels.get(0), Some("negative"));
        assert_eq!(labels.get(1), Some(""));
        assert_eq!(labels.get(2), Some("größer"));
        assert_eq!(labels.get(3), None);
        assert_eq!(labels.get(usize::MAX), None);
        assert_eq!(labels.position("größer"), Some(2));
        assert_eq!(labels.position("positive"), None);
        assert_eq!(format!("{labels:?}"), r#"["negative", "", "größer"]"#);
        assert!(Labels::new().is_empty());
    }

    #[test]
    fn a_name_that_stands_twice_is_refused() {
        let mut labels = Labels::of(["yes", "no"]).unwrap();
        assert_eq!(labels.push("yes"), Err(LabelError::Repeated));
        assert_eq!(labels, Labels::of(["yes", "no"]).unwrap());
    }

    #[test]
    fn both_capacities_hold_to_the_last_one_and_no_further() {
        let names: vec::Vec<_> = (0..=MAX_LABELS).map(|i| format!("{i}")).collect();
        let names = || names.iter().map(|name| name.as_str());
        assert_eq!(
            Labels::of(names().take(MAX_LABELS)).unwrap().len(),
            MAX_LABELS
        );
        assert_eq!(Labels::of(names()), Err(LabelError::TooMany));

        let mut labels = Labels::of(["x".repeat(MAX_LABEL_BYTES - 2).as_str()]).unwrap();
        assert_eq!(labels.push("abc"), Err(LabelError::TooLong));
        assert_eq!(labels.len(), 1);
        labels.push("ab").unwrap();
        assert_eq!(labels.get(1), Some("ab"));
    }

    #[test]
    fn files_hold_a_sequence_of_strings() {
        let labels = Labels::of(["a", "tab\there"]).unwrap();
        let json = serde_json::to_string(&labels).unwrap();
        assert_eq!(json, r#"["a","tab\there"]"#);
        assert_eq!(serde_json::from_str::<Labels>(&json).unwrap(), labels);

        let mut space = [0; 32];
        let bytes = postcard::to_slice(&labels, &mut space).unwrap();
        assert_eq!(bytes[..3], [2, 1, b'a']);
        assert_eq!(postcard::from_bytes::<Labels>(bytes).unwrap(), labels);
        for cut in 0..bytes.len() {
            assert!(postcard::from_bytes::<Labels>(&bytes[..cut]).is_err());
        }
        let error = serde_json::from_str::<Labels>(r#"["a","a"]"#).unwrap_err();
        assert!(format!("{error}").contains("stands twice"), "{error}");
        assert!(serde_json::from_str::<Labels>("[1]").is_err());
    }
}

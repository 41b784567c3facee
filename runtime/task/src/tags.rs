//! Tags of words and of pieces: the best label alone, and which neighbours are one entity.
//!
//! Labels of entities begin with `B-` (the entity begins here) or `I-` (it goes on), and have the
//! entity's type behind. Neighbours are merged as `transformers` merges them with
//! `aggregation_strategy="simple"`: a piece goes on with the entity before it where the types are the
//! same and its label is not a `B-` one. A label without a prefix is a type itself, and goes on. What an
//! entity is called follows the first `-` of its first label, whatever stands before it: of labels such as
//! `S-PER`, which are types of their own, that is `PER`.

use core::fmt;
use core::str::FromStr;

use crate::scores::{Score, argmax, probability};
use crate::temperature::Temperature;

/// The label of what is no entity.
pub const OUTSIDE: &str = "O";

/// What the rows of an answer stand for.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub enum Aggregation {
    /// A row for each piece.
    None,
    /// A row for each word, with the label of its first piece.
    First,
    /// A row for each entity: neighbouring pieces of one type. What is outside has none.
    Simple,
}

impl Aggregation {
    /// Every strategy.
    pub const ALL: [Aggregation; 3] = [Aggregation::None, Aggregation::First, Aggregation::Simple];

    /// The name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Aggregation::None => "none",
            Aggregation::First => "first",
            Aggregation::Simple => "simple",
        }
    }

    /// What is usual for a model with these labels: entities where there are labels of them, else
    /// words.
    pub fn usual<'l>(labels: impl IntoIterator<Item = &'l str>) -> Self {
        match labels.into_iter().any(is_entity_label) {
            true => Aggregation::Simple,
            false => Aggregation::First,
        }
    }
}

impl fmt::Display for Aggregation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Aggregation {
    type Err = UnknownAggregation;

    fn from_str(name: &str) -> Result<Self, UnknownAggregation> {
        let found = Aggregation::ALL.into_iter().find(|one| one.name() == name);
        found.ok_or(UnknownAggregation)
    }
}

/// A name that is none of [`Aggregation::ALL`].
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct UnknownAggregation;

impl fmt::Display for UnknownAggregation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an aggregation strategy; there are none, first and simple")
    }
}

impl core::error::Error for UnknownAggregation {}

/// The best label of a piece, the first of equals, and its probability.
///
/// # Panics
/// If there is no logit, or more than [`MAX_LABELS`](crate::MAX_LABELS) of them.
pub fn tag(logits: &[f32], temperature: Temperature) -> Score {
    let label = argmax(logits);
    Score {
        label: label as u16,
        score: probability(logits, temperature, label),
    }
}

/// Whether a label marks the beginning or the inside of an entity.
pub fn is_entity_label(label: &str) -> bool {
    label.starts_with("B-") || label.starts_with("I-")
}

/// The type that a label stands for, without its prefix: `PER` for `B-PER` and `I-PER`.
pub fn entity_type(label: &str) -> &str {
    let bare = label.strip_prefix("B-").or(label.strip_prefix("I-"));
    bare.unwrap_or(label)
}

/// What an entity is called whose first label this is: `PER` for `B-PER`, `I-PER` and `S-PER`.
pub fn entity_name(label: &str) -> &str {
    label.split_once('-').map_or(label, |(_, name)| name)
}

/// Whether what has the label `next` goes on with the entity of what has the label `before`.
pub fn goes_on(before: &str, next: &str) -> bool {
    !next.starts_with("B-") && entity_type(before) == entity_type(next)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::string::ToString;

    #[test]
    fn an_entity_goes_on_until_another_type_or_beginning() {
        for (before, next, expected) in [
            ("B-PER", "I-PER", true),
            ("I-PER", "I-PER", true),
            ("B-PER", "B-PER", false),
            ("I-PER", "B-PER", false),
            ("B-PER", "I-LOC", false),
            ("B-PER", "O", false),
            ("O", "O", true),
            ("O", "I-PER", false),
            ("NOUN", "NOUN", true),
            ("B-X-Y", "I-X-Y", true),
            ("B-NOUN", "NOUN", true),
            ("S-PER", "S-PER", true),
            ("B-PER", "E-PER", false),
        ] {
            assert_eq!(goes_on(before, next), expected, "{before} {next}");
        }
        assert_eq!(entity_type("B-creative-work"), "creative-work");
        assert_eq!(entity_type("B-"), "");
        assert_eq!(entity_type("BUY"), "BUY");
    }

    #[test]
    fn an_entity_is_called_what_follows_the_first_dash() {
        for (label, name) in [
            ("B-PER", "PER"),
            ("S-PER", "PER"),
            ("time-zone", "zone"),
            ("B-creative-work", "creative-work"),
            ("B-", ""),
            ("NOUN", "NOUN"),
        ] {
            assert_eq!(entity_name(label), name, "{label}");
        }
    }

    #[test]
    fn entities_are_usual_where_labels_mark_them() {
        assert_eq!(Aggregation::usual(["O", "I-LOC"]), Aggregation::Simple);
        assert_eq!(Aggregation::usual(["O", "NOUN"]), Aggregation::First);
        for one in Aggregation::ALL {
            assert_eq!(one.to_string().parse(), Ok(one));
        }
        assert_eq!("max".parse::<Aggregation>(), Err(UnknownAggregation));
    }

    #[test]
    fn a_tag_is_the_label_that_argmax_names_with_softmaxs_probability() {
        for logits in [
            &[0.5, 2.0, -1.0, 2.0][..],
            &[f32::NAN, f32::INFINITY, 0.0],
            &[f32::NAN; 3],
            &[-7.0],
        ] {
            let mut all = std::vec![0.0; logits.len()];
            let temperature = Temperature::new(2.5).unwrap();
            crate::softmax(logits, temperature, &mut all);
            let found = tag(logits, temperature);
            assert_eq!(usize::from(found.label), argmax(logits));
            assert_eq!(found.score.to_bits(), all[argmax(logits)].to_bits());
        }
    }
}

//! Which row of a base's classifier stands for which label of a run.
//!
//! A classifier has a row for each label, in the order of config.json. A run has its own order; where both have the
//! same labels, each keeps its row. They are the same if their names are, as they are written or else in any case.

use berth_data::{are_numbers, order, order_as};

/// What becomes of the classifier that a base has, where a run doesn't take it as it is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum OldClassifier {
    /// The run has the same labels in another order, and each keeps its row.
    Reordered,
    /// The run has numbers for labels, which are taken for the places of the base's.
    Numbered,
    /// The run has other labels, and a fresh classifier.
    Replaced,
}

/// Where a run's classifier gets its rows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// Each from the row in its place.
    InPlace,
    /// Each from the row of this number.
    From(Vec<u32>),
    /// From nowhere: all are made.
    Fresh,
}

impl Rows {
    /// For a run with `labels`, from a base with `old` ones; and what there is to tell of it.
    pub fn of(labels: &[String], old: &[String]) -> (Self, Option<OldClassifier>) {
        // Neither a number nor a span has a label.
        if labels.is_empty() || labels == old {
            return (Self::InPlace, None);
        }
        let found = order_as(labels, old, str::to_owned).or_else(|| order(labels, old));
        if let Some(from) = found {
            return match from.is_sorted() {
                true => (Self::InPlace, None),
                false => (Self::From(from), Some(OldClassifier::Reordered)),
            };
        }
        if labels.len() == old.len() && are_numbers(old) {
            return (Self::InPlace, None);
        }
        if labels.len() == old.len() && are_numbers(labels) {
            return (Self::InPlace, Some(OldClassifier::Numbered));
        }
        (Self::Fresh, Some(OldClassifier::Replaced))
    }

    /// The numbers of a weight or a bias in the order of the run's labels.
    pub fn arrange(&self, data: Vec<f32>) -> Vec<f32> {
        let Self::From(rows) = self else {
            return data;
        };
        let width = data.len() / rows.len();
        let row = |&row: &u32| &data[row as usize * width..][..width];
        rows.iter().flat_map(row).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(labels: &[&str], old: &[&str]) -> (Rows, Option<OldClassifier>) {
        let [labels, old] = [labels, old].map(|names| names.iter().map(|s| s.to_string()));
        Rows::of(&labels.collect::<Vec<_>>(), &old.collect::<Vec<_>>())
    }

    #[test]
    fn each_label_keeps_its_row_where_both_have_the_same() {
        let reordered = |rows: &[u32]| {
            let rows = Rows::From(rows.to_vec());
            (rows, Some(OldClassifier::Reordered))
        };
        let same = (Rows::InPlace, None);
        assert_eq!(of(&["a", "b"], &["a", "b"]), same);
        let tags = ["B-LOC", "I-LOC", "O"];
        assert_eq!(of(&tags, &["O", "B-LOC", "I-LOC"]), reordered(&[1, 2, 0]));
        let spelt = ["NEGATIVE", "POSITIVE"];
        assert_eq!(of(&["negative", "positive"], &spelt), same);
        assert_eq!(of(&["positive", "negative"], &spelt), reordered(&[1, 0]));
        // Of names that differ in their case alone each is its own.
        assert_eq!(of(&["No", "no"], &["no", "No"]), reordered(&[1, 0]));
        assert_eq!(of(&["1", "0"], &["0", "1"]), reordered(&[1, 0]));
    }

    #[test]
    fn names_that_are_numbers_have_the_rows_in_their_places() {
        let labels = ["no", "yes"];
        assert_eq!(of(&labels, &["LABEL_0", "LABEL_1"]), (Rows::InPlace, None));
        assert_eq!(of(&labels, &["0", "1"]), (Rows::InPlace, None));
        let numbered = (Rows::InPlace, Some(OldClassifier::Numbered));
        assert_eq!(of(&["0", "1"], &labels), numbered);
        assert_eq!(of(&[], &labels), (Rows::InPlace, None), "regression");
    }

    #[test]
    fn other_labels_have_rows_of_their_own() {
        let fresh = (Rows::Fresh, Some(OldClassifier::Replaced));
        assert_eq!(of(&["a", "b"], &["a", "c"]), fresh);
        assert_eq!(of(&["a", "b"], &["a", "b", "c"]), fresh);
        assert_eq!(of(&["a", "b"], &["LABEL_0"]), fresh);
        assert_eq!(of(&["a", "b"], &["a", "a"]), fresh);
        assert_eq!(of(&["a", "A"], &["a", "b"]), fresh);
        assert_eq!(of(&["1", "2"], &["no", "yes"]), fresh);
    }

    #[test]
    fn weights_and_biases_are_arranged_by_row() {
        let rows = Rows::From(vec![2, 0, 1]);
        let weight = vec![1.0, 1.5, 2.0, 2.5, 3.0, 3.5];
        assert_eq!(rows.arrange(weight), [3.0, 3.5, 1.0, 1.5, 2.0, 2.5]);
        assert_eq!(rows.arrange(vec![1.0, 2.0, 3.0]), [3.0, 1.0, 2.0]);
        assert_eq!(Rows::InPlace.arrange(vec![1.0, 2.0]), [1.0, 2.0]);
    }
}

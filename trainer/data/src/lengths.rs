//! How long the rows of a file are, before anything is cut.

use berth_wordpiece::Tokenizer;
use rayon::prelude::*;

use crate::dataset::Example;

/// The lengths of a file's rows: each figure but the last is the least length that this share of the
/// rows does not exceed.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Lengths {
    /// Half of the rows are no longer.
    pub p50: usize,
    /// Nine in ten are no longer.
    pub p90: usize,
    /// Ninety-nine in a hundred are no longer.
    pub p99: usize,
    /// The longest row.
    pub max: usize,
}

impl Lengths {
    /// Of rows that are so long; `None` without rows.
    pub fn of(mut lengths: Vec<usize>) -> Option<Self> {
        lengths.sort_unstable();
        let at = |percent: usize| {
            let rank = (lengths.len() * percent).div_ceil(100).saturating_sub(1);
            lengths.get(rank).copied()
        };
        Some(Lengths {
            p50: at(50)?,
            p90: at(90)?,
            p99: at(99)?,
            max: at(100)?,
        })
    }

    /// In pieces as a model reads a row, `[CLS]` and each `[SEP]` included. A passage counts whole.
    pub fn in_pieces(tokenizer: &Tokenizer<'_>, examples: &[Example]) -> Option<Self> {
        let count = |text: &str| tokenizer.stream(text).count() + 1;
        let length = |example: &Example| 1 + texts(example).map(count).sum::<usize>();
        Lengths::of(examples.par_iter().map(length).collect())
    }

    /// In words: the file's own, where it has them, else what white space parts.
    pub fn in_words(examples: &[Example]) -> Option<Self> {
        let length = |example: &Example| match example.words.len() {
            0 => texts(example)
                .map(|text| text.split_whitespace().count())
                .sum(),
            words => words,
        };
        Lengths::of(examples.iter().map(length).collect())
    }
}

/// The text, and the second one where there is one.
fn texts(example: &Example) -> impl Iterator<Item = &str> {
    std::iter::once(&*example.text).chain(example.pair.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::tests::tables;
    use crate::encode::{EncodeOptions, encode_all};
    use berth_task::Task;

    fn example(text: &str, pair: Option<&str>) -> Example {
        Example {
            text: text.into(),
            pair: pair.map(str::to_owned),
            ..Example::default()
        }
    }

    #[test]
    fn shares_are_told_by_the_least_length_that_covers_them() {
        let of = |lengths: &[usize]| Lengths::of(lengths.to_vec()).unwrap();
        let hundred: Vec<usize> = (1..=100).rev().collect();
        let expected = Lengths {
            p50: 50,
            p90: 90,
            p99: 99,
            max: 100,
        };
        assert_eq!(of(&hundred), expected);
        let (p50, p90, p99, max) = (2, 9, 9, 9);
        let expected = Lengths { p50, p90, p99, max };
        assert_eq!(of(&[9, 1, 2]), expected);
        assert_eq!(Lengths::of(Vec::new()), None);
    }

    #[test]
    fn pieces_are_those_of_the_input_when_nothing_is_cut() {
        let tables = tables();
        let tokenizer = Tokenizer::new(&tables).unwrap();
        for row in [
            example("a b c", None),
            example("", None),
            example("a b", Some("c d e")),
            example("a", Some("")),
        ] {
            let rows = [row];
            let options = EncodeOptions::new(Task::TextPairClassification, 64);
            let inputs = encode_all(&tokenizer, &options, &rows).unwrap();
            let told = Lengths::in_pieces(&tokenizer, &rows).unwrap();
            assert_eq!(told.max, inputs[0].ids.len(), "{rows:?}");
        }
    }

    #[test]
    fn words_are_the_files_own_where_it_has_them() {
        let mut tagged = example("a b c", None);
        tagged.words = vec![0..1, 2..5];
        let rows = [tagged, example(" a\tb ", Some("c")), example("", None)];
        let told = |row: usize| Lengths::in_words(&rows[row..=row]).unwrap().max;
        assert_eq!([told(0), told(1), told(2)], [2, 3, 0]);
    }
}

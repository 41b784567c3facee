//! Tagging: a text that is split into words, with a class for each.
//!
//! The text is tokenized as it stands, its words joined by one space. BERT's tokenizer parts at every
//! space anyway, so its pieces are those of the words one by one. The first piece of a word has the
//! word's class; the others, and what is added, are not asked about. A word that was cut off, or that
//! has no piece since it consists of control characters, is asked about nowhere.

use std::ops::Range;

use berth_wordpiece::{EncodeError, Piece, Tokenizer};

use super::{Encoded, Target, ids};
use crate::dataset::{Example, Label};

/// The input of a text with words.
pub(super) fn encode(
    tokenizer: &Tokenizer<'_>,
    limit: usize,
    example: &Example,
    pieces: &mut [Piece],
) -> Result<Encoded, EncodeError> {
    let encoding = tokenizer.encode(&example.text, None, limit, pieces)?;
    let pieces = &pieces[..encoding.len];
    let offsets: Vec<_> = pieces.iter().map(|piece| piece.start..piece.end).collect();
    let target = match &example.label {
        Label::Tags(tags) => Target::Classes(targets(&example.words, tags, &offsets)),
        _ => Target::None,
    };
    Ok(Encoded {
        ids: ids(pieces),
        second: encoding.second,
        truncated: encoding.truncated,
        target,
        offsets,
        ..Encoded::default()
    })
}

/// The class of each piece that is the first of a word.
fn targets(words: &[Range<usize>], tags: &[u32], offsets: &[Range<u32>]) -> Vec<Option<u32>> {
    let mut before = None;
    let target = |offset: &Range<u32>| {
        let word = word_at(words, offset)?;
        let first = before.replace(word) != Some(word);
        tags.get(word).copied().filter(|_| first)
    };
    offsets.iter().map(target).collect()
}

/// The index of the word that a piece is from; none for an added token.
pub(crate) fn word_at(words: &[Range<usize>], piece: &Range<u32>) -> Option<usize> {
    let start = piece.start as usize;
    let index = words.partition_point(|word| word.end <= start);
    let word = words.get(index)?;
    (word.contains(&start) && !piece.is_empty()).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::tests::tables;
    use crate::encode::{EncodeOptions, encode_all, unasked_words};
    use berth_task::Task;

    fn example(words: &[&str]) -> Example {
        let mut ranges = Vec::new();
        let mut at = 0;
        for word in words {
            ranges.push(at..at + word.len());
            at += word.len() + 1;
        }
        Example {
            text: words.join(" "),
            words: ranges,
            label: Label::Tags((0..words.len() as u32).collect()),
            ..Example::default()
        }
    }

    fn encoded(words: &[&str], limit: usize) -> Encoded {
        let tables = tables();
        let tokenizer = Tokenizer::new(&tables).unwrap();
        let task = Task::TokenClassification;
        let options = EncodeOptions::new(task, limit);
        let mut all = encode_all(&tokenizer, &options, &[example(words)]).unwrap();
        all.remove(0)
    }

    #[test]
    fn the_first_piece_of_a_word_has_its_class() {
        // The second word has a space in it, and so two pieces.
        let row = encoded(&["ab", "c d", "e"], 64);
        let classes = [None, Some(0), Some(1), None, Some(2), None];
        assert_eq!(row.target, Target::Classes(classes.to_vec()));
        assert_eq!(row.offsets, [0..0, 0..2, 3..4, 5..6, 7..8, 0..0]);
        assert_eq!((row.second, row.truncated), (6, 0));
    }

    #[test]
    fn words_that_were_cut_off_are_asked_about_nowhere() {
        let row = encoded(&["ab", "c d", "e"], 4);
        let classes = [None, Some(0), Some(1), None];
        assert_eq!(row.target, Target::Classes(classes.to_vec()));
        assert_eq!(row.truncated, 2);
        assert_eq!(unasked_words(&[example(&["ab", "c d", "e"])], &[row]), 1);
        let row = encoded(&[], 4);
        assert_eq!(row.target, Target::Classes(vec![None; 2]));
    }

    #[test]
    fn a_word_without_a_piece_leaves_the_others_theirs() {
        let words = [0..1, 2..3, 4..5];
        let pieces = [0..0, 0..1, 4..5, 0..0];
        let classes = targets(&words, &[7, 8, 9], &pieces);
        assert_eq!(classes, [None, Some(7), Some(9), None]);
    }
}

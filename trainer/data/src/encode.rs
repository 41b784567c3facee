//! Examples to ids, over all cores, in the examples' order.

use berth_wordpiece::{EncodeError, Piece, Tokenizer};
use rayon::prelude::*;

use crate::dataset::{Example, Label};

/// An example as a model reads it: `[CLS] text [SEP]`, or `[CLS] text [SEP] pair [SEP]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Encoded {
    /// The ids, without padding.
    pub ids: Vec<u32>,
    /// The first position of the second text, whose token type is 1; the length without one.
    pub second: usize,
    /// How many pieces were cut off to keep the limit.
    pub truncated: usize,
    /// What a model should answer.
    pub label: Label,
}

/// Encodes every example into at most `limit` ids. Of two texts, the longer one is cut first.
///
/// Runs in rayon's current pool; each thread has memory of its own for the pieces. The result does
/// not depend on the number of threads.
///
/// # Errors
/// If `limit` is below 2, or below 3 for two texts, so that not even `[CLS]` and `[SEP]` fit.
pub fn encode_all(
    tokenizer: &Tokenizer<'_>,
    examples: &[Example],
    limit: usize,
) -> Result<Vec<Encoded>, EncodeError> {
    let pieces = || vec![Piece::default(); 2 * limit];
    let encoded = examples.par_iter().map_init(pieces, |pieces, example| {
        let pair = example.pair.as_deref();
        let encoding = tokenizer.encode(&example.text, pair, limit, pieces)?;
        Ok(Encoded {
            ids: pieces[..encoding.len]
                .iter()
                .map(|piece| piece.id)
                .collect(),
            second: encoding.second,
            truncated: encoding.truncated,
            label: example.label,
        })
    });
    encoded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_wordpiece::layout::{Header, Item, Kind, NONE, PAGE, PAGES};

    const UNK: u32 = 1;
    const CLS: u32 = 2;
    const SEP: u32 = 3;

    /// Tables without a vocabulary: spaces part words, and every word is `[UNK]`.
    fn tables() -> Vec<u8> {
        let space = |c: usize| if c == 32 { Kind::Space } else { Kind::Letter };
        let item = |kind| {
            Item {
                kind,
                rank: 0,
                added: false,
                value: 0,
            }
            .pack()
        };
        let entries = (0..PAGE).flat_map(|c| item(space(c)).to_le_bytes());
        let lengths = [2 * PAGES as u32, 4 * PAGE as u32, 0, 4, 0, 0, 0];
        let (unk, cls, sep, pad) = (UNK, CLS, SEP, NONE);
        let header = Header {
            ids: 0,
            unk,
            cls,
            sep,
            pad,
            word_chars: 100,
            piece_bytes: 0,
            probes: 0,
            lengths,
        };
        let mut tables = header.to_bytes().to_vec();
        tables.extend(vec![0; 2 * PAGES]);
        tables.extend(entries);
        tables.extend(NONE.to_le_bytes());
        tables
    }

    fn example(words: usize, pair: Option<usize>) -> Example {
        let text = |words| vec!["w"; words].join(" ");
        let (text, pair) = (text(words), pair.map(text));
        Example {
            text,
            pair,
            label: Label::Class(words as u32),
            line: 1,
        }
    }

    #[test]
    fn the_order_is_that_of_the_examples() {
        let tables = tables();
        let tokenizer = Tokenizer::new(&tables).unwrap();
        let examples: Vec<_> = (0..5000).map(|i| example(i * 7919 % 97, None)).collect();
        let encoded = encode_all(&tokenizer, &examples, 64).unwrap();
        assert_eq!(encoded.len(), examples.len());
        for (example, encoded) in examples.iter().zip(encoded) {
            let Label::Class(words) = example.label else {
                panic!()
            };
            let kept = (words as usize).min(62);
            let ids = [&[CLS], &vec![UNK; kept][..], &[SEP]].concat();
            let (second, truncated) = (ids.len(), words as usize - kept);
            assert_eq!(
                encoded,
                Encoded {
                    ids,
                    second,
                    truncated,
                    label: example.label
                }
            );
        }
    }

    #[test]
    fn two_texts_are_told_apart_and_the_longer_one_is_cut() {
        let tables = tables();
        let tokenizer = Tokenizer::new(&tables).unwrap();
        let examples = [
            example(1, Some(2)),
            example(3, Some(9)),
            example(0, Some(0)),
        ];
        let encoded = encode_all(&tokenizer, &examples, 10).unwrap();
        let found: Vec<_> = encoded
            .iter()
            .map(|e| (e.ids.len(), e.second, e.truncated))
            .collect();
        assert_eq!(found, [(6, 3, 0), (10, 5, 5), (3, 2, 0)]);
        assert_eq!(encoded[0].ids, [CLS, UNK, SEP, UNK, UNK, SEP]);
    }

    #[test]
    fn a_limit_without_place_for_the_added_tokens_is_an_error() {
        let tables = tables();
        let tokenizer = Tokenizer::new(&tables).unwrap();
        let single = [example(3, None)];
        assert_eq!(
            encode_all(&tokenizer, &single, 1),
            Err(EncodeError::Limit { least: 2 })
        );
        assert_eq!(
            encode_all(&tokenizer, &single, 2).unwrap()[0].ids,
            [CLS, SEP]
        );
        let pair = [example(3, Some(1))];
        assert_eq!(
            encode_all(&tokenizer, &pair, 2),
            Err(EncodeError::Limit { least: 3 })
        );
        assert_eq!(encode_all(&tokenizer, &[], 0), Ok(Vec::new()));
    }
}

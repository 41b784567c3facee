//! Examples to what a model reads and should answer, over all cores, in the examples' order.
//!
//! Here are the tasks on whole texts, one input for an example; [`words`] has tagging. [`questions`]
//! cuts passages into windows, and so makes several inputs of an example, one after the other.

mod questions;
mod words;

use std::ops::Range;

use berth_task::{SpanRules, Task};
use berth_wordpiece::{EncodeError, Piece, Tokenizer};
use rayon::prelude::*;

use crate::dataset::{Example, Label};

pub(crate) use words::word_at;

/// An input as a model reads it: `[CLS] text [SEP]`, or `[CLS] text [SEP] pair [SEP]`.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Encoded {
    /// The ids, without padding.
    pub ids: Vec<u32>,
    /// The first position of the second text, whose token type is 1; the length without one.
    pub second: usize,
    /// How many pieces were cut off to keep the limit.
    pub truncated: usize,
    /// What a model should answer.
    pub target: Target,
    /// The index of the example that this is a part of.
    pub example: usize,
    /// For tasks that answer with a part of the text: the bytes that each piece is from, of the text
    /// (tagging) or of the passage (questions); empty ranges for added tokens and for the question.
    /// For other tasks there are none.
    pub offsets: Vec<Range<u32>>,
    /// How many of a window's first pieces of the passage the window before has as well.
    pub shared: usize,
}

/// What a model should answer to an input.
#[derive(Clone, Default, PartialEq, Debug)]
pub enum Target {
    /// Not known.
    #[default]
    None,
    /// One of the outputs.
    Class(u32),
    /// Any number of the outputs, each once, in their order.
    Set(Vec<u32>),
    /// A finite number, for regression.
    Value(f32),
    /// For each piece one of the outputs, or nothing where no answer is asked for.
    Classes(Vec<Option<u32>>),
    /// The first and the last piece of an answer; both 0, which is `[CLS]`, where there is none.
    Span(u32, u32),
}

/// How examples become inputs.
#[derive(Copy, Clone, Debug)]
pub struct EncodeOptions {
    /// What a model is asked.
    pub task: Task,
    /// The most pieces of an input, those that are added included.
    pub limit: usize,
    /// How many pieces neighbouring windows of a passage share.
    pub doc_stride: usize,
}

impl EncodeOptions {
    /// Inputs of at most `limit` pieces, with the usual stride.
    pub fn new(task: Task, limit: usize) -> Self {
        let doc_stride = SpanRules::default().doc_stride as usize;
        EncodeOptions {
            task,
            limit,
            doc_stride,
        }
    }
}

/// Encodes every example into at most `options.limit` ids. Of two texts, the longer one is cut first;
/// a passage is never cut, but has as many inputs as it needs.
///
/// Runs in rayon's current pool; each thread has memory of its own for the pieces. The result does
/// not depend on the number of threads.
///
/// # Errors
/// If the limit is below 2, or below 3 for two texts, so that not even `[CLS]` and `[SEP]` fit; or
/// below 4 for a passage, which needs a piece.
pub fn encode_all(
    tokenizer: &Tokenizer<'_>,
    options: &EncodeOptions,
    examples: &[Example],
) -> Result<Vec<Encoded>, EncodeError> {
    let limit = options.limit;
    let pieces = || vec![Piece::default(); 2 * limit];
    let rows = examples.par_iter().enumerate();
    let encoded = rows.map_init(pieces, |pieces, (index, example)| {
        let mut encoded = match options.task {
            Task::TokenClassification => vec![words::encode(tokenizer, limit, example, pieces)?],
            Task::QuestionAnswering => questions::encode(tokenizer, options, example)?,
            _ => vec![whole(tokenizer, limit, example, pieces)?],
        };
        for input in &mut encoded {
            input.example = index;
        }
        Ok(encoded)
    });
    let encoded: Vec<Vec<Encoded>> = encoded.collect::<Result<_, _>>()?;
    Ok(encoded.into_iter().flatten().collect())
}

/// An example whose answer is about its text or texts as a whole.
fn whole(
    tokenizer: &Tokenizer<'_>,
    limit: usize,
    example: &Example,
    pieces: &mut [Piece],
) -> Result<Encoded, EncodeError> {
    let pair = example.pair.as_deref();
    let encoding = tokenizer.encode(&example.text, pair, limit, pieces)?;
    Ok(Encoded {
        ids: ids(&pieces[..encoding.len]),
        second: encoding.second,
        truncated: encoding.truncated,
        target: match &example.label {
            Label::Class(class) => Target::Class(*class),
            Label::Set(classes) => Target::Set(classes.clone()),
            Label::Value(value) => Target::Value(*value),
            Label::None | Label::Tags(_) | Label::Answers(_) => Target::None,
        },
        ..Encoded::default()
    })
}

/// How many words of `examples` are asked about in none of the `inputs` that they have become, since
/// they were cut off or have no piece.
pub fn unasked_words(examples: &[Example], inputs: &[Encoded]) -> usize {
    let unasked = |input: &Encoded| match &input.target {
        Target::Classes(classes) => {
            let words = examples.get(input.example);
            let words = words.map_or(0, |example| example.words.len());
            words.saturating_sub(classes.iter().flatten().count())
        }
        _ => 0,
    };
    inputs.iter().map(unasked).sum()
}

fn ids(pieces: &[Piece]) -> Vec<u32> {
    pieces.iter().map(|piece| piece.id).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use berth_wordpiece::layout::{Header, Item, Kind, NONE, PAGE, PAGES};

    const UNK: u32 = 1;
    const CLS: u32 = 2;
    const SEP: u32 = 3;

    /// Tables without a vocabulary: spaces part words, and every word is `[UNK]`.
    pub(crate) fn tables() -> Vec<u8> {
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
            ..Example::default()
        }
    }

    fn texts(limit: usize) -> EncodeOptions {
        let task = Task::TextClassification;
        EncodeOptions::new(task, limit)
    }

    #[test]
    fn the_order_is_that_of_the_examples() {
        let tables = tables();
        let tokenizer = Tokenizer::new(&tables).unwrap();
        let examples: Vec<_> = (0..5000).map(|i| example(i * 7919 % 97, None)).collect();
        let encoded = encode_all(&tokenizer, &texts(64), &examples).unwrap();
        assert_eq!(encoded.len(), examples.len());
        for (index, (example, encoded)) in examples.iter().zip(encoded).enumerate() {
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
                    target: Target::Class(words),
                    example: index,
                    offsets: Vec::new(),
                    shared: 0,
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
        let encoded = encode_all(&tokenizer, &texts(10), &examples).unwrap();
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
            encode_all(&tokenizer, &texts(1), &single),
            Err(EncodeError::Limit { least: 2 })
        );
        assert_eq!(
            encode_all(&tokenizer, &texts(2), &single).unwrap()[0].ids,
            [CLS, SEP]
        );
        let pair = [example(3, Some(1))];
        assert_eq!(
            encode_all(&tokenizer, &texts(2), &pair),
            Err(EncodeError::Limit { least: 3 })
        );
        assert_eq!(encode_all(&tokenizer, &texts(0), &[]), Ok(Vec::new()));
    }
}

//! Examples to what a model reads and should answer, over all cores, in the examples' order.
//!
//! Here are the tasks on whole texts, one input for an example, or windows of a text that is too long for
//! one; [`words`] has tagging. [`questions`] cuts passages into windows. Several inputs of an example come
//! one after the other.

mod questions;
mod words;

use std::ops::Range;

use berth_task::{LongTexts, SpanRules, Task};
use berth_wordpiece::{EncodeError, Piece, TextDivision, Tokenizer};
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
    /// For a window of a text on which there is one answer: how many of the text's pieces it has that no
    /// window before it has.
    pub own: usize,
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
    /// What becomes of texts that are longer, where there is one answer for all of a text.
    pub long_texts: LongTexts,
}

impl EncodeOptions {
    /// Inputs of at most `limit` pieces, with the usual stride; longer texts are cut, as Hugging Face's
    /// example scripts cut them.
    pub fn new(task: Task, limit: usize) -> Self {
        let doc_stride = SpanRules::default().doc_stride as usize;
        EncodeOptions {
            task,
            limit,
            doc_stride,
            long_texts: LongTexts::Cut,
        }
    }
}

/// Encodes every example into at most `options.limit` ids. Of two texts, the longer one is cut first; a
/// passage is never cut, but has as many inputs as it needs, and so has a text where that is wanted.
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
            _ => whole(tokenizer, options, example, pieces)?,
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
    options: &EncodeOptions,
    example: &Example,
    pieces: &mut [Piece],
) -> Result<Vec<Encoded>, EncodeError> {
    let pair = example.pair.as_deref();
    let encoding = tokenizer.encode(&example.text, pair, options.limit, pieces)?;
    let target = match &example.label {
        Label::Class(class) => Target::Class(*class),
        Label::Set(classes) => Target::Set(classes.clone()),
        Label::Value(value) => Target::Value(*value),
        Label::None | Label::Tags(_) | Label::Answers(_) => Target::None,
    };
    if encoding.truncated > 0 && options.long_texts == LongTexts::Windows {
        let windows = windows(tokenizer, options.limit, example, &target)?;
        if !windows.is_empty() {
            return Ok(windows);
        }
    }
    Ok(vec![Encoded {
        ids: ids(&pieces[..encoding.len]),
        second: encoding.second,
        truncated: encoding.truncated,
        target,
        ..Encoded::default()
    }])
}

/// The windows of an example that is too long for one input, as a device reads it; none where an input
/// has no place for any.
fn windows(
    tokenizer: &Tokenizer<'_>,
    limit: usize,
    example: &Example,
    target: &Target,
) -> Result<Vec<Encoded>, EncodeError> {
    let all = |text: &str| tokenizer.stream(text).collect::<Vec<Piece>>();
    let (text, pair) = (all(&example.text), example.pair.as_deref().map(all));
    let division = TextDivision::new(limit, text.len(), pair.as_ref().map(Vec::len));
    let Some(division) = division else {
        return Ok(Vec::new());
    };
    let (windowed, other) = match &pair {
        Some(pair) if division.of_second => (pair, Some(&text)),
        pair => (&text, pair.as_ref()),
    };
    let beside = other.map(|other| &other[..division.kept]);
    let truncated = other.map_or(0, |other| other.len() - division.kept);
    let mut input = vec![Piece::default(); limit];
    let encode = |range: Range<usize>| -> Result<Encoded, EncodeError> {
        let window = &windowed[range.clone()];
        let (first, second) = match beside {
            Some(beside) if division.of_second => (beside, Some(window)),
            beside => (window, beside),
        };
        let encoding = tokenizer.join(first, second, &mut input)?;
        let shared = if range.start == 0 { 0 } else { division.stride };
        Ok(Encoded {
            ids: ids(&input[..encoding.len]),
            second: encoding.second,
            truncated,
            target: target.clone(),
            own: window.len() - shared,
            ..Encoded::default()
        })
    };
    division.windows(windowed.len()).map(encode).collect()
}

/// How many pieces were cut off, of each example of which any was. All inputs of an example tell the same.
pub fn cut_pieces(inputs: &[Encoded]) -> impl Iterator<Item = usize> {
    let examples = inputs.chunk_by(|a, b| a.example == b.example);
    let pieces = examples.map(|inputs| inputs[0].truncated);
    pieces.filter(|&pieces| pieces > 0)
}

/// Of how many examples a piece was cut off.
pub fn cut_examples(inputs: &[Encoded]) -> usize {
    cut_pieces(inputs).count()
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
                    own: 0,
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
    fn a_long_text_has_windows_where_they_are_wanted() {
        let tables = tables();
        let tokenizer = Tokenizer::new(&tables).unwrap();
        let by_windows = EncodeOptions {
            long_texts: LongTexts::Windows,
            ..texts(10)
        };
        let examples = [
            example(8, None),
            example(9, None),
            example(20, Some(2)),
            example(9, Some(30)),
        ];
        let encoded = encode_all(&tokenizer, &by_windows, &examples).unwrap();
        let found: Vec<_> = encoded
            .iter()
            .map(|e| (e.example, e.ids.len(), e.second, e.own, e.truncated))
            .collect();
        let expected = [
            (0, 10, 10, 0, 0),
            // Room for 8 pieces, of which neighbours share 2.
            (1, 10, 10, 8, 0),
            (1, 5, 5, 1, 0),
            // Room for 5 beside the second text, 1 shared: 0..5, 4..9, 8..13, 12..17, 16..20.
            (2, 10, 7, 5, 0),
            (2, 10, 7, 4, 0),
            (2, 10, 7, 4, 0),
            (2, 10, 7, 4, 0),
            (2, 9, 6, 3, 0),
        ];
        assert_eq!(found[..8], expected);
        // The first text keeps half of 7; the second has room for 4, of which 1 is shared.
        let pair = &found[8..];
        assert_eq!(pair[0], (3, 10, 5, 4, 6));
        assert_eq!(pair.iter().map(|window| window.3).sum::<usize>(), 30);
        assert!(
            pair[1..]
                .iter()
                .all(|window| (window.2, window.4) == (5, 6))
        );
        assert_eq!(encoded[7].ids[5..], [SEP, UNK, UNK, SEP]);
        for (input, example) in encoded.iter().map(|e| (e, &examples[e.example])) {
            let Label::Class(words) = example.label else {
                panic!()
            };
            assert_eq!(input.target, Target::Class(words));
        }
        // None has place for a piece: cut, as without.
        let least = EncodeOptions {
            limit: 2,
            ..by_windows
        };
        let cut = encode_all(&tokenizer, &least, &examples[..1]).unwrap();
        assert_eq!((cut.len(), cut[0].truncated), (1, 8));
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

//! Questions: a question beside each window of its passage, `[CLS] question [SEP] window [SEP]`.
//!
//! The windows are those of `run_qa` of Hugging Face's examples (`truncation="only_second"` with a
//! stride), and so are the targets: the first answer's first and last piece where the window has
//! all of it, else `[CLS]`. In one case they are better: an answer that begins at a window's last
//! piece is there too, and not at the padding.

use std::ops::Range;

use berth_wordpiece::{Division, EncodeError, Piece, Tokenizer};

use super::{EncodeOptions, Encoded, Target};
use crate::dataset::{Example, Label};

/// The inputs of a question, one for each window of the passage; at least one.
pub(super) fn encode(
    tokenizer: &Tokenizer<'_>,
    options: &EncodeOptions,
    example: &Example,
) -> Result<Vec<Encoded>, EncodeError> {
    let asked: Vec<Piece> = tokenizer.stream(&example.text).collect();
    let passage = example.pair.as_deref().unwrap_or_default();
    let pieces: Vec<Piece> = tokenizer.stream(passage).collect();
    let least = Division::FEWEST;
    let division = Division::new(options.limit, asked.len(), options.doc_stride);
    let division = division.ok_or(EncodeError::Limit { least })?;
    let question = &asked[..division.question];
    let answer = Answer::of(&example.label);
    let windows = division.windows(pieces.len()).map(|range| {
        let shared = if range.start == 0 { 0 } else { division.stride };
        let mut input = join(tokenizer, question, &pieces[range]);
        input.truncated = asked.len() - question.len();
        input.shared = shared;
        input.target = answer.target(
            &input.offsets[input.second..input.ids.len() - 1],
            input.second,
        );
        input
    });
    Ok(windows.collect())
}

fn join(tokenizer: &Tokenizer<'_>, question: &[Piece], window: &[Piece]) -> Encoded {
    let ids = |pieces: &[Piece]| pieces.iter().map(|piece| piece.id).collect::<Vec<_>>();
    let (cls, sep) = ([tokenizer.cls()], [tokenizer.sep()]);
    let second = question.len() + 2;
    let offsets = window.iter().map(|piece| piece.start..piece.end);
    Encoded {
        ids: [&cls[..], &ids(question), &sep, &ids(window), &sep].concat(),
        second,
        offsets: std::iter::repeat_n(0..0, second)
            .chain(offsets)
            .chain(std::iter::once(0..0))
            .collect(),
        ..Encoded::default()
    }
}

/// What is to be learnt of a question.
enum Answer {
    /// Nothing: it has no label, or one that stands elsewhere than it says.
    Unknown,
    /// That the passage has no answer.
    None,
    /// These bytes of the passage.
    At(Range<usize>),
}

impl Answer {
    /// The first answer that stands where it says.
    fn of(label: &Label) -> Self {
        let Label::Answers(answers) = label else {
            return Answer::Unknown;
        };
        let placed = answers.iter().find_map(|answer| {
            let start = answer.start?;
            Some(start..start + answer.text.len())
        });
        match placed {
            Some(bytes) => Answer::At(bytes),
            None if answers.is_empty() => Answer::None,
            None => Answer::Unknown,
        }
    }

    /// The span in a window whose pieces, from position `first` on, are from these bytes.
    fn target(&self, window: &[Range<u32>], first: usize) -> Target {
        let bytes = match self {
            Answer::Unknown => return Target::None,
            Answer::None => return Target::Span(0, 0),
            Answer::At(bytes) => bytes,
        };
        // The last piece that begins before or with the answer, the first that ends with or behind it.
        let start = window
            .iter()
            .rposition(|piece| piece.start as usize <= bytes.start);
        let end = window
            .iter()
            .position(|piece| piece.end as usize >= bytes.end);
        match (start, end) {
            (Some(start), Some(end)) if start <= end => {
                Target::Span((first + start) as u32, (first + end) as u32)
            }
            _ => Target::Span(0, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tables;
    use super::super::{EncodeOptions, encode_all};
    use super::*;
    use crate::dataset::GoldAnswer;
    use berth_task::Task;

    fn encoded(
        passage: &str,
        answer: Option<(&str, usize)>,
        limit: usize,
        stride: usize,
    ) -> Vec<Encoded> {
        let tables = tables();
        let tokenizer = Tokenizer::new(&tables).unwrap();
        let gold = |(text, start): (&str, usize)| GoldAnswer {
            text: text.to_owned(),
            start: Some(start),
        };
        let example = Example {
            text: "who is".into(),
            pair: Some(passage.into()),
            label: Label::Answers(answer.into_iter().map(gold).collect()),
            ..Example::default()
        };
        let options = EncodeOptions {
            doc_stride: stride,
            ..EncodeOptions::new(Task::QuestionAnswering, limit)
        };
        encode_all(&tokenizer, &options, &[Example::default(), example])
            .unwrap()
            .split_off(1)
    }

    /// The bytes of the passage that the target of each input is from.
    fn targets(inputs: &[Encoded]) -> Vec<Option<(u32, u32)>> {
        let bytes = |input: &Encoded| match input.target {
            Target::Span(0, 0) => None,
            Target::Span(i, j) => Some((
                input.offsets[i as usize].start,
                input.offsets[j as usize].end,
            )),
            _ => panic!(),
        };
        inputs.iter().map(bytes).collect()
    }

    #[test]
    fn windows_overlap_and_know_where_they_are() {
        // Ten words, five a window, two of them shared.
        let inputs = encoded("a b c d e f g h i j", None, 10, 2);
        let starts = |input: &Encoded| {
            input.offsets[4..input.ids.len() - 1]
                .iter()
                .map(|o| o.start / 2)
                .collect::<Vec<_>>()
        };
        let windows: Vec<_> = inputs.iter().map(starts).collect();
        assert_eq!(
            windows,
            [vec![0, 1, 2, 3, 4], vec![3, 4, 5, 6, 7], vec![6, 7, 8, 9]]
        );
        for input in &inputs {
            assert_eq!((input.example, input.second, input.truncated), (1, 4, 0));
            assert_eq!(input.ids.len(), input.offsets.len());
            assert!(input.offsets[..4].iter().all(|offset| *offset == (0..0)));
        }
        assert_eq!(
            inputs.iter().map(|input| input.shared).collect::<Vec<_>>(),
            [0, 2, 2]
        );
    }

    #[test]
    fn an_answer_is_learnt_in_the_windows_that_have_all_of_it() {
        let words = "a b c d e f g h i j";
        let of = |text, start| targets(&encoded(words, Some((text, start)), 10, 2));
        assert_eq!(of("d e", 6), [Some((6, 9)), Some((6, 9)), None]);
        assert_eq!(of("e f", 8), [None, Some((8, 11)), None]);
        // At the last piece of a window, and at the last of all.
        assert_eq!(of("e", 8), [Some((8, 9)), Some((8, 9)), None]);
        assert_eq!(of("j", 18), [None, None, Some((18, 19))]);
        assert_eq!(of(words, 0), [None, None, None]);
        assert_eq!(targets(&encoded(words, None, 10, 2)), [None, None, None]);
    }

    #[test]
    fn an_answer_inside_a_word_is_learnt_as_the_word() {
        assert_eq!(
            targets(&encoded("some words here", Some(("or", 6)), 64, 8)),
            [Some((5, 10))]
        );
        assert_eq!(
            targets(&encoded("some words here", Some(("me wor", 2)), 64, 8)),
            [Some((0, 10))]
        );
    }

    #[test]
    fn nothing_is_learnt_of_an_answer_that_stands_elsewhere() {
        let gold = GoldAnswer {
            text: "x".into(),
            start: None,
        };
        let unknown = Answer::of(&Label::Answers(vec![gold]));
        assert_eq!(unknown.target(&[], 4), Target::None);
    }

    #[test]
    fn an_empty_passage_has_one_window() {
        let inputs = encoded("", None, 10, 2);
        assert_eq!(
            (inputs.len(), inputs[0].ids.len(), inputs[0].second),
            (1, 5, 4)
        );
    }
}

//! Answers to questions: a passage of any length, window by window.
//!
//! A window is as long as the inputs were in training, and so are the windows by which the model
//! was measured: the device answers what the workstation measured. The passage is tokenized as the
//! windows go on; of its pieces, a window's are kept and no more.

use berth_task::{MAX_SPANS, Pair, Span, SpanDecoder, SpanRules, Task, Temperature, Window};
use berth_wordpiece::{Division, EncodeError, Piece, Tokenizer};

use crate::engine::Engine;
use crate::error::QueryError;
use crate::place::Place;
use crate::session::Session;

/// The memory that a passage needs beside the session's own.
#[derive(Default)]
pub(crate) struct Passage {
    /// The logits of the pieces that two windows share.
    shared: Vec<Pair>,
    spans: Box<heapless::Vec<Span, MAX_SPANS>>,
}

impl Passage {
    /// For windows of at most `tokens` pieces.
    pub(crate) fn new(tokens: usize) -> Self {
        Passage {
            shared: vec![[0.0; 2]; tokens],
            spans: Box::default(),
        }
    }
}

/// The parts of a passage that may answer a question, best first.
#[derive(Copy, Clone, Debug)]
pub struct Answers<'s, 't> {
    passage: &'t str,
    spans: &'s [Span],
    /// How many word pieces of the question were cut off, 0 as a rule. Of the passage, none are.
    pub truncated: usize,
}

/// A part of the passage, or none of it.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct SpanAnswer<'t> {
    /// The part, as it is written there; empty where the passage has no answer.
    pub text: &'t str,
    /// The product of the probabilities of its start and its end, from 0 to 1. Scores of answers
    /// from different windows compare; [`berth_task::SpanDecoder`] says over what they are taken.
    pub score: f32,
    /// Where it stands in the passage; 0 throughout where there is no answer.
    pub place: Place,
}

impl<'s, 't> Answers<'s, 't> {
    /// Every answer that was kept, at least one; which one counts stands first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = SpanAnswer<'t>> + use<'s, 't> {
        let passage = self.passage;
        self.spans.iter().map(move |span| {
            let place = Place::of(passage, span.start as usize, span.end as usize);
            SpanAnswer {
                text: &passage[place.start_byte..place.end_byte],
                score: span.score,
                place,
            }
        })
    }

    /// The answer.
    pub fn best(&self) -> SpanAnswer<'t> {
        // There is always one; see `SpanDecoder::rank`.
        self.iter().next().unwrap_or(SpanAnswer {
            text: "",
            score: 0.0,
            place: Place::default(),
        })
    }
}

impl Session {
    /// The part of `passage` that answers `question`, and the next best ones.
    ///
    /// The passage may have any length. A question is cut only where it takes more than three
    /// quarters of an input; how much of it was cut is said. The answers are the session's until its next query;
    /// their texts stay the caller's.
    ///
    /// # Errors
    /// When the model doesn't answer questions, or when the bundle is damaged so that its tokenizer
    /// names words that it has no weights for.
    pub fn answer<'s, 't>(
        &'s mut self,
        question: &str,
        passage: &'t str,
    ) -> Result<Answers<'s, 't>, QueryError> {
        let header = self.model.header();
        let rules = header.spans.ok_or(QueryError::Task(header.task))?;
        let mut reading = Reading {
            tokenizer: self.model.tokenizer(),
            engine: &mut self.engine,
            pieces: &mut self.pieces,
            ids: &mut self.ids,
            limit: header.max_tokens as usize,
            rules,
            temperature: header.temperature(),
        };
        let (decoder, truncated) = reading.read(question, passage, &mut self.passage.shared)?;
        decoder.rank(&mut self.passage.spans);
        Ok(Answers {
            passage,
            spans: &self.passage.spans,
            truncated,
        })
    }

    /// The task, if it is question answering.
    pub(crate) fn answers_questions(&self) -> bool {
        self.model.header().task == Task::QuestionAnswering
    }
}

/// The parts of a session that a passage is read with.
struct Reading<'s> {
    tokenizer: &'s Tokenizer<'s>,
    engine: &'s mut Engine,
    pieces: &'s mut [Piece],
    ids: &'s mut [u32],
    limit: usize,
    rules: SpanRules,
    temperature: Temperature,
}

impl Reading<'_> {
    /// Runs every window of the passage, in the memory that the question's pieces were in before. How
    /// many pieces of the question were cut comes back too.
    fn read(
        &mut self,
        question: &str,
        passage: &str,
        shared: &mut [Pair],
    ) -> Result<(SpanDecoder, usize), QueryError> {
        let asked = &mut self.pieces[..self.limit];
        let count = self.tokenizer.pieces(question, asked);
        let division = Division::new(self.limit, count.total, self.rules.doc_stride as usize);
        let division = division.ok_or(QueryError::Encode(EncodeError::NoRoom))?;
        let Division { room, stride, .. } = division;
        let second = self.frame_question(division.question);

        let mut decoder = SpanDecoder::new(self.rules).at(self.temperature);
        let mut stream = self.tokenizer.stream(passage);
        // One piece more than a window has, to know whether it is the last one.
        let window = &mut self.pieces[..=room];
        let (mut filled, mut before) = (0, 0);
        loop {
            filled += stream.fill(&mut window[filled..]);
            let more = filled > room;
            let len = filled.min(room);
            for (id, piece) in self.ids[second..].iter_mut().zip(&window[..len]) {
                *id = piece.id;
            }
            self.ids[second + len] = self.tokenizer.sep();
            let part = Window {
                logits: self.engine.run(&self.ids[..=second + len], second)?,
                passage: second..second + len,
                before,
                after: if more { stride } else { 0 },
            };
            let bytes = |at: usize| (window[at - second].start, window[at - second].end);
            decoder.window(&part, bytes, shared);
            if !more {
                return Ok((decoder, count.total - division.question));
            }
            window.copy_within(room - stride.., 0);
            (filled, before) = (stride + 1, stride);
        }
    }

    /// Writes `[CLS] question [SEP]` and gives the position behind it.
    fn frame_question(&mut self, pieces: usize) -> usize {
        self.ids[0] = self.tokenizer.cls();
        for (id, piece) in self.ids[1..].iter_mut().zip(&self.pieces[..pieces]) {
            *id = piece.id;
        }
        self.ids[pieces + 1] = self.tokenizer.sep();
        pieces + 2
    }
}

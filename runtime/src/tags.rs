//! The tags of a text: its pieces window by window, put together to words or entities.
//!
//! ```text
//!  text ──► pieces, one stream ──► windows of the model's positions ──► a label for each piece
//!                                   │        overlap        │                  │
//!                          ─────────┼────┤                  │        rows: pieces, words, entities
//!                                        ├──────────────────┼─────
//! ```
//!
//! A text that fits the model is one window. Of a longer one every window begins with the last quarter
//! of the pieces of the one before; of these the first half is answered by the earlier window and the
//! second half by the later one, so that each piece is answered where more of its surroundings are
//! seen. Nothing is cut off, and a text of any length takes the session's own memory alone.

use std::ops::Range;

use berth_encoder::ForwardError;
use berth_task::{Aggregation, Labels, OUTSIDE, Score, Temperature, entity_name, goes_on};
use berth_wordpiece::{Piece, Stream, Tokenizer};

use crate::engine::Engine;
use crate::error::QueryError;
use crate::place::{Place, Ruler};

/// A row of the answer: a piece, a word or an entity, and its label.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Tag<'s, 't> {
    /// The label, as the training file spelt it; of an entity its name, what follows the label's first `-`.
    pub label: &'s str,
    /// The probability of the label; of an entity the mean over its pieces.
    pub score: f32,
    /// The number of the piece or the word in the text, counted from 1; of an entity that of its
    /// first piece.
    pub index: usize,
    /// What stands in the text at `place`.
    pub word: &'t str,
    /// Where it stands.
    pub place: Place,
}

/// The rows of an answer, one after the other, made by [`Session::tag`](crate::Session::tag).
///
/// The model runs while they are taken: a window each time that the rows of the one before are used
/// up. After an error there are no more rows.
pub struct Tags<'s, 't> {
    reader: Reader<'s>,
    labels: &'s Labels,
    text: &'t str,
    ruler: Ruler<'t>,
    words: Words<'s>,
    aggregation: Aggregation,
    open: Option<Row>,
    pieces: usize,
}

/// What was asked: a text, and where its words end if it came split, joined by one space.
pub(crate) struct Asked<'s, 't> {
    pub(crate) text: &'t str,
    pub(crate) ends: Option<&'s [u32]>,
    pub(crate) aggregation: Aggregation,
}

impl<'s, 't> Tags<'s, 't> {
    pub(crate) fn new(memory: Memory<'s>, labels: &'s Labels, asked: Asked<'s, 't>) -> Self
    where
        't: 's,
    {
        let words = match asked.ends {
            Some(ends) => Words::Given { ends, at: 0 },
            None => Words::Found(memory.tokenizer, 0),
        };
        Tags {
            reader: Reader::new(memory, asked.text),
            labels,
            text: asked.text,
            ruler: Ruler::new(asked.text),
            words,
            aggregation: asked.aggregation,
            open: None,
            pieces: 0,
        }
    }

    /// Puts pieces together until a row is done.
    fn row(&mut self) -> Result<Option<Row>, QueryError> {
        while let Some((piece, tag)) = self.reader.next_piece()? {
            self.pieces += 1;
            let next = Row {
                bytes: piece.start as usize..piece.end as usize,
                word: self.words.number(piece),
                piece: self.pieces,
                first: tag,
                last: tag.label,
                scores: tag.score,
                count: 1,
            };
            match &mut self.open {
                Some(open) if joins(self.aggregation, self.labels, open, &next) => open.add(next),
                open => {
                    if let Some(done) = open.replace(next) {
                        return Ok(Some(done));
                    }
                }
            }
        }
        Ok(self.open.take())
    }

    fn tag(&mut self, row: Row) -> Tag<'s, 't> {
        let label = name(self.labels, row.first.label);
        let (label, score, index, bytes) = match self.aggregation {
            Aggregation::None => (label, row.first.score, row.piece, row.bytes),
            Aggregation::First => {
                let bytes = self.words.whole(row.word).unwrap_or(row.bytes);
                (label, row.first.score, row.word, bytes)
            }
            Aggregation::Simple => {
                let mean = row.scores / row.count as f32;
                (entity_name(label), mean, row.piece, row.bytes)
            }
        };
        let place = self.ruler.measure(bytes);
        Tag {
            label,
            score,
            index,
            word: &self.text[place.start_byte..place.end_byte],
            place,
        }
    }
}

impl<'s, 't> Iterator for Tags<'s, 't> {
    type Item = Result<Tag<'s, 't>, QueryError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.row() {
                Ok(None) => return None,
                Err(error) => {
                    self.reader.stop();
                    self.open = None;
                    return Some(Err(error));
                }
                Ok(Some(row)) => {
                    let outside = name(self.labels, row.first.label) == OUTSIDE;
                    if !(self.aggregation == Aggregation::Simple && outside) {
                        return Some(Ok(self.tag(row)));
                    }
                }
            }
        }
    }
}

/// Pieces that belong together.
struct Row {
    bytes: Range<usize>,
    /// Counted from 1.
    word: usize,
    /// The first piece, counted from 1.
    piece: usize,
    first: Score,
    last: u16,
    scores: f32,
    count: u32,
}

impl Row {
    fn add(&mut self, next: Row) {
        self.bytes.end = self.bytes.end.max(next.bytes.end);
        self.last = next.last;
        self.scores += next.scores;
        self.count += 1;
    }
}

/// Whether `next` goes into the row `open`.
fn joins(aggregation: Aggregation, labels: &Labels, open: &Row, next: &Row) -> bool {
    match aggregation {
        Aggregation::None => false,
        Aggregation::First => open.word == next.word,
        Aggregation::Simple => goes_on(name(labels, open.last), name(labels, next.last)),
    }
}

fn name(labels: &Labels, label: u16) -> &str {
    labels.get(usize::from(label)).unwrap_or_default()
}

/// Which word a piece is from.
enum Words<'s> {
    /// As BERT's pre-tokenizer parts the text; so many words were begun.
    Found(&'s Tokenizer<'s>, usize),
    /// As they were given: `at` is the index of the word that was looked at last.
    Given { ends: &'s [u32], at: usize },
}

impl Words<'_> {
    /// The number of the word of the next piece, counted from 1.
    fn number(&mut self, piece: Piece) -> usize {
        match self {
            Words::Found(tokenizer, begun) => {
                *begun += usize::from(*begun == 0 || tokenizer.begins_word(piece.id));
                *begun
            }
            Words::Given { ends, at } => {
                while ends.get(*at).is_some_and(|&end| end <= piece.start) {
                    *at += 1;
                }
                *at + 1
            }
        }
    }

    /// The bytes of a word that was given.
    fn whole(&self, number: usize) -> Option<Range<usize>> {
        let Words::Given { ends, .. } = self else {
            return None;
        };
        let end = *ends.get(number.checked_sub(1)?)? as usize;
        let before = number.checked_sub(2).and_then(|before| ends.get(before));
        Some(before.map_or(0, |&before| before as usize + 1)..end)
    }
}

/// The parts of a session that tagging works with.
pub(crate) struct Memory<'s> {
    pub(crate) tokenizer: &'s Tokenizer<'s>,
    pub(crate) engine: &'s mut Engine,
    /// Places for the pieces of a window, at least as many as positions.
    pub(crate) pieces: &'s mut [Piece],
    /// As many as positions.
    pub(crate) ids: &'s mut [u32],
    /// As many as positions.
    pub(crate) tags: &'s mut [Score],
    /// What the scores are taken at.
    pub(crate) temperature: Temperature,
}

/// Gives the pieces of a text with their labels, running the model window by window.
struct Reader<'s> {
    memory: Memory<'s>,
    stream: Stream<'s, 's>,
    /// The piece behind the window.
    ahead: Option<Piece>,
    /// Pieces in the window.
    len: usize,
    /// The next one to be given, and where the window's answers end.
    at: usize,
    until: usize,
}

impl<'s> Reader<'s> {
    fn new(memory: Memory<'s>, text: &'s str) -> Self {
        let mut stream = memory.tokenizer.stream(text);
        Reader {
            ahead: stream.next(),
            memory,
            stream,
            len: 0,
            at: 0,
            until: 0,
        }
    }

    /// Gives nothing more.
    fn stop(&mut self) {
        (self.ahead, self.until) = (None, self.at);
    }

    fn next_piece(&mut self) -> Result<Option<(Piece, Score)>, QueryError> {
        if self.at == self.until {
            let Some(ahead) = self.ahead.take() else {
                return Ok(None);
            };
            self.slide(ahead);
            self.run()?;
        }
        let (piece, tag) = (self.memory.pieces[self.at], self.memory.tags[self.at]);
        self.at += 1;
        Ok(Some((piece, tag)))
    }

    /// Moves the window on, so that `ahead` is the first new piece in it.
    fn slide(&mut self, ahead: Piece) {
        let room = self.memory.ids.len().saturating_sub(2).max(1);
        let overlap = self.len.min(room / 4);
        let pieces = &mut self.memory.pieces[..room];
        pieces.copy_within(self.len - overlap..self.len, 0);
        pieces[overlap] = ahead;
        self.len = overlap + 1 + self.stream.fill(&mut pieces[overlap + 1..]);
        self.ahead = self.stream.next();
        self.at = overlap / 2;
        self.until = match self.ahead {
            Some(_) => self.len - room / 4 + room / 4 / 2,
            None => self.len,
        };
    }

    /// Labels the pieces of the window.
    fn run(&mut self) -> Result<(), QueryError> {
        let Memory {
            tokenizer,
            engine,
            pieces,
            ids,
            tags,
            temperature,
        } = &mut self.memory;
        let tokens = self.len + 2;
        let most = ids.len();
        let Some(ids) = ids.get_mut(..tokens) else {
            // Of a model without place for one piece between the added tokens.
            let error = ForwardError::TooManyTokens { tokens, most };
            return Err(QueryError::Forward(error));
        };
        ids[0] = tokenizer.cls();
        for (id, piece) in ids[1..].iter_mut().zip(&pieces[..self.len]) {
            *id = piece.id;
        }
        ids[tokens - 1] = tokenizer.sep();
        let logits = engine.run(ids, tokens)?;
        let outputs = logits.len() / tokens;
        let rows = logits.chunks_exact(outputs.max(1)).skip(1);
        for (tag, row) in tags[..self.len].iter_mut().zip(rows) {
            *tag = berth_task::tag(row, *temperature);
        }
        Ok(())
    }
}

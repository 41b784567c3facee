//! One answer about one text or two: from one input, or from windows of a text that is too long for one.
//!
//! ```text
//!  text, pair ──► one input ──────────────────────────────────► logits
//!        │                                                        ▲
//!        └─ longer than the model's positions ──► windows ──► Merge
//! ```
//!
//! How texts are divided is [`TextDivision`]'s to say, and what windows say together [`Merge`]'s; on the
//! workstation the same two make the rows that a model is measured on.

use berth_task::{LongTexts, Merge, Task};
use berth_wordpiece::{Encoding, Piece, TextDivision, Tokenizer};

use crate::engine::Engine;
use crate::error::QueryError;
use crate::session::Logits;

/// The parts of a session that whole texts are read with.
pub(crate) struct Reading<'s> {
    pub(crate) task: Task,
    pub(crate) long_texts: LongTexts,
    pub(crate) tokenizer: &'s Tokenizer<'s>,
    pub(crate) engine: &'s mut Engine,
    /// Twice as many as positions.
    pub(crate) pieces: &'s mut [Piece],
    /// As many as positions.
    pub(crate) ids: &'s mut [u32],
    pub(crate) merge: &'s mut Merge,
}

/// A text that is read by windows, and the text beside them.
struct Long<'t> {
    division: TextDivision,
    windowed: &'t str,
    other: Option<&'t str>,
}

impl<'s> Reading<'s> {
    /// The head's outputs.
    pub(crate) fn logits(self, text: &str, pair: Option<&str>) -> Result<Logits<'s>, QueryError> {
        match (self.task.takes_pair(), pair) {
            (true, None) => return Err(QueryError::PairMissing),
            (false, Some(_)) => return Err(QueryError::PairUnwanted),
            _ => {}
        }
        let limit = self.ids.len();
        let encoding = self.tokenizer.encode(text, pair, limit, self.pieces);
        let encoding = encoding.map_err(QueryError::Encode)?;
        if encoding.truncated > 0
            && let Some(long) = self.divide(text, pair)
        {
            return self.by_windows(&long);
        }
        let Encoding {
            len,
            second,
            truncated,
        } = encoding;
        for (id, piece) in self.ids.iter_mut().zip(&self.pieces[..len]) {
            *id = piece.id;
        }
        Ok(Logits {
            values: self.engine.run(&self.ids[..len], second)?,
            truncated,
            windows: 1,
        })
    }

    /// How texts that are too long for one input are divided, if they are to be.
    fn divide<'t>(&self, text: &'t str, pair: Option<&'t str>) -> Option<Long<'t>> {
        if self.long_texts == LongTexts::Cut || !self.task.reads_first_row_only() {
            return None;
        }
        let count = |text: &str| self.tokenizer.pieces(text, &mut []).total;
        let division = TextDivision::new(self.ids.len(), count(text), pair.map(count))?;
        let (windowed, other) = match pair {
            Some(pair) if division.of_second => (pair, Some(text)),
            pair => (text, pair),
        };
        Some(Long {
            division,
            windowed,
            other,
        })
    }

    /// Runs every window, and puts together what they say.
    fn by_windows(self, long: &Long<'_>) -> Result<Logits<'s>, QueryError> {
        let TextDivision {
            of_second,
            kept,
            room,
            stride,
        } = long.division;
        let (window, beside) = self.pieces.split_at_mut(self.ids.len());
        let beside = &mut beside[..kept];
        let other = long.other.map(|other| self.tokenizer.pieces(other, beside));
        let mut stream = self.tokenizer.stream(long.windowed);
        // One piece more than a window has, to know whether it is the last one.
        let window = &mut window[..=room];
        let (mut filled, mut shared, mut windows) = (0, 0, 0);
        self.merge.clear();
        loop {
            filled += stream.fill(&mut window[filled..]);
            let more = filled > room;
            let part = &window[..filled.min(room)];
            let beside = other.map(|_| &*beside);
            let (first, second) = match beside {
                Some(beside) if of_second => (beside, Some(part)),
                beside => (part, beside),
            };
            let (len, types) = frame(self.tokenizer, first, second, self.ids);
            let logits = self.engine.run(&self.ids[..len], types)?;
            self.merge.add(logits, part.len() - shared);
            windows += 1;
            if !more {
                break;
            }
            window.copy_within(room - stride.., 0);
            (filled, shared) = (stride + 1, stride);
        }
        Ok(Logits {
            values: self.merge.logits(),
            truncated: other.map_or(0, |other| other.total - kept),
            windows,
        })
    }
}

/// Writes `[CLS] first [SEP]` or `[CLS] first [SEP] second [SEP]`; how many ids these are, and where the
/// second text begins.
fn frame(
    tokenizer: &Tokenizer<'_>,
    first: &[Piece],
    second: Option<&[Piece]>,
    ids: &mut [u32],
) -> (usize, usize) {
    let mut len = 0;
    let mut put = |id: u32| {
        ids[len] = id;
        len += 1;
    };
    put(tokenizer.cls());
    first.iter().for_each(|piece| put(piece.id));
    put(tokenizer.sep());
    if let Some(second) = second {
        second.iter().for_each(|piece| put(piece.id));
        put(tokenizer.sep());
    }
    (len, first.len() + 2)
}

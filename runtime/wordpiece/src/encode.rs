//! One text or two as the encoder reads them: cut to a limit, `[CLS] a [SEP] b [SEP]`.

use core::fmt;

use crate::piece::Piece;
use crate::tables::Tokenizer;

/// Which text loses pieces where two are longer than the limit.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Truncation {
    /// The longer one, until both are equally long; then both.
    #[default]
    LongestFirst,
    /// The second alone: a passage, so that the question stays whole.
    OnlySecond,
}

/// What [`Tokenizer::encode`] wrote.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// How many pieces were written, the added ones included.
    pub len: usize,
    /// The first position whose token type is 1: where the second text begins. Equal to `len`
    /// where there is none.
    pub second: usize,
    /// How many pieces of the texts were left out.
    pub truncated: usize,
}

/// Why texts were not encoded.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The limit has no place even for the tokens that are added.
    Limit {
        /// The smallest limit for this input.
        least: usize,
    },
    /// The caller's memory is too small.
    Capacity {
        /// The number of pieces that it must hold.
        needed: usize,
    },
    /// Only the second text may be cut, and the first leaves it no place, or there is no second.
    NoRoom,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncodeError::Limit { least } => write!(
                f,
                "a limit below {least} pieces has no place for [CLS] and [SEP]"
            ),
            EncodeError::Capacity { needed } => write!(f, "memory for fewer than {needed} pieces"),
            EncodeError::NoRoom => write!(f, "the first text alone is longer than the limit"),
        }
    }
}

impl core::error::Error for EncodeError {}

impl Tokenizer<'_> {
    /// Encodes `text`, and `pair` if there is one, into at most `limit` pieces; the longer text is
    /// cut first.
    ///
    /// `out` must have twice as many places as `limit`; what is behind the encoding is scratch.
    /// Offsets are bytes of the text that a piece is from.
    ///
    /// # Errors
    /// [`EncodeError::Limit`] when `limit` has no place for the added tokens, and
    /// [`EncodeError::Capacity`] when `out` is too short.
    pub fn encode(
        &self,
        text: &str,
        pair: Option<&str>,
        limit: usize,
        out: &mut [Piece],
    ) -> Result<Encoding, EncodeError> {
        self.encode_cutting(text, pair, limit, Truncation::LongestFirst, out)
    }

    /// Like [`encode`](Self::encode), with a say in which text is cut.
    ///
    /// # Errors
    /// Those of [`encode`](Self::encode), and [`EncodeError::NoRoom`] when only the second text may be
    /// cut and that is not enough.
    pub fn encode_cutting(
        &self,
        text: &str,
        pair: Option<&str>,
        limit: usize,
        truncation: Truncation,
        out: &mut [Piece],
    ) -> Result<Encoding, EncodeError> {
        let added = added_tokens(pair.is_some());
        let room = limit
            .checked_sub(added)
            .ok_or(EncodeError::Limit { least: added })?;
        let needed = limit.saturating_add(if pair.is_some() { room } else { 0 });
        let capacity = EncodeError::Capacity { needed };
        let places = out.get_mut(1..=room).ok_or(capacity)?;
        let first = self.pieces(text, places).total;
        let second = match pair {
            Some(pair) => {
                let places = out.get_mut(limit..needed).ok_or(capacity)?;
                self.pieces(pair, places).total
            }
            None => 0,
        };
        let (a, b) = match (truncation, pair) {
            (_, None) if first <= room => (first, 0),
            (Truncation::LongestFirst, None) => (room, 0),
            (Truncation::LongestFirst, Some(_)) => longest_first(first, second, room),
            (Truncation::OnlySecond, _) => only_second(first, second, room)?,
        };
        let (out, scratch) = out.split_at_mut_checked(limit).ok_or(capacity)?;
        copy(scratch.get(..b).unwrap_or_default(), out, a + 2);
        let truncated = first + second - a - b;
        Ok(Encoding {
            truncated,
            ..self.frame(a, pair.map(|_| b), out)
        })
    }

    /// Puts pieces that were made before between the added tokens: `[CLS] a [SEP] b [SEP]`.
    ///
    /// This is how a [window](crate::Windows) of a passage becomes an input.
    ///
    /// # Errors
    /// [`EncodeError::Capacity`] when `out` is shorter than the pieces and the added tokens together.
    pub fn join(
        &self,
        first: &[Piece],
        second: Option<&[Piece]>,
        out: &mut [Piece],
    ) -> Result<Encoding, EncodeError> {
        let needed =
            first.len() + second.map_or(0, <[Piece]>::len) + added_tokens(second.is_some());
        let out = out
            .get_mut(..needed)
            .ok_or(EncodeError::Capacity { needed })?;
        copy(first, out, 1);
        copy(second.unwrap_or_default(), out, first.len() + 2);
        Ok(self.frame(first.len(), second.map(<[Piece]>::len), out))
    }

    /// Writes the added tokens around `a` pieces at 1, and `b` pieces at `a + 2`.
    fn frame(&self, a: usize, b: Option<usize>, out: &mut [Piece]) -> Encoding {
        let mut put = |at: usize, id: u32| {
            if let Some(place) = out.get_mut(at) {
                *place = Piece {
                    id,
                    start: 0,
                    end: 0,
                };
            }
        };
        put(0, self.cls());
        put(a + 1, self.sep());
        let second = a + 2;
        let len = match b {
            Some(b) => {
                put(second + b, self.sep());
                second + b + 1
            }
            None => second,
        };
        Encoding {
            len,
            second,
            truncated: 0,
        }
    }
}

/// Writes `pieces` to `out` from the place `at` on.
fn copy(pieces: &[Piece], out: &mut [Piece], at: usize) {
    for (place, piece) in out.iter_mut().skip(at).zip(pieces) {
        *place = *piece;
    }
}

fn added_tokens(pair: bool) -> usize {
    if pair { 3 } else { 2 }
}

/// How many pieces each text keeps. Where both are longer than half of an odd room, the longer one
/// has the odd piece; of two that are equally long the second.
fn longest_first(first: usize, second: usize, room: usize) -> (usize, usize) {
    if first + second <= room {
        return (first, second);
    }
    let shorter = first.min(second).min(room / 2);
    let longer = room - shorter;
    if first > second {
        (longer, shorter)
    } else {
        (shorter, longer)
    }
}

/// How many pieces each text keeps when the first must stay whole.
fn only_second(first: usize, second: usize, room: usize) -> Result<(usize, usize), EncodeError> {
    if first + second <= room {
        return Ok((first, second));
    }
    let left = room.saturating_sub(first);
    if left == 0 || second == 0 {
        Err(EncodeError::NoRoom)
    } else {
        Ok((first, left))
    }
}

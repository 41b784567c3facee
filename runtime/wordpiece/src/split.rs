//! Words to pieces: from the front, always the longest that the vocabulary has.

use crate::layout::{hash_byte, hash_start};
use crate::piece::Piece;
use crate::tables::{MAX_WORD_BYTES, MAX_WORD_CHARS, Tokenizer};
use crate::words::{Found, Word, Words};

/// How many pieces a text has.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// As many as were written.
    pub kept: usize,
    /// As many as the whole text has.
    pub total: usize,
}

impl<'t> Tokenizer<'t> {
    /// Writes the pieces of `text` to `out`, as many as fit, and counts all of them.
    ///
    /// No token is added around them; special tokens that are written in the text are found.
    /// Offsets are bytes of `text`, of which at most the first 4 GiB are read.
    pub fn pieces(&self, text: &str, out: &mut [Piece]) -> Count {
        let mut stream = self.stream(text);
        let kept = stream.fill(out);
        Count {
            kept,
            total: kept + stream.count(),
        }
    }

    /// The pieces of `text` one by one, for those who want them window by window.
    pub fn stream<'a>(&'a self, text: &'a str) -> Stream<'t, 'a> {
        Stream {
            words: Words::new(self, text),
            word: Word::EMPTY,
            split: Split::default(),
            given: 0,
        }
    }
}

/// The pieces of a text, in order. Made by [`Tokenizer::stream`].
///
/// Takes about five kilobytes, and none from an allocator.
#[derive(Clone, Debug)]
pub struct Stream<'t, 'a> {
    words: Words<'t, 'a>,
    word: Word,
    split: Split,
    given: usize,
}

impl Stream<'_, '_> {
    /// Writes the next pieces to `out` until it is full or the text ends; gives their number.
    pub fn fill(&mut self, out: &mut [Piece]) -> usize {
        let mut filled = 0;
        while filled < out.len() && self.has_pieces() {
            let rest = self.rest();
            let count = rest.len().min(out.len() - filled);
            for (place, piece) in out.iter_mut().skip(filled).zip(rest) {
                *place = *piece;
            }
            self.given += count;
            filled += count;
        }
        filled
    }

    /// The pieces of the current word that have not been given out.
    fn rest(&self) -> &[Piece] {
        self.split
            .pieces
            .get(self.given..self.split.len)
            .unwrap_or_default()
    }

    /// Whether there is a piece to give out, after going to the next word where it is needed.
    fn has_pieces(&mut self) -> bool {
        self.given < self.split.len || self.next_word()
    }

    fn next_word(&mut self) -> bool {
        self.given = 0;
        match self.words.next(&mut self.word) {
            Found::Word => self.split.split(self.words.tokenizer, &self.word),
            Found::Special(piece) => self.split.special(piece),
            Found::End => self.split.len = 0,
        }
        self.split.len > 0
    }
}

impl Iterator for Stream<'_, '_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if !self.has_pieces() {
            return None;
        }
        let piece = self.rest().first().copied();
        self.given += 1;
        piece
    }

    fn count(mut self) -> usize {
        let mut total = self.rest().len();
        while self.next_word() {
            total += self.split.len;
        }
        total
    }
}

/// The pieces of one word. A word never has more pieces than characters.
#[derive(Clone, Debug)]
struct Split {
    pieces: [Piece; MAX_WORD_CHARS],
    len: usize,
    /// Scratch for [`longest`].
    hashes: [u32; MAX_WORD_BYTES],
}

impl Default for Split {
    fn default() -> Self {
        Split {
            pieces: [Piece {
                id: 0,
                start: 0,
                end: 0,
            }; MAX_WORD_CHARS],
            len: 0,
            hashes: [0; MAX_WORD_BYTES],
        }
    }
}

impl Split {
    fn special(&mut self, piece: Piece) {
        self.len = 0;
        self.push(piece);
    }

    /// Splits `word`; one unknown piece if it is too long or has a part that no piece begins.
    fn split(&mut self, tokenizer: &Tokenizer<'_>, word: &Word) {
        self.len = 0;
        let end = word.bytes().len();
        let mut start = 0;
        let mut known = !word.too_long();
        while known && start < end {
            match longest(tokenizer, word.bytes(), start, &mut self.hashes) {
                Some((id, stop)) => {
                    let source = word.source(start, stop);
                    self.push(Piece {
                        id,
                        start: source.start,
                        end: source.end,
                    });
                    start = stop;
                }
                None => known = false,
            }
        }
        if !known {
            self.len = 0;
            let source = word.whole();
            self.push(Piece {
                id: tokenizer.unk(),
                start: source.start,
                end: source.end,
            });
        }
    }

    fn push(&mut self, piece: Piece) {
        if let Some(place) = self.pieces.get_mut(self.len) {
            *place = piece;
            self.len += 1;
        }
    }
}

/// The longest piece that `word[start..]` begins with: its id and where it ends.
///
/// The hashes of all beginnings come out of one pass over the bytes; they are looked up from the
/// longest to the shortest, and most words are found at once.
fn longest(
    tokenizer: &Tokenizer<'_>,
    word: &[u8],
    start: usize,
    hashes: &mut [u32],
) -> Option<(u32, usize)> {
    let continues = start > 0;
    let rest = word.get(start..)?;
    let mut hash = hash_start(continues);
    let mut length = 0;
    for (place, &byte) in hashes
        .iter_mut()
        .zip(rest.iter().take(tokenizer.piece_bytes()))
    {
        hash = hash_byte(hash, byte);
        *place = hash;
        length += 1;
    }
    while length > 0 {
        let ends_char = rest.get(length).is_none_or(|&byte| byte & 0xC0 != 0x80);
        if ends_char
            && let Some(&hash) = hashes.get(length - 1)
            && let Some(id) = tokenizer.find(hash, continues, rest.get(..length)?)
        {
            return Some((id, start + length));
        }
        length -= 1;
    }
    None
}

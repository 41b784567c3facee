//! Normalized words, one after the other, each byte with the source bytes that it is from.
//!
//! A BERT tokenizer cleans the whole text, decomposes it, strips accents, lowers it and splits it
//! at spaces and around punctuation. All of that is a matter of single characters, so it is done
//! here in one walk over the text, from one table entry to the next. The one thing that is not, the
//! canonical ordering of marks, is left to [`order`](crate::order).

use crate::layout::{self, Item, Kind};
use crate::piece::Piece;
use crate::tables::{MAX_WORD_BYTES, Tokenizer};

/// A range of bytes in the source text.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Source {
    pub start: u32,
    pub end: u32,
}

/// A normalized word, and where each of its bytes is from.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    bytes: [u8; MAX_WORD_BYTES],
    sources: [Source; MAX_WORD_BYTES],
    len: usize,
    chars: usize,
    whole: Source,
    too_long: bool,
}

impl Word {
    pub const EMPTY: Word = Word {
        bytes: [0; MAX_WORD_BYTES],
        sources: [Source { start: 0, end: 0 }; MAX_WORD_BYTES],
        len: 0,
        chars: 0,
        whole: Source { start: 0, end: 0 },
        too_long: false,
    };

    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The source of the bytes `start..end`, which are whole characters.
    pub fn source(&self, start: usize, end: usize) -> Source {
        let first = self.sources.get(start).copied().unwrap_or_default();
        let last = self
            .sources
            .get(end.wrapping_sub(1))
            .copied()
            .unwrap_or_default();
        Source {
            start: first.start,
            end: last.end,
        }
    }

    /// The source of the whole word, also of what didn't fit.
    pub fn whole(&self) -> Source {
        self.whole
    }

    /// Whether characters are missing, since there are more than a word may have.
    pub fn too_long(&self) -> bool {
        self.too_long
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0 && !self.too_long
    }

    fn clear(&mut self) {
        self.len = 0;
        self.chars = 0;
        self.too_long = false;
    }

    /// Puts `c` at the end; only notes that it was there if the word has `limit` characters.
    pub fn push(&mut self, c: char, source: Source, limit: usize) {
        if self.is_empty() {
            self.whole.start = source.start;
        }
        self.whole.end = source.end;
        if self.chars >= limit {
            self.too_long = true;
            return;
        }
        let mut utf8 = [0; 4];
        for &byte in c.encode_utf8(&mut utf8).as_bytes() {
            self.push_byte(byte, source);
        }
        self.chars += 1;
    }

    #[inline]
    fn push_byte(&mut self, byte: u8, source: Source) {
        if let (Some(place), Some(from)) =
            (self.bytes.get_mut(self.len), self.sources.get_mut(self.len))
        {
            *place = byte;
            *from = source;
            self.len += 1;
        }
    }
}

/// What comes next in a text.
pub(crate) enum Found {
    /// A word; it has been written to the caller's [`Word`].
    Word,
    /// A special token that is written in the text.
    Special(Piece),
    /// Nothing more.
    End,
}

/// A place in the text: the character at byte `at`, and which of its items.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub at: usize,
    pub item: usize,
}

/// One item of a text, the character that it is from, and the place after it.
pub(crate) struct Step {
    pub item: Item,
    pub becomes: char,
    pub source: Source,
    pub next: Spot,
}

/// Walks over a text from word to word.
#[derive(Clone, Debug)]
pub(crate) struct Words<'t, 'a> {
    pub tokenizer: &'a Tokenizer<'t>,
    text: &'a str,
    spot: Spot,
    /// The text between two special tokens, which is normalized by itself, is `start..stop`.
    start: usize,
    stop: usize,
    special: Option<Piece>,
}

impl<'t, 'a> Words<'t, 'a> {
    pub fn new(tokenizer: &'a Tokenizer<'t>, text: &'a str) -> Self {
        let readable = text.floor_char_boundary(u32::MAX as usize);
        let mut words = Words {
            tokenizer,
            text: text.get(..readable).unwrap_or_default(),
            spot: Spot { at: 0, item: 0 },
            start: 0,
            stop: 0,
            special: None,
        };
        words.enter_segment(0);
        words
    }

    /// Finds the next word and writes it to `word`.
    pub fn next(&mut self, word: &mut Word) -> Found {
        word.clear();
        loop {
            self.take_letters(word);
            let Some(step) = self.step(self.spot) else {
                return self.leave_segment(word);
            };
            match step.item.kind {
                Kind::Letter if step.item.rank > 0 => {
                    self.spot = self.push_ordered(word, self.spot)
                }
                Kind::Letter => {
                    word.push(step.becomes, step.source, self.tokenizer.word_chars());
                    self.spot = step.next;
                }
                Kind::Space | Kind::Alone if !word.is_empty() => return Found::Word,
                Kind::Alone => {
                    word.push(step.becomes, step.source, self.tokenizer.word_chars());
                    self.spot = step.next;
                    return Found::Word;
                }
                _ => self.spot = step.next,
            }
        }
    }

    /// Where the segment that is being read begins.
    pub fn segment_start(&self) -> usize {
        self.start
    }

    /// The character before the byte `at` of this segment.
    pub fn char_before(&self, at: usize) -> Option<char> {
        self.text.get(self.start..at)?.chars().next_back()
    }

    /// What stands at `spot`; `None` at the end of the segment.
    pub fn step(&self, spot: Spot) -> Option<Step> {
        let c = self.text.get(spot.at..self.stop)?.chars().next()?;
        let after = spot.at + c.len_utf8();
        let source = Source {
            start: spot.at as u32,
            end: after as u32,
        };
        let entry = self.tokenizer.entry(c);
        let (item, count) = match entry.kind {
            Kind::Sequence => (
                self.tokenizer.item(entry.value as usize + spot.item),
                entry.rank as usize,
            ),
            Kind::Hangul => {
                let value = layout::hangul_letter(c, spot.item);
                (
                    Item {
                        kind: Kind::Letter,
                        rank: 0,
                        added: spot.item > 0,
                        value,
                    },
                    layout::hangul_letters(c),
                )
            }
            _ => (entry, 1),
        };
        let becomes = if item.value == 0 {
            c
        } else {
            char::from_u32(item.value).unwrap_or(c)
        };
        let next = if spot.item + 1 < count {
            Spot {
                at: spot.at,
                item: spot.item + 1,
            }
        } else {
            Spot { at: after, item: 0 }
        };
        Some(Step {
            item,
            becomes,
            source,
            next,
        })
    }

    /// The quick way: ASCII letters, up to the first byte that is anything else.
    #[inline]
    fn take_letters(&mut self, word: &mut Word) {
        if self.spot.item != 0 {
            return;
        }
        let rest = self
            .text
            .as_bytes()
            .get(self.spot.at..self.stop)
            .unwrap_or_default();
        let room = self.tokenizer.word_chars().saturating_sub(word.chars);
        let mut at = self.spot.at as u32;
        for &byte in rest.iter().take(room) {
            let letter = self.tokenizer.ascii_letter(byte);
            if letter == 0 {
                break;
            }
            word.push_byte(
                letter,
                Source {
                    start: at,
                    end: at + 1,
                },
            );
            at += 1;
        }
        let taken = at as usize - self.spot.at;
        if taken > 0 {
            if word.chars == 0 {
                word.whole.start = self.spot.at as u32;
            }
            word.whole.end = at;
            word.chars += taken;
            self.spot.at += taken;
        }
    }

    fn enter_segment(&mut self, at: usize) {
        self.special = self.tokenizer.next_special(self.text, at);
        self.start = at;
        self.stop = self
            .special
            .map_or(self.text.len(), |special| special.start as usize);
        self.spot = Spot { at, item: 0 };
    }

    /// At the end of a segment: the word, if there is one; else the special token behind it.
    fn leave_segment(&mut self, word: &Word) -> Found {
        if !word.is_empty() {
            return Found::Word;
        }
        match self.special.take() {
            Some(special) => {
                self.enter_segment(special.end as usize);
                Found::Special(special)
            }
            None => Found::End,
        }
    }
}

//! The tables, checked once, and the few questions that the rest of the crate asks them.

use core::fmt;

use crate::layout::{self, Header, Item, Kind, NONE, PAGE, PAGES, RECORD_HEAD, SAMPLE, Section};
use crate::piece::Piece;

/// The most characters that a word may have before it is unknown; every published BERT has 100.
pub const MAX_WORD_CHARS: usize = 100;

/// A character has at most four bytes.
pub(crate) const MAX_WORD_BYTES: usize = MAX_WORD_CHARS * 4;

/// Why bytes are not tables that this crate can use.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum TableError {
    /// They don't begin as tables do.
    NotTables,
    /// They are of another version of the layout.
    Version(u32),
    /// They are shorter or longer than they say.
    Length {
        /// The length that the header asks for.
        expected: usize,
        /// The length that is there.
        found: usize,
    },
    /// A section's length doesn't fit what it holds.
    Section(Section),
    /// Words may be longer than [`MAX_WORD_CHARS`], or pieces longer than a word.
    WordLength,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TableError::NotTables => write!(f, "these bytes are no tokenizer tables"),
            TableError::Version(found) => write!(
                f,
                "tokenizer tables of version {found}; this program reads version {}",
                layout::VERSION
            ),
            TableError::Length { expected, found } => write!(
                f,
                "tokenizer tables of {found} bytes that should be {expected}"
            ),
            TableError::Section(section) => write!(
                f,
                "the section {section:?} of the tokenizer tables has an impossible length"
            ),
            TableError::WordLength => write!(
                f,
                "the tokenizer tables ask for words of more than {MAX_WORD_CHARS} characters"
            ),
        }
    }
}

impl core::error::Error for TableError {}

/// A piece of the vocabulary as it is printed, `##` included.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct PieceText<'t> {
    /// Whether it continues a word.
    pub continues: bool,
    /// The text, without `##`.
    pub text: &'t str,
}

impl fmt::Display for PieceText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.continues { "##" } else { "" })?;
        f.write_str(self.text)
    }
}

/// A BERT tokenizer over tables in the caller's memory.
#[derive(Clone, Debug)]
pub struct Tokenizer<'t> {
    header: Header,
    pages: &'t [u8],
    entries: &'t [u8],
    items: &'t [u8],
    slots: &'t [u8],
    records: &'t [u8],
    samples: &'t [u8],
    specials: &'t [u8],
    /// For ASCII characters that become one ASCII letter of a word: that letter; else 0.
    letters: [u8; 128],
    /// Whether a special token begins with this byte.
    openers: [bool; 256],
}

impl<'t> Tokenizer<'t> {
    /// Reads tables; checks their structure and copies nothing but a few hundred bytes.
    ///
    /// # Errors
    /// When the bytes are no tables, are of another version or length, have a section of an impossible
    /// length, or ask for longer words or pieces than this crate can hold.
    pub fn new(tables: &'t [u8]) -> Result<Self, TableError> {
        let (version, length, header) = Header::from_bytes(tables).ok_or(TableError::NotTables)?;
        if version != layout::VERSION {
            return Err(TableError::Version(version));
        }
        let expected = header.total();
        if tables.len() != expected || length as usize != expected {
            return Err(TableError::Length {
                expected,
                found: tables.len(),
            });
        }
        check_lengths(&header)?;
        let section = |section| {
            let (start, end) = header.place(section);
            tables.get(start..end).unwrap_or_default()
        };
        let mut tokenizer = Tokenizer {
            pages: section(Section::Pages),
            entries: section(Section::Entries),
            items: section(Section::Items),
            slots: section(Section::Slots),
            records: section(Section::Records),
            samples: section(Section::Samples),
            specials: section(Section::Specials),
            letters: [0; 128],
            openers: [false; 256],
            header,
        };
        tokenizer.note_letters();
        tokenizer.note_openers();
        Ok(tokenizer)
    }

    /// Every id that an encoding can have is below this: those of the vocabulary and of tokens that
    /// were added to it, and what [`unk`](Self::unk), [`cls`](Self::cls), [`sep`](Self::sep) and
    /// [`pad`](Self::pad) give.
    pub fn ids(&self) -> u32 {
        let specials = Records {
            bytes: self.specials,
            at: 0,
        };
        let named = [self.unk(), self.cls(), self.sep()]
            .into_iter()
            .chain(self.pad());
        let last = specials
            .map(|(id, _)| id & !layout::CONTINUES)
            .chain(named)
            .max()
            .unwrap_or(0);
        self.header.ids.max(last.saturating_add(1))
    }

    /// The id of words without pieces, `[UNK]`.
    pub fn unk(&self) -> u32 {
        self.header.unk
    }

    /// The id that [`encode`](Self::encode) puts first, `[CLS]`.
    pub fn cls(&self) -> u32 {
        self.header.cls
    }

    /// The id that [`encode`](Self::encode) puts after each text, `[SEP]`.
    pub fn sep(&self) -> u32 {
        self.header.sep
    }

    /// The padding id, `[PAD]`. Nothing here pads.
    pub fn pad(&self) -> Option<u32> {
        (self.header.pad != NONE).then_some(self.header.pad)
    }

    /// The text of a piece, for printing; `None` for an id that has none.
    pub fn piece_text(&self, id: u32) -> Option<PieceText<'t>> {
        let special = Records {
            bytes: self.specials,
            at: 0,
        }
        .find(|&(found, _)| found == id);
        let (found, bytes) = match special {
            Some(special) => special,
            None => self.record(id)?,
        };
        Some(PieceText {
            continues: found & layout::CONTINUES != 0,
            text: core::str::from_utf8(bytes).ok()?,
        })
    }

    /// Whether a piece with this id begins a word: everything does but the `##` pieces.
    ///
    /// "Word" is what BERT's pre-tokenizer calls one: `can't` is three, and each Chinese character
    /// is one.
    pub fn begins_word(&self, id: u32) -> bool {
        self.record(id)
            .is_none_or(|(found, _)| found & layout::CONTINUES == 0)
    }

    pub(crate) fn word_chars(&self) -> usize {
        self.header.word_chars as usize
    }

    pub(crate) fn piece_bytes(&self) -> usize {
        self.header.piece_bytes as usize
    }

    /// What an ASCII character becomes in the middle of a word, if it is that simple; else 0.
    #[inline]
    pub(crate) fn ascii_letter(&self, byte: u8) -> u8 {
        self.letters.get(byte as usize).copied().unwrap_or(0)
    }

    /// What becomes of `c`.
    #[inline]
    pub(crate) fn entry(&self, c: char) -> Item {
        let c = c as usize;
        let entry = layout::read_u16(self.pages, c / PAGE)
            .and_then(|page| layout::read_u32(self.entries, page as usize * PAGE + c % PAGE));
        Item::unpack(entry.unwrap_or(Kind::Gone as u32))
    }

    /// The item at `index` of the section Items.
    #[inline]
    pub(crate) fn item(&self, index: usize) -> Item {
        Item::unpack(layout::read_u32(self.items, index).unwrap_or(Kind::Gone as u32))
    }

    /// The id of the piece `text`, whose bytes have this hash.
    #[inline]
    pub(crate) fn find(&self, hash: u32, continues: bool, text: &[u8]) -> Option<u32> {
        let slots = self.slots.len() / 4;
        let mut slot = layout::first_slot(hash, slots);
        for _ in 0..=self.header.probes {
            let entry = layout::read_u32(self.slots, slot)?;
            if entry == NONE {
                return None;
            }
            if entry as u8 == hash as u8 {
                let (id, found) = layout::read_record(self.records, (entry >> 8) as usize)?;
                if found == text && (id & layout::CONTINUES != 0) == continues {
                    return Some(id & !layout::CONTINUES);
                }
            }
            slot += 1;
            if slot == slots {
                slot = 0;
            }
        }
        None
    }

    /// The first special token written in `text` at or after the byte `from`.
    pub(crate) fn next_special(&self, text: &str, from: usize) -> Option<Piece> {
        let mut at = from;
        loop {
            let rest = text.as_bytes().get(at..)?;
            at += rest.iter().position(|&byte| self.opens_special(byte))?;
            if let Some((id, token)) = self.special_at(text, at) {
                return Some(Piece::new(id, at, at + token.len()));
            }
            at += 1;
        }
    }

    #[inline]
    fn opens_special(&self, byte: u8) -> bool {
        self.openers.get(byte as usize).copied().unwrap_or(false)
    }

    /// The longest special token that begins at this very byte.
    fn special_at(&self, text: &str, at: usize) -> Option<(u32, &'t [u8])> {
        let rest = text.as_bytes().get(at..)?;
        Records {
            bytes: self.specials,
            at: 0,
        }
        .find(|(_, token)| !token.is_empty() && rest.starts_with(token))
    }

    /// The record of `id`, found from the nearest sample before it.
    fn record(&self, id: u32) -> Option<(u32, &'t [u8])> {
        if id >= self.header.ids {
            return None;
        }
        let start = layout::read_u32(self.samples, id as usize / SAMPLE)?;
        let mut records = Records {
            bytes: self.records,
            at: start as usize,
        };
        let (found, text) = records.nth(id as usize % SAMPLE)?;
        (found != NONE).then_some((found, text))
    }

    fn note_letters(&mut self) {
        for byte in 0..self.letters.len() as u8 {
            let item = self.entry(char::from(byte));
            let becomes = if item.value == 0 {
                u32::from(byte)
            } else {
                item.value
            };
            if item.kind == Kind::Letter && item.rank == 0 && becomes < 128 {
                self.letters[usize::from(byte)] = becomes as u8;
            }
        }
    }

    fn note_openers(&mut self) {
        for (_, token) in (Records {
            bytes: self.specials,
            at: 0,
        }) {
            if let Some(&byte) = token.first() {
                self.openers[byte as usize] = true;
            }
        }
    }
}

/// The lengths of the sections that other numbers fix, and the sizes of stack buffers.
fn check_lengths(header: &Header) -> Result<(), TableError> {
    let length = |section: Section| header.lengths[section as usize] as usize;
    let require = |holds: bool, section| {
        if holds {
            Ok(())
        } else {
            Err(TableError::Section(section))
        }
    };
    require(length(Section::Pages) == PAGES * 2, Section::Pages)?;
    require(
        length(Section::Entries).is_multiple_of(PAGE * 4) && length(Section::Entries) > 0,
        Section::Entries,
    )?;
    require(length(Section::Items).is_multiple_of(4), Section::Items)?;
    let slots = length(Section::Slots) / 4;
    require(
        length(Section::Slots) == slots * 4 && slots > header.probes as usize,
        Section::Slots,
    )?;
    let least = (header.ids as usize).saturating_mul(RECORD_HEAD);
    require(length(Section::Records) >= least, Section::Records)?;
    require(
        length(Section::Samples) == (header.ids as usize).div_ceil(SAMPLE) * 4,
        Section::Samples,
    )?;
    let word_bytes = MAX_WORD_BYTES;
    if header.word_chars as usize > MAX_WORD_CHARS || header.piece_bytes as usize > word_bytes {
        return Err(TableError::WordLength);
    }
    Ok(())
}

/// Walks over records from `at` on.
struct Records<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl<'t> Iterator for Records<'t> {
    type Item = (u32, &'t [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let record = layout::read_record(self.bytes, self.at)?;
        self.at += RECORD_HEAD + record.1.len();
        Some(record)
    }
}

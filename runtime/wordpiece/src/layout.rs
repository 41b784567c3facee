//! The bytes of the tables: what the writer on the workstation and the reader here agree on.
//!
//! All integers are little endian and are read at any alignment.
//!
//! ```text
//! header, 80 bytes
//!   0  magic "berth-wp"        16  ids          the vocabulary's ids are 0..ids
//!   8  version = 1             20  unk, cls, sep, pad    (pad: NONE where there is none)
//!  12  length of everything    36  word_chars   longer words become unk
//!                              40  piece_bytes  the longest piece, without "##"
//!                              44  probes       slots to look at before a piece is not there
//!                              48  the lengths in bytes of the seven sections; zeros to 80
//! sections, one after the other, each padded with zeros to a multiple of 4
//!   Pages     u16 for every 128 scalar values: which 128 entries hold them
//!   Entries   u32, one Item for each scalar value
//!   Items     u32, the Items of characters that become several
//!   Slots     u32, a hash table of pieces: record offset << 8 | low byte of the hash
//!   Records   the vocabulary in the order of ids: u32 id, top bit set for "##"; u8 length; text
//!   Samples   u32, where the record of every eighth id begins
//!   Specials  the tokens that are found in raw text, longest first: u32 id; u8 length; text,
//!             "##" included
//! ```
//!
//! The header MUST come first, the sections MUST fill the file to its length without holes, and
//! text MUST be UTF-8. Two lookups are a load from `Slots` and one from `Records`: a cold piece
//! costs two cache misses, where a trie costs one for nearly every letter.

/// The first bytes of every table.
pub const MAGIC: [u8; 8] = *b"berth-wp";

/// The version of this layout.
pub const VERSION: u32 = 1;

/// The size of the header.
pub const HEADER_BYTES: usize = 80;

/// How many scalar values share a page.
pub const PAGE: usize = 128;

/// How many pages there are: every scalar value has one.
pub const PAGES: usize = 0x11_0000 / PAGE;

/// Every how many ids a record's place is noted.
pub const SAMPLE: usize = 8;

/// The bytes of a record before its text.
pub const RECORD_HEAD: usize = 5;

/// Set in a record's id when the piece continues a word (`##`).
pub const CONTINUES: u32 = 1 << 31;

/// A slot without a piece, and an id that is absent.
pub const NONE: u32 = u32::MAX;

/// The parts of the file after the header, in this order.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Section {
    /// Page numbers.
    Pages,
    /// One item for each scalar value of a page.
    Entries,
    /// Items of characters that become several.
    Items,
    /// The hash table.
    Slots,
    /// The vocabulary.
    Records,
    /// Places of every [`SAMPLE`]th record.
    Samples,
    /// Tokens found in raw text.
    Specials,
}

/// How many sections there are.
pub const SECTIONS: usize = 7;

/// The header, field for field.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The vocabulary's ids are below this.
    pub ids: u32,
    /// The id of a word that has no pieces.
    pub unk: u32,
    /// The id put before every input.
    pub cls: u32,
    /// The id put after every text.
    pub sep: u32,
    /// The padding id, or [`NONE`].
    pub pad: u32,
    /// A word with more characters than this becomes `unk`.
    pub word_chars: u32,
    /// Bytes of the longest piece, without `##`.
    pub piece_bytes: u32,
    /// The longest walk from a piece's first slot to the one that holds it, in slots.
    pub probes: u32,
    /// Bytes of each section, without padding.
    pub lengths: [u32; SECTIONS],
}

impl Header {
    /// Where `section` begins and ends, counted from the start of the file.
    pub fn place(&self, section: Section) -> (usize, usize) {
        let before = &self.lengths[..section as usize];
        let start = before.iter().fold(HEADER_BYTES, |at, &length| {
            at.saturating_add(padded(length))
        });
        (
            start,
            start.saturating_add(self.lengths[section as usize] as usize),
        )
    }

    /// The length of the whole file.
    pub fn total(&self) -> usize {
        self.lengths.iter().fold(HEADER_BYTES, |at, &length| {
            at.saturating_add(padded(length))
        })
    }

    /// The header as bytes.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        let total = self.total() as u32;
        let fields = [
            VERSION,
            total,
            self.ids,
            self.unk,
            self.cls,
            self.sep,
            self.pad,
            self.word_chars,
            self.piece_bytes,
            self.probes,
        ];
        for (place, value) in bytes[8..]
            .chunks_exact_mut(4)
            .zip(fields.iter().chain(&self.lengths))
        {
            place.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    /// Reads a header's fields, and the version and length that stand before them.
    /// `None` where there are too few bytes or no magic.
    pub fn from_bytes(bytes: &[u8]) -> Option<(u32, u32, Header)> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        let rest = bytes.strip_prefix(&MAGIC)?;
        let field = |index: usize| read_u32(rest, index).unwrap_or(0);
        let header = Header {
            ids: field(2),
            unk: field(3),
            cls: field(4),
            sep: field(5),
            pad: field(6),
            word_chars: field(7),
            piece_bytes: field(8),
            probes: field(9),
            lengths: core::array::from_fn(|index| field(10 + index)),
        };
        Some((field(0), field(1), header))
    }
}

/// The room that a section of `length` bytes takes.
pub fn padded(length: u32) -> usize {
    (length as usize).saturating_add(3) & !3
}

/// What becomes of a character.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// It is part of a word.
    Letter,
    /// It is a word by itself: punctuation, a Chinese character.
    Alone,
    /// It parts words and is no part of any.
    Space,
    /// It is taken away after decomposition; until then it takes part in the ordering of marks.
    Stripped,
    /// It is taken away before anything else sees it.
    Gone,
    /// It becomes the items at `value` in the section Items; their number stands in `rank`.
    Sequence,
    /// It is a Hangul syllable and becomes its two or three letters by arithmetic.
    Hangul,
}

/// One step of what a character becomes: `kind` in bits 0–2, `rank` in 3–8, `added` in 9,
/// `value` from 10 on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What becomes of it.
    pub kind: Kind,
    /// Its place among the canonical combining classes; 0 for what marks don't move across.
    pub rank: u8,
    /// Whether decomposition added it: it has no source character of its own.
    pub added: bool,
    /// The character that it becomes; 0 for the very one that was read.
    pub value: u32,
}

impl Item {
    /// The most that `rank` can hold.
    pub const MAX_RANK: u8 = 63;

    /// As one integer.
    pub const fn pack(self) -> u32 {
        self.kind as u32
            | (self.rank as u32 & 63) << 3
            | (self.added as u32) << 9
            | self.value << 10
    }

    /// From one integer; every integer means something.
    #[inline]
    pub const fn unpack(bits: u32) -> Item {
        let kind = match bits & 7 {
            0 => Kind::Letter,
            1 => Kind::Alone,
            2 => Kind::Space,
            3 => Kind::Stripped,
            5 => Kind::Sequence,
            6 => Kind::Hangul,
            _ => Kind::Gone,
        };
        Item {
            kind,
            rank: ((bits >> 3) & 63) as u8,
            added: (bits >> 9) & 1 == 1,
            value: bits >> 10,
        }
    }
}

/// The number of letters of the Hangul syllable `c`, 2 or 3.
pub const fn hangul_letters(c: char) -> usize {
    if (c as u32).wrapping_sub(0xAC00).is_multiple_of(28) {
        2
    } else {
        3
    }
}

/// The letter number `index` of the Hangul syllable `c` (The Unicode Standard, 3.12).
pub const fn hangul_letter(c: char, index: usize) -> u32 {
    let syllable = (c as u32).wrapping_sub(0xAC00);
    match index {
        0 => 0x1100 + syllable / 588,
        1 => 0x1161 + syllable % 588 / 28,
        _ => 0x11A7 + syllable % 28,
    }
}

/// The hash of no bytes, for pieces that begin a word or continue one.
pub const fn hash_start(continues: bool) -> u32 {
    if continues { 0x2323_2323 } else { 0 }
}

/// The hash after one more byte.
#[inline]
pub const fn hash_byte(hash: u32, byte: u8) -> u32 {
    (hash.rotate_left(5) ^ byte as u32).wrapping_mul(0x9E37_79B1)
}

/// The slot that a hash is looked for first.
#[inline]
pub const fn first_slot(hash: u32, slots: usize) -> usize {
    ((hash as u64 * slots as u64) >> 32) as usize
}

/// The `index`th integer of `bytes`.
#[inline]
pub fn read_u32(bytes: &[u8], index: usize) -> Option<u32> {
    let start = index.checked_mul(4)?;
    let bytes = bytes.get(start..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

/// The `index`th short integer of `bytes`.
#[inline]
pub fn read_u16(bytes: &[u8], index: usize) -> Option<u16> {
    let start = index.checked_mul(2)?;
    let bytes = bytes.get(start..)?.first_chunk()?;
    Some(u16::from_le_bytes(*bytes))
}

/// The record at byte `at`: its id with the [`CONTINUES`] bit, and its text as bytes.
#[inline]
pub fn read_record(records: &[u8], at: usize) -> Option<(u32, &[u8])> {
    let (head, rest) = records.get(at..)?.split_first_chunk::<RECORD_HEAD>()?;
    let [a, b, c, d, length] = *head;
    Some((
        u32::from_le_bytes([a, b, c, d]),
        rest.get(..length as usize)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_its_bytes() {
        let header = Header {
            ids: 30_522,
            unk: 100,
            cls: 101,
            sep: 102,
            pad: NONE,
            word_chars: 100,
            piece_bytes: 54,
            probes: 20,
            lengths: [17_408, 3, 0, 5, 6, 7, 9],
        };
        let bytes = header.to_bytes();
        assert_eq!(
            Header::from_bytes(&bytes),
            Some((VERSION, header.total() as u32, header))
        );
        assert_eq!(header.place(Section::Pages), (80, 80 + 17_408));
        assert_eq!(
            header.place(Section::Slots),
            (80 + 17_408 + 4, 80 + 17_408 + 9)
        );
        assert_eq!(header.total(), 80 + 17_408 + 4 + 8 + 8 + 8 + 12);
        assert_eq!(Header::from_bytes(&bytes[..79]), None);
    }

    #[test]
    fn an_item_survives_its_bits() {
        for kind in [
            Kind::Letter,
            Kind::Alone,
            Kind::Space,
            Kind::Stripped,
            Kind::Gone,
            Kind::Sequence,
            Kind::Hangul,
        ] {
            for (rank, added, value) in
                [(0, false, 0), (63, true, 0x10_FFFF), (5, false, 'é' as u32)]
            {
                let item = Item {
                    kind,
                    rank,
                    added,
                    value,
                };
                assert_eq!(Item::unpack(item.pack()), item);
            }
        }
        assert_eq!(Item::unpack(7).kind, Kind::Gone);
    }

    #[test]
    fn hangul_by_arithmetic() {
        assert_eq!(['한'; 3].map(hangul_letters), [3; 3]);
        assert_eq!(
            [0, 1, 2].map(|index| hangul_letter('한', index)),
            [0x1112, 0x1161, 0x11AB]
        );
        assert_eq!(hangul_letters('가'), 2);
    }

    #[test]
    fn records_that_run_out_are_absent() {
        let records = [7, 0, 0, 0x80, 2, b'i', b'n'];
        assert_eq!(read_record(&records, 0), Some((7 | CONTINUES, &b"in"[..])));
        assert_eq!(read_record(&records[..6], 0), None);
        assert_eq!(read_record(&records, 3), None);
        assert_eq!(read_record(&records, usize::MAX), None);
    }
}

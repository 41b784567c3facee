//! A whole bundle, damaged by a script: the fast way to many damaged bundles.
//!
//! An input is a script of a few dozen bytes, not a bundle. It names one of the small bundles, up to
//! eight edits of its prefix, its header, its sections and its length, and whether the checksums are
//! made right again afterwards, so that the damage gets past them. The damage is done in place and
//! taken back, which makes an input a matter of microseconds.
//!
//! Beside what [`bytes`](crate::bytes) asserts: a bundle of which a single byte was changed and no
//! checksum repaired does not verify.

use std::cell::RefCell;
use std::ops::Range;

use berth_bundle::{Bundle, Header, Section, SectionKind};
use berth_task::Task;
use crc::{CRC_32_ISCSI, Crc, Table};

use crate::bytes::{Depth, examine};
use crate::memory::Memory;
use crate::models;
use crate::script::Script;

/// The checksum of the format, by the same crate that the reader uses.
static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// Bytes of the prefix.
const PREFIX: usize = 64;

/// How much longer a file may become.
const ROOM: usize = 256;

/// How many scripts one input stands for.
pub const BURST: usize = 256;

/// Runs the script, and changes of it that follow from its bytes: as many as [`BURST`] together. What
/// the fuzzer does around an input costs several times as much as a damaged bundle does.
pub fn burst(script: &[u8]) {
    run(script);
    let mut state = lot_of(script) | 1;
    let mut random = |end: usize| {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % end as u64) as usize
    };
    for _ in 1..BURST {
        let mut changed = script.to_vec();
        changed.resize(script.len().max(16), 0);
        for _ in 0..1 + random(6) {
            let at = random(changed.len());
            changed[at] = random(256) as u8;
        }
        run(&changed);
    }
}

/// A number that any change of the script changes.
fn lot_of(script: &[u8]) -> u64 {
    script
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

/// Damages a bundle as the script says, uses it, and mends it.
pub fn run(script: &[u8]) {
    thread_local! {
        static PATIENTS: RefCell<Vec<Patient>> =
            RefCell::new(models::bundles().iter().map(|bytes| Patient::new(bytes)).collect());
    }
    // Some things take long and are done to few inputs, always the same.
    let lot = lot_of(script) >> 40;
    let mut script = Script::new(script);
    let choice = script.byte();
    PATIENTS.with_borrow_mut(|patients| {
        let count = patients.len();
        patients[usize::from(choice >> 4) % count].treat(choice, lot, script);
    });
}

/// A bundle that is damaged and mended again and again.
struct Patient {
    whole: Vec<u8>,
    memory: Memory,
    /// The present length of the file.
    len: usize,
    /// The header as it was written, and where the sections are.
    header: Header,
    spans: Vec<Range<usize>>,
    /// What was changed.
    touched: Vec<Range<usize>>,
}

impl Patient {
    fn new(whole: &[u8]) -> Self {
        let memory = Memory::of(whole, ROOM);
        let bundle = Bundle::open(&memory[..whole.len()]).expect("a whole bundle");
        let spans = bundle.spans();
        let spans = spans.map(|(_, span)| span.start as usize..span.end as usize);
        Patient {
            spans: spans.collect(),
            header: bundle.header().clone(),
            whole: whole.to_vec(),
            len: whole.len(),
            touched: Vec::new(),
            memory,
        }
    }

    fn treat(&mut self, choice: u8, lot: u64, mut script: Script<'_>) {
        let edits = 1 + script.byte() % 8;
        for _ in 0..edits {
            self.edit(&mut script);
        }
        let repaired = choice & 3;
        if repaired == 3 {
            self.repair_sections();
        }
        if repaired > 0 {
            self.repair_head();
        }
        let depth = Depth {
            encoder: (lot & 3 == 0).then_some((lot >> 4) as usize % 3),
            verify: lot & 15 == 1,
            model: lot & 127 == 2,
        };
        let text = String::from_utf8_lossy(script.rest());
        let found_whole = examine(&self.memory[..self.len], &text, depth);
        if repaired == 0 && found_whole == Some(true) {
            assert_ne!(self.differing(), 1, "a changed byte was not found");
        }
        self.mend();
    }

    /// How many bytes differ from what was written.
    fn differing(&self) -> usize {
        let pairs = self.memory[..self.len].iter().zip(&self.whole);
        pairs.filter(|(a, b)| a != b).count() + self.len.abs_diff(self.whole.len())
    }

    fn edit(&mut self, script: &mut Script<'_>) {
        let kind = script.byte();
        let head = PREFIX..self.spans[0].start;
        match kind % 16 {
            0 => self.set(script.below(PREFIX), script.byte()),
            1..=4 => self.set(head.start + script.below(head.len()), script.byte()),
            5 => self.flip(script.below(head.end), script.byte()),
            6..=8 => self.set_field(script),
            9 => self.set_section(script),
            10 => self.len = script.below(self.whole.len() + ROOM),
            11 => self.len = (self.len + script.below(ROOM)).min(self.whole.len() + ROOM),
            12 => self.copy(script),
            13 => {
                let at = self.inside(script);
                self.flip(at, script.byte());
            }
            14 => {
                let at = self.inside(script);
                self.set(at, script.byte());
            }
            _ => {
                let at = self.inside(script) & !3;
                for (i, byte) in odd_number(script).to_le_bytes().into_iter().enumerate() {
                    self.set(at + i, byte);
                }
            }
        }
    }

    /// A place in a section; in the beginning of it more often than not.
    fn inside(&mut self, script: &mut Script<'_>) -> usize {
        let which = usize::from(script.byte());
        let span = self.spans[which % self.spans.len()].clone();
        let end = if which & 0x80 == 0 {
            span.len()
        } else {
            span.len().min(128)
        };
        span.start + script.below(end)
    }

    fn set(&mut self, at: usize, byte: u8) {
        self.touched.push(at..at + 1);
        self.memory[at] = byte;
    }

    fn flip(&mut self, at: usize, bit: u8) {
        let byte = self.memory[at] ^ 1 << (bit & 7);
        self.set(at, byte);
    }

    /// A stretch of the file over another one.
    fn copy(&mut self, script: &mut Script<'_>) {
        let count = usize::from(script.byte());
        let [from, to] = [0; 2].map(|_| script.below(self.whole.len()));
        let count = count.min(self.whole.len() - from.max(to));
        self.touched.push(to..to + count);
        self.memory.copy_within(from..from + count, to);
    }

    /// A header whose encoding is right and whose content is not.
    fn set_field(&mut self, script: &mut Script<'_>) {
        let Ok(mut header) = postcard::from_bytes::<Header>(self.header_bytes()) else {
            return;
        };
        let (field, value) = (script.byte() % 16, odd_number(script));
        let shape = &mut header.shape;
        match field {
            0 => shape.vocab_size = value,
            1 => shape.hidden = value,
            2 => shape.layers = value,
            3 => shape.heads = value,
            4 => shape.intermediate = value,
            5 => shape.positions = value,
            6 => shape.types = value,
            7 => shape.outputs = value,
            8 => shape.norm_eps = f32::from_bits(value),
            9 => header.task = Task::ALL[value as usize % Task::ALL.len()],
            10 => header.max_tokens = value,
            11 => header.numerics = value as u16,
            12 => header.provenance.model.clear(),
            13 => header.metrics.clear(),
            // Whatever still fits the length of the embeddings: some rows of one table less, some
            // of another more.
            14 => {
                shape.positions = shape.positions.wrapping_add(64);
                shape.vocab_size = shape.vocab_size.wrapping_sub(64);
            }
            _ => {
                shape.positions = shape.positions.wrapping_sub(value % 64);
                shape.vocab_size = shape.vocab_size.wrapping_add(value % 64);
            }
        }
        self.put_header(&header);
    }

    /// An entry of the section table.
    fn set_section(&mut self, script: &mut Script<'_>) {
        let Ok(mut header) = postcard::from_bytes::<Header>(self.header_bytes()) else {
            return;
        };
        let at = script.byte();
        let value = odd_number(script);
        let count = header.sections.len().max(1);
        let Some(section) = header.sections.get_mut(usize::from(at) % count) else {
            return;
        };
        match at >> 5 {
            0 => section.len = value,
            1 => section.len = section.len.wrapping_add(value % 128),
            2 => section.len = section.len.wrapping_sub(value % 128),
            3 => section.kind = SectionKind::Layer(value as u16),
            4 => section.kind = SectionKind::Tokenizer,
            5 => section.crc = value,
            6 => {
                let copy = *section;
                let _ = header.sections.push(copy);
            }
            _ => drop(header.sections.pop()),
        }
        self.put_header(&header);
    }

    /// The header's bytes at present, as far as they are there.
    fn header_bytes(&self) -> &[u8] {
        let len = u32::from_le_bytes(self.memory[12..16].try_into().expect("four bytes"));
        let end = PREFIX.saturating_add(len as usize).min(self.spans[0].start);
        &self.memory[PREFIX..end]
    }

    /// Writes a header into the place of the present one, if it fits there.
    fn put_header(&mut self, header: &Header) {
        let bytes = postcard::to_stdvec(header).expect("every field has an encoding");
        let end = self.spans[0].start;
        if PREFIX + bytes.len() > end || end - PREFIX - bytes.len() >= 64 {
            return;
        }
        self.touched.push(12..16);
        self.touched.push(PREFIX..end);
        self.memory[12..16].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.memory[PREFIX..end].fill(0);
        self.memory[PREFIX..][..bytes.len()].copy_from_slice(&bytes);
    }

    /// Makes the checksums of the sections that were touched those of their present bytes.
    fn repair_sections(&mut self) {
        let Ok(mut header) = postcard::from_bytes::<Header>(self.header_bytes()) else {
            return;
        };
        let sections = header.sections.iter_mut().zip(&self.spans);
        for (Section { crc, .. }, span) in sections {
            let overlaps =
                |touched: &Range<usize>| touched.start < span.end && span.start < touched.end;
            if self.touched.iter().any(overlaps) {
                *crc = CRC.checksum(&self.memory[span.clone()]);
            }
        }
        self.put_header(&header);
    }

    /// Makes the length of the file and the checksum of prefix and header right.
    fn repair_head(&mut self) {
        let len = self.len as u64;
        self.touched.push(16..28);
        self.memory[16..24].copy_from_slice(&len.to_le_bytes());
        let mut digest = CRC.digest();
        digest.update(&self.memory[..24]);
        digest.update(&self.memory[28..PREFIX]);
        digest.update(self.header_bytes());
        let crc = digest.finalize();
        self.memory[24..28].copy_from_slice(&crc.to_le_bytes());
    }

    fn mend(&mut self) {
        for touched in self.touched.drain(..) {
            let known = touched.start.min(self.whole.len())..touched.end.min(self.whole.len());
            self.memory[known.clone()].copy_from_slice(&self.whole[known]);
            self.memory[self.whole.len()..].fill(0);
        }
        self.len = self.whole.len();
        debug_assert_eq!(self.header.sections.len(), self.spans.len());
    }
}

/// A number of the kinds that go wrong: small, a multiple of 16, a power of two or nearly, any.
fn odd_number(script: &mut Script<'_>) -> u32 {
    let kind = script.byte();
    let small = u32::from(kind & 31);
    match kind >> 5 {
        0 | 1 => small,
        2 => 16 * small,
        3 => 1 << small,
        4 => (1u32 << small).wrapping_sub(1),
        5 => u32::MAX - small,
        6 => script.short() as u32,
        _ => script.long(),
    }
}

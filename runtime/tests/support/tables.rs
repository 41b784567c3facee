//! Tokenizer tables of a few dozen pieces, put together by hand from the layout's description.

use berth_wordpiece::layout::{
    CONTINUES, Header, Item, Kind, NONE, PAGE, PAGES, SAMPLE, first_slot, hash_byte, hash_start,
    padded,
};

/// The words that have a piece of their own.
pub const WORDS: [&str; 8] = ["a", "film", "good", "bad", "the", "not", "gripping", "plot"];

const SPECIALS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// The bytes of the tables, and how many pieces they have.
pub struct Tables {
    pub bytes: Vec<u8>,
    pub ids: u32,
}

/// Special tokens, words, and single letters and signs of ASCII; other characters are unknown.
pub fn tables() -> Tables {
    let pieces = pieces();
    let (records, offsets) = records(&pieces);
    let (slots, probes) = slots(&pieces, &offsets);
    let samples = offsets
        .iter()
        .step_by(SAMPLE)
        .flat_map(|at| at.to_le_bytes())
        .collect();
    let specials = SPECIALS
        .iter()
        .zip(0u32..)
        .flat_map(|(token, id)| record(id, token))
        .collect();
    // Page 0 is ASCII, and all others share page 1.
    let pages = (0..PAGES)
        .flat_map(|page| u16::from(page > 0).to_le_bytes())
        .collect();
    let entries = (0..2 * PAGE as u32)
        .flat_map(|c| entry(c).pack().to_le_bytes())
        .collect();
    let sections: [Vec<u8>; 7] = [
        pages,
        entries,
        Vec::new(),
        slots,
        records,
        samples,
        specials,
    ];
    let header = Header {
        ids: pieces.len() as u32,
        unk: 1,
        cls: 2,
        sep: 3,
        pad: 0,
        word_chars: 100,
        piece_bytes: pieces
            .iter()
            .map(|(_, text)| text.len() as u32)
            .max()
            .unwrap(),
        probes,
        lengths: std::array::from_fn(|i| sections[i].len() as u32),
    };
    let mut bytes = header.to_bytes().to_vec();
    for section in &sections {
        let end = bytes.len() + padded(section.len() as u32);
        bytes.extend_from_slice(section);
        bytes.resize(end, 0);
    }
    Tables {
        bytes,
        ids: header.ids,
    }
}

/// Every piece, and whether it continues a word, in the order of the ids.
fn pieces() -> Vec<(bool, String)> {
    let signs = ('!'..='~')
        .filter(|c| !c.is_ascii_uppercase())
        .map(String::from);
    let letters: Vec<String> = ('0'..='9').chain('a'..='z').map(String::from).collect();
    let begins = SPECIALS
        .iter()
        .chain(&WORDS[1..])
        .map(|&word| word.to_owned())
        .chain(signs);
    begins
        .map(|text| (false, text))
        .chain(letters.into_iter().map(|text| (true, text)))
        .collect()
}

fn entry(c: u32) -> Item {
    let item = |kind, value| Item {
        kind,
        rank: 0,
        added: false,
        value,
    };
    match char::from_u32(c) {
        Some(c) if c.is_ascii_uppercase() => item(Kind::Letter, c.to_ascii_lowercase() as u32),
        Some(c) if c.is_ascii_punctuation() => item(Kind::Alone, 0),
        Some(' ' | '\t' | '\n' | '\r') => item(Kind::Space, 0),
        Some(c) if c.is_ascii_control() => item(Kind::Gone, 0),
        _ => item(Kind::Letter, 0),
    }
}

fn record(id: u32, text: &str) -> Vec<u8> {
    [&id.to_le_bytes()[..], &[text.len() as u8], text.as_bytes()].concat()
}

fn records(pieces: &[(bool, String)]) -> (Vec<u8>, Vec<u32>) {
    let (mut bytes, mut offsets) = (Vec::new(), Vec::new());
    for ((continues, text), id) in pieces.iter().zip(0u32..) {
        offsets.push(bytes.len() as u32);
        bytes.extend(record(if *continues { id | CONTINUES } else { id }, text));
    }
    (bytes, offsets)
}

fn slots(pieces: &[(bool, String)], offsets: &[u32]) -> (Vec<u8>, u32) {
    let mut slots = vec![NONE; 2 * pieces.len() + 1];
    let mut probes = 0;
    for ((continues, text), offset) in pieces.iter().zip(offsets) {
        let hash = text.bytes().fold(hash_start(*continues), hash_byte);
        let first = first_slot(hash, slots.len());
        let walk = (0..)
            .find(|step| slots[(first + step) % slots.len()] == NONE)
            .unwrap();
        let count = slots.len();
        slots[(first + walk) % count] = offset << 8 | hash & 0xff;
        probes = probes.max(walk as u32);
    }
    (
        slots.iter().flat_map(|slot| slot.to_le_bytes()).collect(),
        probes,
    )
}

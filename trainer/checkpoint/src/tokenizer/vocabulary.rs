//! Pieces and their ids, both ways: records in the order of ids, and slots found by a piece's hash.

use berth_wordpiece::layout::{
    CONTINUES, NONE, RECORD_HEAD, SAMPLE, first_slot, hash_byte, hash_start,
};

use super::Odd;

/// The most ids, so that a wrong one in a file doesn't take all memory.
const MAX_IDS: u32 = 1 << 21;

/// Three sections of the tables, and what the header says of them.
pub(super) struct Vocabulary {
    pub ids: u32,
    pub records: Vec<u8>,
    pub samples: Vec<u8>,
    pub slots: Vec<u8>,
    pub piece_bytes: u32,
    pub probes: u32,
}

/// Builds the sections from pieces in the order of their ids.
pub(super) fn build(pieces: &[(u32, String)]) -> Result<Vocabulary, Odd> {
    let ids = pieces.last().map_or(0, |(id, _)| id.saturating_add(1));
    if ids > MAX_IDS {
        return Err(odd(
            format!("one with the id {}", ids - 1),
            "of at most two million pieces",
        ));
    }
    if let Some((_, long)) = pieces
        .iter()
        .find(|(_, piece)| piece.len() > u8::MAX as usize)
    {
        return Err(odd(
            format!("one with the piece {long:?}"),
            "of pieces of at most 255 bytes",
        ));
    }
    let mut filled = vec![(NONE, String::new()); ids as usize];
    for (id, piece) in pieces {
        filled[*id as usize] = (*id, piece.clone());
    }
    let records = records(&filled);
    let starts = starts(&filled);
    if records.len() >= 1 << 24 {
        return Err(odd(
            format!("{} bytes of text", records.len()),
            "of at most 16 MB",
        ));
    }
    let (slots, probes) = slots(&filled, &starts);
    Ok(Vocabulary {
        ids,
        samples: starts
            .iter()
            .step_by(SAMPLE)
            .flat_map(|start| start.to_le_bytes())
            .collect(),
        slots: slots.iter().flat_map(|slot| slot.to_le_bytes()).collect(),
        piece_bytes: filled
            .iter()
            .map(|(_, piece)| split_prefix(piece).1.len() as u32)
            .max()
            .unwrap_or(0),
        probes,
        records,
    })
}

/// Pieces as records, one behind the other. Ids without a piece have an empty one.
fn records(pieces: &[(u32, String)]) -> Vec<u8> {
    let pieces = pieces.iter().map(|(id, piece)| {
        let (continues, text) = split_prefix(piece);
        (if continues { id | CONTINUES } else { *id }, text)
    });
    pieces.flat_map(record).collect()
}

/// Tokens that are found in raw text as records; none continues a word, whatever it begins with.
pub(super) fn specials(tokens: &[(u32, String)]) -> Vec<u8> {
    let tokens = tokens.iter().map(|(id, token)| (*id, token.as_str()));
    tokens.flat_map(record).collect()
}

/// A record: an id, the length of a text of at most 255 bytes, and the text.
fn record((id, text): (u32, &str)) -> Vec<u8> {
    [&id.to_le_bytes()[..], &[text.len() as u8], text.as_bytes()].concat()
}

/// Where each record begins.
fn starts(pieces: &[(u32, String)]) -> Vec<u32> {
    let lengths = pieces
        .iter()
        .map(|(_, piece)| (RECORD_HEAD + split_prefix(piece).1.len()) as u32);
    lengths
        .scan(0, |at, length| Some(std::mem::replace(at, *at + length)))
        .collect()
}

/// An open-addressing hash table, half full, and the longest walk in it.
fn slots(pieces: &[(u32, String)], starts: &[u32]) -> (Vec<u32>, u32) {
    let count = 2 * pieces.len() + 1;
    let mut slots = vec![NONE; count];
    let mut longest = 0;
    for ((_, piece), start) in pieces.iter().zip(starts).filter(|((id, _), _)| *id != NONE) {
        let (continues, text) = split_prefix(piece);
        let hash = text.bytes().fold(hash_start(continues), hash_byte);
        let mut slot = first_slot(hash, count);
        let mut walk = 0;
        while slots[slot] != NONE {
            slot = (slot + 1) % count;
            walk += 1;
        }
        slots[slot] = start << 8 | hash & 0xFF;
        longest = longest.max(walk);
    }
    (slots, longest)
}

/// Whether a piece continues a word, and its text without the mark of that.
fn split_prefix(piece: &str) -> (bool, &str) {
    match piece.strip_prefix("##") {
        Some(text) => (true, text),
        None => (false, piece),
    }
}

fn odd(found: String, wanted: &'static str) -> Odd {
    Odd {
        part: "vocabulary",
        found,
        wanted,
    }
}

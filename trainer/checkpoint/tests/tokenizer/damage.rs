//! Tables that aren't what they should be: refused, or read without a panic.

use berth_wordpiece::layout::{HEADER_BYTES, Header, Section};
use berth_wordpiece::{MAX_WORD_CHARS, Piece, TableError, Tokenizer};

use crate::kit::bert;
use crate::strings::Random;

fn refused(tables: &[u8]) -> TableError {
    Tokenizer::new(tables).expect_err("damaged tables")
}

#[test]
fn every_cut_is_refused() {
    let tables = &bert().1;
    for length in (0..HEADER_BYTES)
        .chain((HEADER_BYTES..tables.len()).step_by(997))
        .chain([tables.len() - 1])
    {
        let error = refused(&tables[..length]);
        if length >= HEADER_BYTES {
            assert_eq!(
                error,
                TableError::Length {
                    expected: tables.len(),
                    found: length
                }
            );
        } else {
            assert_eq!(error, TableError::NotTables);
        }
    }
    let mut longer = tables.clone();
    longer.push(0);
    assert!(matches!(refused(&longer), TableError::Length { .. }));
}

#[test]
fn the_header_is_checked() {
    let tables = &bert().1;
    let (_, _, header) = Header::from_bytes(tables).unwrap();
    let with = |change: &dyn Fn(&mut Header)| {
        let mut header = header;
        change(&mut header);
        let mut tables = tables.clone();
        tables.resize(header.total(), 0);
        tables[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
        tables
    };
    assert!(Tokenizer::new(&with(&|_| ())).is_ok());
    for (section, by) in [
        (Section::Pages, 2),
        (Section::Entries, 4),
        (Section::Items, 2),
        (Section::Samples, 4),
    ] {
        let longer = with(&|header| header.lengths[section as usize] += by);
        assert_eq!(refused(&longer), TableError::Section(section));
    }
    assert_eq!(
        refused(&with(&|header| header.lengths[Section::Slots as usize] = 0)),
        TableError::Section(Section::Slots)
    );
    assert_eq!(
        refused(&with(&|header| header.probes = u32::MAX)),
        TableError::Section(Section::Slots)
    );
    assert_eq!(
        refused(&with(&|header| header.ids = u32::MAX)),
        TableError::Section(Section::Records)
    );
    assert_eq!(
        refused(&with(
            &|header| header.word_chars = MAX_WORD_CHARS as u32 + 1
        )),
        TableError::WordLength
    );
    assert_eq!(
        refused(&with(&|header| header.piece_bytes = 401)),
        TableError::WordLength
    );
    let mut newer = tables.clone();
    newer[8] = 2;
    assert_eq!(refused(&newer), TableError::Version(2));
    let mut other = tables.clone();
    other[0] ^= 1;
    assert_eq!(refused(&other), TableError::NotTables);
}

#[test]
fn changed_bytes_never_panic() {
    let text = "Schön, can't [MASK] 각 \u{1D160}\u{327}\u{1D165}\u{301} 水 uncharacteristically é \0 \u{344}ß İ";
    let mut tables = bert().1.clone();
    let mut random = Random(11);
    let mut out = [Piece::default(); 64];
    let mut read = 0;
    for _ in 0..20_000 {
        let mut undo = Vec::new();
        for _ in 0..1 + random.below(6) {
            // Half of the damage goes where the text's own entries are.
            let at = if random.below(2) == 0 {
                random.below(tables.len())
            } else {
                random.below(60_000)
            };
            undo.push((at, tables[at]));
            tables[at] = random.below(256) as u8;
        }
        if let Ok(tokenizer) = Tokenizer::new(&tables) {
            let encoding = tokenizer.encode(text, Some(text), 32, &mut out).unwrap();
            for piece in &out[..encoding.len] {
                let _ = (
                    tokenizer.piece_text(piece.id),
                    tokenizer.begins_word(piece.id),
                );
            }
            read += 1;
        }
        for (at, byte) in undo.into_iter().rev() {
            tables[at] = byte;
        }
    }
    assert!(
        read > 10_000,
        "only {read} damaged tables got past the check"
    );
}

#[test]
fn tables_of_noise_never_panic() {
    let (_, _, header) = Header::from_bytes(&bert().1).unwrap();
    let mut random = Random(12);
    let mut out = [Piece::default(); 64];
    for _ in 0..20 {
        let mut tables: Vec<u8> = (0..header.total())
            .map(|_| random.below(256) as u8)
            .collect();
        tables[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
        let tokenizer = Tokenizer::new(&tables).unwrap();
        for text in [
            "",
            "plain words",
            "[MASK] é 각 水\u{301}\u{1D165}",
            "a\u{327}\u{301}b",
        ] {
            let encoding = tokenizer.encode(text, None, 32, &mut out).unwrap();
            for piece in &out[..encoding.len] {
                let _ = tokenizer.piece_text(piece.id);
            }
        }
    }
}

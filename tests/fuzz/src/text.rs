//! Texts through the tokenizer: pieces, limits, pairs, windows.
//!
//! An input is a limit, a stride, a choice, the place where two texts part, and the texts' bytes;
//! bytes that are no UTF-8 become U+FFFD. What has to hold:
//!
//! - a piece's offsets are character boundaries of its text, in order, and its id is one that the
//!   tokenizer can print;
//! - a stream read in portions gives the same pieces, and both count them alike;
//! - an encoding has at most `limit` pieces, begins with `[CLS]`, keeps a beginning of each text, and
//!   counts what it leaves out;
//! - windows overlap by the stride, and joined they are what one encoding of each would be.

use berth_wordpiece::{EncodeError, Encoding, Piece, Tokenizer, Truncation, Windows};

use crate::models;
use crate::script::Script;

/// Tokenizes and asserts.
pub fn run(data: &[u8]) {
    thread_local! {
        static TOKENIZER: Tokenizer<'static> = models::tokenizer();
    }
    TOKENIZER.with(|tokenizer| check(tokenizer, data));
}

fn check(tokenizer: &Tokenizer<'_>, data: &[u8]) {
    let mut script = Script::new(data);
    let (limit, stride) = (usize::from(script.byte()), usize::from(script.byte()));
    let (choice, part) = (script.byte(), usize::from(script.byte()));
    let bytes = script.rest();
    let (first, second) = bytes.split_at(part.min(bytes.len()));
    let [first, second] = [first, second].map(|text| String::from_utf8_lossy(text));
    let [a, b] = [&first, &second].map(|text| pieces(tokenizer, text));
    portions(tokenizer, &second, &b, 1 + stride);

    let truncation = match choice & 1 {
        0 => Truncation::LongestFirst,
        _ => Truncation::OnlySecond,
    };
    let pair = (choice & 2 == 0).then_some(second.as_ref());
    let mut out = vec![Piece::default(); 2 * limit];
    let result = tokenizer.encode_cutting(&first, pair, limit, truncation, &mut out);
    let (added, used) = match pair {
        Some(_) => (3, &b[..]),
        None => (2, &[][..]),
    };
    match result {
        Ok(encoding) => encoded(tokenizer, &a, used, added, limit, &encoding, &out),
        Err(EncodeError::Limit { least }) => assert!(limit < least && least == added),
        Err(EncodeError::NoRoom) => {
            assert!(truncation == Truncation::OnlySecond && a.len() + added + used.len() > limit)
        }
        Err(EncodeError::Capacity { .. }) => panic!("there is room for the limit twice"),
    }
    windows(tokenizer, &a, &b, limit, stride);
}

/// All pieces of a text, each looked at.
fn pieces(tokenizer: &Tokenizer<'_>, text: &str) -> Vec<Piece> {
    let mut out = vec![Piece::default(); 3 * text.len() + 1];
    let count = tokenizer.pieces(text, &mut out);
    assert_eq!(count.kept, count.total);
    out.truncate(count.kept);
    for piece in &out {
        let (start, end) = (piece.start as usize, piece.end as usize);
        assert!(
            start <= end && text.get(start..end).is_some(),
            "{piece:?} of {text:?}"
        );
        assert!(tokenizer.piece_text(piece.id).is_some(), "{piece:?}");
        let _ = tokenizer.begins_word(piece.id);
    }
    out
}

/// A stream in portions, and a count beyond the memory.
fn portions(tokenizer: &Tokenizer<'_>, text: &str, all: &[Piece], most: usize) {
    let mut stream = tokenizer.stream(text);
    let mut read = Vec::new();
    let mut portion = vec![Piece::default(); most];
    loop {
        let filled = stream.fill(&mut portion);
        read.extend_from_slice(&portion[..filled]);
        if filled < most {
            break;
        }
    }
    assert_eq!(read, all);
    let count = tokenizer.pieces(text, &mut portion);
    assert_eq!((count.kept, count.total), (all.len().min(most), all.len()));
}

fn encoded(
    tokenizer: &Tokenizer<'_>,
    a: &[Piece],
    b: &[Piece],
    added: usize,
    limit: usize,
    encoding: &Encoding,
    out: &[Piece],
) {
    let Encoding {
        len,
        second,
        truncated,
    } = *encoding;
    assert!(len <= limit && second <= len && len >= added);
    assert_eq!(len + truncated, a.len() + b.len() + added);
    assert!(truncated == 0 || len == limit, "room was left");
    let kept_a = second - 2;
    assert_eq!(out[0].id, tokenizer.cls());
    assert_eq!(out[1..=kept_a], a[..kept_a]);
    assert_eq!(out[kept_a + 1].id, tokenizer.sep());
    if added == 3 {
        let kept_b = len - second - 1;
        assert_eq!(out[second..second + kept_b], b[..kept_b]);
        assert_eq!(out[len - 1].id, tokenizer.sep());
    }
}

fn windows(tokenizer: &Tokenizer<'_>, a: &[Piece], b: &[Piece], limit: usize, stride: usize) {
    let room = limit.saturating_sub(a.len() + 3);
    let Some(windows) = Windows::new(b.len(), room, stride) else {
        assert!(stride >= room);
        return;
    };
    let mut out = vec![Piece::default(); limit];
    let mut end = 0;
    for window in windows {
        assert_eq!(window.start, end.max(stride) - stride);
        end = window.end;
        let passage = &b[window];
        let joined = tokenizer.join(a, Some(passage), &mut out).expect("room");
        encoded(tokenizer, a, passage, 3, joined.len, &joined, &out);
    }
    assert_eq!(end, b.len());
}

//! Raw bytes as tokenizer tables.
//!
//! An input is the tables' bytes. What the tokenizer makes of a text with them may be nonsense, but
//! its offsets lie in the text.

use berth_wordpiece::{Piece, Tokenizer};

/// A text that reaches every kind of entry: marks, special tokens, Hangul, what becomes several.
const TEXT: &str =
    "Schön, can't [MASK] 각 \u{1D160}\u{327}\u{1D165}\u{301} 水 good films \0 \u{344}ß İ 😀";

/// Opens the bytes as tables and tokenizes with them.
pub fn run(data: &[u8]) {
    let tokenizer = match Tokenizer::new(data) {
        Ok(tokenizer) => tokenizer,
        Err(error) => {
            let message = error.to_string();
            assert!(!message.is_empty() && !message.contains('\n'));
            return;
        }
    };
    let mut out = [Piece::default(); 64];
    let encoding = tokenizer.encode(TEXT, Some(TEXT), 32, &mut out);
    let encoding = encoding.expect("room for 32 pieces");
    assert!(encoding.len <= 32 && encoding.second <= encoding.len);
    for piece in &out[..encoding.len] {
        assert!(piece.start <= piece.end && piece.end as usize <= TEXT.len());
        let _ = tokenizer.piece_text(piece.id).map(|text| text.to_string());
        let _ = tokenizer.begins_word(piece.id);
    }
}

//! Text to BERT's word pieces, as ids and byte offsets, from one block of tables.
//!
//! This is the whole of a BERT tokenizer: what Hugging Face's `tokenizers` does with a
//! `BertNormalizer`, a `BertPreTokenizer` and a `WordPiece` model, id for id and offset for offset.
//! Training, evaluation and the device all tokenize with this crate, so that nothing can drift
//! apart between them.
//!
//! ```text
//!  text                     "Schön, [MASK]!"
//!    |  segments            cut out special tokens that are written in the text
//!    |  words               clean, decompose, strip, lower, split           (words.rs, order.rs)
//!    |                      "schon" "," <[MASK]> "!"   each byte knows the source bytes it is from
//!    v  split               longest piece first, "##" inside a word         (split.rs)
//!  pieces                   sc ##hon , [MASK] !      8040 8747 1010 103 999
//!    |  encode              cut to a limit, [CLS] a [SEP] b [SEP]           (encode.rs, windows.rs)
//!    v
//!  ids for the encoder, offsets for the answer
//! ```
//!
//! 1. **The tables are made, not written.** Everything that depends on a model or on a version of
//!    Unicode stands in the tables; they are made on the workstation by asking the real tokenizer
//!    about every scalar value. The code here knows only how a character may behave. [`layout`]
//!    describes the bytes.
//! 2. **No allocator, no standard library, no unsafe code.** A word is held in a few kilobytes on
//!    the stack, pieces go to the caller's memory. A text may have any length.
//! 3. **Bad tables give bad pieces, never a panic.** [`Tokenizer::new`] checks the structure once.
//!    The bytes may lie in a memory map that somebody changes later, so every index that is read
//!    from them is checked again when it is used.
//!
//! ```
//! # fn demo(tables: &[u8]) -> Option<()> {
//! use berth_wordpiece::{Piece, Tokenizer};
//! let tokenizer = Tokenizer::new(tables).ok()?;
//! let mut pieces = [Piece::default(); 256];
//! let encoding = tokenizer.encode("a gripping film", None, 128, &mut pieces).ok()?;
//! for piece in &pieces[..encoding.len] {
//!     let _ = (piece.id, tokenizer.piece_text(piece.id));
//! }
//! # Some(())
//! # }
//! ```
#![no_std]
#![forbid(unsafe_code)]

mod encode;
pub mod layout;
mod order;
mod piece;
mod split;
mod tables;
mod windows;
mod words;

pub use encode::{EncodeError, Encoding, Truncation};
pub use piece::Piece;
pub use split::{Count, Stream};
pub use tables::{MAX_WORD_CHARS, PieceText, TableError, Tokenizer};
pub use windows::{Division, TextDivision, Windows};

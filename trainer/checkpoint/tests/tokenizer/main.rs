//! The tokenizer against the real one: ids and offsets must be the same, without exception.
//!
//! `golden` holds vectors that the original Python tokenizer made; `oracle` compares with the crate
//! `tokenizers` on every scalar value and on random strings of the worst kinds. The number of
//! strings is set by `BERTH_STRINGS`, their seed by `BERTH_SEED`.

mod allocations;
mod damage;
mod files;
mod golden;
mod kit;
mod oracle;
mod strings;

//! What a device reads, and a workstation, given bytes that nobody meant.
//!
//! ```text
//!   libFuzzer ──► src/bin/NAME.rs ──► NAME::run(bytes) ──► holds, or panics
//!                                        ▲
//!   cargo test ──► tests/storm.rs ───────┘   the same functions, on seeded random bytes
//! ```
//!
//! A target is a function over bytes. It feeds them to Berth and asserts what has to hold for any:
//! no panic, no read beyond what is there (AddressSanitizer sees to that), no memory out of
//! proportion (libFuzzer's `-malloc_limit_mb`), and the target's own rules, listed where it stands.
//!
//! | target | the bytes are |
//! |---|---|
//! | [`damage`] | a script that damages a small whole bundle, and may make the checksums right again; under libFuzzer each input stands for [`damage::BURST`] of them |
//! | [`bytes`] | a bundle, as they come |
//! | [`tables`] | tokenizer tables, as they come |
//! | [`text`] | texts, limits and strides for the tokenizer |
//! | [`json`] | a line of JSON, read beside `serde_json` |
//! | `checkpoint` | a file of a checkpoint's folder, which the workstation reads; behind the feature of that name |
//! | `onnx` | an ONNX file, behind the same feature |
//! | [`lines`] | a stream of lines for `berth-edge`, and the blocks that it arrives in |
//!
//! `.ci/run` runs each for seconds, `.ci/full` for long; `.ci/fuzz TARGET SECONDS` one by itself, on a
//! corpus that it keeps. No other toolchain than the usual one is needed. `examples/seeds.rs` makes
//! the corpora to begin with.

pub mod bytes;
#[cfg(feature = "checkpoint")]
pub mod checkpoint;
pub mod damage;
pub mod json;
pub mod lines;
mod memory;
mod models;
#[cfg(feature = "checkpoint")]
pub mod onnx;
mod script;
pub mod tables;
pub mod text;

pub use models::{seeds, use_tables};

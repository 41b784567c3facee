//! Opens a bundle and answers: what a device links.
//!
//! ```text
//!   sentiment.berth
//!         │ map, check structure, build the plan             model.rs, network.rs
//!         ▼
//!       Model ── Send + Sync, cheap to clone ──► session()   takes all memory, once
//!                                                   │
//!   "a gripping film" ──► tokens ──► ids ──► engine ──► logits ──► labels and scores
//!                       wordpiece        │   engine/        task        session.rs, tags.rs
//!                                        │
//!                       a tract plan of Embed, Layer, Head; or the encoder alone
//!
//!   a line of text or JSON ──► Answerer ──► a line of JSON   lines.rs, json.rs, answer.rs
//! ```
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = berth_runtime::Model::open("sentiment.berth")?;
//! let mut session = model.session()?;
//! let answer = session.classify("a gripping film")?;
//! println!("{} {}", answer.best().label, answer.best().score);
//! # Ok(())
//! # }
//! ```
//!
//! 1. **No query allocates**, from the first one on. [`Model::session`] takes the memory for the
//!    longest input and runs a query; answers are borrowed from the session.
//! 2. **The same bits everywhere.** Through tract or without it (the feature `tract`), on every
//!    instruction set, a text has the same logits: what was measured on a workstation holds on the
//!    device.
//! 3. **The file is used where it lies**, in a memory map or in the program. Opening reads a few
//!    kilobytes; [`Model::open_verified`] reads the rest too, once, without keeping it.
//! 4. **Nothing here opens a socket** or starts a thread.
//!
//! | limit | value |
//! |---|---|
//! | tokens of a query | the model's positions, [`Model::positions`]; the rest is cut and counted. Texts to be tagged may have any length |
//! | words of a text that comes split, `{"tokens":…}` | [`MAX_WORDS`](answer::MAX_WORDS) |
//! | labels | [`MAX_LABELS`](berth_task::MAX_LABELS) |
//! | the memory that one session calculates in | [`MAX_SCRATCH_BYTES`] |
//! | a line of input of `berth-edge` | [`MAX_LINE_BYTES`](lines::MAX_LINE_BYTES) |
//!
//! What a program may need beside queries: [`measure`] for latency and memory, [`inspect()`] for what
//! a bundle holds, [`counting`] for an allocator that counts.

pub mod answer;
pub mod counting;
mod engine;
mod error;
mod inspect;
mod json;
pub mod lines;
pub mod measure;
mod memory;
mod model;
mod network;
mod offsets;
mod session;
mod tags;

pub use berth_bundle::include_bundle;
pub use engine::MAX_SCRATCH_BYTES;
pub use error::{ISA_VARIABLE, OpenError, Origin, QueryError};
pub use inspect::inspect;
pub use model::Model;
pub use offsets::Offset;
pub use session::{Classification, LabelScore, Logits, Session, Similarity};
pub use tags::{Tag, Tags};

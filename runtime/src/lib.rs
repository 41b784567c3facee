//! Opens a bundle and answers: what a device links.
//!
//! ```text
//!   sentiment.berth
//!         │ map, check structure, build the plan             model.rs, network.rs
//!         ▼
//!       Model ── Send + Sync, cheap to clone ──► session()   takes all memory, once
//!                                                   │
//!   "a gripping film" ──► tokens ──► ids ──► engine ──► logits ──► labels and scores
//!                       wordpiece        │   engine/        task        session.rs, texts.rs, questions.rs, tags.rs
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
//! 4. **Threads are asked for.** [`Model::session_with`] starts as many as are to share each query; they
//!    sleep between queries and end with the session. [`bulk`] shares many queries out. Nothing else
//!    starts a thread, and nothing opens a socket.
//!
//! | limit | value |
//! |---|---|
//! | a text, a passage | none: what is longer than the model's positions, [`Model::positions`], is read by windows |
//! | tokens of the shorter of two texts | half of the positions; the rest is cut and counted |
//! | threads that share a query | [`MAX_THREADS`] |
//! | words of a text that comes split, `{"tokens":…}` | [`MAX_WORDS`](answer::MAX_WORDS) |
//! | answers to a question | [`MAX_N_BEST`], and that there is none |
//! | labels | [`MAX_LABELS`] |
//! | the memory that one session calculates in | [`MAX_SCRATCH_BYTES`] |
//! | a line of input of `berth-edge` | [`MAX_LINE_BYTES`](lines::MAX_LINE_BYTES) |
//!
//! A thread that opens a model and asks it wants a stack of 400 KiB: in so much all of `berth-edge` runs, on x86-64 in
//! 320 KiB. Without optimization, as a crate that depends on this one is built by plain `cargo build`, it is 1.3 MiB;
//! `[profile.dev.package."*"] opt-level = 1` in the manifest brings both the stack and the time down. Threads of the
//! standard library have more; one that is made with a size of its own, or by other means than Rust's, is to be given
//! as much.
//!
//! What a program may need beside queries: [`bulk`] for many inputs at once on a workstation,
//! [`measure`] for latency and memory, [`inspect()`] for what a bundle holds, [`selftest`](mod@selftest)
//! for whether this machine computes what the workstation measured, [`counting`] for an allocator that
//! counts.

pub mod answer;
pub mod bulk;
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
mod place;
mod questions;
pub mod selftest;
mod session;
mod tags;
mod texts;
mod workers;

pub use berth_bundle::{Bundle, Header, OpenError as BundleError, VerifyError, include_bundle};
pub use berth_encoder::{ForwardError, MAX_THREADS};
pub use berth_kernels::{Isa, Tier};
pub use berth_task::{Aggregation, Labels, LongTexts, MAX_LABELS, MAX_N_BEST, SpanRules, Task};
pub use berth_wordpiece::{EncodeError, TableError, Tokenizer};
pub use engine::MAX_SCRATCH_BYTES;
pub use error::{ISA_VARIABLE, OpenError, Origin, QueryError};
pub use inspect::inspect;
pub use model::Model;
pub use place::Place;
pub use questions::{Answers, SpanAnswer};
pub use session::{Classification, LabelScore, Logits, Session, Similarity};
pub use tags::{Tag, Tags};
pub use workers::Threads;

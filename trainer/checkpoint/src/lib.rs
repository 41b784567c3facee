//! The Hugging Face folder: the form in which models come in, and in which trained ones go out.
//!
//! ```text
//!   config.json              [`config`]        sizes, dropout, labels
//!   model.safetensors        [`weights`]       tensors, read as f32 under one name each ([`names`])
//!   tokenizer.json           [`vocabulary`]    copied on, with tokenizer_config.json,
//!   vocab.txt …                                special_tokens_map.json and vocab.txt
//!   training_args.json       [`training_args`] how it was trained
//! ```
//!
//! [`Checkpoint::open`] reads a folder and holds its parts against each other: what it returns can be
//! computed with. [`save::Folder`] writes one, whole or not at all; it loads in `transformers`.
//! [`tiny::create`] makes a small seeded one. [`tokenizer`] turns the tokenizer's files into the
//! tables that every later stage tokenizes with.
//!
//! A folder that is read may hold anything: each length is checked against the file's before memory
//! is taken for it, and every error names the file and what is wrong in it.

mod checkpoint;
pub mod config;
mod digest;
mod error;
mod family;
mod json;
pub mod names;
mod provenance;
pub mod save;
pub mod tiny;
pub mod tokenizer;
pub mod training_args;
pub mod vocabulary;
pub mod weights;

pub use checkpoint::Checkpoint;
pub use config::{Config, ProblemType};
pub use digest::{hex, sha256};
pub use error::{CheckpointError, SaveError, on_one_line};
pub use family::Family;
pub use provenance::{DataFile, Provenance};
pub use training_args::TrainingArgs;
pub use vocabulary::TokenizerFiles;
pub use weights::{Steps, Tensor};

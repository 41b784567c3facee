//! ONNX: out, as files that other runtimes open; in, as a checkpoint; and run on the workstation.
//!
//! ```text
//!  Checkpoint --export--> model.onnx, model_quantized.onnx     [write] over [wire]
//!  model.onnx --open----> Checkpoint                           [proto] over [wire], [import]
//!  model.onnx --run-----> logits, through tract                [run]
//! ```
//!
//! The format is read and written here, in a few hundred lines (`wire`, `proto`, `write`): tensors are
//! borrowed from the file's bytes, and what a hostile file can cost is bounded. tract's own parser
//! copies the file once more, and folds away what the rules of `import` look for; it is used only to
//! run a file.

mod digest;
mod export;
mod import;
mod proto;
#[cfg(feature = "tract")]
mod run;
mod wire;
mod write;

pub use export::{Form, export};
pub use import::{ImportError, check, open};
pub use proto::ProtoError;
#[cfg(feature = "tract")]
pub use run::{Run, RunError, Share, Tokens, operators};
pub use wire::WireError;

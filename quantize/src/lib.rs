//! From a fine-tuned checkpoint to the one file that a device reads, and what int8 cost.
//!
//! ```text
//!  Checkpoint --quantize--> Writer --to_bytes, write--> bundle
//!   f32 tensors   |            ^
//!                 |            | set_metrics(comparison.metrics())
//!   weights: i8 per channel    |
//!                              |
//!  Predictions --------> Comparison ----> Gate, report
//!   f32 logits, int8 logits,   the metric of both, agreement,
//!   gold labels                every answer that changed,
//!                              the temperature of int8's scores
//! ```
//!
//! 1. **One formula.** Weights and embeddings are quantized by `berth-kernels`, whose `NUMERICS.md`
//!    is the specification; here is decided only what becomes a channel ([`quantize`]).
//! 2. **No training code and no model runs here.** Predictions come in: the checkpoint's from the
//!    trainer, the bundle's from the runtime. Both go through the same metrics.
//! 3. **The same checkpoint gives the same bytes.** Nothing of the machine or the hour goes in.
//! 4. **Refused by name.** A tensor that is missing or not finite, a size that the kernels don't
//!    run: the error names it, and nothing is written.

mod calibrate;
mod compare;
mod dense;
mod error;
mod golden;
mod model;
mod report;

pub use calibrate::{FEWEST_ANSWERS, calibrate};
pub use compare::{Changed, Comparison};
pub use error::QuantizeError;
pub use model::{Options, quantize};
pub use report::{Gate, Missed, calibration_object, report};

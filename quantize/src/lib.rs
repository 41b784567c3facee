//! From a fine-tuned checkpoint to the one file that a device reads, and what int8 cost.
//!
//! ```text
//!  Checkpoint --quantize--> Writer --to_bytes, write--> bundle
//!   f32 tensors   |            ^
//!                 |            | set_metrics(comparison.metrics())
//!   weights: i8 per channel    |
//!                              |
//!  Trials::run --> Measured: Comparison ----> Gate, report
//!   a bundle, its answers,     the metric of both with an interval, agreement, every answer
//!   and where the gate is      that changed, the temperature of int8's scores; Cost: each layer's
//!   missed, other bundles      noise, and what of the error it explains; Latency; the search's log
//! ```
//!
//! 1. **One formula.** Weights and embeddings are quantized by `berth-kernels`, whose `NUMERICS.md`
//!    is the specification; here is decided only what becomes a channel ([`quantize`]), and where the
//!    plain choice fails a gate, what else helps ([`Trials`]).
//! 2. **No training code runs here.** Predictions come in: the checkpoint's from the trainer, the bundle's
//!    from the runtime. Both go through the same metrics. What is measured inside a model is measured in
//!    the encoder that serves it.
//! 3. **The same checkpoint gives the same bytes.** Nothing of the machine or the hour goes in.
//! 4. **Refused by name.** A tensor that is missing or not finite, a size that the kernels don't
//!    run: the error names it, and nothing is written.

mod bootstrap;
mod calibrate;
mod card;
mod compare;
mod dense;
mod error;
mod gate;
mod golden;
mod latency;
mod model;
pub mod onnx;
mod probe;
mod report;
mod search;
mod smooth;
mod spread;
mod threads;

pub use compare::{Changed, Comparison};
pub use error::QuantizeError;
pub use gate::{Gate, Missed};
pub use latency::Latency;
pub use model::{Options, quantize};
pub use probe::{Cost, LayerCost};
pub use report::{Findings, calibration_object, report};
pub use search::{Change, Measured, Step, Trials};
pub use smooth::Ranges;

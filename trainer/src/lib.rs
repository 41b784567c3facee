//! Fine-tuning: every parameter of a BERT, and a fresh head on it, learned from examples.
//!
//! ```text
//!  base checkpoint ──► model ◄── ops ◄── kernels        Bert: candle ops with backward passes,
//!        encoded           │                            their arithmetic on slices
//!        examples ──► batches ──► finetune ──► checkpoint-<step>/ …, the result
//!                          │       │    └ optimizer, schedule, observer
//!                          └── predict ──► logits
//! ```
//!
//! * [`kernels`]: the fused steps on slices, forward and backward: dense layers, attention, GELU, norms, AdamW.
//! * [`ops`]: the parts of BERT as nodes of candle's graph; parameters, which collect their own gradients.
//! * [`model`]: the parts put together, read from a Hugging Face checkpoint.
//! * [`batches`], [`schedule`], [`optimizer`], [`recipe`], [`imbalance`], [`curve`], [`state`]: what a run is made of.
//! * [`memory`]: whether it will fit.
//! * [`device`]: where it is computed, if not on the CPU; with the feature `cuda`, on a GPU.
//! * [`finetune()`]: the run. [`Predictor`]: logits without training. [`mod@bench`]: steps to be timed.
//!
//! Principles:
//!
//! 1. **Nothing is padded.** The sequences of a batch lie one after the other; only attention knows where one ends.
//! 2. **What no head reads is not computed.** Under a `[CLS]` head the last layer works on one row a sequence.
//! 3. **The same bits for any number of threads.** Work is cut at fixed places and sums have a fixed order.
//! 4. **Nothing random is stored.** Dropout masks, the order of the examples and fresh parameters are functions of the
//!    seed and of what they are for, so that a resumed run continues bit for bit.
//! 5. **A run fails early and says where**: wrong settings and examples before the first step, a parameter without
//!    gradient at the first step, a loss that is not finite at its own.

pub mod batches;
pub mod bench;
mod check;
mod checkpoints;
#[cfg(any(feature = "cuda", test))]
mod cuda;
pub mod curve;
pub mod device;
mod early_stopping;
mod error;
pub mod finetune;
pub mod imbalance;
mod job;
pub mod kernels;
pub mod memory;
pub mod model;
mod observer;
pub mod ops;
pub mod optimizer;
mod predict;
pub mod random;
mod readme;
pub mod recipe;
mod results;
pub mod schedule;
pub mod state;

pub use checkpoints::{hold, tidy};
pub use error::{ExampleProblem, TrainError};
pub use finetune::{Outcome, finetune};
pub use job::{Job, Start};
pub use observer::{Control, Observer, StepInfo, Unobserved};
pub use predict::Predictor;
pub use recipe::{Recipe, RecipeError};
pub use results::{ALL_RESULTS, EVAL_RESULTS, Results};

//! BERT's forward pass, over weights that a bundle lends and memory that the caller brings.
//!
//! ```text
//!            embed            layer(0) … layer(n-1)           head
//!  ids ────► word + position ─► attention, add + norm ─► … ─► pooler, dense ─► logits
//!            + type, norm       feed-forward, add + norm      on the rows that it reads
//!                    hidden rows, [tokens][width] f32, changed in place
//! ```
//!
//! 1. **Blocks.** [`Encoder::embed`], [`Encoder::layer`] and [`Encoder::head`] are what a graph of
//!    another library wraps; [`Encoder::forward`] runs them one after another, for where there is
//!    no such library. Both ways give the same bits, since there is no other code.
//! 2. **The arithmetic is elsewhere.** Every number is computed by `berth-kernels`, whose
//!    `NUMERICS.md` says how; here is only which kernel follows which.
//! 3. **Memory is the caller's.** [`scratch_bytes`] says how much a number of tokens takes,
//!    [`Scratch::carve`] cuts it up, and nothing is allocated.
//! 4. **What no head reads is not computed.** A head on the `[CLS]` row needs one row of the last
//!    layer: keys and values of all tokens, and the rest for that row alone ([`Rows::First`]).
//! 5. **Near memory.** A few heads at a time go from quantized rows to their context, and a few rows at
//!    a time through the rest of the layer, so that what one kernel writes the next finds in a cache.
//! 6. **Halves.** Within a layer a long input's rows are kept in sixteen bits, and so are twice as many near. Short
//!    ones, and layers in floats, keep theirs in floats (the modules `weights` and `scratch`).
//! 7. **Layers in floats.** A bundle may name layers that int8 hurts; they go the same way with other
//!    kernels (the module `weights`).
//! 8. **Threads are the caller's too.** A [`Team`] shares out the heads and the rows of a layer; the
//!    bits don't depend on it.
#![no_std]

#[cfg(test)]
extern crate std;

mod encoder;
mod error;
mod scratch;
mod team;
mod watch;
mod weights;

pub use berth_kernels::Isa;
pub use encoder::{Encoder, Rows, check_input};
pub use error::ForwardError;
pub use scratch::{Scratch, scratch_bytes, scratch_bytes_for};
pub use team::{Alone, MAX_THREADS, Team};
pub use watch::{Part, Watch};

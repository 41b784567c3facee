//! The int8 arithmetic of BERT, written once and run on every instruction set with the same bits.
#![no_std]

#[cfg(any(feature = "std", test))]
extern crate std;

mod isa;
mod scalar;
mod weights;

pub use isa::{Isa, Tier, UnknownTier};
pub use weights::{Linear, Norm, pack, packed_len, quantize_weight_row};

/// How many f32 a vector has on every tier, and how many output columns a panel of weights has.
pub const LANES: usize = 16;

/// The version of the arithmetic that `NUMERICS.md` lays down. A bundle names the one it was
/// quantized for; a change of any bit that a kernel returns is a new version.
pub const NUMERICS_VERSION: u16 = 1;

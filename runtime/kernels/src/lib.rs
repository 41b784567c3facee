//! The int8 arithmetic of BERT, written once and run on every instruction set with the same bits.
#![no_std]
// In kernels one index walks through several arrays at once, and reads as the formula does.
#![allow(clippy::needless_range_loop)]

#[cfg(any(feature = "std", test))]
extern crate std;

mod attention;
mod columns;
mod dense;
mod isa;
mod linear;
mod norm;
mod polynomials;
mod rows;
mod scalar;
mod simd;
mod tiers;
mod tile;
mod weights;

pub use attention::{Attention, AttentionScratch};
pub use columns::ColumnsMut;
pub use isa::{Isa, Tier, UnknownTier};
pub use linear::Activation;
pub use norm::ByteRow;
pub use polynomials::{EXP2, EXP2_255, EXP2_LOWEST, GELU, GELU_END, TANH_FACTOR};
pub use rows::{Rows, RowsMut, row_bytes};
pub use weights::{Linear, Norm, pack, packed_len, quantize_weight_row};

/// How many f32 a vector has on every tier, and how many output columns a panel of weights has.
pub const LANES: usize = 16;

/// The version of the arithmetic that `NUMERICS.md` lays down. A bundle names the one it was
/// quantized for; a change of any bit that a kernel returns is a new version.
pub const NUMERICS_VERSION: u16 = 1;

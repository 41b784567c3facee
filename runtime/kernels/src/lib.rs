//! The int8 arithmetic of BERT, written once and run on every instruction set with the same bits.
//!
//! ```text
//!  rows ──quantize_rows──► Rows (u8) ──linear──► rows ──attention──► rows
//!                                       ▲
//!                          Linear (s8, packed, borrowed from the file)
//!
//!  rows are f32 or f16; between the two linears of a feed-forward block in f16:
//!
//!  Rows (u8) ──linear_and_ranges──► rows, and the range of each ──linear_in_ranges──► rows
//!
//!  beside them: embed, add_norm, tanh, dense; linear_f32 and attention_f32 for layers in floats
//! ```
//!
//! What the kernels compute is laid down in `NUMERICS.md` beside this crate, to the bit. How:
//!
//! 1. **One algorithm, many instruction sets.** Every kernel is generic over a small vector trait
//!    (the module `simd`), and a tier is one file that implements it (`tiers`). There is no second
//!    copy of a kernel to keep in step.
//! 2. **One place chooses.** [`Isa`] has every kernel as a method, and can only be made for a
//!    [`Tier`] whose instructions the machine has. The choice costs one branch a call.
//! 3. **One weight layout**, read in place by all tiers ([`pack`] writes it). Nothing is repacked
//!    when a model is opened.
//! 4. **Tiles that fit the input.** Rows are cut as evenly as the registers allow, from one row
//!    up. No input is padded to a longer one, and no padding is seen from outside.
//! 5. **Checked once.** Public functions are safe: they compare the lengths of their arguments, and
//!    panic where these can't belong together. Behind that border the tiles read through pointers,
//!    each with the reason why it may.
//! 6. **Read from far away once.** Panels are taken through all rows while they are near, and what is written and read
//!    again soon is kept small, or read from where it was written last. On AArch64 a line that is about to be written is
//!    made in the caches without being fetched.
//! 7. **The caller's memory, the caller's threads.** Nothing is allocated. The large kernels take a
//!    range of panels or heads and write to [`ColumnsMut`], which can be split, so that threads
//!    share a layer without sharing a float.
//!    On AArch64, where weights and rows are brought into another order, a dense layer or attention has
//!    297 KiB of the stack for them, and with AVX2, where rows are widened, 48 KiB. It writes what it uses; the
//!    compiler may touch each page of the rest once.
#![no_std]
// In kernels one index walks through several arrays at once, and reads as the formula does.
#![allow(clippy::needless_range_loop)]

#[cfg(any(feature = "std", test))]
extern crate std;

mod attention;
mod columns;
mod dense;
mod element;
mod floats;
mod isa;
mod linear;
mod norm;
mod polynomials;
mod ranges;
mod rows;
mod scalar;
mod simd;
mod tiers;
mod tile;
mod weights;

pub use attention::{Attention, AttentionScratch};
pub use columns::ColumnsMut;
pub use element::Element;
pub use floats::{LinearF32, pack_f32, packed_len_f32};
pub use half::f16;
pub use isa::{Isa, Tier, UnknownTier};
pub use linear::Activation;
pub use norm::{ByteRow, NORM_TOGETHER};
pub use polynomials::{EXP2, EXP2_255, EXP2_LOWEST, GELU, GELU_END, TANH_FACTOR};
pub use ranges::RowRange;
pub use rows::{Rows, RowsMut, row_bytes};
pub use weights::{Linear, Norm, pack, packed_len, quantize_weight_row};

/// How many f32 a vector has on every tier, and how many output columns a panel of weights has.
pub const LANES: usize = 16;

/// The version of the arithmetic that `NUMERICS.md` lays down. A bundle names the one it was
/// quantized for; a change of any bit that a kernel returns is a new version.
pub const NUMERICS_VERSION: u16 = 2;

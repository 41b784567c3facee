//! One file for each instruction set; nothing else in this crate names an instruction.
//!
//! A tier is a token that implements [`Simd`](crate::simd::Simd), made nowhere but in the tier's
//! own `run`, and one arm in `isa.rs`. The Arm tiers (i8mm, dot product, plain NEON) will stand
//! beside these as `i8mm.rs`, `dotprod.rs` and `neon.rs`.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

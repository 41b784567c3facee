//! One file for each instruction set; nothing else in this crate names an instruction.
//!
//! A tier is a token that implements [`Simd`](crate::simd::Simd), made nowhere but in the tier's
//! own `run`, and one arm in `isa.rs`. The tiers of AArch64 share everything but their products of
//! bytes, which is in `arm.rs`. They need NEON and bytes in little-endian order; without these the
//! portable tier runs.

/// A line of assembly, put together, and its end.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! line {
    ($($part:expr),*) => { concat!($($part,)* "\n") };
}

#[cfg(all(
    target_arch = "aarch64",
    target_feature = "neon",
    target_endian = "little"
))]
mod arm;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(all(
    target_arch = "aarch64",
    target_feature = "neon",
    target_endian = "little"
))]
pub(crate) mod dotprod;
#[cfg(all(
    target_arch = "aarch64",
    target_feature = "neon",
    target_endian = "little"
))]
pub(crate) mod i8mm;
#[cfg(all(
    target_arch = "aarch64",
    target_feature = "neon",
    target_endian = "little"
))]
pub(crate) mod neon;
pub(crate) mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

//! What a row of activations is kept in: f32, or the sixteen bits of `f16`.
//!
//! All arithmetic is f32. What an int8 layer writes between two linears is read once, and most of it becomes eight bits
//! then; kept in sixteen it takes half the memory, and a board's second-level cache holds twice as many rows. A float becomes the nearest half, ties to even; half as a float is exact.

use half::f16;

use crate::columns::ColumnsMut;
use crate::simd::{Kernel, Simd};
use crate::{Isa, LANES};

/// f32 or `f16`.
#[expect(private_bounds, reason = "nobody else has kinds of elements")]
pub trait Element: Lane {}

impl Element for f32 {}
impl Element for f16 {}

/// How sixteen elements become a vector, and a vector elements.
pub(crate) trait Lane: Copy + Default + Send + Sync + 'static {
    /// Reads sixteen elements.
    fn load<S: Simd>(s: S, from: &[Self; LANES]) -> S::F32;
    /// Writes sixteen elements.
    fn store<S: Simd>(s: S, x: S::F32, to: &mut [Self; LANES]);
    /// Columns of such elements as those of either.
    fn out(columns: ColumnsMut<'_, Self>) -> Out<'_>;
}

impl Lane for f32 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[f32; LANES]) -> S::F32 {
        s.load(from)
    }

    #[inline(always)]
    fn store<S: Simd>(s: S, x: S::F32, to: &mut [f32; LANES]) {
        s.store(x, to);
    }

    fn out(columns: ColumnsMut<'_>) -> Out<'_> {
        Out::Floats(columns)
    }
}

impl Lane for f16 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[f16; LANES]) -> S::F32 {
        s.load_halves(from)
    }

    #[inline(always)]
    fn store<S: Simd>(s: S, x: S::F32, to: &mut [f16; LANES]) {
        s.store_halves(x, to);
    }

    fn out(columns: ColumnsMut<'_, f16>) -> Out<'_> {
        Out::Halves(columns)
    }
}

/// Where outputs go, of either kind.
pub(crate) enum Out<'a> {
    Floats(ColumnsMut<'a>),
    Halves(ColumnsMut<'a, f16>),
}

impl Out<'_> {
    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Out::Floats(out) => out.rows(),
            Out::Halves(out) => out.rows(),
        }
    }

    /// How many columns there are.
    pub(crate) fn columns(&self) -> usize {
        match self {
            Out::Floats(out) => out.columns(),
            Out::Halves(out) => out.columns(),
        }
    }
}

/// Writes whole vectors of floats as halves.
#[inline(always)]
pub(crate) fn halve<S: Simd>(s: S, x: &[f32], out: &mut [f16]) {
    debug_assert!(x.len() == out.len() && x.len().is_multiple_of(LANES));
    // SAFETY: it is borrowed exclusively, all of it is written now, and zeros are halves.
    unsafe { s.claim(out.as_mut_ptr().cast(), size_of_val(out)) };
    for (x, out) in x.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        s.store_halves(s.load(x), out);
    }
}

impl Isa {
    /// Writes the nearest half to each float, ties to even.
    ///
    /// # Panics
    /// When `out` is not as long as `x`, or when that is no multiple of 16.
    pub fn halve(self, x: &[f32], out: &mut [f16]) {
        assert_eq!(x.len(), out.len(), "a half for each float");
        assert!(x.len().is_multiple_of(LANES), "whole vectors");
        self.run(Halve { x, out });
    }
}

struct Halve<'a> {
    x: &'a [f32],
    out: &'a mut [f16],
}

impl Kernel for Halve<'_> {
    type Output = ();
    const PRODUCTS: bool = false;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        /// Few enough to be in the first-level cache still when they are written.
        const PIECE: usize = 64 * LANES;
        for (x, out) in self.x.chunks(PIECE).zip(self.out.chunks_mut(PIECE)) {
            halve(s, x, out);
        }
    }
}

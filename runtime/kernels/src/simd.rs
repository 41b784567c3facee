//! What an instruction set has to offer: a vector of sixteen floats, and a tile of dot products.
//!
//! Every algorithm of this crate is written once, over [`Simd`], as a [`Kernel`]. A tier implements
//! the trait with a token that can only be made where its instructions exist, and a function that
//! carries them in its `#[target_feature]`; [`Isa::run`](crate::Isa::run) picks that function, and
//! since everything below is `#[inline(always)]`, the algorithm is compiled into it as a whole:
//!
//! ```text
//! isa.linear(..) ---> Isa::run(kernel) ---> avx512::run(kernel)   #[target_feature(..)]
//!                          |                     |
//!                          |                kernel.run(Avx512)    inlined, with all it calls
//!                          \-------------> portable: kernel.run(Portable)
//! ```
//!
//! All operations round to nearest, ties to even, each by itself. The token is passed by value to
//! every operation; it has no size.

use crate::LANES;

/// An algorithm that runs on any tier.
pub(crate) trait Kernel {
    /// What it returns.
    type Output;

    /// Whether it multiplies bytes. Where it does not, tiers that differ in nothing else share its code.
    const PRODUCTS: bool = true;

    /// Runs it. Implementations are `#[inline(always)]`, or the tier's instructions get lost.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// The operations of one tier. Lane `i` of a vector never depends on another lane unless said.
pub(crate) trait Simd: Copy {
    /// Sixteen floats.
    type F32: Copy;
    /// Sixteen signed integers.
    type I32: Copy;

    /// What a tier keeps of a group of panels while rows are taken through it.
    type Kept;

    /// The most rows that a tile may have for its sums to stay in registers; at most [`MAX_ROWS`].
    const ROWS: usize;
    /// Rows go through a tile so many at a time; [`ROWS`](Self::ROWS) is a multiple of it.
    const STEP: usize = 1;
    /// Whether the sums of a tile are still in registers when it is done.
    const SUMS_IN_REGISTERS: bool = true;
    /// The most panels of 16 columns that a tile may have: 4, 2 or 1.
    const PANELS: usize;

    /// The same float sixteen times.
    fn splat(self, x: f32) -> Self::F32;
    /// Reads sixteen floats.
    fn load(self, from: &[f32; LANES]) -> Self::F32;
    /// Reads sixteen signed bytes as floats.
    fn load_bytes(self, from: &[i8; LANES]) -> Self::F32;
    /// Writes sixteen floats.
    fn store(self, x: Self::F32, to: &mut [f32; LANES]);
    /// Writes the low byte of each integer.
    fn store_bytes(self, x: Self::I32, to: &mut [u8; LANES]);
    /// Writes the integers of four vectors, all from 0 to 255, one vector behind the other.
    fn store_steps(self, x: [Self::I32; 4], to: &mut [u8; 4 * LANES]);
    /// Writes the low bytes of four vectors side by side, lane by lane.
    fn store_quads(self, x: [Self::I32; 4], to: &mut [u8; 4 * LANES]);

    /// `a + b`
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a - b`
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b`
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a / b`
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a` where it is smaller, else `b`
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a` where it is larger, else `b`
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The magnitude.
    fn abs(self, a: Self::F32) -> Self::F32;
    /// The magnitude of `a` with the sign of `b`.
    fn copy_sign(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The first `count` lanes of `a`, and `b` in the others.
    fn first(self, count: usize, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The nearest integer, ties to even, of floats of magnitudes up to 2^22.
    fn round(self, a: Self::F32) -> Self::I32;
    /// The nearest float, ties to even.
    fn float(self, a: Self::I32) -> Self::F32;
    /// `a + b`, wrapping.
    fn add_int(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// The bits of `a` plus the bits of `b` shifted up to the place of the exponent: `a` times 2 to
    /// the power of the integer in the low bits of `b`, where the result is a normal number.
    fn raise(self, a: Self::F32, b: Self::F32) -> Self::F32;

    /// The sum of all lanes, as a tree: `l[j] + l[j + 8]`, then `+ 4`, `+ 2`, `+ 1`.
    fn sum(self, a: Self::F32) -> f32;
    /// The smallest lane.
    fn smallest(self, a: Self::F32) -> f32;
    /// The largest lane.
    fn largest(self, a: Self::F32) -> f32;
    /// The sum of all lanes, wrapping.
    fn total(self, a: Self::I32) -> i32;

    /// The square root, correctly rounded.
    fn sqrt(self, x: f32) -> f32 {
        crate::scalar::sqrt(x)
    }

    /// Memory for what is kept of a group of panels, whatever it holds.
    fn keep(self) -> Self::Kept;

    /// Looks at `N` panels before rows are taken through them: what costs as much for one row as for
    /// many is done here.
    ///
    /// # Safety
    /// `w.start` is valid for reads of `(N - 1) * w.stride + 64 * w.groups` bytes.
    unsafe fn ready<const N: usize>(self, w: Panels, kept: &mut Self::Kept);

    /// The dot products of `M` rows of activations with the 16 columns of each of `N` panels:
    /// `out[m][n][column]` is the sum of `a[m * row + i] * w.start[n * w.stride + i / 4 * 64 +
    /// column * 4 + i % 4]` over `i < 4 * w.groups`. The sum is exact as long as it fits into 32 bits.
    ///
    /// # Safety
    /// `a` is valid for reads of `(M - 1) * row + 4 * w.groups` bytes, `w` is valid as for
    /// [`ready`](Self::ready), and `kept` is what that left for the same `w` and `N`.
    unsafe fn tile<const M: usize, const N: usize>(
        self,
        a: *const u8,
        row: usize,
        w: Panels,
        kept: &mut Self::Kept,
        out: &mut [[Self::I32; N]; M],
    );
}

/// Panels of packed weights, one behind the other.
#[derive(Copy, Clone)]
pub(crate) struct Panels {
    /// Where the first begins.
    pub(crate) start: *const i8,
    /// How far apart they begin.
    pub(crate) stride: usize,
    /// How many groups of four inputs each of them has.
    pub(crate) groups: usize,
}

/// The most rows that a tile has on any tier.
pub(crate) const MAX_ROWS: usize = 6;

/// The sixteen numbers of group `index`.
#[inline(always)]
pub(crate) fn lanes<T>(x: &[T], index: usize) -> &[T; LANES] {
    &x.as_chunks().0[index]
}

/// The sixteen numbers of group `index`, to be written.
#[inline(always)]
pub(crate) fn lanes_mut<T>(x: &mut [T], index: usize) -> &mut [T; LANES] {
    &mut x.as_chunks_mut().0[index]
}

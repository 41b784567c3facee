//! Plain Rust for every machine: loops over sixteen lanes, which the compiler turns into whatever
//! vectors the target has.

use core::mem::MaybeUninit;

use half::f16;

use crate::LANES;
use crate::scalar;
use crate::simd::{At, Kernel, Panels, Simd};

/// Runs a kernel with nothing but the instructions that the program was compiled for.
pub(crate) fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Portable)
}

/// The token of this tier. Anyone may make one.
#[derive(Copy, Clone)]
struct Portable;

/// Sixteen numbers, aligned so that a target's widest loads can be used.
#[derive(Copy, Clone)]
#[repr(align(64))]
struct Lanes<T>([T; LANES]);

impl<T: Copy> Lanes<T> {
    #[inline(always)]
    fn map<U: Copy>(self, zero: U, op: impl Fn(T) -> U) -> Lanes<U> {
        let mut out = [zero; LANES];
        for j in 0..LANES {
            out[j] = op(self.0[j]);
        }
        Lanes(out)
    }

    #[inline(always)]
    fn zip(self, other: Self, op: impl Fn(T, T) -> T) -> Self {
        let mut out = self.0;
        for j in 0..LANES {
            out[j] = op(self.0[j], other.0[j]);
        }
        Lanes(out)
    }

    /// Combines lane `j` with `j + 8`, then with `j + 4`, `j + 2` and `j + 1`.
    #[inline(always)]
    fn fold(mut self, op: impl Fn(T, T) -> T) -> T {
        for half in [8, 4, 2, 1] {
            for j in 0..half {
                self.0[j] = op(self.0[j], self.0[j + half]);
            }
        }
        self.0[0]
    }
}

#[inline(always)]
fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

impl Simd for Portable {
    type F32 = Lanes<f32>;
    type I32 = Lanes<i32>;
    type Kept = ();

    const ROWS: usize = 4;
    const PANELS: usize = 1;
    const SUMS_IN_REGISTERS: bool = false;
    const STRIPS: bool = true;

    #[inline(never)]
    fn apart<T>(self, part: impl FnOnce() -> T) -> T {
        part()
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Lanes<f32> {
        Lanes([x; LANES])
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Lanes<f32> {
        Lanes(*from)
    }

    #[inline(always)]
    fn load_bytes(self, from: &[i8; LANES]) -> Lanes<f32> {
        Lanes(*from).map(0.0, f32::from)
    }

    #[inline(always)]
    fn load_halves(self, from: &[f16; LANES]) -> Lanes<f32> {
        Lanes(*from).map(0.0, f16::to_f32)
    }

    #[inline(always)]
    fn store(self, x: Lanes<f32>, to: &mut [f32; LANES]) {
        *to = x.0;
    }

    #[inline(always)]
    fn store_halves(self, x: Lanes<f32>, to: &mut [f16; LANES]) {
        *to = x.map(f16::ZERO, f16::from_f32).0;
    }

    #[inline(always)]
    fn store_bytes(self, x: Lanes<i32>, to: &mut [u8; LANES]) {
        *to = x.map(0, |x| x as u8).0;
    }

    #[inline(always)]
    fn store_steps(self, x: [Lanes<i32>; 4], to: &mut [u8; 4 * LANES]) {
        let (vectors, _) = to.as_chunks_mut();
        for (x, vector) in x.into_iter().zip(vectors) {
            self.store_bytes(x, vector);
        }
    }

    #[inline(always)]
    fn store_quads(self, x: [Lanes<i32>; 4], to: &mut [u8; 4 * LANES]) {
        let [a, b, c, d] = x.map(|x| x.map(0, |x| x as u8).0);
        let (quads, _) = to.as_chunks_mut();
        for (j, quad) in quads.iter_mut().enumerate() {
            *quad = [a[j], b[j], c[j], d[j]];
        }
    }

    #[inline(always)]
    fn add(self, a: Lanes<f32>, b: Lanes<f32>) -> Lanes<f32> {
        a.zip(b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Lanes<f32>, b: Lanes<f32>) -> Lanes<f32> {
        a.zip(b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Lanes<f32>, b: Lanes<f32>) -> Lanes<f32> {
        a.zip(b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: Lanes<f32>, b: Lanes<f32>) -> Lanes<f32> {
        a.zip(b, |a, b| a / b)
    }

    #[inline(always)]
    fn min(self, a: Lanes<f32>, b: Lanes<f32>) -> Lanes<f32> {
        a.zip(b, smaller)
    }

    #[inline(always)]
    fn max(self, a: Lanes<f32>, b: Lanes<f32>) -> Lanes<f32> {
        a.zip(b, larger)
    }

    #[inline(always)]
    fn abs(self, a: Lanes<f32>) -> Lanes<f32> {
        a.map(0.0, f32::abs)
    }

    #[inline(always)]
    fn copy_sign(self, a: Lanes<f32>, b: Lanes<f32>) -> Lanes<f32> {
        a.zip(b, f32::copysign)
    }

    #[inline(always)]
    fn first(self, count: usize, a: Lanes<f32>, b: Lanes<f32>) -> Lanes<f32> {
        let mut out = b;
        for j in 0..LANES {
            out.0[j] = if j < count { a.0[j] } else { b.0[j] };
        }
        out
    }

    #[inline(always)]
    fn round(self, a: Lanes<f32>) -> Lanes<i32> {
        a.map(0, scalar::round)
    }

    #[inline(always)]
    fn float(self, a: Lanes<i32>) -> Lanes<f32> {
        a.map(0.0, |x| x as f32)
    }

    #[inline(always)]
    fn add_int(self, a: Lanes<i32>, b: Lanes<i32>) -> Lanes<i32> {
        a.zip(b, i32::wrapping_add)
    }

    #[inline(always)]
    fn raise(self, a: Lanes<f32>, b: Lanes<f32>) -> Lanes<f32> {
        a.zip(b, |a, b| {
            f32::from_bits(a.to_bits().wrapping_add(b.to_bits() << 23))
        })
    }

    #[inline(always)]
    fn sum(self, a: Lanes<f32>) -> f32 {
        a.fold(|a, b| a + b)
    }

    #[inline(always)]
    fn smallest(self, a: Lanes<f32>) -> f32 {
        a.fold(smaller)
    }

    #[inline(always)]
    fn largest(self, a: Lanes<f32>) -> f32 {
        a.fold(larger)
    }

    #[inline(always)]
    fn total(self, a: Lanes<i32>) -> i32 {
        a.fold(i32::wrapping_add)
    }

    #[inline(always)]
    fn keep(self) {}

    #[inline(always)]
    unsafe fn tile<const M: usize, const N: usize>(
        self,
        a: *const u8,
        row: usize,
        Panels {
            start: w,
            stride: panel,
            groups,
            ..
        }: Panels,
        (): &mut (),
        _at: At,
        to: &mut MaybeUninit<[[Lanes<i32>; N]; M]>,
    ) {
        let mut out = [[Lanes([0; LANES]); N]; M];
        for group in 0..groups {
            for n in 0..N {
                // SAFETY: the caller grants reads of `64 * groups` bytes of each panel, and an
                // array of bytes has no alignment to keep.
                let w = unsafe { &*w.add(n * panel + group * 64).cast::<[[u8; 4]; LANES]>() };
                let quads = Lanes(*w).map(0, i32::from_le_bytes);
                for m in 0..M {
                    // SAFETY: the caller grants reads of `4 * groups` bytes of each row.
                    let a = unsafe { &*a.add(m * row + group * 4).cast::<[u8; 4]>() };
                    let a = a.map(i32::from);
                    out[m][n] = out[m][n].zip(quads, |sum, quad| sum + dot(a, quad));
                }
            }
        }
        to.write(out);
    }
}

/// The dot product with the four signed bytes of a little-endian integer. Shifts take the bytes
/// out, since whole lanes of integers are what compilers vectorize without fail.
#[inline(always)]
fn dot(a: [i32; 4], bytes: i32) -> i32 {
    a[0] * (bytes << 24 >> 24)
        + a[1] * (bytes << 16 >> 24)
        + a[2] * (bytes << 8 >> 24)
        + a[3] * (bytes >> 24)
}

//! What all AArch64 tiers do alike: everything but products of bytes. A vector is four registers.
//!
//! A tier implements [`Products`] for its token; [`Arm`] makes a [`Simd`] of it. NEON is part of the
//! target that the program was compiled for, or these files are left out.

use core::arch::aarch64::*;
use core::arch::asm;
use core::mem::MaybeUninit;

use crate::LANES;
use crate::simd::{Panels, Simd};

/// The part of [`Simd`] that the tiers do differently. See there for what each item has to be.
pub(super) trait Products: Copy {
    /// As [`Simd::Kept`].
    type Kept;

    /// As [`Simd::ROWS`].
    const ROWS: usize;
    /// As [`Simd::STEP`].
    const STEP: usize;

    /// As [`Simd::keep`].
    fn keep(self) -> Self::Kept;

    /// As [`Simd::ready`].
    ///
    /// # Safety
    /// As there.
    unsafe fn ready<const N: usize>(self, w: Panels, kept: &mut Self::Kept);

    /// As [`Simd::tile`].
    ///
    /// # Safety
    /// As there.
    unsafe fn tile<const M: usize, const N: usize>(
        self,
        a: *const u8,
        row: usize,
        w: Panels,
        kept: &mut Self::Kept,
        out: &mut [[Sums; N]; M],
    );
}

/// Sixteen sums, one for each column of a panel.
pub(super) type Sums = [int32x4_t; 4];

/// How many groups of four activations are brought into another order at a time.
pub(super) const COPIED: usize = 384;

/// Room for so many groups of six rows, in blocks of sixteen bytes.
pub(super) type Copies = [MaybeUninit<int8x16_t>; 6 * COPIED / 4];

/// What the tiers whose product is of signed bytes keep: of four panels, and of a tile.
pub(super) struct Signed {
    /// 128 times the sum of each column's weights.
    pub(super) again: [Sums; 4],
    /// Signed activations, in the tier's order.
    pub(super) rows: Copies,
}

impl Signed {
    /// Of nothing yet.
    #[inline(always)]
    pub(super) fn none() -> Self {
        Signed {
            again: [no_sums(); 4],
            rows: [MaybeUninit::uninit(); _],
        }
    }

    /// The sums of a tile to which no product has been added.
    #[inline(always)]
    pub(super) fn begin<const M: usize, const N: usize>(&self, out: &mut [[Sums; N]; M]) {
        for n in 0..N {
            for m in 0..M {
                out[m][n] = self.again[n];
            }
        }
    }
}

/// Calls intrinsics that touch no memory, or only what a reference beside them covers.
macro_rules! have {
    ($intrinsics:expr) => {
        // SAFETY: NEON is there wherever this is compiled, and every pointer comes from a reference to
        // an array of the length that is read or written.
        unsafe { $intrinsics }
    };
}
pub(super) use have;

/// The bytes from 0 to 255 as bytes from -128 to 127: less 128 each.
#[inline(always)]
pub(super) fn less_128(bytes: int8x16_t) -> int8x16_t {
    have!(veorq_s8(bytes, vdupq_n_s8(-128)))
}

/// Four activations of one row, four times, less 128 each.
///
/// # Safety
/// Four bytes can be read at `from`.
#[inline(always)]
pub(super) unsafe fn four_less_128(from: *const u8) -> int8x16_t {
    // SAFETY: the caller grants the read.
    let four = unsafe { from.cast::<i32>().read_unaligned() };
    less_128(have!(vreinterpretq_s8_s32(vdupq_n_s32(four))))
}

/// Reads four registers with one instruction, where a compiler takes two, and goes on behind them.
///
/// # Safety
/// 64 bytes can be read at `from`.
#[inline(always)]
pub(super) unsafe fn next_four(from: &mut *const i8) -> [int8x16_t; 4] {
    let (a, b, c, d);
    // SAFETY: NEON is there wherever this is compiled; the caller grants the read.
    unsafe {
        asm!(
            "ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{from}], #64",
            from = inout(reg) *from,
            out("v28") a, out("v29") b, out("v30") c, out("v31") d,
            options(readonly, nostack, preserves_flags)
        )
    }
    [a, b, c, d]
}

/// No sums at all.
#[inline(always)]
pub(super) fn no_sums() -> Sums {
    [have!(vdupq_n_s32(0)); 4]
}

/// The operations of a tier whose products are `P`.
#[derive(Copy, Clone)]
pub(super) struct Arm<P>(pub(super) P);

/// The same operation on all four registers.
macro_rules! all {
    ($op:expr, $a:expr) => {{
        let a = $a;
        have!([$op(a[0]), $op(a[1]), $op(a[2]), $op(a[3])])
    }};
    ($op:expr, $a:expr, $b:expr) => {{
        let (a, b) = ($a, $b);
        have!([
            $op(a[0], b[0]),
            $op(a[1], b[1]),
            $op(a[2], b[2]),
            $op(a[3], b[3])
        ])
    }};
}

/// Folds sixteen lanes: `l[j]` with `l[j + 8]`, then `+ 4`.
macro_rules! fold {
    ($op:ident, $a:expr) => {{
        let a = $a;
        have!($op($op(a[0], a[2]), $op(a[1], a[3])))
    }};
}

impl<P: Products> Simd for Arm<P> {
    type F32 = [float32x4_t; 4];
    type I32 = Sums;
    type Kept = P::Kept;

    const ROWS: usize = P::ROWS;
    const STEP: usize = P::STEP;
    const SUMS_IN_REGISTERS: bool = false;
    const PANELS: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F32 {
        [have!(vdupq_n_f32(x)); 4]
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::F32 {
        let (quarters, _) = from.as_chunks::<4>();
        have!([
            vld1q_f32(quarters[0].as_ptr()),
            vld1q_f32(quarters[1].as_ptr()),
            vld1q_f32(quarters[2].as_ptr()),
            vld1q_f32(quarters[3].as_ptr()),
        ])
    }

    #[inline(always)]
    fn load_bytes(self, from: &[i8; LANES]) -> Self::F32 {
        have!({
            let bytes = vld1q_s8(from.as_ptr());
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
            [
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                vcvtq_f32_s32(vmovl_high_s16(low)),
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                vcvtq_f32_s32(vmovl_high_s16(high)),
            ]
        })
    }

    #[inline(always)]
    fn store(self, x: Self::F32, to: &mut [f32; LANES]) {
        let (quarters, _) = to.as_chunks_mut::<4>();
        have!(vst1q_f32(quarters[0].as_mut_ptr(), x[0]));
        have!(vst1q_f32(quarters[1].as_mut_ptr(), x[1]));
        have!(vst1q_f32(quarters[2].as_mut_ptr(), x[2]));
        have!(vst1q_f32(quarters[3].as_mut_ptr(), x[3]));
    }

    #[inline(always)]
    fn store_bytes(self, x: Sums, to: &mut [u8; LANES]) {
        have!(vst1q_s8(to.as_mut_ptr().cast(), low_bytes(x)));
    }

    #[inline(always)]
    fn store_steps(self, x: [Sums; 4], to: &mut [u8; 4 * LANES]) {
        let (vectors, _) = to.as_chunks_mut();
        for (x, vector) in x.into_iter().zip(vectors) {
            self.store_bytes(x, vector);
        }
    }

    #[inline(always)]
    fn store_quads(self, x: [Sums; 4], to: &mut [u8; 4 * LANES]) {
        let [a, b, c, d] = x;
        let (quarters, _) = to.as_chunks_mut::<LANES>();
        for i in 0..4 {
            // Each shift puts a byte in and leaves what is below it.
            have!({
                let ab = vsliq_n_s32::<8>(a[i], b[i]);
                let abc = vsliq_n_s32::<16>(ab, c[i]);
                let quads = vreinterpretq_u8_s32(vsliq_n_s32::<24>(abc, d[i]));
                vst1q_u8(quarters[i].as_mut_ptr(), quads);
            });
        }
    }

    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        all!(vaddq_f32, a, b)
    }

    #[inline(always)]
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        all!(vsubq_f32, a, b)
    }

    #[inline(always)]
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        all!(vmulq_f32, a, b)
    }

    #[inline(always)]
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        all!(vdivq_f32, a, b)
    }

    #[inline(always)]
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        all!(vminq_f32, a, b)
    }

    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        all!(vmaxq_f32, a, b)
    }

    #[inline(always)]
    fn abs(self, a: Self::F32) -> Self::F32 {
        all!(vabsq_f32, a)
    }

    #[inline(always)]
    fn copy_sign(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        let sign = have!(vdupq_n_u32(1 << 31));
        have!([
            vbslq_f32(sign, b[0], a[0]),
            vbslq_f32(sign, b[1], a[1]),
            vbslq_f32(sign, b[2], a[2]),
            vbslq_f32(sign, b[3], a[3]),
        ])
    }

    #[inline(always)]
    fn first(self, count: usize, a: Self::F32, b: Self::F32) -> Self::F32 {
        let count = have!(vdupq_n_s32(count.min(LANES) as i32));
        let lanes: [i32; LANES] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
        let (lanes, _) = lanes.as_chunks::<4>();
        [0, 1, 2, 3].map(|i| {
            have!({
                let inside = vcltq_s32(vld1q_s32(lanes[i].as_ptr()), count);
                vbslq_f32(inside, a[i], b[i])
            })
        })
    }

    #[inline(always)]
    fn round(self, a: Self::F32) -> Sums {
        all!(vcvtnq_s32_f32, a)
    }

    #[inline(always)]
    fn float(self, a: Sums) -> Self::F32 {
        all!(vcvtq_f32_s32, a)
    }

    #[inline(always)]
    fn add_int(self, a: Sums, b: Sums) -> Sums {
        all!(vaddq_s32, a, b)
    }

    #[inline(always)]
    fn raise(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        let (a, b) = (
            all!(vreinterpretq_s32_f32, a),
            all!(vreinterpretq_s32_f32, b),
        );
        let exponent = all!(vshlq_n_s32::<23>, b);
        all!(vreinterpretq_f32_s32, self.add_int(a, exponent))
    }

    #[inline(always)]
    fn sum(self, a: Self::F32) -> f32 {
        let four = fold!(vaddq_f32, a);
        have!({
            let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
            vget_lane_f32::<0>(vpadd_f32(two, two))
        })
    }

    #[inline(always)]
    fn smallest(self, a: Self::F32) -> f32 {
        let four = fold!(vminq_f32, a);
        have!(vminvq_f32(four))
    }

    #[inline(always)]
    fn largest(self, a: Self::F32) -> f32 {
        let four = fold!(vmaxq_f32, a);
        have!(vmaxvq_f32(four))
    }

    #[inline(always)]
    fn total(self, a: Sums) -> i32 {
        let four = fold!(vaddq_s32, a);
        have!(vaddvq_s32(four))
    }

    #[inline(always)]
    fn sqrt(self, x: f32) -> f32 {
        have!(vget_lane_f32::<0>(vsqrt_f32(vdup_n_f32(x))))
    }

    #[inline(always)]
    fn keep(self) -> P::Kept {
        self.0.keep()
    }

    #[inline(always)]
    unsafe fn ready<const N: usize>(self, w: Panels, kept: &mut P::Kept) {
        // SAFETY: the caller grants the same.
        unsafe { self.0.ready::<N>(w, kept) }
    }

    #[inline(always)]
    unsafe fn tile<const M: usize, const N: usize>(
        self,
        a: *const u8,
        row: usize,
        w: Panels,
        kept: &mut P::Kept,
        out: &mut [[Sums; N]; M],
    ) {
        // SAFETY: the caller grants the same.
        unsafe { self.0.tile::<M, N>(a, row, w, kept, out) }
    }
}

/// The low byte of each integer.
#[inline(always)]
fn low_bytes(x: Sums) -> int8x16_t {
    have!({
        let low = vuzp1q_s16(vreinterpretq_s16_s32(x[0]), vreinterpretq_s16_s32(x[1]));
        let high = vuzp1q_s16(vreinterpretq_s16_s32(x[2]), vreinterpretq_s16_s32(x[3]));
        vuzp1q_s8(vreinterpretq_s8_s16(low), vreinterpretq_s8_s16(high))
    })
}

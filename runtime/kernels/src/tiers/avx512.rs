//! AVX-512 with VNNI: a vector is one register, and one instruction multiplies and adds 64 pairs.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::x86;
use half::f16;

use crate::LANES;
use crate::simd::{At, Kernel, Panels, Simd};

/// Runs a kernel with the instructions of this tier.
///
/// # Safety
/// The machine has all the features named here.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(crate) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

/// Proof that this tier's instructions exist: only [`run`] makes one.
#[derive(Copy, Clone)]
struct Avx512(());

/// Calls intrinsics that touch no memory, or only what a reference beside them covers.
macro_rules! have {
    ($intrinsics:expr) => {
        // SAFETY: the token `self` is only made where the instructions exist, and every pointer
        // comes from a reference to an array of the length that is read or written.
        unsafe { $intrinsics }
    };
}

impl Simd for Avx512 {
    type F32 = __m512;
    type I32 = __m512i;
    type Kept = ();

    // 24 sums, 4 registers of weights and one of activations: 29 of 32.
    const ROWS: usize = 6;
    const PANELS: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        have!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> __m512 {
        have!(_mm512_loadu_ps(from.as_ptr()))
    }

    #[inline(always)]
    fn load_bytes(self, from: &[i8; LANES]) -> __m512 {
        let bytes = have!(_mm_loadu_si128(from.as_ptr().cast()));
        have!(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)))
    }

    #[inline(always)]
    fn load_halves(self, from: &[f16; LANES]) -> __m512 {
        have!(_mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())))
    }

    #[inline(always)]
    fn store(self, x: __m512, to: &mut [f32; LANES]) {
        have!(_mm512_storeu_ps(to.as_mut_ptr(), x))
    }

    #[inline(always)]
    fn store_halves(self, x: __m512, to: &mut [f16; LANES]) {
        let halves = have!(_mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x));
        have!(_mm256_storeu_si256(to.as_mut_ptr().cast(), halves))
    }

    #[inline(always)]
    fn store_bytes(self, x: __m512i, to: &mut [u8; LANES]) {
        let bytes = have!(_mm512_cvtepi32_epi8(x));
        have!(_mm_storeu_si128(to.as_mut_ptr().cast(), bytes))
    }

    #[inline(always)]
    fn store_steps(self, x: [__m512i; 4], to: &mut [u8; 4 * LANES]) {
        // In each quarter of the register: four bytes of every vector. The quarters of a vector are
        // then brought together.
        let ab = have!(_mm512_packs_epi32(x[0], x[1]));
        let cd = have!(_mm512_packs_epi32(x[2], x[3]));
        let quarters = have!(_mm512_packus_epi16(ab, cd));
        let order = have!(_mm512_setr_epi32(
            0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15
        ));
        let steps = have!(_mm512_permutexvar_epi32(order, quarters));
        have!(_mm512_storeu_si512(to.as_mut_ptr().cast(), steps))
    }

    #[inline(always)]
    fn store_quads(self, x: [__m512i; 4], to: &mut [u8; 4 * LANES]) {
        let ab = self.pairs(x[0], x[1]);
        let cd = have!(_mm512_slli_epi32::<16>(self.pairs(x[2], x[3])));
        let quads = have!(_mm512_or_si512(ab, cd));
        have!(_mm512_storeu_si512(to.as_mut_ptr().cast(), quads))
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        have!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        have!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        have!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        have!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        have!(_mm512_min_ps(a, b))
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        have!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        have!(_mm512_abs_ps(a))
    }

    #[inline(always)]
    fn copy_sign(self, a: __m512, b: __m512) -> __m512 {
        let sign = have!(_mm512_set1_ps(-0.0));
        have!(_mm512_or_ps(_mm512_abs_ps(a), _mm512_and_ps(b, sign)))
    }

    #[inline(always)]
    fn first(self, count: usize, a: __m512, b: __m512) -> __m512 {
        let mask = (1u32 << count.min(LANES)) - 1;
        have!(_mm512_mask_blend_ps(mask as __mmask16, b, a))
    }

    #[inline(always)]
    fn round(self, a: __m512) -> __m512i {
        have!(_mm512_cvtps_epi32(a))
    }

    #[inline(always)]
    fn float(self, a: __m512i) -> __m512 {
        have!(_mm512_cvtepi32_ps(a))
    }

    #[inline(always)]
    fn add_int(self, a: __m512i, b: __m512i) -> __m512i {
        have!(_mm512_add_epi32(a, b))
    }

    #[inline(always)]
    fn raise(self, a: __m512, b: __m512) -> __m512 {
        let exponent = have!(_mm512_slli_epi32::<23>(_mm512_castps_si512(b)));
        let raised = have!(_mm512_add_epi32(_mm512_castps_si512(a), exponent));
        have!(_mm512_castsi512_ps(raised))
    }

    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        let (low, high) = self.halves(a);
        have!(x86::sum(_mm256_add_ps(low, high)))
    }

    #[inline(always)]
    fn smallest(self, a: __m512) -> f32 {
        let (low, high) = self.halves(a);
        have!(x86::smallest(_mm256_min_ps(low, high)))
    }

    #[inline(always)]
    fn largest(self, a: __m512) -> f32 {
        let (low, high) = self.halves(a);
        have!(x86::largest(_mm256_max_ps(low, high)))
    }

    #[inline(always)]
    fn total(self, a: __m512i) -> i32 {
        let low = have!(_mm512_castsi512_si256(a));
        let high = have!(_mm512_extracti64x4_epi64::<1>(a));
        have!(x86::total(_mm256_add_epi32(low, high)))
    }

    #[inline(always)]
    fn sqrt(self, x: f32) -> f32 {
        x86::sqrt(x)
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
        to: &mut MaybeUninit<[[__m512i; N]; M]>,
    ) {
        let zero = have!(_mm512_setzero_si512());
        let mut out = [[zero; N]; M];
        for group in 0..groups {
            let mut weights = [zero; N];
            for n in 0..N {
                // SAFETY: the caller grants reads of `64 * groups` bytes of each panel.
                let from = unsafe { w.add(n * panel + group * 64) };
                weights[n] = have!(_mm512_loadu_si512(from.cast()));
            }
            for m in 0..M {
                // SAFETY: the caller grants reads of `4 * groups` bytes of each row.
                let four = unsafe { a.add(m * row + group * 4).cast::<i32>().read_unaligned() };
                let four = have!(_mm512_set1_epi32(four));
                for n in 0..N {
                    out[m][n] = have!(_mm512_dpbusd_epi32(out[m][n], four, weights[n]));
                }
            }
        }
        to.write(out);
    }
}

impl Avx512 {
    /// The low bytes of `a` and `b` in the low halves of the lanes.
    #[inline(always)]
    fn pairs(self, a: __m512i, b: __m512i) -> __m512i {
        let byte = have!(_mm512_set1_epi32(0xff));
        let high = have!(_mm512_slli_epi32::<8>(_mm512_and_si512(b, byte)));
        have!(_mm512_or_si512(_mm512_and_si512(a, byte), high))
    }

    /// Lanes 0 to 7 and 8 to 15.
    #[inline(always)]
    fn halves(self, a: __m512) -> (__m256, __m256) {
        have!((_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a)))
    }
}

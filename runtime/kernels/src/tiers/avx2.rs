//! AVX2: a vector is two registers. Bytes are widened to 16 bits before they are multiplied.
//!
//! The instruction that multiplies bytes (`vpmaddubsw`) saturates: two products of 255 and 127 do
//! not fit into 16 bits. `vpmaddwd` on widened values is exact. It adds neighbouring products, so
//! that each column has two sums until the end: inputs 0 and 1 of a group, and inputs 2 and 3.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::x86;
use crate::LANES;
use crate::simd::{At, Kernel, Panels, Simd};

/// Runs a kernel with the instructions of this tier.
///
/// # Safety
/// The machine has AVX2.
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

/// Proof that this tier's instructions exist: only [`run`] makes one.
#[derive(Copy, Clone)]
struct Avx2(());

/// Calls intrinsics that touch no memory, or only what a reference beside them covers.
macro_rules! have {
    ($intrinsics:expr) => {
        // SAFETY: the token `self` is only made where the instructions exist, and every pointer
        // comes from a reference to an array of the length that is read or written.
        unsafe { $intrinsics }
    };
}

/// The same operation on both halves.
macro_rules! both {
    ($op:ident, $a:expr) => {{
        let a = $a;
        have!([$op(a[0]), $op(a[1])])
    }};
    ($op:ident, $a:expr, $b:expr) => {{
        let (a, b) = ($a, $b);
        have!([$op(a[0], b[0]), $op(a[1], b[1])])
    }};
}

impl Simd for Avx2 {
    type F32 = [__m256; 2];
    type I32 = [__m256i; 2];
    type Kept = ();

    // 12 sums, 2 registers of weights, one of activations and one of products: all 16.
    const ROWS: usize = 6;
    const PANELS: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> [__m256; 2] {
        [have!(_mm256_set1_ps(x)); 2]
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> [__m256; 2] {
        let (halves, _) = from.as_chunks::<8>();
        have!([
            _mm256_loadu_ps(halves[0].as_ptr()),
            _mm256_loadu_ps(halves[1].as_ptr())
        ])
    }

    #[inline(always)]
    fn load_bytes(self, from: &[i8; LANES]) -> [__m256; 2] {
        let bytes = have!(_mm_loadu_si128(from.as_ptr().cast()));
        let high = have!(_mm_unpackhi_epi64(bytes, bytes));
        let wide = [bytes, high];
        both!(_mm256_cvtepi32_ps, both!(_mm256_cvtepi8_epi32, wide))
    }

    #[inline(always)]
    fn store(self, x: [__m256; 2], to: &mut [f32; LANES]) {
        let (halves, _) = to.as_chunks_mut::<8>();
        have!(_mm256_storeu_ps(halves[0].as_mut_ptr(), x[0]));
        have!(_mm256_storeu_ps(halves[1].as_mut_ptr(), x[1]));
    }

    #[inline(always)]
    fn store_bytes(self, x: [__m256i; 2], to: &mut [u8; LANES]) {
        // The low byte of each integer to the front of its quarter, then the quarters together.
        let gather = have!(_mm256_set1_epi64x(0x0c08_0400));
        let front = both!(_mm256_shuffle_epi8, x, [gather; 2]);
        let low = both!(_mm256_castsi256_si128, front);
        let high = have!([
            _mm256_extracti128_si256::<1>(front[0]),
            _mm256_extracti128_si256::<1>(front[1])
        ]);
        let eight = both!(_mm_unpacklo_epi32, low, high);
        let bytes = have!(_mm_unpacklo_epi64(eight[0], eight[1]));
        have!(_mm_storeu_si128(to.as_mut_ptr().cast(), bytes))
    }

    #[inline(always)]
    fn store_steps(self, x: [[__m256i; 2]; 4], to: &mut [u8; 4 * LANES]) {
        // In each half of the register: four bytes of every half of two vectors. They are then brought
        // into their order.
        let order = have!(_mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        let (pairs, _) = to.as_chunks_mut::<32>();
        for pair in 0..2 {
            let [a, b] = [x[2 * pair], x[2 * pair + 1]];
            let steps = have!(_mm256_packus_epi16(
                _mm256_packs_epi32(a[0], a[1]),
                _mm256_packs_epi32(b[0], b[1])
            ));
            let steps = have!(_mm256_permutevar8x32_epi32(steps, order));
            have!(_mm256_storeu_si256(pairs[pair].as_mut_ptr().cast(), steps))
        }
    }

    #[inline(always)]
    fn store_quads(self, x: [[__m256i; 2]; 4], to: &mut [u8; 4 * LANES]) {
        let (halves, _) = to.as_chunks_mut::<32>();
        for half in 0..2 {
            let ab = self.pairs(x[0][half], x[1][half]);
            let cd = have!(_mm256_slli_epi32::<16>(self.pairs(x[2][half], x[3][half])));
            let quads = have!(_mm256_or_si256(ab, cd));
            have!(_mm256_storeu_si256(halves[half].as_mut_ptr().cast(), quads))
        }
    }

    #[inline(always)]
    fn add(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        both!(_mm256_add_ps, a, b)
    }

    #[inline(always)]
    fn sub(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        both!(_mm256_sub_ps, a, b)
    }

    #[inline(always)]
    fn mul(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        both!(_mm256_mul_ps, a, b)
    }

    #[inline(always)]
    fn div(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        both!(_mm256_div_ps, a, b)
    }

    #[inline(always)]
    fn min(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        both!(_mm256_min_ps, a, b)
    }

    #[inline(always)]
    fn max(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        both!(_mm256_max_ps, a, b)
    }

    #[inline(always)]
    fn abs(self, a: [__m256; 2]) -> [__m256; 2] {
        let sign = self.splat(-0.0);
        both!(_mm256_andnot_ps, sign, a)
    }

    #[inline(always)]
    fn copy_sign(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        let sign = both!(_mm256_and_ps, b, self.splat(-0.0));
        both!(_mm256_or_ps, self.abs(a), sign)
    }

    #[inline(always)]
    fn first(self, count: usize, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        let count = have!(_mm256_set1_epi32(count.min(LANES) as i32));
        let lanes = have!([
            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
            _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)
        ]);
        let mask = both!(_mm256_cmpgt_epi32, [count; 2], lanes);
        let mask = both!(_mm256_castsi256_ps, mask);
        have!([
            _mm256_blendv_ps(b[0], a[0], mask[0]),
            _mm256_blendv_ps(b[1], a[1], mask[1])
        ])
    }

    #[inline(always)]
    fn round(self, a: [__m256; 2]) -> [__m256i; 2] {
        both!(_mm256_cvtps_epi32, a)
    }

    #[inline(always)]
    fn float(self, a: [__m256i; 2]) -> [__m256; 2] {
        both!(_mm256_cvtepi32_ps, a)
    }

    #[inline(always)]
    fn add_int(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        both!(_mm256_add_epi32, a, b)
    }

    #[inline(always)]
    fn raise(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        let (a, b) = (both!(_mm256_castps_si256, a), both!(_mm256_castps_si256, b));
        let exponent = have!([_mm256_slli_epi32::<23>(b[0]), _mm256_slli_epi32::<23>(b[1])]);
        both!(_mm256_castsi256_ps, self.add_int(a, exponent))
    }

    #[inline(always)]
    fn sum(self, a: [__m256; 2]) -> f32 {
        have!(x86::sum(_mm256_add_ps(a[0], a[1])))
    }

    #[inline(always)]
    fn smallest(self, a: [__m256; 2]) -> f32 {
        have!(x86::smallest(_mm256_min_ps(a[0], a[1])))
    }

    #[inline(always)]
    fn largest(self, a: [__m256; 2]) -> f32 {
        have!(x86::largest(_mm256_max_ps(a[0], a[1])))
    }

    #[inline(always)]
    fn total(self, a: [__m256i; 2]) -> i32 {
        have!(x86::total(_mm256_add_epi32(a[0], a[1])))
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
        to: &mut MaybeUninit<[[[__m256i; 2]; N]; M]>,
    ) {
        let zero = have!(_mm256_setzero_si256());
        let mut out = [[[zero; 2]; N]; M];
        let mut wide = [const { MaybeUninit::<[i16; 4 * WIDENED]>::uninit() }; M];
        let mut done = 0;
        while done < groups {
            let now = (groups - done).min(WIDENED);
            for m in 0..M {
                // SAFETY: the caller grants reads of `4 * groups` bytes of each row, and `wide` has
                // room for `4 * WIDENED` numbers of each.
                unsafe { self.widen(a.add(m * row + 4 * done), now, wide[m].as_mut_ptr().cast()) };
            }
            for n in 0..N {
                for half in 0..2 {
                    // SAFETY: the caller grants reads of `64 * groups` bytes of each panel, of which
                    // these are the halves of `now`; as many numbers of each row were just widened.
                    let sums = unsafe {
                        let w = w.add(n * panel + 64 * done + 32 * half);
                        self.half_panel::<M>(&wide, w, now)
                    };
                    for m in 0..M {
                        let columns = self.join(sums[m][0], sums[m][1]);
                        out[m][n][half] = have!(_mm256_add_epi32(out[m][n][half], columns));
                    }
                }
            }
            done += now;
        }
        to.write(out);
    }
}

/// How many groups of four activations are widened at a time: 18 KiB for six rows.
const WIDENED: usize = 384;

impl Avx2 {
    /// Widens `4 * groups` activations of one row.
    ///
    /// # Safety
    /// As many bytes can be read at `from`, and as many numbers written at `to`.
    #[inline(always)]
    unsafe fn widen(self, from: *const u8, groups: usize, to: *mut i16) {
        let (fours, ones) = (groups / 4, groups % 4);
        for i in 0..fours {
            // SAFETY: sixteen of the numbers begin at `16 * i`.
            unsafe {
                let bytes = _mm_loadu_si128(from.add(16 * i).cast());
                _mm256_storeu_si256(to.add(16 * i).cast(), _mm256_cvtepu8_epi16(bytes));
            }
        }
        for i in 4 * fours..4 * fours + ones {
            // SAFETY: four of the numbers begin at `4 * i`.
            unsafe {
                let bytes = _mm_cvtsi32_si128(from.add(4 * i).cast::<i32>().read_unaligned());
                _mm_storel_epi64(to.add(4 * i).cast(), _mm_cvtepu8_epi16(bytes));
            }
        }
    }

    /// `M` rows times 8 of a panel's 16 columns: for each row two registers with two sums for each
    /// of four columns.
    ///
    /// # Safety
    /// The first `4 * groups` numbers of each row are initialized, and 32 bytes can be read at each
    /// of `groups` steps of 64 bytes from `w` on.
    #[inline(always)]
    unsafe fn half_panel<const M: usize>(
        self,
        a: &[MaybeUninit<[i16; 4 * WIDENED]>; M],
        w: *const i8,
        groups: usize,
    ) -> [[__m256i; 2]; M] {
        let mut sums = [[have!(_mm256_setzero_si256()); 2]; M];
        for group in 0..groups {
            // SAFETY: the caller grants these reads.
            let bytes = unsafe {
                let w = w.add(64 * group).cast::<__m128i>();
                [_mm_loadu_si128(w), _mm_loadu_si128(w.add(1))]
            };
            let weights = both!(_mm256_cvtepi8_epi16, bytes);
            for m in 0..M {
                // SAFETY: the caller has initialized four numbers here.
                let four = unsafe { a[m].as_ptr().cast::<i64>().add(group).read_unaligned() };
                let four = have!(_mm256_set1_epi64x(four));
                let products = both!(_mm256_madd_epi16, [four; 2], weights);
                sums[m] = self.add_int(sums[m], products);
            }
        }
        sums
    }

    /// The low bytes of `a` and `b` in the low halves of the lanes.
    #[inline(always)]
    fn pairs(self, a: __m256i, b: __m256i) -> __m256i {
        let byte = have!(_mm256_set1_epi32(0xff));
        let high = have!(_mm256_slli_epi32::<8>(_mm256_and_si256(b, byte)));
        have!(_mm256_or_si256(_mm256_and_si256(a, byte), high))
    }

    /// Adds the two sums of each column: columns 0 to 3 lie in `a`, 4 to 7 in `b`.
    #[inline(always)]
    fn join(self, a: __m256i, b: __m256i) -> __m256i {
        let joined = have!(_mm256_hadd_epi32(a, b));
        have!(_mm256_permute4x64_epi64::<0b11_01_10_00>(joined))
    }
}

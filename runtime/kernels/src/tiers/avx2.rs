//! AVX2: a vector is two registers. Bytes are widened to 16 bits before they are multiplied.
//!
//! The instruction that multiplies bytes (`vpmaddubsw`) saturates: two products of 255 and 127 do
//! not fit into 16 bits. `vpmaddwd` on widened values is exact. It adds neighbouring products, so
//! that each column has two sums until the end: inputs 0 and 1 of a group, and inputs 2 and 3.
//!
//! The rows of a tile are widened once, and then taken through as many panels as stay in the second-level
//! cache; weights are widened on their way, anew for each tile. A panel is taken in two halves, so that the
//! sums of six rows fill twelve registers.
//!
//! ```text
//! weights  group g, columns 0 to 3    c0 c0 c0 c0  c1 c1 c1 c1  c2 c2 c2 c2  c3 c3 c3 c3
//! a row    group g, four times        a0 a1 a2 a3  a0 a1 a2 a3  a0 a1 a2 a3  a0 a1 a2 a3
//! ```

use core::arch::asm;
use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use half::f16;

use super::x86;
use crate::LANES;
use crate::simd::{At, Groups, Kernel, MAX_ROWS, Panels, Simd};

/// Runs a kernel with the instructions of this tier.
///
/// # Safety
/// The machine has AVX2, and F16C.
#[target_feature(enable = "avx2,f16c")]
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
    type Kept = Kept;

    // 12 sums, 2 registers of weights, 2 of activations and products: all 16.
    const ROWS: usize = 6;
    const PANELS: usize = 1;
    const SUMS_IN_REGISTERS: bool = false;
    // Half of the smallest second-level cache of the cores that this tier is meant for.
    const BYTES_TOGETHER: usize = 128 * 1024;

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
    fn load_halves(self, from: &[f16; LANES]) -> [__m256; 2] {
        let (halves, _) = from.as_chunks::<8>();
        have!([
            _mm256_cvtph_ps(_mm_loadu_si128(halves[0].as_ptr().cast())),
            _mm256_cvtph_ps(_mm_loadu_si128(halves[1].as_ptr().cast()))
        ])
    }

    #[inline(always)]
    fn store_halves(self, x: [__m256; 2], to: &mut [f16; LANES]) {
        for (x, to) in x.into_iter().zip(to.as_chunks_mut::<8>().0) {
            let halves = have!(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x));
            have!(_mm_storeu_si128(to.as_mut_ptr().cast(), halves))
        }
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
    fn keep(self) -> Kept {
        Kept([NO_BLOCK; _])
    }

    #[inline(always)]
    unsafe fn rows<const M: usize>(
        self,
        a: *const u8,
        row: usize,
        groups: Groups,
        kept: &mut Kept,
        _slot: usize,
    ) {
        debug_assert!(groups.count == groups.all, "nothing is kept of a part");
        if groups.all <= WIDENED {
            // SAFETY: the caller grants the reads.
            unsafe { self.widen::<M>(a, row, groups.all, kept) }
        }
    }

    #[inline(always)]
    unsafe fn tile<const M: usize, const N: usize>(
        self,
        a: *const u8,
        row: usize,
        w: Panels,
        kept: &mut Kept,
        _at: At,
        to: &mut MaybeUninit<[[[__m256i; 2]; N]; M]>,
    ) {
        debug_assert!(N == 1, "one panel at a time");
        let to = to.as_mut_ptr().cast::<[[__m256i; 2]; M]>();
        if w.groups <= WIDENED {
            // SAFETY: the caller grants the reads, says that `rows` has widened these rows, and brings room for a panel.
            unsafe { self.panel::<M>(kept, w.start, w.groups, to) }
        } else {
            // SAFETY: the caller grants the reads, and brings room for a panel.
            unsafe { self.pieces::<M>((a, row), w, kept, to) }
        }
    }
}

/// How many groups of four activations are widened at a time.
const WIDENED: usize = 1024;

/// Four groups of a row, widened.
#[derive(Copy, Clone)]
#[repr(align(32))]
struct Block {
    _numbers: MaybeUninit<[i16; 16]>,
}

/// A block that holds nothing yet.
const NO_BLOCK: Block = Block {
    _numbers: MaybeUninit::uninit(),
};

/// The rows of a tile, widened, `[block][row]`: 48 KiB, of which no more is written than is used.
struct Kept([Block; MAX_ROWS * WIDENED / 4]);

impl Avx2 {
    /// Widens `4 * groups` activations of each of `M` rows.
    ///
    /// # Safety
    /// `a` is valid for reads of `(M - 1) * row + 4 * groups` bytes.
    ///
    /// # Panics
    /// When there is no room for so many groups of so many rows.
    #[inline(always)]
    unsafe fn widen<const M: usize>(
        self,
        a: *const u8,
        row: usize,
        groups: usize,
        kept: &mut Kept,
    ) {
        let whole = groups / 4;
        let blocks = &mut kept.0[..M * groups.div_ceil(4)];
        let (blocks, last) = blocks.split_at_mut(M * whole);
        for (block, rows) in blocks.chunks_exact_mut(M).enumerate() {
            for (m, to) in rows.iter_mut().enumerate() {
                // SAFETY: the caller grants the read; a block is as long as what is written.
                unsafe {
                    let bytes = _mm_loadu_si128(a.add(m * row + 16 * block).cast());
                    _mm256_store_si256((&raw mut *to).cast(), _mm256_cvtepu8_epi16(bytes));
                }
            }
        }
        for (m, to) in last.iter_mut().enumerate() {
            for group in 0..groups % 4 {
                // SAFETY: the caller grants the read; a block has four groups.
                unsafe {
                    let four = a.add(m * row + 16 * whole + 4 * group).cast::<i32>();
                    let wide = _mm_cvtepu8_epi16(_mm_cvtsi32_si128(four.read_unaligned()));
                    let to = (&raw mut *to).cast::<i64>().add(group);
                    _mm_storel_epi64(to.cast(), wide);
                }
            }
        }
    }

    /// The products of `M` rows with a panel of more groups than are widened at a time.
    ///
    /// # Safety
    /// As for [`Simd::tile`]; there is room for the sums of a panel at `to`.
    #[inline(never)]
    #[target_feature(enable = "avx2")]
    unsafe fn pieces<const M: usize>(
        self,
        (a, row): (*const u8, usize),
        w: Panels,
        kept: &mut Kept,
        to: *mut [[__m256i; 2]; M],
    ) {
        let mut all = [[_mm256_setzero_si256(); 2]; M];
        for done in (0..w.groups).step_by(WIDENED) {
            let now = (w.groups - done).min(WIDENED);
            // SAFETY: the caller grants reads of all groups, of which these are `now`, and writes of the sums.
            let sums = unsafe {
                self.widen::<M>(a.add(4 * done), row, now, kept);
                self.panel::<M>(kept, w.start.add(64 * done), now, to);
                &*to
            };
            for m in 0..M {
                all[m] = self.add_int(all[m], sums[m]);
            }
        }
        // SAFETY: the caller grants this.
        unsafe { to.write(all) }
    }

    /// The products of `M` widened rows with a panel.
    ///
    /// # Safety
    /// So many groups of the rows have been widened, `64 * groups` bytes can be read at `w`, and the sums written
    /// at `to`.
    #[inline(always)]
    unsafe fn panel<const M: usize>(
        self,
        Kept(blocks): &Kept,
        w: *const i8,
        groups: usize,
        to: *mut [[__m256i; 2]; M],
    ) {
        const {
            assert!(
                M >= 1 && M <= MAX_ROWS && MAX_ROWS == 6,
                "a function for each"
            )
        };
        let rows = blocks.as_ptr();
        for half in 0..2 {
            // SAFETY: the token says that the machine has AVX2; the caller grants the rest, of which these are the
            // halves.
            unsafe {
                let (w, to) = (w.add(32 * half), to.cast::<__m256i>().add(half));
                match M {
                    1 => one_row(self, rows, w, groups, to),
                    2 => two_rows(self, rows, w, groups, to),
                    3 => three_rows(self, rows, w, groups, to),
                    4 => four_rows(self, rows, w, groups, to),
                    5 => five_rows(self, rows, w, groups, to),
                    _ => six_rows(self, rows, w, groups, to),
                }
            }
        }
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

/// Eight columns of group `$g` of a block, times that group of each row.
macro_rules! group {
    ($g:literal, $($m:literal: $s0:tt $s1:tt),*) => {
        concat!(
            line!("vpmovsxbw ymm12, xmmword ptr [{w} + 64 * ", $g, "]"),
            line!("vpmovsxbw ymm13, xmmword ptr [{w} + 64 * ", $g, " + 16]"),
            $(
                line!("vpbroadcastq ymm14, qword ptr [{rows} + 32 * ", $m, " + 8 * ", $g, "]"),
                line!("vpmaddwd ymm15, ymm14, ymm12"),
                line!("vpmaddwd ymm14, ymm14, ymm13"),
                line!("vpaddd ", $s0, ", ", $s0, ", ymm15"),
                line!("vpaddd ", $s1, ", ", $s1, ", ymm14"),
            )*
        )
    };
}

/// All groups of some rows: block by block, and what is left one by one.
macro_rules! groups {
    ($rows:literal rows, $($row:tt)*) => {
        concat!(
            line!("test {blocks}, {blocks}"),
            line!("jz 3f"),
            line!("2:"),
            group!(0, $($row)*), group!(1, $($row)*), group!(2, $($row)*), group!(3, $($row)*),
            line!("add {rows}, 32 * ", $rows),
            line!("add {w}, 256"),
            line!("dec {blocks}"),
            line!("jnz 2b"),
            line!("3:"),
            line!("test {rest}, {rest}"),
            line!("jz 5f"),
            line!("4:"),
            group!(0, $($row)*),
            line!("add {rows}, 8"),
            line!("add {w}, 64"),
            line!("dec {rest}"),
            line!("jnz 4b"),
            line!("5:"),
        )
    };
}

/// The products of some rows with half a panel: a function of its own, in assembly, since a compiler adds in
/// another order until the sums no longer fit into the registers.
macro_rules! products {
    ($name:ident, $rows:literal rows, $($m:literal: $r0:tt $r1:tt),*) => {
        /// The products of so many widened rows with eight columns, and for each row a vector of sums at `to`, two
        /// vectors apart.
        ///
        /// # Safety
        /// So many groups of these rows have been widened from `rows` on, 32 bytes can be read at each of `groups`
        /// steps of 64 bytes from `w` on, and the sums can be written.
        #[target_feature(enable = "avx2")]
        #[inline(never)]
        unsafe fn $name(
            token: Avx2,
            rows: *const Block,
            w: *const i8,
            groups: usize,
            to: *mut __m256i,
        ) {
            let mut sums = [[_mm256_setzero_si256(); 2]; $rows];
            // SAFETY: the token is only made where the instructions exist. What is read the caller grants, and
            // everything else happens in the registers named here.
            unsafe {
                asm!(
                    groups!($rows rows, $($m: $r0 $r1),*),
                    rows = inout(reg) rows => _, w = inout(reg) w => _,
                    blocks = inout(reg) groups / 4 => _, rest = inout(reg) groups % 4 => _,
                    $(inout($r0) sums[$m][0], inout($r1) sums[$m][1],)*
                    out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
                    options(readonly, nostack)
                )
            }
            for m in 0..$rows {
                // SAFETY: the caller grants the write.
                unsafe { to.add(2 * m).write(token.join(sums[m][0], sums[m][1])) };
            }
        }
    };
}

products!(one_row, 1 rows, 0: "ymm0" "ymm1");
products!(two_rows, 2 rows, 0: "ymm0" "ymm1", 1: "ymm2" "ymm3");
products!(
    three_rows, 3 rows,
    0: "ymm0" "ymm1", 1: "ymm2" "ymm3", 2: "ymm4" "ymm5"
);
products!(
    four_rows, 4 rows,
    0: "ymm0" "ymm1", 1: "ymm2" "ymm3", 2: "ymm4" "ymm5", 3: "ymm6" "ymm7"
);
products!(
    five_rows, 5 rows,
    0: "ymm0" "ymm1", 1: "ymm2" "ymm3", 2: "ymm4" "ymm5", 3: "ymm6" "ymm7",
    4: "ymm8" "ymm9"
);
products!(
    six_rows, 6 rows,
    0: "ymm0" "ymm1", 1: "ymm2" "ymm3", 2: "ymm4" "ymm5", 3: "ymm6" "ymm7",
    4: "ymm8" "ymm9", 5: "ymm10" "ymm11"
);

//! What all AArch64 tiers do alike: everything but products of bytes. A vector is four registers.
//!
//! A tier implements [`Products`] for its token; [`Arm`] makes a [`Simd`] of it. NEON is part of the
//! target that the program was compiled for, or these files are left out.

use core::arch::aarch64::*;
use core::arch::asm;
use core::mem::MaybeUninit;

use half::f16;

use crate::LANES;
use crate::simd::{At, Groups, Panels, Simd, Strip};

/// Calls intrinsics that touch no memory, or only what a reference beside them covers.
macro_rules! have {
    ($intrinsics:expr) => {
        // SAFETY: NEON is there wherever this is compiled, and every pointer comes from a reference to
        // an array of the length that is read or written.
        unsafe { $intrinsics }
    };
}
pub(super) use have;

/// A block as often as `{blocks}` says: first as often as is left over by four or eight, then so many at a time.
macro_rules! repeated {
    (by four, $block:expr) => {
        repeated!(@ "3", "4", $block, concat!($block, $block, $block, $block))
    };
    (by eight, $block:expr) => {
        repeated!(
            @ "7", "8", $block,
            concat!($block, $block, $block, $block, $block, $block, $block, $block)
        )
    };
    (@ $mask:literal, $many:literal, $block:expr, $blocks:expr) => {
        concat!(
            line!("tst {blocks}, #", $mask),
            line!("b.eq 3f"),
            line!("2:"),
            $block,
            line!("sub {blocks}, {blocks}, #1"),
            line!("tst {blocks}, #", $mask),
            line!("b.ne 2b"),
            line!("3:"),
            line!("cbz {blocks}, 5f"),
            line!("4:"),
            $blocks,
            line!("subs {blocks}, {blocks}, #", $many),
            line!("b.ne 4b"),
            line!("5:"),
        )
    };
}
pub(super) use repeated;

/// Assembly that may use every vector register, with operands that each end in a comma.
macro_rules! vector_asm {
    ($template:expr, $($operands:tt)*) => {
        asm!(
            $template,
            $($operands)*
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _,
            out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack)
        )
    };
}
pub(super) use vector_asm;

/// Reads or writes four registers of sums.
macro_rules! sums {
    ($op:literal, $s0:literal $s1:literal $s2:literal $s3:literal, $at:expr) => {
        line!(
            $op, " {{v", $s0, ".4s, v", $s1, ".4s, v", $s2, ".4s, v", $s3, ".4s}}, ", $at
        )
    };
}
pub(super) use sums;

/// The part of [`Simd`] that the tiers do differently: products of a few rows with one panel, both brought
/// into the tier's order before, in blocks of four groups. The last block is filled up with weights of 0.
pub(super) trait Products: Copy {
    /// As [`Simd::ROWS`].
    const ROWS: usize;
    /// As [`Simd::STEP`].
    const STEP: usize;
    /// As [`Simd::BYTES_TOGETHER`]: about what the first-level cache of the cores holds that the tier is meant for.
    const BYTES_TOGETHER: usize;
    /// Whether the sums of a panel's columns are made use of.
    const TOTALS: bool = false;
    /// Whether [`outputs`](Self::outputs) is there.
    const OUTPUTS: bool = false;
    /// Whether a single row is multiplied with panels as they lie in the file, by [`one`](Self::one).
    const ONE: bool = false;

    /// How many lines a kept panel takes. Panels for which there is room together should fit a second-level cache,
    /// so it is no less than the panel has, even where most of it is not copied.
    fn lines(groups: usize) -> usize;

    /// Looks at a panel and keeps of it what `product` asks for. The sums of its columns may be known.
    ///
    /// # Safety
    /// `64 * groups` bytes can be read at `w`, and [`lines`](Self::lines) lines written at `to`, which is aligned
    /// to one.
    unsafe fn panel(self, w: *const i8, groups: usize, totals: Option<Sums>, to: *mut i8);

    /// How many bytes a block of so many rows takes in the order of [`rows`](Self::rows).
    fn block_bytes(rows: usize) -> usize;

    /// Copies `M` rows.
    ///
    /// # Safety
    /// `a` is valid for reads of `(M - 1) * row + 4 * groups` bytes, and `to` for writes of 16 bytes for each block
    /// and row, where an odd row counts twice.
    unsafe fn rows<const M: usize>(self, a: *const u8, row: usize, groups: usize, to: *mut i8);

    /// Writes the sums of `M` rows and a panel, in an order that [`row_of`](Self::row_of) knows.
    ///
    /// # Safety
    /// `rows` has been written by [`rows`](Self::rows) for as many rows and groups, `panel` by
    /// [`panel`](Self::panel) for the panel at `w`, which can still be read, and `M` times sixteen sums can be
    /// written at `to`. There is one group at least.
    unsafe fn product<const M: usize>(
        self,
        rows: *const i8,
        w: *const i8,
        panel: *const i8,
        groups: usize,
        to: *mut Sums,
    );

    /// The sums of row `m` of the `M` that [`product`](Self::product) wrote, or [`one`](Self::one).
    ///
    /// # Safety
    /// They are at `sums`, and there is such a row.
    #[inline(always)]
    unsafe fn row_of<const M: usize>(self, sums: *const Sums, m: usize) -> Sums {
        // SAFETY: the caller says that they are there.
        unsafe { sums.add(m).read() }
    }

    /// Writes the outputs of `M` rows, of which it is said what a step is worth and what the smallest value is, and of
    /// a strip of panels. No block is filled up.
    ///
    /// # Safety
    /// `rows` has been written by [`rows`](Self::rows) for as many rows and groups, and `panels` by
    /// [`panel`](Self::panel) for each of the strip's panels, one behind the other. The groups are whole blocks, one at
    /// least. The caller grants the strip's reads and writes.
    unsafe fn outputs<const M: usize>(
        self,
        _rows: *const i8,
        _panels: *const i8,
        _groups: usize,
        _numbers: [&[f32; M]; 2],
        _strip: Strip,
    ) {
        unreachable!("only where it is said to be there")
    }

    /// Writes the sums of one row and a panel that nothing was done with, in the order of [`product`](Self::product).
    /// The sums of its columns may be known.
    ///
    /// # Safety
    /// `4 * groups` bytes can be read at `a`, `64 * groups` at `w`, and sixteen sums can be written at `to`.
    unsafe fn one(
        self,
        _a: *const u8,
        _w: *const i8,
        _groups: usize,
        _totals: Option<Sums>,
        _to: *mut Sums,
    ) {
        unreachable!("only where it is said to be there")
    }
}

/// Sixteen sums, one for each column of a panel.
pub(super) type Sums = [int32x4_t; 4];

/// What holds a group of a panel, and the unit of what is kept.
#[derive(Copy, Clone)]
#[repr(align(64))]
pub(super) struct Line {
    _bytes: [MaybeUninit<i8>; 64],
}

/// A line that holds nothing yet.
const NO_LINE: Line = Line {
    _bytes: [MaybeUninit::uninit(); 64],
};

/// How many lines of panels are kept: four panels of 1,536 inputs and what comes with them.
const LINES: usize = 1_580;

/// How many groups are brought into a tier's order at a time. A panel of so many fits into the lines.
const CHUNK: usize = 1_536;

/// How many lines of rows are kept: 132 of 1,536 values.
const ROW_LINES: usize = 132 * 1_536 / 64;

/// Panels and rows, in a tier's order: 297 KiB, of which no more is written than is used.
pub(super) struct Kept {
    panels: [Line; LINES],
    rows: [Line; ROW_LINES],
    /// Whether there is but one row, for which panels are left as they are.
    one: bool,
}

/// How many lines a tile's rows take at most. Some tiers fill up three rows to four, and five to six.
const fn slot_lines(rows: usize, groups: usize) -> usize {
    (16 * rows.next_multiple_of(2) * blocks(groups)).div_ceil(64)
}

/// How many blocks of four groups there are, the last of which may have fewer.
pub(super) const fn blocks(groups: usize) -> usize {
    groups.div_ceil(4)
}

/// The bytes of a row in a block: sixteen, or, in the last block, as many as there are and zeros behind them.
///
/// # Safety
/// `4 * groups` bytes can be read at `a`, and `block` is one of their blocks.
#[inline(always)]
pub(super) unsafe fn row_block(a: *const u8, groups: usize, block: usize) -> int8x16_t {
    // SAFETY: the caller grants the reads.
    unsafe {
        let a = a.add(16 * block);
        let left = groups - 4 * block;
        if left >= 4 {
            return vld1q_s8(a.cast());
        }
        let mut four = [0i32; 4];
        for (group, four) in four.iter_mut().enumerate().take(left) {
            *four = a.cast::<i32>().add(group).read_unaligned();
        }
        vreinterpretq_s8_s32(vld1q_s32(four.as_ptr()))
    }
}

/// The groups of a panel behind its last whole block, as a block with zeros in it.
///
/// # Safety
/// `64 * groups` bytes can be read at `w`.
#[inline(always)]
pub(super) unsafe fn last_block(w: *const i8, groups: usize) -> [int8x16_t; 16] {
    let mut last = [have!(vdupq_n_s8(0)); 16];
    for at in 0..groups % 4 * 4 {
        // SAFETY: the caller grants the read.
        last[at] = unsafe { vld1q_s8(w.add(groups / 4 * 256 + 16 * at)) };
    }
    last
}

/// The bytes from 0 to 255 as bytes from -128 to 127: less 128 each.
#[inline(always)]
pub(super) fn less_128(bytes: int8x16_t) -> int8x16_t {
    have!(veorq_s8(bytes, vdupq_n_s8(-128)))
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
    type Kept = Kept;

    const ROWS: usize = P::ROWS;
    const STEP: usize = P::STEP;
    const SUMS_IN_REGISTERS: bool = false;
    const PANELS: usize = 1;
    const STRIPS: bool = true;
    const OUTPUTS: bool = P::OUTPUTS;
    const STEPS_BY_FOUR: bool = false;
    const PLACES: usize = LINES;
    const BYTES_TOGETHER: usize = P::BYTES_TOGETHER;
    const FEW_ROWS: usize = 64;

    #[inline(never)]
    fn apart<T>(self, part: impl FnOnce() -> T) -> T {
        part()
    }

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
    fn load_halves(self, from: &[f16; LANES]) -> Self::F32 {
        let mut quarters = [have!(vdupq_n_f32(0.0)); 4];
        for (eight, two) in from
            .as_chunks::<8>()
            .0
            .iter()
            .zip(quarters.as_chunks_mut::<2>().0)
        {
            let halves = have!(vld1q_u16(eight.as_ptr().cast()));
            let [low, high]: [float32x4_t; 2];
            // SAFETY: NEON is there wherever this is compiled, and only the registers named here are touched. The
            // intrinsics have a type that is not stable.
            unsafe {
                asm!(
                    "fcvtl {low:v}.4s, {halves:v}.4h", "fcvtl2 {high:v}.4s, {halves:v}.8h",
                    low = out(vreg) low, high = lateout(vreg) high, halves = in(vreg) halves,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            *two = [low, high];
        }
        quarters
    }

    #[inline(always)]
    fn store_halves(self, x: Self::F32, to: &mut [f16; LANES]) {
        for (two, eight) in x.as_chunks::<2>().0.iter().zip(to.as_chunks_mut::<8>().0) {
            let [low, high] = *two;
            let halves: uint16x8_t;
            // SAFETY: as for `load_halves`.
            unsafe {
                asm!(
                    "fcvtn {halves:v}.4h, {low:v}.4s", "fcvtn2 {halves:v}.8h, {high:v}.4s",
                    halves = out(vreg) halves, low = in(vreg) low, high = in(vreg) high,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            have!(vst1q_u16(eight.as_mut_ptr().cast(), halves));
        }
    }

    #[inline(always)]
    unsafe fn claim(self, start: *mut u8, bytes: usize) {
        // SAFETY: the caller grants the same.
        unsafe { claim(start, bytes) }
    }

    #[inline(always)]
    fn store_bytes(self, x: Sums, to: &mut [u8; LANES]) {
        have!(vst1q_s8(to.as_mut_ptr().cast(), low_bytes(x)));
    }

    #[inline(always)]
    fn store_and_add(self, x: Sums, sum: Sums, to: &mut [u8; LANES]) -> Sums {
        let bytes = have!(vreinterpretq_u8_s8(low_bytes(x)));
        have!({
            vst1q_u8(to.as_mut_ptr(), bytes);
            // Neighbours by neighbours, into one of the four registers.
            let four = vpadalq_u16(vreinterpretq_u32_s32(sum[0]), vpaddlq_u8(bytes));
            [vreinterpretq_s32_u32(four), sum[1], sum[2], sum[3]]
        })
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
    fn places(self, groups: usize) -> usize {
        P::lines(groups.min(CHUNK))
    }

    #[inline(always)]
    fn keep(self) -> Kept {
        Kept {
            panels: [NO_LINE; LINES],
            rows: [NO_LINE; _],
            one: false,
        }
    }

    #[inline(always)]
    unsafe fn ready(self, w: Panels, count: usize, rows: usize, kept: &mut Kept, place: usize) {
        kept.one = P::ONE && rows == 1;
        if kept.one || w.groups > CHUNK {
            return;
        }
        let lines = P::lines(w.groups);
        let places = &mut kept.panels[place..][..count * lines];
        for (n, to) in places.chunks_exact_mut(lines).enumerate() {
            // SAFETY: the caller grants reads of the panel and of what is known of its columns; `to` has as many lines
            // as it takes.
            unsafe {
                let totals = totals(self, w, n);
                let (w, groups) = (w.start.add(n * w.stride), w.groups);
                self.0.panel(w, groups, totals, to.as_mut_ptr().cast());
            }
        }
    }

    #[inline(always)]
    fn slots(self, groups: usize) -> usize {
        ROW_LINES / slot_lines(P::ROWS, groups.min(CHUNK))
    }

    #[inline(always)]
    unsafe fn rows<const M: usize>(
        self,
        a: *const u8,
        row: usize,
        groups: Groups,
        kept: &mut Kept,
        slot: usize,
    ) {
        if groups.all <= CHUNK {
            let to = &mut kept.rows[slot * slot_lines(P::ROWS, groups.all)..];
            let to = &mut to[..slot_lines(M, groups.all)];
            assert!(groups.first.is_multiple_of(4) && groups.first + groups.count <= groups.all);
            let block = P::block_bytes(M);
            // SAFETY: there is room for all groups of all rows, so for those before the first of these and for these.
            // The caller grants the reads.
            unsafe {
                let to = to.as_mut_ptr().cast::<i8>().add(block * (groups.first / 4));
                if groups.stays {
                    claim(to.cast(), block * blocks(groups.count));
                }
                self.0.rows::<M>(a, row, groups.count, to);
            }
        }
    }

    #[inline(always)]
    fn keeps_rows(self, groups: usize) -> bool {
        groups <= CHUNK
    }

    #[inline(always)]
    unsafe fn outputs<const M: usize>(
        self,
        numbers: [&[f32; M]; 2],
        strip: Strip,
        groups: usize,
        kept: &Kept,
        At { slot, place }: At,
    ) -> bool {
        const { assert!(!P::ONE || !P::OUTPUTS, "all panels are looked at") };
        if groups > CHUNK || !groups.is_multiple_of(4) {
            return false;
        }
        // SAFETY: the caller says that `rows` and `ready` have written these, and grants the rest.
        unsafe {
            let panels = kept.panels.as_ptr().add(place).cast();
            let rows = kept.rows.as_ptr().add(slot * slot_lines(P::ROWS, groups));
            self.0
                .outputs::<M>(rows.cast(), panels, groups, numbers, strip);
        }
        true
    }

    #[inline(always)]
    fn sums<const M: usize, const N: usize>(
        self,
        tile: &[[Sums; N]; M],
        m: usize,
        n: usize,
    ) -> Sums {
        assert!(N == 1 && n == 0 && m < M, "a row of a single panel");
        // SAFETY: `tile` wrote them, and there is such a row.
        unsafe { self.0.row_of::<M>(tile.as_ptr().cast(), m) }
    }

    #[inline(always)]
    unsafe fn tile<const M: usize, const N: usize>(
        self,
        a: *const u8,
        row: usize,
        w: Panels,
        kept: &mut Kept,
        At { slot, place }: At,
        out: &mut MaybeUninit<[[Sums; N]; M]>,
    ) {
        debug_assert!(N == 1, "one panel at a time");
        let to = out.as_mut_ptr().cast::<Sums>();
        if M == 1 && kept.one {
            // SAFETY: the caller grants the reads of a row, and of a panel and what is known of its columns.
            unsafe { self.0.one(a, w.start, w.groups, totals(self, w, 0), to) };
        } else if w.groups <= CHUNK {
            // SAFETY: the caller says that `rows` and `ready` have written these, which have seen that there is room
            // for them, and `out` has `M` times sixteen sums.
            unsafe {
                let panel = kept.panels.as_ptr().add(place).cast();
                let slot = slot * slot_lines(P::ROWS, w.groups);
                let rows = kept.rows.as_ptr().add(slot).cast();
                self.0.product::<M>(rows, w.start, panel, w.groups, to);
            }
        } else {
            // SAFETY: the caller grants the reads.
            unsafe { chunks::<P, M>(self.0, a, row, w.start, w.groups, kept, to) };
        }
    }
}

/// The sums of the columns of panel `n`, where the tier makes use of them and they are known.
///
/// # Safety
/// What is known of the columns of that panel can be read.
#[inline(always)]
unsafe fn totals<P: Products>(s: Arm<P>, w: Panels, n: usize) -> Option<Sums> {
    const { assert!(4 * CHUNK <= 16_384, "sums that are exact") };
    let columns = w.columns.filter(|_| P::TOTALS && w.groups <= CHUNK)?;
    // SAFETY: the caller grants the same.
    Some(unsafe { columns.totals(s, n) })
}

/// Adds up a tile whose groups do not fit into what is kept, so many at a time.
///
/// # Safety
/// As for [`Simd::tile`].
#[inline(never)]
unsafe fn chunks<P: Products, const M: usize>(
    p: P,
    a: *const u8,
    row: usize,
    w: *const i8,
    all_groups: usize,
    kept: &mut Kept,
    to: *mut Sums,
) {
    let mut all = [[have!(vdupq_n_s32(0)); 4]; M];
    for from in (0..all_groups).step_by(CHUNK) {
        let groups = (all_groups - from).min(CHUNK);
        let mut sums = all;
        let rows = kept.rows[..slot_lines(M, groups)].as_mut_ptr().cast();
        let panel = kept.panels[..P::lines(groups)].as_mut_ptr().cast();
        // SAFETY: the caller grants reads of these groups, of rows and panel alike. There is room for as much of
        // both as was cut off here.
        unsafe {
            let w = w.add(64 * from);
            p.rows::<M>(a.add(4 * from), row, groups, rows);
            p.panel(w, groups, None, panel);
            p.product::<M>(rows, w, panel, groups, sums.as_mut_ptr());
        }
        // Wherever a tier puts a sum, it puts it there each time.
        for m in 0..M {
            all[m] = all!(vaddq_s32, all[m], sums[m]);
        }
    }
    // SAFETY: the caller grants these sums.
    unsafe { to.cast::<[Sums; M]>().write(all) };
}

/// Zeroes the lines that lie inside of some memory whose contents are of no use any more: the one way to have them in the caches without fetching them.
/// Machines say whether they allow that, and how long their lines are; on bare ones the memory may not have been set
/// up for it.
///
/// # Safety
/// So many bytes can be written there.
#[inline(always)]
pub(super) unsafe fn claim(start: *mut u8, bytes: usize) {
    const LINE: usize = 64;
    if cfg!(target_os = "none") {
        return;
    }
    let says: usize;
    // SAFETY: every program may read this register, which is a constant.
    unsafe {
        asm!("mrs {}, dczid_el0", out(reg) says, options(pure, nomem, nostack, preserves_flags));
    }
    // Lines of so many words, as a power of two, and no bit above that says no.
    if says & 31 != (LINE / 4).ilog2() as usize {
        return;
    }
    let skipped = start.align_offset(LINE);
    let mut line = start.wrapping_add(skipped);
    for _ in 0..bytes.saturating_sub(skipped) / LINE {
        // SAFETY: the line lies inside of what the caller grants.
        unsafe { asm!("dc zva, {}", in(reg) line, options(nostack, preserves_flags)) };
        line = line.wrapping_add(LINE);
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

//! The matrix product of Armv8.6: Cortex-A510, Cortex-A710, Neoverse V1 and what came after.
//!
//! One instruction (`usmmla`) multiplies eight unsigned activations of each of two rows with eight signed
//! weights of each of two columns, and adds to the four sums. Nothing is shifted to signed and back.
//!
//! ```text
//! weights      c0: group g, group g + 1 | c4: group g, group g + 1        zipped from two groups
//! activations  r0: group g, group g + 1 | r1: group g, group g + 1
//! sums         r0 c0, r0 c4 | r1 c0, r1 c4
//! ```
//!
//! The weights in the file have four columns of a group side by side. They are zipped once for all rows, and
//! pairs of rows once for all panels that go together. A store of four registers zips them, and that is why a column
//! stands beside the fourth behind it; the same store brings the sums of eight columns back into order, row by row.
//!
//! Sums of six rows and a panel fill 24 registers; with four of weights and three of activations that leaves one.
//! Loops are written in assembly, since a compiler moves loads until that is not enough, and reads with two
//! instructions what one can.
//!
//! A single row is left as it is, and so are its panels: `sudot`, which comes with this tier, multiplies
//! four activations with four weights of each of four columns.

use core::arch::aarch64::*;
use core::arch::asm;

use super::arm::{
    Arm, Products, Sums, blocks, have, last_block, repeated, row_block, sums, vector_asm,
};
use crate::simd::Kernel;

/// Runs a kernel with the instructions of this tier.
///
/// # Safety
/// The machine has the matrix product of bytes.
#[target_feature(enable = "neon,i8mm")]
pub(crate) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Arm(I8mm(())))
}

/// Proof that this tier's instructions exist: only [`run`] makes one.
#[derive(Copy, Clone)]
struct I8mm(());

impl Products for I8mm {
    const ROWS: usize = 6;
    const STEP: usize = 2;
    const BYTES_TOGETHER: usize = 48 * 1024;
    const ONE: bool = true;

    #[inline(always)]
    fn lines(groups: usize) -> usize {
        4 * blocks(groups)
    }

    #[inline(always)]
    fn block_bytes(rows: usize) -> usize {
        32 * rows.div_ceil(2)
    }

    #[inline(always)]
    unsafe fn panel(self, w: *const i8, groups: usize, _totals: Option<Sums>, to: *mut i8) {
        // SAFETY: the caller grants the same.
        unsafe { zip(w, groups, to) }
    }

    #[inline(always)]
    unsafe fn rows<const M: usize>(self, a: *const u8, row: usize, groups: usize, to: *mut i8) {
        // SAFETY: the caller grants the same.
        unsafe { copy::<M>(a, row, groups, to) }
    }

    #[inline(always)]
    unsafe fn product<const M: usize>(
        self,
        rows: *const i8,
        _w: *const i8,
        panel: *const i8,
        groups: usize,
        to: *mut Sums,
    ) {
        // SAFETY: the token says that the machine has the instruction; the caller grants the rest.
        unsafe {
            let blocks = blocks(groups);
            match M {
                1 => one_pair::<true>(self, rows, panel, blocks, to),
                2 => one_pair::<false>(self, rows, panel, blocks, to),
                3 => two_pairs::<true>(self, rows, panel, blocks, to),
                4 => two_pairs::<false>(self, rows, panel, blocks, to),
                5 => three_pairs::<true>(self, rows, panel, blocks, to),
                _ => three_pairs::<false>(self, rows, panel, blocks, to),
            }
        }
    }

    #[inline(always)]
    unsafe fn row_of<const M: usize>(self, sums: *const Sums, m: usize) -> Sums {
        if m + 1 == M && M % 2 == 1 {
            // SAFETY: the caller says that they are there.
            return unsafe { sums.add(m).read() };
        }
        // The first eight columns of two rows, and then the others.
        // SAFETY: the caller says that both rows of the pair are there.
        unsafe {
            let pair = sums.add(m / 2 * 2).cast::<[int32x4_t; 2]>().add(m % 2);
            let ([a, b], [c, d]) = (pair.read(), pair.add(2).read());
            [a, b, c, d]
        }
    }

    #[inline(always)]
    unsafe fn one(
        self,
        a: *const u8,
        w: *const i8,
        groups: usize,
        _totals: Option<Sums>,
        to: *mut Sums,
    ) {
        // SAFETY: the token says that the machine has the instruction; the caller grants the rest.
        unsafe { single(self, a, w, groups, to) }
    }
}

/// Zips two groups after two groups of a panel, an odd last one with zeros.
///
/// # Safety
/// `64 * groups` bytes can be read at `w`, and `256 * blocks(groups)` written at `to`.
#[inline(never)]
unsafe fn zip(w: *const i8, groups: usize, to: *mut i8) {
    let whole = groups / 4;
    if whole > 0 {
        // SAFETY: the caller grants so many blocks.
        unsafe { zip_blocks(w, whole, to) };
    }
    if !groups.is_multiple_of(4) {
        // SAFETY: the caller grants reads of the groups behind the whole blocks, and writes of a block more.
        unsafe {
            let last = last_block(w.add(256 * whole), groups % 4);
            zip_blocks(last.as_ptr().cast(), 1, to.add(256 * whole));
        }
    }
}

/// Eight columns of two groups from each `$at` on: a store of four registers puts a column's eight weights side by
/// side, and beside them those of the fourth column behind it.
macro_rules! zip_couples {
    ($($at:literal)*) => {
        concat!($(
            line!("ldp q0, q2, [{w}, #", $at, "]"),
            line!("ldp q1, q3, [{w}, #64 + ", $at, "]"),
            line!("st4 {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{to}], #64"),
        )*)
    };
}

/// Zips whole blocks.
///
/// # Safety
/// `256 * blocks` bytes can be read at `w`, and written at `to`; there is one block at least.
#[inline(always)]
unsafe fn zip_blocks(w: *const i8, blocks: usize, to: *mut i8) {
    // SAFETY: NEON is there wherever this is compiled; the caller grants the reads and the writes.
    unsafe {
        asm!(
            repeated!(by eight, concat!(zip_couples!(0 32 128 160), line!("add {w}, {w}, #256"))),
            w = inout(reg) w => _, to = inout(reg) to => _,
            blocks = inout(reg) blocks => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            options(nostack)
        )
    }
}

/// Copies `M` rows, two rows and two groups side by side: `[block][two groups][pair of rows]`.
///
/// # Safety
/// `a` is valid for reads of `(M - 1) * row + 4 * groups` bytes, and `to` for writes of two registers for each
/// block and pair.
#[inline(never)]
unsafe fn copy<const M: usize>(a: *const u8, row: usize, groups: usize, to: *mut i8) {
    let (whole, len) = (groups / 4, 32 * M.div_ceil(2));
    for block in 0..whole {
        // SAFETY: the caller grants reads of this block of each row.
        let read = |m: usize| unsafe { vld1q_s8(a.add(m * row + 16 * block).cast()) };
        // SAFETY: the caller grants the writes.
        unsafe { write::<M>(read, to.wrapping_add(len * block)) };
    }
    if !groups.is_multiple_of(4) {
        // SAFETY: the caller grants reads of the groups behind the whole blocks, and the writes.
        unsafe {
            let read = |m: usize| row_block(a.add(m * row), groups, whole);
            write::<M>(read, to.add(len * whole));
        }
    }
}

/// Writes a block of `M` rows.
///
/// # Safety
/// Two registers for each pair of rows can be written at `to`.
#[inline(always)]
unsafe fn write<const M: usize>(read: impl Fn(usize) -> int8x16_t, to: *mut i8) {
    let pairs = M.div_ceil(2);
    for pair in 0..pairs {
        // Where there is no second row, the first stands for it.
        let both = [2 * pair, (2 * pair + 1).min(M - 1)];
        let both = both.map(|m| have!(vreinterpretq_s64_s8(read(m))));
        // SAFETY: the caller grants these writes.
        unsafe {
            vst1q_s64(to.add(16 * pair).cast(), vzip1q_s64(both[0], both[1]));
            vst1q_s64(
                to.add(16 * (pairs + pair)).cast(),
                vzip2q_s64(both[0], both[1]),
            );
        }
    }
}

/// The products of a pair of rows in register `$a` with eight columns, whose weights are in `v27` to `v30`.
macro_rules! pair {
    ($a:literal: $s0:literal $s1:literal $s2:literal $s3:literal) => {
        concat!(
            line!("usmmla v", $s0, ".4s, v", $a, ".16b, v27.16b"),
            line!("usmmla v", $s1, ".4s, v", $a, ".16b, v28.16b"),
            line!("usmmla v", $s2, ".4s, v", $a, ".16b, v29.16b"),
            line!("usmmla v", $s3, ".4s, v", $a, ".16b, v30.16b"),
        )
    };
}

/// Two groups of some pairs: their activations, then eight columns after eight columns.
macro_rules! couple {
    ($activations:literal, $($a:literal: $s0:literal $s1:literal $s2:literal $s3:literal
        $s4:literal $s5:literal $s6:literal $s7:literal),*) => {
        concat!(
            line!($activations),
            line!("ld1 {{v27.16b, v28.16b, v29.16b, v30.16b}}, [{w}], #64"),
            $(pair!($a: $s0 $s1 $s2 $s3),)*
            line!("ld1 {{v27.16b, v28.16b, v29.16b, v30.16b}}, [{w}], #64"),
            $(pair!($a: $s4 $s5 $s6 $s7),)*
        )
    };
}

/// What sums begin with.
static ZEROS: [i32; 16] = [0; 16];

/// Writes the sums of pairs of rows, each eight columns of both rows at a time; of the last pair perhaps only those of
/// the first row, which are the lower halves of the registers.
macro_rules! stores {
    ($($s0:literal $s1:literal $s2:literal $s3:literal),*) => {
        concat!($(sums!("st4", $s0 $s1 $s2 $s3, "[{to}], #64"),)*)
    };
    (odd: $a0:literal $a1:literal $a2:literal $a3:literal, $b0:literal $b1:literal $b2:literal $b3:literal) => {
        concat!(
            line!("st4 {{v", $a0, ".2s, v", $a1, ".2s, v", $a2, ".2s, v", $a3, ".2s}}, [{to}], #32"),
            line!("st4 {{v", $b0, ".2s, v", $b1, ".2s, v", $b2, ".2s, v", $b3, ".2s}}, [{to}]"),
        )
    };
    (odd: $a0:literal $a1:literal $a2:literal $a3:literal, $b0:literal $b1:literal $b2:literal $b3:literal,
        $($rest:tt)*) => {
        concat!(
            sums!("st4", $a0 $a1 $a2 $a3, "[{to}], #64"),
            sums!("st4", $b0 $b1 $b2 $b3, "[{to}], #64"),
            stores!(odd: $($rest)*),
        )
    };
}

/// The products of some pairs of rows with a panel: a function of its own, so that the registers are given out
/// for it alone.
macro_rules! product {
    ($name:ident, $couple:expr, $($s0:literal $s1:literal $s2:literal $s3:literal),*) => {
        /// The products of some pairs of rows with a panel, `odd` where the last pair is a single row.
        ///
        /// # Safety
        /// As for [`Products::product`], of so many rows and blocks.
        #[target_feature(enable = "neon,i8mm")]
        #[inline(never)]
        unsafe fn $name<const ODD: bool>(
            _token: I8mm,
            rows: *const i8,
            w: *const i8,
            blocks: usize,
            to: *mut Sums,
        ) {
            /// All blocks, and what writes the sums.
            macro_rules! all {
                ($store:expr) => {
                    // SAFETY: the token is only made where the instruction exists. What is read and written the
                    // caller grants, and everything else happens in operands and vector registers.
                    unsafe {
                        vector_asm!(
                            concat!(
                                $(sums!("ld1", $s0 $s1 $s2 $s3, "[{zeros}]"),)*
                                repeated!(by four, concat!($couple, $couple)),
                                $store,
                            ),
                            zeros = in(reg) ZEROS.as_ptr(),
                            rows = inout(reg) rows => _, w = inout(reg) w => _,
                            blocks = inout(reg) blocks => _, to = inout(reg) to => _,
                        )
                    }
                };
            }
            if ODD {
                all!(stores!(odd: $($s0 $s1 $s2 $s3),*));
            } else {
                all!(stores!($($s0 $s1 $s2 $s3),*));
            }
        }
    };
}

product!(
    one_pair,
    couple!("ldr q24, [{rows}], #16", 24: 0 1 2 3 4 5 6 7),
    0 1 2 3, 4 5 6 7
);
product!(
    two_pairs,
    couple!("ldp q24, q25, [{rows}], #32", 24: 0 1 2 3 4 5 6 7, 25: 8 9 10 11 12 13 14 15),
    0 1 2 3, 4 5 6 7, 8 9 10 11, 12 13 14 15
);
product!(
    three_pairs,
    couple!(
        "ld1 {{v24.16b, v25.16b, v26.16b}}, [{rows}], #48",
        24: 0 1 2 3 4 5 6 7, 25: 8 9 10 11 12 13 14 15, 26: 16 17 18 19 20 21 22 23
    ),
    0 1 2 3, 4 5 6 7, 8 9 10 11, 12 13 14 15, 16 17 18 19, 20 21 22 23
);

/// The products of a group of one row, a quarter of `v28`, with a panel.
macro_rules! quarter {
    ($quarter:literal) => {
        concat!(
            line!("ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{w}], #64"),
            line!("sudot v0.4s, v24.16b, v28.4b[", $quarter, "]"),
            line!("sudot v1.4s, v25.16b, v28.4b[", $quarter, "]"),
            line!("sudot v2.4s, v26.16b, v28.4b[", $quarter, "]"),
            line!("sudot v3.4s, v27.16b, v28.4b[", $quarter, "]"),
        )
    };
}

/// The products of a row with a panel, both as they lie in memory.
///
/// # Safety
/// As for [`Products::one`].
#[target_feature(enable = "neon,i8mm")]
#[inline(never)]
unsafe fn single(token: I8mm, a: *const u8, w: *const i8, groups: usize, to: *mut Sums) {
    let mut sums = [vdupq_n_s32(0); 4];
    if groups >= 4 {
        // SAFETY: the caller grants reads of so many blocks.
        unsafe { single_blocks(token, a, w, groups / 4, &mut sums) };
    }
    if !groups.is_multiple_of(4) {
        // SAFETY: the caller grants reads of the groups behind them, which become a block.
        unsafe {
            let row = row_block(a, groups, groups / 4);
            let w = last_block(w, groups);
            single_blocks(
                token,
                (&raw const row).cast(),
                w.as_ptr().cast(),
                1,
                &mut sums,
            );
        }
    }
    // SAFETY: the caller grants sixteen sums.
    unsafe { *to = sums };
}

/// Adds the products of whole blocks.
///
/// # Safety
/// `16 * blocks` bytes can be read at `a`, and `256 * blocks` at `w`; there is one at least.
#[inline(always)]
unsafe fn single_blocks(_token: I8mm, a: *const u8, w: *const i8, blocks: usize, sums: &mut Sums) {
    // SAFETY: the token is only made where the instruction exists. What is read the caller grants, and
    // everything else happens in the registers named here.
    unsafe {
        asm!(
            concat!(
                line!("2:"),
                line!("ldr q28, [{a}], #16"),
                quarter!(0), quarter!(1), quarter!(2), quarter!(3),
                line!("subs {blocks}, {blocks}, #1"),
                line!("b.ne 2b"),
            ),
            a = inout(reg) a => _, w = inout(reg) w => _, blocks = inout(reg) blocks => _,
            inout("v0") sums[0], inout("v1") sums[1], inout("v2") sums[2], inout("v3") sums[3],
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _,
            options(readonly, nostack)
        )
    }
}

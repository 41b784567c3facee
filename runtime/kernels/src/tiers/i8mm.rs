//! The matrix product of Armv8.6: Cortex-A510, Cortex-A710, Neoverse V1 and what came after.
//!
//! One instruction (`usmmla`) multiplies eight unsigned activations of each of two rows with eight signed
//! weights of each of two columns, and adds to the four sums. Nothing is shifted to signed and back.
//!
//! ```text
//! weights      c0: group g, group g + 1 | c1: group g, group g + 1        zipped from two groups
//! activations  r0: group g, group g + 1 | r1: group g, group g + 1
//! sums         r0 c0, r0 c1 | r1 c0, r1 c1
//! ```
//!
//! The weights in the file have four columns of a group side by side. They are zipped once for all rows, and
//! pairs of rows once for all panels that go together. Sums of six rows and a panel fill 24 registers; with
//! four of weights and three of activations that leaves one. Loops are written in assembly, since a compiler
//! moves loads until that is not enough, and reads with two instructions what one can.
//!
//! A single row is left as it is, and so are its panels: `sudot`, which comes with this tier, multiplies
//! four activations with four weights of each of four columns.

use core::arch::aarch64::*;
use core::arch::asm;

use super::arm::{Arm, Products, Sums, blocks, have, last_block, row_block};
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
    const ONE: bool = true;

    #[inline(always)]
    fn lines(groups: usize) -> usize {
        4 * blocks(groups)
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
            match M.div_ceil(2) {
                1 => one_pair::<M>(self, rows, panel, blocks(groups), to),
                2 => two_pairs::<M>(self, rows, panel, blocks(groups), to),
                _ => three_pairs::<M>(self, rows, panel, blocks(groups), to),
            }
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

/// Two groups from `$at` on: a store of two registers puts their columns side by side.
macro_rules! zip_couple {
    ($($at:literal)*) => {
        concat!($(
            line!("ldp q0, q2, [{w}, #", $at, "]"),
            line!("ldp q1, q3, [{w}, #64 + ", $at, "]"),
            line!("st2 {{v0.4s, v1.4s}}, [{to}], #32"),
            line!("st2 {{v2.4s, v3.4s}}, [{to}], #32"),
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
            concat!(
                line!("2:"),
                zip_couple!(0 32 128 160),
                line!("add {w}, {w}, #256"),
                line!("subs {blocks}, {blocks}, #1"),
                line!("b.ne 2b"),
            ),
            w = inout(reg) w => _, to = inout(reg) to => _, blocks = inout(reg) blocks => _,
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

/// A block, twice the same, and again for each two of them, from the second on where they are odd.
macro_rules! all_blocks {
    ($couple:expr) => {
        concat!(
            line!("tbnz {blocks}, #0, 3f"),
            line!("2:"),
            $couple,
            $couple,
            line!("3:"),
            $couple,
            $couple,
            line!("subs {blocks}, {blocks}, #2"),
            line!("b.gt 2b"),
        )
    };
}

/// The products of some pairs of rows with a panel: a function of its own, so that the registers are given out
/// for it alone.
macro_rules! product {
    ($name:ident, $pairs:literal pairs, $couple:expr, $($register:tt $pair:literal $j:literal),*) => {
        /// The products of up to so many pairs of rows with a panel.
        ///
        /// # Safety
        /// As for [`Products::product`], of `M` rows and so many blocks.
        #[target_feature(enable = "neon,i8mm")]
        #[inline(never)]
        unsafe fn $name<const M: usize>(
            _token: I8mm,
            rows: *const i8,
            w: *const i8,
            blocks: usize,
            to: *mut Sums,
        ) {
            let mut squares = [[vdupq_n_s32(0); 8]; $pairs];
            // SAFETY: the token is only made where the instruction exists. What is read the caller grants,
            // and everything else happens in the registers named here.
            unsafe {
                asm!(
                    all_blocks!($couple),
                    rows = inout(reg) rows => _, w = inout(reg) w => _, blocks = inout(reg) blocks => _,
                    $(inout($register) squares[$pair][$j],)*
                    out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                    out("v28") _, out("v29") _, out("v30") _,
                    options(readonly, nostack)
                )
            }
            // SAFETY: the caller grants these writes, and there are half as many pairs as rows or more.
            unsafe { store::<M>(&squares, to) }
        }
    };
}

product!(
    one_pair, 1 pairs,
    couple!("ldr q24, [{rows}], #16", 24: 0 1 2 3 4 5 6 7),
    "v0" 0 0, "v1" 0 1, "v2" 0 2, "v3" 0 3, "v4" 0 4, "v5" 0 5, "v6" 0 6, "v7" 0 7
);
product!(
    two_pairs, 2 pairs,
    couple!("ldp q24, q25, [{rows}], #32", 24: 0 1 2 3 4 5 6 7, 25: 8 9 10 11 12 13 14 15),
    "v0" 0 0, "v1" 0 1, "v2" 0 2, "v3" 0 3, "v4" 0 4, "v5" 0 5, "v6" 0 6, "v7" 0 7,
    "v8" 1 0, "v9" 1 1, "v10" 1 2, "v11" 1 3, "v12" 1 4, "v13" 1 5, "v14" 1 6, "v15" 1 7
);
product!(
    three_pairs, 3 pairs,
    couple!(
        "ld1 {{v24.16b, v25.16b, v26.16b}}, [{rows}], #48",
        24: 0 1 2 3 4 5 6 7, 25: 8 9 10 11 12 13 14 15, 26: 16 17 18 19 20 21 22 23
    ),
    "v0" 0 0, "v1" 0 1, "v2" 0 2, "v3" 0 3, "v4" 0 4, "v5" 0 5, "v6" 0 6, "v7" 0 7,
    "v8" 1 0, "v9" 1 1, "v10" 1 2, "v11" 1 3, "v12" 1 4, "v13" 1 5, "v14" 1 6, "v15" 1 7,
    "v16" 2 0, "v17" 2 1, "v18" 2 2, "v19" 2 3, "v20" 2 4, "v21" 2 5, "v22" 2 6, "v23" 2 7
);

/// Writes the sums of pairs of rows, two by two, as those of `M` rows.
///
/// # Safety
/// `M` times sixteen sums can be written at `to`, and there is a pair for each two of the rows.
#[inline(always)]
unsafe fn store<const M: usize>(squares: &[[int32x4_t; 8]], to: *mut Sums) {
    for m in 0..M {
        for j in 0..4 {
            let [left, right] = [2 * j, 2 * j + 1].map(|j| squares[m / 2][j]);
            let [left, right] = [left, right].map(|square| have!(vreinterpretq_s64_s32(square)));
            let columns = match m % 2 {
                0 => have!(vzip1q_s64(left, right)),
                _ => have!(vzip2q_s64(left, right)),
            };
            let columns = have!(vreinterpretq_s32_s64(columns));
            // SAFETY: the caller grants each row's sums.
            unsafe { (*to.add(m))[j] = columns };
        }
    }
}

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

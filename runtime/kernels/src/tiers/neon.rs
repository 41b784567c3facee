//! Plain NEON, for cores without a dot product: Cortex-A53 and Cortex-A72, as in Raspberry Pi 3 and 4.
//!
//! Bytes are multiplied into 16 bits (`smull`), a second product is added there (`smlal`), and then
//! neighbours are added to sums of 32 bits (`sadalp`). Activations are unsigned, and less 128 they are
//! signed; 128 times the sum of a column's weights is added again, once for all rows. A column has two sums
//! until the end, for inputs 0 and 1 of a group, and for 2 and 3.
//!
//! ```text
//! weights      4 columns of group g     c0 c0 c0 c0  c1 c1 c1 c1 | c2 c2 c2 c2  c3 c3 c3 c3
//! activations  4 of group g, repeated   a0 a1 a2 a3  a0 a1 a2 a3 | a0 a1 a2 a3  a0 a1 a2 a3
//! ```
//!
//! Two products always fit into 16 bits: `2 * -128 * -127` does. So do four, where the magnitudes of their
//! weights add up to 255 or less, whatever the activations are; and weights are mostly small. Each half of a
//! panel, eight columns, is copied block by block: those blocks whose every four products fit first, the
//! others behind them, and for each which block of activations it belongs to. The first kind takes 21
//! instructions a row and block, the second 25, and no branch depends on the weights.
//!
//! Sums of four rows and half a panel fill sixteen registers. The four groups of a row's block come with one
//! instruction, which repeats each of them through a register (`ld4r`).

use core::arch::aarch64::*;
use core::arch::asm;

use super::arm::{Arm, Products, Sums, blocks, claim, have, last_block, less_128, row_block};
use crate::simd::Kernel;

/// Runs a kernel with the instructions of this tier, which the program was compiled for.
pub(crate) fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Arm(Neon))
}

/// The token of this tier.
#[derive(Copy, Clone)]
struct Neon;

/// What stands before the copy of a panel.
#[repr(C, align(64))]
struct Head {
    /// 128 times the sum of each column's weights, as the two sums that it is until the end, of each half.
    again: [Sums; 2],
    /// How many blocks of each half come first.
    light: [usize; 2],
}

/// Where the parts of a kept panel are.
struct Parts {
    head: *mut Head,
    /// The numbers of the blocks, `[half][blocks]`.
    order: *mut u16,
    /// The blocks, `[half][blocks][group][eight columns]`.
    weights: *mut i8,
}

impl Parts {
    /// How many lines the numbers take.
    const fn order_lines(blocks: usize) -> usize {
        (4 * blocks).div_ceil(64)
    }

    /// The parts of what begins at `panel`, whose blocks are so many.
    #[inline(always)]
    fn of(panel: *mut i8, blocks: usize) -> Self {
        let order = panel.wrapping_add(size_of::<Head>());
        Parts {
            head: panel.cast(),
            order: order.cast(),
            weights: order.wrapping_add(64 * Parts::order_lines(blocks)),
        }
    }
}

impl Products for Neon {
    const ROWS: usize = 4;
    const STEP: usize = 1;
    const BYTES_TOGETHER: usize = 24 * 1024;
    const TOTALS: bool = true;
    const ONE: bool = true;

    #[inline(always)]
    fn lines(groups: usize) -> usize {
        let blocks = blocks(groups);
        size_of::<Head>() / 64 + Parts::order_lines(blocks) + 4 * blocks
    }

    #[inline(always)]
    fn block_bytes(rows: usize) -> usize {
        apart(rows)
    }

    #[inline(always)]
    unsafe fn panel(self, w: *const i8, groups: usize, totals: Option<Sums>, to: *mut i8) {
        // SAFETY: the caller grants the same.
        unsafe {
            let again = totals.map_or_else(|| column_sums(w, groups), in_halves);
            sort(w, groups, &again, to);
        }
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
        // SAFETY: the caller grants the rest.
        unsafe {
            match M {
                1 => one_row(rows, panel, blocks(groups), to),
                2 => two_rows(rows, panel, blocks(groups), to),
                3 => three_rows(rows, panel, blocks(groups), to),
                _ => four_rows(rows, panel, blocks(groups), to),
            }
        }
    }

    #[inline(always)]
    unsafe fn one(
        self,
        a: *const u8,
        w: *const i8,
        groups: usize,
        totals: Option<Sums>,
        to: *mut Sums,
    ) {
        // SAFETY: the caller grants the same.
        unsafe {
            let again = totals.map_or_else(|| column_sums(w, groups), in_halves);
            single(a, w, groups, &again, to);
        }
    }
}

/// What each half of a panel begins with: 128 times the sum of each column's weights, as the two sums that it is until
/// the end, the second of them 0.
#[inline(always)]
fn in_halves(totals: Sums) -> [Sums; 2] {
    let zero = have!(vdupq_n_s32(0));
    let again = totals.map(|sum| have!(vshlq_n_s32::<7>(sum)));
    [0, 2].map(|at| {
        let [left, right] = [again[at], again[at + 1]];
        have!([
            vzip1q_s32(left, zero),
            vzip2q_s32(left, zero),
            vzip1q_s32(right, zero),
            vzip2q_s32(right, zero),
        ])
    })
}

/// The same, where nothing is known of the columns.
///
/// # Safety
/// `64 * groups` bytes can be read at `w`.
#[inline(never)]
unsafe fn column_sums(w: *const i8, groups: usize) -> [Sums; 2] {
    [0, 1].map(|half| {
        let mut sums = [have!(vdupq_n_s32(0)); 4];
        for block in 0..blocks(groups) {
            // SAFETY: the caller grants reads of all blocks.
            let eight = unsafe { half_block(w, groups, block, half) };
            add_sums(&mut sums, &eight);
        }
        sums.map(|sum| have!(vshlq_n_s32::<7>(sum)))
    })
}

/// Sorts the halves of a panel.
///
/// # Safety
/// As for [`Products::panel`].
#[inline(never)]
unsafe fn sort(w: *const i8, groups: usize, again: &[Sums; 2], to: *mut i8) {
    let blocks = blocks(groups);
    let Parts {
        head,
        order,
        weights,
    } = Parts::of(to, blocks);
    // SAFETY: the caller grants writes of everything behind `to`.
    unsafe {
        claim(weights.cast(), 256 * blocks);
        (&raw mut (*head).again).write(*again);
    }
    for half in 0..2 {
        let (mut light, mut heavy) = (0, blocks);
        // SAFETY: the caller grants reads of all blocks, and writes of everything behind `to`: `light` counts
        // up and `heavy` down, and they meet when each block has a place.
        unsafe {
            let (order, weights) = (order.add(half * blocks), weights.add(128 * half * blocks));
            for block in 0..blocks {
                let eight = half_block(w, groups, block, half);
                let at = if is_light(&eight) {
                    light += 1;
                    light - 1
                } else {
                    heavy -= 1;
                    heavy
                };
                order.add(at).write(block as u16);
                let to = weights.add(128 * at);
                for (j, register) in eight.into_iter().enumerate() {
                    vst1q_s8(to.add(16 * j), register);
                }
            }
            (&raw mut (*head).light[half]).write(light);
        }
    }
}

/// Eight columns of a block: two registers of each group.
///
/// # Safety
/// `64 * groups` bytes can be read at `w`, and `block` is one of their blocks.
#[inline(always)]
unsafe fn half_block(w: *const i8, groups: usize, block: usize, half: usize) -> [int8x16_t; 8] {
    // SAFETY: the caller grants the reads.
    unsafe {
        if block < groups / 4 {
            let w = w.add(256 * block + 32 * half);
            [0, 16, 64, 80, 128, 144, 192, 208].map(|at| vld1q_s8(w.add(at)))
        } else {
            let last = last_block(w, groups);
            [0, 1, 4, 5, 8, 9, 12, 13].map(|at| last[at + 2 * half])
        }
    }
}

/// Adds a block's weights to two sums for each of eight columns.
#[inline(always)]
fn add_sums(sums: &mut Sums, eight: &[int8x16_t; 8]) {
    for j in 0..2 {
        // Sixteen bits hold neighbours of four groups.
        let mut pairs = have!(vpaddlq_s8(eight[j]));
        for group in 1..4 {
            pairs = have!(vpadalq_s8(pairs, eight[2 * group + j]));
        }
        have!({
            sums[2 * j] = vaddw_s16(sums[2 * j], vget_low_s16(pairs));
            sums[2 * j + 1] = vaddw_high_s16(sums[2 * j + 1], pairs);
        });
    }
}

/// Whether the magnitudes of all four weights that are multiplied into the same 16 bits add up to 255 or less. Some
/// that do are not recognized.
#[inline(always)]
fn is_light(eight: &[int8x16_t; 8]) -> bool {
    let mut most = have!(vdupq_n_u8(0));
    for j in 0..2 {
        have!({
            let zero = vdupq_n_s8(0);
            // 127 is taken for the first magnitude of a pair where it is 128, so that a pair fits into a
            // byte; the sum of both pairs saturates at 255.
            let first = vabaq_s8(vqabsq_s8(eight[j]), eight[2 + j], zero);
            let second = vabaq_s8(vqabsq_s8(eight[4 + j]), eight[6 + j], zero);
            let four = vqaddq_u8(vreinterpretq_u8_s8(first), vreinterpretq_u8_s8(second));
            most = vmaxq_u8(most, four);
        });
    }
    have!(vmaxvq_u8(most)) <= 252
}

/// How far the blocks of so many rows are apart: a power of two, since they are found by their numbers.
const fn apart(rows: usize) -> usize {
    16 * rows.next_power_of_two()
}

/// Copies `M` rows as signed bytes, block by block.
///
/// # Safety
/// `a` is valid for reads of `(M - 1) * row + 4 * groups` bytes, and `to` for writes of as much as each block
/// takes.
#[inline(never)]
unsafe fn copy<const M: usize>(a: *const u8, row: usize, groups: usize, to: *mut i8) {
    let whole = groups / 4;
    for block in 0..whole {
        for m in 0..M {
            // SAFETY: the caller grants the read and the write.
            unsafe {
                let bytes = vld1q_s8(a.add(m * row + 16 * block).cast());
                vst1q_s8(to.add(apart(M) * block + 16 * m), less_128(bytes));
            }
        }
    }
    if !groups.is_multiple_of(4) {
        for m in 0..M {
            // SAFETY: the caller grants reads of the groups behind the whole blocks, and the write.
            unsafe {
                let bytes = row_block(a.add(m * row), groups, whole);
                vst1q_s8(to.add(apart(M) * whole + 16 * m), less_128(bytes));
            }
        }
    }
}

/// One group of a row times eight columns: its register, the operation, and the two registers of weights.
macro_rules! group {
    ($op:literal, $a:literal, $w0:literal $w1:literal) => {
        concat!(
            line!($op, " v4.8h, v", $a, ".8b, v", $w0, ".8b"),
            line!($op, "2 v5.8h, v", $a, ".16b, v", $w0, ".16b"),
            line!($op, " v6.8h, v", $a, ".8b, v", $w1, ".8b"),
            line!($op, "2 v7.8h, v", $a, ".16b, v", $w1, ".16b"),
        )
    };
}

/// Adds the products to a row's four registers of sums.
macro_rules! add {
    ($s0:literal $s1:literal $s2:literal $s3:literal) => {
        concat!(
            line!("sadalp v", $s0, ".4s, v4.8h"),
            line!("sadalp v", $s1, ".4s, v5.8h"),
            line!("sadalp v", $s2, ".4s, v6.8h"),
            line!("sadalp v", $s3, ".4s, v7.8h"),
        )
    };
}

/// A row's block of the one kind or the other, whose weights are in `v8` to `v15`.
macro_rules! row {
    (light, $s0:literal $s1:literal $s2:literal $s3:literal) => {
        concat!(
            line!("ld4r {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{row}], #16"),
            group!("smull", 0, 8 9), group!("smlal", 1, 10 11),
            group!("smlal", 2, 12 13), group!("smlal", 3, 14 15), add!($s0 $s1 $s2 $s3),
        )
    };
    (heavy, $s0:literal $s1:literal $s2:literal $s3:literal) => {
        concat!(
            line!("ld4r {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{row}], #16"),
            group!("smull", 0, 8 9), group!("smlal", 1, 10 11), add!($s0 $s1 $s2 $s3),
            group!("smull", 2, 12 13), group!("smlal", 3, 14 15), add!($s0 $s1 $s2 $s3),
        )
    };
}

/// A block of one kind. The shift says how far the blocks of the rows are apart.
macro_rules! block {
    ($kind:ident, $shift:literal, $($s0:literal $s1:literal $s2:literal $s3:literal),*) => {
        concat!(
            line!("ldrh {row:w}, [{order}], #2"),
            line!("ld1 {{v8.16b, v9.16b, v10.16b, v11.16b}}, [{w}], #64"),
            line!("add {row}, {rows}, {row}, lsl #", $shift),
            line!("ld1 {{v12.16b, v13.16b, v14.16b, v15.16b}}, [{w}], #64"),
            $(row!($kind, $s0 $s1 $s2 $s3),)*
        )
    };
}

/// All blocks of one kind, two by two, and from the second on where they are odd.
macro_rules! kind {
    ($($block:tt)*) => {
        concat!(
            line!("tbnz {left}, #0, 3f"),
            line!("2:"),
            block!($($block)*),
            line!("3:"),
            block!($($block)*),
            line!("subs {left}, {left}, #2"),
            line!("b.gt 2b"),
        )
    };
}

/// The products of some rows with a panel: a function of its own, so that the registers are given out for it
/// alone.
macro_rules! product {
    ($name:ident, $rows:literal rows, $shift:literal,
        $($m:literal: $s0:literal $r0:tt $s1:literal $r1:tt $s2:literal $r2:tt $s3:literal $r3:tt),*) => {
        /// The products of so many rows with a panel.
        ///
        /// # Safety
        /// As for [`Products::product`].
        #[inline(never)]
        unsafe fn $name(rows: *const i8, panel: *const i8, blocks: usize, to: *mut Sums) {
            const { assert!(1 << $shift == apart($rows)) };
            let Parts { head, mut order, mut weights } = Parts::of(panel.cast_mut(), blocks);
            for half in 0..2 {
                // SAFETY: the caller says that the panel was written, and with it the head.
                let (again, light) = unsafe { ((*head).again[half], (*head).light[half]) };
                let mut sums = [again; $rows];
                /// The blocks of one kind, so many of them.
                macro_rules! blocks {
                    ($kind:ident, $left:expr) => {
                        // SAFETY: NEON is there wherever this is compiled. What is read the caller
                        // grants, and everything else happens in the registers named here.
                        unsafe {
                            asm!(
                                kind!($kind, $shift, $($s0 $s1 $s2 $s3),*),
                                rows = in(reg) rows, row = out(reg) _, order = inout(reg) order,
                                w = inout(reg) weights, left = inout(reg) $left => _,
                                $(inout($r0) sums[$m][0], inout($r1) sums[$m][1],
                                inout($r2) sums[$m][2], inout($r3) sums[$m][3],)*
                                out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                                out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                                out("v8") _, out("v9") _, out("v10") _, out("v11") _,
                                out("v12") _, out("v13") _, out("v14") _, out("v15") _,
                                options(readonly, nostack)
                            )
                        }
                    };
                }
                if light > 0 {
                    blocks!(light, light);
                }
                if light < blocks {
                    blocks!(heavy, blocks - light);
                }
                for m in 0..$rows {
                    for j in 0..2 {
                        let columns = have!(vpaddq_s32(sums[m][2 * j], sums[m][2 * j + 1]));
                        // SAFETY: the caller grants sixteen sums of each row.
                        unsafe { (*to.add(m))[2 * half + j] = columns };
                    }
                }
            }
        }
    };
}

product!(one_row, 1 rows, 4, 0: 16 "v16" 17 "v17" 18 "v18" 19 "v19");
product!(
    two_rows, 2 rows, 5,
    0: 16 "v16" 17 "v17" 18 "v18" 19 "v19",
    1: 20 "v20" 21 "v21" 22 "v22" 23 "v23"
);
product!(
    three_rows, 3 rows, 6,
    0: 16 "v16" 17 "v17" 18 "v18" 19 "v19",
    1: 20 "v20" 21 "v21" 22 "v22" 23 "v23",
    2: 24 "v24" 25 "v25" 26 "v26" 27 "v27"
);
product!(
    four_rows, 4 rows, 6,
    0: 16 "v16" 17 "v17" 18 "v18" 19 "v19",
    1: 20 "v20" 21 "v21" 22 "v22" 23 "v23",
    2: 24 "v24" 25 "v25" 26 "v26" 27 "v27",
    3: 28 "v28" 29 "v29" 30 "v30" 31 "v31"
);

/// Eight columns of a row's block, both as they lie in memory: where the weights of its groups stand behind `{w}`.
macro_rules! half {
    ($g0:literal $g1:literal $g2:literal $g3:literal, $s0:literal $s1:literal $s2:literal $s3:literal) => {
        concat!(
            line!("ldp q8, q9, [{w}, #", $g0, "]"),
            line!("ldp q10, q11, [{w}, #", $g1, "]"),
            line!("ldp q12, q13, [{w}, #", $g2, "]"),
            line!("ldp q14, q15, [{w}, #", $g3, "]"),
            group!("smull", 0, 8 9), group!("smlal", 1, 10 11), add!($s0 $s1 $s2 $s3),
            group!("smull", 2, 12 13), group!("smlal", 3, 14 15), add!($s0 $s1 $s2 $s3),
        )
    };
}

/// The products of a row with a panel, both as they lie in memory: sorting would cost more.
///
/// # Safety
/// As for [`Products::one`].
#[inline(never)]
unsafe fn single(a: *const u8, w: *const i8, groups: usize, again: &[Sums; 2], to: *mut Sums) {
    let mut sums = *again;
    if groups >= 4 {
        // SAFETY: the caller grants reads of so many blocks.
        unsafe { single_blocks(a, w, groups / 4, &mut sums) };
    }
    if !groups.is_multiple_of(4) {
        // SAFETY: the caller grants reads of the groups behind them, which become a block.
        unsafe {
            let row = row_block(a, groups, groups / 4);
            let w = last_block(w, groups);
            single_blocks((&raw const row).cast(), w.as_ptr().cast(), 1, &mut sums);
        }
    }
    for half in 0..2 {
        for j in 0..2 {
            let columns = have!(vpaddq_s32(sums[half][2 * j], sums[half][2 * j + 1]));
            // SAFETY: the caller grants sixteen sums.
            unsafe { (*to)[2 * half + j] = columns };
        }
    }
}

/// Adds the products of whole blocks to the sums of both halves.
///
/// # Safety
/// `16 * blocks` bytes can be read at `a`, and `256 * blocks` at `w`; there is one at least.
#[inline(always)]
unsafe fn single_blocks(a: *const u8, w: *const i8, blocks: usize, sums: &mut [Sums; 2]) {
    // SAFETY: NEON is there wherever this is compiled. What is read the caller grants, and everything else happens in
    // the registers named here.
    unsafe {
        asm!(
            concat!(
                line!("movi v24.16b, #0x80"),
                line!("2:"),
                line!("ld4r {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{a}], #16"),
                line!("eor v0.16b, v0.16b, v24.16b"),
                line!("eor v1.16b, v1.16b, v24.16b"),
                line!("eor v2.16b, v2.16b, v24.16b"),
                line!("eor v3.16b, v3.16b, v24.16b"),
                half!(0 64 128 192, 16 17 18 19),
                half!(32 96 160 224, 20 21 22 23),
                line!("add {w}, {w}, #256"),
                line!("subs {blocks}, {blocks}, #1"),
                line!("b.ne 2b"),
            ),
            a = inout(reg) a => _, w = inout(reg) w => _, blocks = inout(reg) blocks => _,
            inout("v16") sums[0][0], inout("v17") sums[0][1],
            inout("v18") sums[0][2], inout("v19") sums[0][3],
            inout("v20") sums[1][0], inout("v21") sums[1][1],
            inout("v22") sums[1][2], inout("v23") sums[1][3],
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _,
            out("v12") _, out("v13") _, out("v14") _, out("v15") _, out("v24") _,
            options(readonly, nostack)
        )
    }
}

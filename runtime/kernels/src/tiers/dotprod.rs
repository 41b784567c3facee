//! The dot product of Armv8.2: Cortex-A55, Cortex-A76 and what came after, as in Raspberry Pi 5.
//!
//! One instruction (`sdot`) adds to each of four columns four products of signed bytes; the four
//! activations are one quarter of a register, chosen by number. Activations are unsigned, and less 128
//! they are signed; 128 times the sum of a column's weights is added again, once for all rows.
//!
//! Sums of six rows and a panel fill 24 registers. What is left holds four registers of weights and three of
//! activations, so the activations of a group stand together, in a copy that is made once for all panels that
//! go together. A block of four groups is, for so many rows:
//!
//! ```text
//! 1      group 0, 1, 2, 3
//! 2      group 0 of rows 0, 1; group 1 of rows 0, 1 | groups 2 and 3
//! 3, 4   group 0 of rows 0, 1, 2, 3 | group 1 | group 2 | group 3
//! 5, 6   group 0 of rows 0, 1, 2, 3 | group 1 | group 0 of rows 4, 5; group 1 of rows 4, 5 | groups 2 and 3
//! ```
//!
//! Loops are written in assembly, since a compiler moves loads until the registers are not enough, and reads
//! with two instructions what one can. Outputs of a linear layer are made of the sums while these are still in their
//! registers, and panel follows panel without anything being looked up in between.

use core::arch::aarch64::*;
use core::arch::asm;

use super::arm::{
    Arm, Products, Sums, have, last_block, less_128, repeated, row_block, sums, vector_asm,
};
use crate::simd::{Kernel, Strip};

/// Runs a kernel with the instructions of this tier.
///
/// # Safety
/// The machine has the dot product.
#[target_feature(enable = "dotprod")]
pub(crate) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Arm(Dotprod(())))
}

/// Proof that this tier's instructions exist: only [`run`] makes one.
#[derive(Copy, Clone)]
struct Dotprod(());

/// What is kept of a panel, which itself is read where it lies.
#[repr(C)]
struct Kept {
    /// 128 times the sum of each column's weights.
    again: Sums,
    /// The groups behind the last whole block, and zeros.
    last: [int8x16_t; 16],
}

impl Products for Dotprod {
    const ROWS: usize = 6;
    const STEP: usize = 1;
    const BYTES_TOGETHER: usize = 48 * 1024;
    const TOTALS: bool = true;
    const OUTPUTS: bool = true;

    #[inline(always)]
    fn lines(groups: usize) -> usize {
        groups + size_of::<Kept>() / 64
    }

    #[inline(always)]
    fn block_bytes(rows: usize) -> usize {
        16 * registers(rows)
    }

    #[inline(always)]
    unsafe fn panel(self, w: *const i8, groups: usize, totals: Option<Sums>, to: *mut i8) {
        // SAFETY: the token says that the machine has the instruction; the caller grants the rest, and a
        // line is aligned as registers are.
        unsafe {
            let to = to.cast::<Kept>();
            let totals = totals.unwrap_or_else(|| column_sums(self, w, groups));
            (&raw mut (*to).again).write(totals.map(|sum| vshlq_n_s32::<7>(sum)));
            if !groups.is_multiple_of(4) {
                (&raw mut (*to).last).write(last_block(w, groups));
            }
        }
    }

    #[inline(always)]
    unsafe fn rows<const M: usize>(self, a: *const u8, row: usize, groups: usize, to: *mut i8) {
        // SAFETY: the caller grants the same.
        unsafe { copy::<M>(a, row, groups, to.cast()) }
    }

    #[inline(always)]
    unsafe fn product<const M: usize>(
        self,
        rows: *const i8,
        w: *const i8,
        panel: *const i8,
        groups: usize,
        to: *mut Sums,
    ) {
        // SAFETY: the token says that the machine has the instruction; the caller grants the rest.
        unsafe {
            let panel = &raw const *panel.cast::<Kept>();
            match M {
                1 => one_row(self, rows, w, panel, groups, to),
                2 => two_rows(self, rows, w, panel, groups, to),
                3 => three_rows(self, rows, w, panel, groups, to),
                4 => four_rows(self, rows, w, panel, groups, to),
                5 => five_rows(self, rows, w, panel, groups, to),
                _ => six_rows(self, rows, w, panel, groups, to),
            }
        }
    }

    #[inline(always)]
    unsafe fn outputs<const M: usize>(
        self,
        rows: *const i8,
        panels: *const i8,
        groups: usize,
        [scale, low]: [&[f32; M]; 2],
        strip: Strip,
    ) {
        let mut numbers = [0.0; 16];
        numbers[..M].copy_from_slice(scale);
        numbers[8..8 + M].copy_from_slice(low);
        let (numbers, panels) = (&numbers, panels.cast::<Kept>());
        let apart = 64 * Self::lines(groups);
        // SAFETY: the token says that the machine has the instruction; the caller grants the rest.
        unsafe {
            let run = match M {
                1 => one_row_outputs,
                2 => two_rows_outputs,
                3 => three_rows_outputs,
                4 => four_rows_outputs,
                5 => five_rows_outputs,
                _ => six_rows_outputs,
            };
            run(self, rows, (panels, apart), groups / 4, numbers, strip);
        }
    }
}

/// The sum of each column's weights.
///
/// # Safety
/// `64 * groups` bytes can be read at `w`.
#[target_feature(enable = "dotprod")]
#[inline(never)]
unsafe fn column_sums(_token: Dotprod, mut w: *const i8, groups: usize) -> Sums {
    let ones = vdupq_n_s8(1);
    let mut sums = [vdupq_n_s32(0); 4];
    macro_rules! group {
        () => {
            concat!(
                line!("ld1 {{v4.16b, v5.16b, v6.16b, v7.16b}}, [{w}], #64"),
                line!("sdot {s0:v}.4s, v4.16b, {ones:v}.16b"),
                line!("sdot {s1:v}.4s, v5.16b, {ones:v}.16b"),
                line!("sdot {s2:v}.4s, v6.16b, {ones:v}.16b"),
                line!("sdot {s3:v}.4s, v7.16b, {ones:v}.16b"),
            )
        };
    }
    /// As many groups as stand there, so often.
    macro_rules! add {
        ($groups:expr, $times:expr) => {
            // SAFETY: the token is only made where the instruction exists. What is read the caller grants,
            // and everything else happens in the registers named here.
            unsafe {
                asm!(
                    concat!(line!("2:"), $groups, line!("subs {times}, {times}, #1"), line!("b.ne 2b")),
                    w = inout(reg) w, times = inout(reg) $times => _, ones = in(vreg) ones,
                    s0 = inout(vreg) sums[0], s1 = inout(vreg) sums[1],
                    s2 = inout(vreg) sums[2], s3 = inout(vreg) sums[3],
                    out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                    options(readonly, nostack)
                )
            }
        };
    }
    if groups >= 4 {
        add!(concat!(group!(), group!(), group!(), group!()), groups / 4);
    }
    if !groups.is_multiple_of(4) {
        add!(group!(), groups % 4);
    }
    let _ = w;
    sums
}

/// How many registers hold a block of four groups of so many rows.
const fn registers(rows: usize) -> usize {
    match rows {
        1 | 2 => rows,
        3 | 4 => 4,
        _ => 6,
    }
}

/// Copies `M` rows as signed bytes, block by block in the order that the head of this file shows.
///
/// # Safety
/// `a` is valid for reads of `(M - 1) * row + 4 * groups` bytes, and `to` for writes of as many registers as
/// each block takes.
#[inline(never)]
unsafe fn copy<const M: usize>(a: *const u8, row: usize, groups: usize, to: *mut i32) {
    let whole = groups / 4;
    for block in 0..whole {
        // Where there is no such row, the last one stands for it.
        // SAFETY: the caller grants reads of this block of each row.
        let read = |m: usize| unsafe { vld1q_s8(a.add(m.min(M - 1) * row + 16 * block).cast()) };
        // SAFETY: the caller grants the writes.
        unsafe { write::<M>(read, to.wrapping_add(4 * registers(M) * block)) };
    }
    if !groups.is_multiple_of(4) {
        // SAFETY: the caller grants reads of the groups behind the whole blocks, and the writes.
        unsafe {
            let read = |m: usize| row_block(a.add(m.min(M - 1) * row), groups, whole);
            write::<M>(read, to.add(4 * registers(M) * whole));
        }
    }
}

/// Writes a block of `M` rows as signed bytes.
///
/// # Safety
/// As many registers as a block takes can be written at `to`.
#[inline(always)]
unsafe fn write<const M: usize>(read: impl Fn(usize) -> int8x16_t, to: *mut i32) {
    let row = |m: usize| have!(vreinterpretq_s32_s8(less_128(read(m))));
    // SAFETY: `registers` says how many are written.
    unsafe {
        match M {
            1 => vst1q_s32(to, row(0)),
            2 => vst2q_s32(to, int32x4x2_t(row(0), row(1))),
            3 | 4 => vst4q_s32(to, int32x4x4_t(row(0), row(1), row(2), row(3))),
            _ => {
                let four = transposed([row(0), row(1), row(2), row(3)]);
                let two = [row(4), row(5)];
                let two = [vzip1q_s32(two[0], two[1]), vzip2q_s32(two[0], two[1])];
                let order = [four[0], four[1], two[0], four[2], four[3], two[1]];
                for (at, register) in order.into_iter().enumerate() {
                    vst1q_s32(to.add(4 * at), register);
                }
            }
        }
    }
}

/// Four groups of four rows, as four rows of four groups.
#[inline(always)]
fn transposed(rows: [int32x4_t; 4]) -> [int32x4_t; 4] {
    let [a, b, c, d] = rows;
    have!({
        let (ac, bd) = (
            [vzip1q_s32(a, c), vzip2q_s32(a, c)],
            [vzip1q_s32(b, d), vzip2q_s32(b, d)],
        );
        [
            vzip1q_s32(ac[0], bd[0]),
            vzip2q_s32(ac[0], bd[0]),
            vzip1q_s32(ac[1], bd[1]),
            vzip2q_s32(ac[1], bd[1]),
        ]
    })
}

/// A row's four products of a group whose weights are in `v24` to `v27`: the numbers of the four registers of
/// sums, and the register and quarter that hold the activations.
macro_rules! row {
    ($s0:literal $s1:literal $s2:literal $s3:literal, $a:literal $quarter:literal) => {
        concat!(
            line!("sdot v", $s0, ".4s, v24.16b, v", $a, ".4b[", $quarter, "]"),
            line!("sdot v", $s1, ".4s, v25.16b, v", $a, ".4b[", $quarter, "]"),
            line!("sdot v", $s2, ".4s, v26.16b, v", $a, ".4b[", $quarter, "]"),
            line!("sdot v", $s3, ".4s, v27.16b, v", $a, ".4b[", $quarter, "]"),
        )
    };
}

/// A group: its weights, then its products, for each row the register and quarter that hold the activations.
macro_rules! group {
    (@weights) => { line!("ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{w}], #64") };
    ($a0:literal $q0:literal) => {
        concat!(group!(@weights), row!(0 1 2 3, $a0 $q0))
    };
    ($a0:literal $q0:literal, $a1:literal $q1:literal) => {
        concat!(group!($a0 $q0), row!(4 5 6 7, $a1 $q1))
    };
    ($a0:literal $q0:literal, $a1:literal $q1:literal, $a2:literal $q2:literal) => {
        concat!(group!($a0 $q0, $a1 $q1), row!(8 9 10 11, $a2 $q2))
    };
    ($a0:literal $q0:literal, $a1:literal $q1:literal, $a2:literal $q2:literal, $a3:literal $q3:literal) => {
        concat!(group!($a0 $q0, $a1 $q1, $a2 $q2), row!(12 13 14 15, $a3 $q3))
    };
    // Five or six rows: four in `v28` or `v29`, the others in `v30`.
    (four $a:literal, $q4:literal) => {
        concat!(group!($a 0, $a 1, $a 2, $a 3), row!(16 17 18 19, 30 $q4))
    };
    (four $a:literal, $q4:literal $q5:literal) => {
        concat!(group!(four $a, $q4), row!(20 21 22 23, 30 $q5))
    };
}

/// Outputs of four columns: for each row the register of its sums, and a quarter of a register each for what its step
/// is worth and for its smallest value.
macro_rules! outputs {
    ($(($s:literal, $scale:literal, $low:literal))*) => {
        concat!(
            line!("ldr q24, [{scale}], #16"),
            line!("ldr q25, [{sum}], #16"),
            line!("ldr q26, [{bias}], #16"),
            $(line!("scvtf v", $s, ".4s, v", $s, ".4s"),)*
            $(line!("fmul v", $s, ".4s, v", $s, ".4s, v24.4s"),)*
            $(line!("fmul v", $s, ".4s, v", $s, ".4s, ", $scale),)*
            $(
                line!("fmul v27.4s, v25.4s, ", $low),
                line!("fadd v27.4s, v27.4s, v26.4s"),
                line!("fadd v", $s, ".4s, v", $s, ".4s, v27.4s"),
            )*
        )
    };
}

/// A single block. `{blocks}` is named since an operand that is not is an error.
macro_rules! once {
    ($block:expr) => {
        concat!($block, line!("// not {blocks}"))
    };
}

/// The products of some rows with a panel: a function of its own, so that the registers are given out for it
/// alone.
macro_rules! product {
    ($name:ident $outputs:ident, $block:expr,
        $($s0:literal $s1:literal $s2:literal $s3:literal: $scale:literal $low:literal),*) => {
        /// The outputs of so many rows and some panels, `apart` bytes apart, whose blocks are all whole.
        ///
        /// # Safety
        /// As for [`Products::outputs`].
        #[target_feature(enable = "dotprod")]
        #[inline(never)]
        unsafe fn $outputs(
            _token: Dotprod,
            rows: *const i8,
            (panels, apart): (*const Kept, usize),
            blocks: usize,
            numbers: &[f32; 16],
            strip: Strip,
        ) {
            // SAFETY: the token is only made where the instruction exists. What is read and written the caller
            // grants, and everything else happens in operands and vector registers.
            unsafe {
                vector_asm!(
                    concat!(
                        line!("6:"),
                        line!("mov {rows}, {start}"),
                        line!("mov {blocks}, {count}"),
                        $(sums!("ld1", $s0 $s1 $s2 $s3, "[{again}]"),)*
                        repeated!(by eight, $block),
                        line!("ld1 {{v28.4s, v29.4s, v30.4s, v31.4s}}, [{numbers}]"),
                        line!("add {again}, {again}, {apart}"),
                        outputs!($(($s0, $scale, $low))*),
                        outputs!($(($s1, $scale, $low))*),
                        outputs!($(($s2, $scale, $low))*),
                        outputs!($(($s3, $scale, $low))*),
                        line!("mov {rows}, {out}"),
                        $(sums!("st1", $s0 $s1 $s2 $s3, "[{rows}], {stride}"),)*
                        line!("add {out}, {out}, #64"),
                        line!("subs {panels}, {panels}, #1"),
                        line!("b.ne 6b"),
                    ),
                    start = in(reg) rows, count = in(reg) blocks, numbers = in(reg) numbers,
                    rows = out(reg) _, blocks = out(reg) _, w = inout(reg) strip.weights => _,
                    again = inout(reg) panels => _, apart = in(reg) apart,
                    scale = inout(reg) strip.scale => _, sum = inout(reg) strip.sum => _,
                    bias = inout(reg) strip.bias => _, out = inout(reg) strip.out => _,
                    stride = in(reg) 4 * strip.stride, panels = inout(reg) strip.panels => _,
                )
            }
        }

        /// The products of so many rows with a panel.
        ///
        /// # Safety
        /// As for [`Products::product`].
        #[target_feature(enable = "dotprod")]
        #[inline(never)]
        unsafe fn $name(
            _token: Dotprod,
            mut rows: *const i8,
            w: *const i8,
            panel: *const Kept,
            groups: usize,
            to: *mut Sums,
        ) {
            /// Adds blocks of four groups to what the sums of the rows begin with, and writes them.
            macro_rules! add {
                ($all:expr, $count:expr, $w:expr, ($begin:expr, $step:literal)) => {
                    // SAFETY: the token is only made where the instruction exists. What is read and written the
                    // caller grants, and everything else happens in operands and vector registers.
                    unsafe {
                        vector_asm!(
                            concat!(
                                $(sums!("ld1", $s0 $s1 $s2 $s3, concat!("[{begin}]", $step)),)*
                                $all,
                                $(sums!("st1", $s0 $s1 $s2 $s3, "[{to}], #64"),)*
                            ),
                            rows = inout(reg) rows, w = inout(reg) $w => _, blocks = inout(reg) $count => _,
                            begin = inout(reg) $begin => _, to = inout(reg) to => _,
                        )
                    }
                };
            }
            // SAFETY: addresses of something that is there.
            let (again, last) = unsafe { (&raw const (*panel).again, (&raw const (*panel).last).cast::<i8>()) };
            let blocks = groups / 4;
            if blocks == 0 {
                add!(once!($block), 1usize, last, (again, ""));
            } else {
                add!(repeated!(by four, $block), blocks, w, (again, ""));
                if !groups.is_multiple_of(4) {
                    add!(once!($block), 1usize, last, (to, ", #64"));
                }
            }
            let _ = rows;
        }
    };
}

product!(
    one_row one_row_outputs,
    concat!(
        line!("ldr q28, [{rows}], #16"),
        group!(28 0), group!(28 1), group!(28 2), group!(28 3),
    ),
    0 1 2 3: "v28.s[0]" "v30.s[0]"
);
product!(
    two_rows two_rows_outputs,
    concat!(
        line!("ldp q28, q29, [{rows}], #32"),
        group!(28 0, 28 1), group!(28 2, 28 3), group!(29 0, 29 1), group!(29 2, 29 3),
    ),
    0 1 2 3: "v28.s[0]" "v30.s[0]",
    4 5 6 7: "v28.s[1]" "v30.s[1]"
);
product!(
    three_rows three_rows_outputs,
    concat!(
        line!("ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{rows}], #64"),
        group!(28 0, 28 1, 28 2), group!(29 0, 29 1, 29 2),
        group!(30 0, 30 1, 30 2), group!(31 0, 31 1, 31 2),
    ),
    0 1 2 3: "v28.s[0]" "v30.s[0]",
    4 5 6 7: "v28.s[1]" "v30.s[1]",
    8 9 10 11: "v28.s[2]" "v30.s[2]"
);
product!(
    four_rows four_rows_outputs,
    concat!(
        line!("ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{rows}], #64"),
        group!(28 0, 28 1, 28 2, 28 3), group!(29 0, 29 1, 29 2, 29 3),
        group!(30 0, 30 1, 30 2, 30 3), group!(31 0, 31 1, 31 2, 31 3),
    ),
    0 1 2 3: "v28.s[0]" "v30.s[0]",
    4 5 6 7: "v28.s[1]" "v30.s[1]",
    8 9 10 11: "v28.s[2]" "v30.s[2]",
    12 13 14 15: "v28.s[3]" "v30.s[3]"
);
product!(
    five_rows five_rows_outputs,
    concat!(
        line!("ld1 {{v28.16b, v29.16b, v30.16b}}, [{rows}], #48"),
        group!(four 28, 0), group!(four 29, 2),
        line!("ld1 {{v28.16b, v29.16b, v30.16b}}, [{rows}], #48"),
        group!(four 28, 0), group!(four 29, 2),
    ),
    0 1 2 3: "v28.s[0]" "v30.s[0]",
    4 5 6 7: "v28.s[1]" "v30.s[1]",
    8 9 10 11: "v28.s[2]" "v30.s[2]",
    12 13 14 15: "v28.s[3]" "v30.s[3]",
    16 17 18 19: "v29.s[0]" "v31.s[0]"
);
product!(
    six_rows six_rows_outputs,
    concat!(
        line!("ld1 {{v28.16b, v29.16b, v30.16b}}, [{rows}], #48"),
        group!(four 28, 0 1), group!(four 29, 2 3),
        line!("ld1 {{v28.16b, v29.16b, v30.16b}}, [{rows}], #48"),
        group!(four 28, 0 1), group!(four 29, 2 3),
    ),
    0 1 2 3: "v28.s[0]" "v30.s[0]",
    4 5 6 7: "v28.s[1]" "v30.s[1]",
    8 9 10 11: "v28.s[2]" "v30.s[2]",
    12 13 14 15: "v28.s[3]" "v30.s[3]",
    16 17 18 19: "v29.s[0]" "v31.s[0]",
    20 21 22 23: "v29.s[1]" "v31.s[1]"
);

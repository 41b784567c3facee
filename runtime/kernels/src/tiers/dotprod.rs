//! The dot product of Armv8.2: Cortex-A55, Cortex-A76 and what came after, as in Raspberry Pi 5.
//!
//! One instruction (`sdot`) adds to each of four columns four products of signed bytes; the four
//! activations are one quarter of a register, chosen by number. Activations are unsigned, and less 128
//! they are signed; 128 times the sum of a column's weights is added again, once for all rows.
//!
//! Sums of six rows and a panel fill 24 registers. What is left holds four registers of weights and
//! two of activations, so the activations of a group stand together, in a copy that is made once for
//! all panels of a tile. A block of four groups is, for so many rows:
//!
//! ```text
//! 1      group 0, 1, 2, 3
//! 2      group 0 of rows 0, 1; group 1 of rows 0, 1 | groups 2 and 3
//! 3, 4   group 0 of rows 0, 1, 2, 3 | group 1 | group 2 | group 3
//! 5, 6   as for 4, and behind it rows 4 and 5 as for 2
//! ```

use core::arch::aarch64::*;
use core::arch::asm;

use super::arm::{
    Arm, COPIED, Copies, Products, Signed, Sums, four_less_128, have, less_128, no_sums,
};
use crate::simd::{Kernel, Panels};
use crate::tile::unroll;

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

impl Products for Dotprod {
    type Kept = Signed;

    const ROWS: usize = 6;
    const STEP: usize = 1;

    #[inline(always)]
    fn keep(self) -> Signed {
        Signed::none()
    }

    #[inline(always)]
    unsafe fn ready<const N: usize>(self, w: Panels, kept: &mut Signed) {
        for n in 0..N {
            // SAFETY: the caller grants reads of `64 * groups` bytes of each panel. The token says that
            // the machine has the instruction.
            unsafe { kept.again[n] = again(self, w.start.add(n * w.stride), w.groups) };
        }
    }

    #[inline(always)]
    unsafe fn tile<const M: usize, const N: usize>(
        self,
        a: *const u8,
        row: usize,
        w: Panels,
        kept: &mut Signed,
        out: &mut [[Sums; N]; M],
    ) {
        kept.begin(out);
        let mut done = 0;
        while done < w.groups {
            let now = (w.groups - done).min(COPIED);
            // SAFETY: the caller grants reads of these activations, and `now` is not above `COPIED`.
            unsafe { copy::<M>(a.add(4 * done), row, now / 4, &mut kept.rows) };
            for n in 0..N {
                // SAFETY: the caller grants reads of `64 * groups` bytes of each panel, of which these
                // are `now`, and of as many groups of each row, of which all whole blocks were just
                // copied. The token says that the machine has the instruction.
                unsafe {
                    let a = a.add(4 * done);
                    let w = w.start.add(n * w.stride + 64 * done);
                    let to = out.as_mut_ptr().cast::<Sums>().add(n);
                    panel::<M>(self, &kept.rows, (a, row), w, now, to, N);
                }
            }
            done += now;
        }
    }
}

/// 128 times the sum of each column's weights.
///
/// # Safety
/// `64 * groups` bytes can be read at `w`.
#[target_feature(enable = "dotprod")]
#[inline(never)]
unsafe fn again(token: Dotprod, w: *const i8, groups: usize) -> Sums {
    let ones = vdupq_n_s8(1);
    let mut sums = no_sums();
    for block in 0..groups / 4 {
        for group in 0..4 {
            // SAFETY: the caller grants the read.
            let weights = unsafe { four(w.add(256 * block + 64 * group)) };
            token.add_four(&mut sums, &weights, ones, 0);
        }
    }
    for group in groups / 4 * 4..groups {
        // SAFETY: the caller grants the read.
        let weights = unsafe { four(w.add(64 * group)) };
        token.add_four(&mut sums, &weights, ones, 0);
    }
    sums.map(|sum| vshlq_n_s32::<7>(sum))
}

/// Reads the weights of a group.
///
/// # Safety
/// 64 bytes can be read at `w`.
#[inline(always)]
unsafe fn four(w: *const i8) -> [int8x16_t; 4] {
    // SAFETY: the caller grants the reads.
    unsafe {
        [
            vld1q_s8(w),
            vld1q_s8(w.add(16)),
            vld1q_s8(w.add(32)),
            vld1q_s8(w.add(48)),
        ]
    }
}

/// Copies `M` rows of `16 * blocks` activations as signed bytes, in the order that
/// [`place`] knows.
///
/// # Safety
/// `a` is valid for reads of `(M - 1) * row + 16 * blocks` bytes, and `blocks` is at most `COPIED / 4`.
#[inline(never)]
unsafe fn copy<const M: usize>(a: *const u8, row: usize, blocks: usize, to: &mut Copies) {
    for (block, to) in to.chunks_exact_mut(registers(M)).take(blocks).enumerate() {
        let read = |m: usize| {
            // Where there is no such row, the last one stands for it.
            let m = if m < M { m } else { M - 1 };
            // SAFETY: the caller grants reads of 16 bytes in each block of each row.
            let bytes = unsafe { vld1q_s8(a.add(m * row + 16 * block).cast()) };
            have!(vreinterpretq_s32_s8(less_128(bytes)))
        };
        let to = to.as_mut_ptr().cast::<i32>();
        // SAFETY: `registers` makes room for what is written.
        unsafe {
            match M {
                1 => vst1q_s32(to, read(0)),
                2 => vst2q_s32(to, int32x4x2_t(read(0), read(1))),
                _ => vst4q_s32(to, int32x4x4_t(read(0), read(1), read(2), read(3))),
            }
            if M > 4 {
                vst2q_s32(to.add(16), int32x4x2_t(read(4), read(5)));
            }
        }
    }
}

/// How many registers hold a block of four groups of so many rows.
const fn registers(rows: usize) -> usize {
    match rows {
        1 | 2 => rows,
        3 | 4 => 4,
        _ => 6,
    }
}

/// Where a group of a row is in a block of four groups: which register, and which quarter of it.
#[inline(always)]
const fn place(rows: usize, group: usize, row: usize) -> (usize, usize) {
    match rows {
        1 => (0, group),
        2 => (group / 2, group % 2 * 2 + row),
        _ if row < 4 => (group, row),
        _ => (4 + group / 2, group % 2 * 2 + row - 4),
    }
}

/// Adds the products of `M` rows with a panel. A function of its own, so that the registers are given out
/// for it alone.
///
/// # Safety
/// The whole blocks of `groups` groups of `M` rows have been copied to `rows`, and the rest can be read from
/// `a.0` on, where rows are `a.1` apart. `64 * groups` bytes can be read at `w`. A row's sums can be read and
/// written from `to` on, `stride` apart.
#[target_feature(enable = "dotprod")]
#[inline(never)]
unsafe fn panel<const M: usize>(
    token: Dotprod,
    rows: &Copies,
    a: (*const u8, usize),
    w: *const i8,
    groups: usize,
    to: *mut Sums,
    stride: usize,
) {
    let mut sums = [no_sums(); M];
    for m in 0..M {
        // SAFETY: the caller grants each row's sums.
        sums[m] = unsafe { *to.add(m * stride) };
    }
    let mut rows = rows.as_ptr().cast::<i8>();
    let blocks = groups / 4;
    match M {
        // SAFETY: the caller has copied these blocks and grants the reads of the panel.
        5 if blocks > 0 => unsafe { token.blocks_of_five(&mut sums, rows, w, blocks) },
        // SAFETY: as above.
        6 if blocks > 0 => unsafe { token.blocks_of_six(&mut sums, rows, w, blocks) },
        _ => {
            for block in 0..blocks {
                const GROUPS: usize = 4;
                unroll!(group < GROUPS {
                    // SAFETY: the caller grants the read.
                    let weights = unsafe { four(w.add(256 * block + 64 * group)) };
                    unroll!(m < M {
                        let (register, quarter) = place(M, group, m);
                        // SAFETY: the caller has copied this block.
                        let a = unsafe { vld1q_s8(rows.add(16 * register)) };
                        token.add_four(&mut sums[m], &weights, a, quarter);
                    });
                });
                // SAFETY: behind it is the next block, or the end of the copy.
                rows = unsafe { rows.add(16 * registers(M)) };
            }
        }
    }
    for group in 4 * blocks..groups {
        // SAFETY: the caller grants the read.
        let weights = unsafe { four(w.add(64 * group)) };
        unroll!(m < M {
            // SAFETY: the caller grants the read.
            let a = unsafe { four_less_128(a.0.add(m * a.1 + 4 * group)) };
            token.add_four(&mut sums[m], &weights, a, 0);
        });
    }
    for m in 0..M {
        // SAFETY: the caller grants each row's sums.
        unsafe { *to.add(m * stride) = sums[m] };
    }
}

/// One row's four products of a group whose weights are in `v24` to `v27`: the numbers of the four registers of sums,
/// and the register and quarter that hold the activations.
macro_rules! row {
    ($s0:literal $s1:literal $s2:literal $s3:literal, $a:literal $quarter:literal) => {
        concat!(
            "sdot v",
            $s0,
            ".4s, v24.16b, v",
            $a,
            ".4b[",
            $quarter,
            "]\n",
            "sdot v",
            $s1,
            ".4s, v25.16b, v",
            $a,
            ".4b[",
            $quarter,
            "]\n",
            "sdot v",
            $s2,
            ".4s, v26.16b, v",
            $a,
            ".4b[",
            $quarter,
            "]\n",
            "sdot v",
            $s3,
            ".4s, v27.16b, v",
            $a,
            ".4b[",
            $quarter,
            "]\n",
        )
    };
}

/// A group of five or six rows: its weights, then its products.
macro_rules! group {
    (5, $a:literal, $b:literal $q4:literal $q5:literal) => {
        concat!(
            "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{w}], #64\n",
            row!(0 1 2 3, $a 0), row!(4 5 6 7, $a 1), row!(8 9 10 11, $a 2), row!(12 13 14 15, $a 3),
            row!(16 17 18 19, $b $q4),
        )
    };
    (6, $a:literal, $b:literal $q4:literal $q5:literal) => {
        concat!(group!(5, $a, $b $q4 $q5), row!(20 21 22 23, $b $q5))
    };
}

/// All blocks of five or six rows. The activations of two groups are in `v28` and `v29` for the first four rows,
/// and in `v30` for the others.
macro_rules! blocks {
    ($rows:tt) => {
        concat!(
            "2:\n",
            "ldp q28, q29, [{rows}]\n",
            "ldr q30, [{rows}, #64]\n",
            group!($rows, 28, 30 0 1),
            group!($rows, 29, 30 2 3),
            "ldp q28, q29, [{rows}, #32]\n",
            "ldr q30, [{rows}, #80]\n",
            "add {rows}, {rows}, #96\n",
            group!($rows, 28, 30 0 1),
            group!($rows, 29, 30 2 3),
            "subs {blocks}, {blocks}, #1\n",
            "b.ne 2b",
        )
    };
}

impl Dotprod {
    /// Adds the products of whole blocks of five rows. The loop is written in assembly, since sums, weights and
    /// activations take 31 registers, and a compiler moves loads until that is not enough.
    ///
    /// # Safety
    /// `blocks` blocks have been copied to `rows`, one at least, and `256 * blocks` bytes can be read at `w`. There are
    /// five rows of sums.
    #[inline(always)]
    unsafe fn blocks_of_five(
        self,
        sums: &mut [Sums],
        rows: *const i8,
        w: *const i8,
        blocks: usize,
    ) {
        // SAFETY: the token is only made where the instruction exists. What is read the caller grants, and
        // everything else happens in the registers named here.
        unsafe {
            asm!(
                blocks!(5),
                rows = inout(reg) rows => _, w = inout(reg) w => _, blocks = inout(reg) blocks => _,
                inout("v0") sums[0][0], inout("v1") sums[0][1], inout("v2") sums[0][2], inout("v3") sums[0][3],
                inout("v4") sums[1][0], inout("v5") sums[1][1], inout("v6") sums[1][2], inout("v7") sums[1][3],
                inout("v8") sums[2][0], inout("v9") sums[2][1], inout("v10") sums[2][2], inout("v11") sums[2][3],
                inout("v12") sums[3][0], inout("v13") sums[3][1], inout("v14") sums[3][2], inout("v15") sums[3][3],
                inout("v16") sums[4][0], inout("v17") sums[4][1], inout("v18") sums[4][2], inout("v19") sums[4][3],
                out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                out("v28") _, out("v29") _, out("v30") _,
                options(readonly, nostack)
            )
        }
    }

    /// Adds the products of whole blocks of six rows. The loop is written in assembly, since sums, weights and
    /// activations take 31 registers, and a compiler moves loads until that is not enough.
    ///
    /// # Safety
    /// `blocks` blocks have been copied to `rows`, one at least, and `256 * blocks` bytes can be read at `w`. There are
    /// six rows of sums.
    #[inline(always)]
    unsafe fn blocks_of_six(self, sums: &mut [Sums], rows: *const i8, w: *const i8, blocks: usize) {
        // SAFETY: the token is only made where the instruction exists. What is read the caller grants, and
        // everything else happens in the registers named here.
        unsafe {
            asm!(
                blocks!(6),
                rows = inout(reg) rows => _, w = inout(reg) w => _, blocks = inout(reg) blocks => _,
                inout("v0") sums[0][0], inout("v1") sums[0][1], inout("v2") sums[0][2], inout("v3") sums[0][3],
                inout("v4") sums[1][0], inout("v5") sums[1][1], inout("v6") sums[1][2], inout("v7") sums[1][3],
                inout("v8") sums[2][0], inout("v9") sums[2][1], inout("v10") sums[2][2], inout("v11") sums[2][3],
                inout("v12") sums[3][0], inout("v13") sums[3][1], inout("v14") sums[3][2], inout("v15") sums[3][3],
                inout("v16") sums[4][0], inout("v17") sums[4][1], inout("v18") sums[4][2], inout("v19") sums[4][3],
                inout("v20") sums[5][0], inout("v21") sums[5][1], inout("v22") sums[5][2], inout("v23") sums[5][3],
                out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                out("v28") _, out("v29") _, out("v30") _,
                options(readonly, nostack)
            )
        }
    }

    /// Adds the products of a group with a panel.
    #[inline(always)]
    fn add_four(self, sums: &mut Sums, w: &[int8x16_t; 4], a: int8x16_t, quarter: usize) {
        sums[0] = self.dot(sums[0], w[0], a, quarter);
        sums[1] = self.dot(sums[1], w[1], a, quarter);
        sums[2] = self.dot(sums[2], w[2], a, quarter);
        sums[3] = self.dot(sums[3], w[3], a, quarter);
    }

    /// Adds to each of four sums the products of four weights with the four activations in a quarter of
    /// `a`.
    #[inline(always)]
    fn dot(self, sums: int32x4_t, w: int8x16_t, a: int8x16_t, quarter: usize) -> int32x4_t {
        let mut sums = sums;
        /// The instruction, whose quarter is part of its code.
        macro_rules! sdot {
            ($quarter:literal) => {
                // SAFETY: the token is only made where the instruction exists, and it reads and writes
                // nothing but these registers.
                unsafe {
                    asm!(
                        concat!("sdot {0:v}.4s, {1:v}.16b, {2:v}.4b[", $quarter, "]"),
                        inout(vreg) sums, in(vreg) w, in(vreg) a,
                        options(pure, nomem, nostack, preserves_flags)
                    )
                }
            };
        }
        match quarter {
            0 => sdot!("0"),
            1 => sdot!("1"),
            2 => sdot!("2"),
            _ => sdot!("3"),
        }
        sums
    }
}

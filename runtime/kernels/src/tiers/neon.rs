//! Plain NEON, for cores without a dot product: Cortex-A53 and Cortex-A72, as in Raspberry Pi 3 and 4.
//!
//! Bytes are multiplied into 16 bits, which hold two products of signed bytes but not three: each pair
//! of groups is multiplied (`smull`), multiplied and added (`smlal`), and then added in neighbouring
//! pairs to sums of 32 bits (`sadalp`), three instructions for 16 products. A column has two sums until
//! the end, for inputs 0 and 1 of a group, and for 2 and 3.
//!
//! ```text
//! weights      4 columns of group g     c0 c0 c0 c0  c1 c1 c1 c1 | c2 c2 c2 c2  c3 c3 c3 c3
//! activations  4 of group g, repeated   a0 a1 a2 a3  a0 a1 a2 a3 | a0 a1 a2 a3  a0 a1 a2 a3
//! ```
//!
//! Activations are unsigned, and less 128 they are signed; 128 times the sum of a column's weights is
//! added again, once for all rows. `2 * -128 * -127` is the largest pair and fits into 16 bits.
//!
//! Sums of four rows and half a panel fill sixteen registers. Four groups of activations of a row come
//! with one instruction, which repeats each of them through a register (`ld4r`), from a copy that is
//! made once for all panels of a tile.

use core::arch::aarch64::*;
use core::arch::asm;

use super::arm::{
    Arm, COPIED, Copies, Products, Signed, Sums, four_less_128, have, less_128, no_sums,
};
use crate::simd::{Kernel, Panels};

/// Runs a kernel with the instructions of this tier, which the program was compiled for.
pub(crate) fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Arm(Neon))
}

/// The token of this tier.
#[derive(Copy, Clone)]
struct Neon;

impl Products for Neon {
    type Kept = Signed;

    const ROWS: usize = 4;
    const STEP: usize = 1;

    #[inline(always)]
    fn keep(self) -> Signed {
        Signed::none()
    }

    #[inline(always)]
    unsafe fn ready<const N: usize>(self, w: Panels, kept: &mut Signed) {
        for n in 0..N {
            // SAFETY: the caller grants reads of `64 * groups` bytes of each panel.
            kept.again[n] = unsafe { again(w.start.add(n * w.stride), w.groups) };
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
            for half in 0..2 * N {
                // SAFETY: the caller grants reads of `64 * groups` bytes of each panel, of which these
                // are the halves of `now`, and of as many groups of each row, of which all whole
                // blocks were just copied. The sums of half a panel are two of the four registers of
                // each row's.
                unsafe {
                    let a = a.add(4 * done);
                    let w = w.start.add(half / 2 * w.stride + 64 * done + half % 2 * 32);
                    let to = out.as_mut_ptr().cast::<int32x4_t>().add(2 * half);
                    half_panel::<M>(&kept.rows, (a, row), w, now, to, 4 * N);
                }
            }
            done += now;
        }
    }
}

/// How many groups' sums of two signed bytes fit into 16 bits: `127 * 2 * 128` does.
const SHORT: usize = 128;

/// 128 times the sum of each column's weights.
///
/// # Safety
/// `64 * groups` bytes can be read at `w`.
#[inline(never)]
unsafe fn again(w: *const i8, groups: usize) -> Sums {
    let mut sums = no_sums();
    for from in (0..groups).step_by(SHORT) {
        let mut pairs = [have!(vdupq_n_s16(0)); 4];
        for group in from..groups.min(from + SHORT) {
            for j in 0..4 {
                // SAFETY: the caller grants the read.
                let four = unsafe { vld1q_s8(w.add(64 * group + 16 * j)) };
                pairs[j] = have!(vpadalq_s8(pairs[j], four));
            }
        }
        for j in 0..4 {
            sums[j] = have!(vpadalq_s16(sums[j], pairs[j]));
        }
    }
    sums.map(|sum| have!(vshlq_n_s32::<7>(sum)))
}

/// Copies `M` rows of `16 * blocks` activations as signed bytes, block by block.
///
/// # Safety
/// `a` is valid for reads of `(M - 1) * row + 16 * blocks` bytes, and `blocks` is at most `COPIED / 4`.
#[inline(never)]
unsafe fn copy<const M: usize>(a: *const u8, row: usize, blocks: usize, to: &mut Copies) {
    for (block, to) in to.chunks_exact_mut(M).take(blocks).enumerate() {
        for m in 0..M {
            // SAFETY: the caller grants the read.
            let bytes = unsafe { vld1q_s8(a.add(m * row + 16 * block).cast()) };
            to[m].write(less_128(bytes));
        }
    }
}

/// Adds the products of `M` rows with 8 of a panel's 16 columns. A function of its own, so that the
/// registers are given out for it alone.
///
/// # Safety
/// The whole blocks of `groups` groups of `M` rows have been copied to `rows`, and the rest can be read from
/// `a.0` on, where rows are `a.1` apart. 32 bytes can be read at each of `groups` steps of 64 bytes from `w`
/// on. Two registers can be read and written for each row from `to` on, `stride` apart.
#[inline(never)]
unsafe fn half_panel<const M: usize>(
    rows: &Copies,
    a: (*const u8, usize),
    w: *const i8,
    groups: usize,
    to: *mut int32x4_t,
    stride: usize,
) {
    // For each row four registers with two sums for each of two columns.
    let mut sums = [no_sums(); M];
    let mut rows = rows.as_ptr().cast::<i8>();
    for block in 0..groups / 4 {
        let w = w.wrapping_add(256 * block);
        // SAFETY: the caller grants these reads.
        let weights = unsafe {
            [
                [vld1q_s8(w), vld1q_s8(w.add(16))],
                [vld1q_s8(w.add(64)), vld1q_s8(w.add(80))],
                [vld1q_s8(w.add(128)), vld1q_s8(w.add(144))],
                [vld1q_s8(w.add(192)), vld1q_s8(w.add(208))],
            ]
        };
        for m in 0..M {
            // SAFETY: the caller has copied this block; behind it is the next, or the end of the copy.
            rows = unsafe { four_groups(&mut sums[m], rows, &weights) };
        }
    }
    for group in groups / 4 * 4..groups {
        // SAFETY: the caller grants these reads.
        unsafe { last_group::<M>(&mut sums, a.0.add(4 * group), a.1, w.add(64 * group)) };
    }
    for m in 0..M {
        for j in 0..2 {
            // SAFETY: the caller grants two registers of each row.
            let to = unsafe { &mut *to.add(m * stride + j) };
            let columns = have!(vpaddq_s32(sums[m][2 * j], sums[m][2 * j + 1]));
            *to = have!(vaddq_s32(*to, columns));
        }
    }
}

/// Adds the products of four groups of a row, copied to `row`, with 8 columns, and returns where the copy goes
/// on. One block of assembly, since sums, weights, activations and products take all 32 registers, and a
/// compiler that moves a single product keeps sums in memory.
///
/// # Safety
/// Sixteen bytes can be read at `row`.
#[inline(always)]
unsafe fn four_groups(sums: &mut Sums, mut row: *const i8, w: &[[int8x16_t; 2]; 4]) -> *const i8 {
    let [mut s0, mut s1, mut s2, mut s3] = *sums;
    // SAFETY: NEON is there wherever this is compiled. Sixteen bytes are read, which the caller grants;
    // everything else happens in the registers named here.
    unsafe {
        asm!(
            "ld4r {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{row}], #16",
            "smull v4.8h, v0.8b, {w00:v}.8b",
            "smull2 v5.8h, v0.16b, {w00:v}.16b",
            "smull v6.8h, v0.8b, {w01:v}.8b",
            "smull2 v7.8h, v0.16b, {w01:v}.16b",
            "smlal v4.8h, v1.8b, {w10:v}.8b",
            "smlal2 v5.8h, v1.16b, {w10:v}.16b",
            "smlal v6.8h, v1.8b, {w11:v}.8b",
            "smlal2 v7.8h, v1.16b, {w11:v}.16b",
            "sadalp {s0:v}.4s, v4.8h",
            "sadalp {s1:v}.4s, v5.8h",
            "sadalp {s2:v}.4s, v6.8h",
            "sadalp {s3:v}.4s, v7.8h",
            "smull v4.8h, v2.8b, {w20:v}.8b",
            "smull2 v5.8h, v2.16b, {w20:v}.16b",
            "smull v6.8h, v2.8b, {w21:v}.8b",
            "smull2 v7.8h, v2.16b, {w21:v}.16b",
            "smlal v4.8h, v3.8b, {w30:v}.8b",
            "smlal2 v5.8h, v3.16b, {w30:v}.16b",
            "smlal v6.8h, v3.8b, {w31:v}.8b",
            "smlal2 v7.8h, v3.16b, {w31:v}.16b",
            "sadalp {s0:v}.4s, v4.8h",
            "sadalp {s1:v}.4s, v5.8h",
            "sadalp {s2:v}.4s, v6.8h",
            "sadalp {s3:v}.4s, v7.8h",
            row = inout(reg) row,
            s0 = inout(vreg) s0, s1 = inout(vreg) s1, s2 = inout(vreg) s2, s3 = inout(vreg) s3,
            w00 = in(vreg) w[0][0], w01 = in(vreg) w[0][1],
            w10 = in(vreg) w[1][0], w11 = in(vreg) w[1][1],
            w20 = in(vreg) w[2][0], w21 = in(vreg) w[2][1],
            w30 = in(vreg) w[3][0], w31 = in(vreg) w[3][1],
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            options(readonly, nostack, preserves_flags)
        )
    }
    *sums = [s0, s1, s2, s3];
    row
}

/// Adds the products of two groups with 8 columns.
#[inline(always)]
fn two_groups(sums: &mut Sums, a: [int8x16_t; 2], w: [[int8x16_t; 2]; 2]) {
    for j in 0..2 {
        have!({
            let low = vmull_s8(vget_low_s8(a[0]), vget_low_s8(w[0][j]));
            let low = vmlal_s8(low, vget_low_s8(a[1]), vget_low_s8(w[1][j]));
            sums[2 * j] = vpadalq_s16(sums[2 * j], low);
            let high = vmull_high_s8(a[0], w[0][j]);
            let high = vmlal_high_s8(high, a[1], w[1][j]);
            sums[2 * j + 1] = vpadalq_s16(sums[2 * j + 1], high);
        });
    }
}

/// Adds the products of one group with 8 columns.
///
/// # Safety
/// Four bytes can be read of each of `M` rows from `a` on, `row` apart, and 32 bytes at `w`.
#[inline(always)]
unsafe fn last_group<const M: usize>(sums: &mut [Sums; M], a: *const u8, row: usize, w: *const i8) {
    // SAFETY: the caller grants the reads.
    let w = unsafe { [vld1q_s8(w), vld1q_s8(w.add(16))] };
    let nothing = have!(vdupq_n_s8(0));
    for m in 0..M {
        // SAFETY: the caller grants the read.
        let four = unsafe { four_less_128(a.add(m * row)) };
        two_groups(&mut sums[m], [four, nothing], [w, w]);
    }
}

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
//! The weights in the file have four columns of a group side by side. They are zipped once for all
//! rows, as far as there is room (a copy of four panels), and pairs of rows once for all panels of a tile.
//! Sums of six rows and a panel fill 24 registers.

use core::arch::aarch64::*;
use core::arch::asm;
use core::mem::MaybeUninit;

use super::arm::{Arm, COPIED, Copies, Products, Sums, have, next_four};
use crate::simd::{Kernel, Panels};
use crate::tile::unroll;

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

/// One panel, zipped: eight registers for each two groups.
type Zipped = [MaybeUninit<int8x16_t>; 4 * COPIED];

/// Copies of four panels and of a tile's activations.
pub(super) struct Kept {
    panels: [Zipped; 4],
    /// `[pairs * couple + pair]`, where a couple is two groups and a pair two rows.
    rows: Copies,
}

/// How many pairs of rows a tile has at most.
const MOST_PAIRS: usize = 3;

impl Products for I8mm {
    type Kept = Kept;

    const ROWS: usize = 6;
    const STEP: usize = 2;

    #[inline(always)]
    fn keep(self) -> Kept {
        Kept {
            panels: [[MaybeUninit::uninit(); _]; 4],
            rows: [MaybeUninit::uninit(); _],
        }
    }

    #[inline(always)]
    unsafe fn ready<const N: usize>(self, w: Panels, kept: &mut Kept) {
        if w.groups <= COPIED {
            // SAFETY: the caller grants reads of all groups of each panel, which there is room for.
            unsafe { zip::<N>(w, 0, w.groups, kept) }
        }
    }

    #[inline(always)]
    unsafe fn tile<const M: usize, const N: usize>(
        self,
        a: *const u8,
        row: usize,
        w: Panels,
        kept: &mut Kept,
        out: &mut [[Sums; N]; M],
    ) {
        let mut done = 0;
        while done < w.groups {
            let now = (w.groups - done).min(COPIED);
            // SAFETY: the caller grants reads of these groups, of panels and rows alike, and `now` is not
            // above `COPIED`.
            unsafe {
                if w.groups > COPIED {
                    zip::<N>(w, done, now, kept);
                }
                copy::<M>(a.add(4 * done), row, now, &mut kept.rows);
            }
            for n in 0..N {
                // SAFETY: so many couples have been zipped and copied. The token says that the machine has
                // the instruction.
                unsafe {
                    let to = out.as_mut_ptr().cast::<Sums>().add(n);
                    panel::<M>(
                        self,
                        &kept.panels[n],
                        &kept.rows,
                        now.div_ceil(2),
                        (to, N),
                        done == 0,
                    );
                }
            }
            done += now;
        }
    }
}

/// Zips `now` groups of `N` panels from group `from` on; an odd last one with zeros.
///
/// # Safety
/// These groups can be read, and `now` is at most `COPIED`.
#[inline(never)]
unsafe fn zip<const N: usize>(w: Panels, from: usize, now: usize, kept: &mut Kept) {
    for n in 0..N {
        // SAFETY: the caller grants these reads.
        let start = unsafe { w.start.add(n * w.stride + 64 * from).cast::<i32>() };
        let (to, _) = kept.panels[n].as_chunks_mut::<8>();
        let (whole, rest) = to.split_at_mut(now / 2);
        for (couple, to) in whole.iter_mut().enumerate() {
            // SAFETY: both groups are there.
            unsafe { zip_two(start.add(32 * couple), start.add(32 * couple + 16), to) };
        }
        if now % 2 == 1 {
            // SAFETY: the last group is there, and zeros stand for the one behind it.
            unsafe { zip_two(start.add(16 * (now - 1)), [0; 16].as_ptr(), &mut rest[0]) };
        }
    }
}

/// Zips two groups of a panel.
///
/// # Safety
/// Sixteen numbers can be read at each.
#[inline(always)]
unsafe fn zip_two(first: *const i32, second: *const i32, to: &mut [MaybeUninit<int8x16_t>; 8]) {
    for j in 0..4 {
        // SAFETY: the caller grants the reads. Two registers are written, of eight.
        unsafe {
            let pair = int32x4x2_t(vld1q_s32(first.add(4 * j)), vld1q_s32(second.add(4 * j)));
            vst2q_s32(to.as_mut_ptr().add(2 * j).cast(), pair);
        }
    }
}

/// Copies `groups` groups of `M` rows, two rows and two groups side by side; an odd last group with zeros.
///
/// # Safety
/// `a` is valid for reads of `(M - 1) * row + 4 * groups` bytes, and `groups` is at most `COPIED`.
#[inline(never)]
unsafe fn copy<const M: usize>(a: *const u8, row: usize, groups: usize, to: &mut Copies) {
    let pairs = M.div_ceil(2);
    let (blocks, rest) = (groups / 4, groups % 4);
    for (block, to) in to.chunks_exact_mut(2 * pairs).take(blocks + 1).enumerate() {
        for pair in 0..pairs {
            let first = 2 * pair * row;
            // Where there is no second row, the first stands for it.
            let second = if 2 * pair + 1 < M { first + row } else { first };
            let rows = [first, second].map(|row| {
                // SAFETY: the caller grants reads of sixteen bytes for each block, and of the rest.
                let bytes = unsafe {
                    let a = a.add(row + 16 * block);
                    match block < blocks {
                        true => vld1q_s8(a.cast()),
                        false => part(a, rest),
                    }
                };
                have!(vreinterpretq_s64_s8(bytes))
            });
            let couples = have!([vzip1q_s64(rows[0], rows[1]), vzip2q_s64(rows[0], rows[1])]);
            for couple in 0..2 {
                to[couple * pairs + pair].write(have!(vreinterpretq_s8_s64(couples[couple])));
            }
        }
    }
}

/// No group to three, and zeros behind them.
///
/// # Safety
/// So many groups can be read at `a`.
#[inline(always)]
unsafe fn part(a: *const u8, groups: usize) -> int8x16_t {
    let mut four = [0u32; 4];
    for (group, four) in four.iter_mut().enumerate().take(groups) {
        // SAFETY: the caller grants the read.
        *four = unsafe { a.cast::<u32>().add(group).read_unaligned() };
    }
    have!(vreinterpretq_s8_u32(vld1q_u32(four.as_ptr())))
}

/// Adds the products of `M` rows with a panel. A function of its own, so that the registers are given out
/// for it alone.
///
/// # Safety
/// `couples` couples of the panel have been zipped, and of `M` rows copied. A row's sums can be read and
/// written from `to` on, `stride` apart; what they are before the `first` call does not matter.
#[target_feature(enable = "neon,i8mm")]
#[inline(never)]
unsafe fn panel<const M: usize>(
    token: I8mm,
    panel: &Zipped,
    rows: &Copies,
    couples: usize,
    (to, stride): (*mut Sums, usize),
    first: bool,
) {
    // The sums of two rows and a panel, two by two; with an odd row, half of the last pair's are of nothing.
    let mut squares = [[vdupq_n_s32(0); 8]; MOST_PAIRS];
    let pairs = M.div_ceil(2);
    let mut w = panel.as_ptr().cast::<i8>();
    let mut rows = rows.as_ptr().cast::<i8>();
    for _ in 0..couples {
        const HALVES: usize = 2;
        unroll!(half < HALVES {
            // SAFETY: so many couples have been zipped, each in eight registers.
            let w = unsafe { next_four(&mut w) };
            unroll!(pair < MOST_PAIRS {
                if pair < pairs {
                    // SAFETY: so many couples have been copied.
                    let a = unsafe { vld1q_s8(rows.add(16 * pair)) };
                    let to = &mut squares[pair];
                    to[4 * half] = token.product(to[4 * half], a, w[0]);
                    to[4 * half + 1] = token.product(to[4 * half + 1], a, w[1]);
                    to[4 * half + 2] = token.product(to[4 * half + 2], a, w[2]);
                    to[4 * half + 3] = token.product(to[4 * half + 3], a, w[3]);
                }
            });
        });
        // SAFETY: behind it is the next couple, or the end of the copy.
        rows = unsafe { rows.add(16 * pairs) };
    }
    for m in 0..M {
        // SAFETY: the caller grants each row's sums.
        let to = unsafe { &mut *to.add(m * stride) };
        for j in 0..4 {
            let [left, right] = [2 * j, 2 * j + 1].map(|j| squares[m / 2][j]);
            let [left, right] = [left, right].map(|square| vreinterpretq_s64_s32(square));
            let columns = match m % 2 {
                0 => vzip1q_s64(left, right),
                _ => vzip2q_s64(left, right),
            };
            let columns = vreinterpretq_s32_s64(columns);
            to[j] = if first {
                columns
            } else {
                vaddq_s32(to[j], columns)
            };
        }
    }
}

impl I8mm {
    /// Adds to four sums the products of two rows with two columns, eight each.
    #[inline(always)]
    fn product(self, sums: int32x4_t, a: int8x16_t, w: int8x16_t) -> int32x4_t {
        let mut sums = sums;
        // SAFETY: the token is only made where the instruction exists, and it reads and writes nothing
        // but these registers.
        unsafe {
            asm!(
                "usmmla {0:v}.4s, {1:v}.16b, {2:v}.16b",
                inout(vreg) sums, in(vreg) a, in(vreg) w,
                options(pure, nomem, nostack, preserves_flags)
            )
        }
        sums
    }
}

//! What an instruction set has to offer: a vector of sixteen floats, and a tile of dot products.
//!
//! Every algorithm of this crate is written once, over [`Simd`], as a [`Kernel`]. A tier implements the trait with a
//! token that can only be made where its instructions exist, and a function that carries them in its
//! `#[target_feature]`; [`Isa::run`](crate::Isa::run) picks that function, and since everything below is
//! `#[inline(always)]`, the algorithm is compiled into it as a whole, but for what a tier runs [`apart`](Simd::apart):
//!
//! ```text
//! isa.linear(..) ---> Isa::run(kernel) ---> avx512::run(kernel)   #[target_feature(..)]
//!                          |                     |
//!                          |                kernel.run(Avx512)    inlined, with all it calls
//!                          \-------------> portable: kernel.run(Portable)
//! ```
//!
//! All operations round to nearest, ties to even, each by itself. The token is passed by value to
//! every operation; it has no size.

use core::mem::MaybeUninit;

use half::f16;

use crate::LANES;

/// An algorithm that runs on any tier.
pub(crate) trait Kernel {
    /// What it returns.
    type Output;

    /// Whether it multiplies bytes. Where it does not, tiers that differ in nothing else share its code.
    const PRODUCTS: bool = true;

    /// Runs it. Implementations are `#[inline(always)]`, or the tier's instructions get lost.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// The operations of one tier. Lane `i` of a vector never depends on another lane unless said.
pub(crate) trait Simd: Copy {
    /// Sixteen floats.
    type F32: Copy;
    /// Sixteen signed integers.
    type I32: Copy;

    /// What a tier keeps of panels and of rows, in an order of its own.
    type Kept;

    /// The most rows that a tile may have for its sums to stay in registers; at most [`MAX_ROWS`].
    const ROWS: usize;
    /// Rows go through a tile so many at a time; [`ROWS`](Self::ROWS) is a multiple of it.
    const STEP: usize = 1;
    /// Whether the sums of a tile are still in registers when it is done.
    const SUMS_IN_REGISTERS: bool = true;
    /// The most panels of 16 columns that a tile may have: 4, 2 or 1.
    const PANELS: usize;
    /// Whether rows go through panels one by one, in strips that are looked up once; then a tile has one panel.
    const STRIPS: bool = false;
    /// Whether [`outputs`](Self::outputs) is there, for strips.
    const OUTPUTS: bool = false;
    /// Whether [`store_steps`](Self::store_steps) is better than storing each vector by itself.
    const STEPS_BY_FOUR: bool = true;
    /// How many places there are for panels that are kept: enough for one panel, or no panel is kept.
    const PLACES: usize = 0;
    /// How many bytes of panels are taken through all rows together, if rows are many or no panel is kept; at least the
    /// panels of a tile, and of strips two, whose halves fill a line of the caches.
    const BYTES_TOGETHER: usize = 0;
    /// How many rows are few: they are near whatever is done, so as many panels go through them as there are places for,
    /// and neither outputs in floats nor what is kept of rows is claimed.
    const FEW_ROWS: usize = 0;

    /// Runs a part of a kernel in which no bytes are multiplied. A tier all of whose instructions for it are part of
    /// the target may make a function of its own of it, so that the registers are given out for it alone; for the
    /// others the compiler has to inline it, as it does with a function that is called once.
    #[inline(always)]
    fn apart<T>(self, part: impl FnOnce() -> T) -> T {
        part()
    }

    /// Called before some memory is written, what it holds being of no use any more: it may become anything. A tier may
    /// have the caches make the lines of it without fetching them.
    ///
    /// # Safety
    /// So many bytes can be written there, and zeros are values of what they hold.
    #[inline(always)]
    unsafe fn claim(self, _start: *mut u8, _bytes: usize) {}

    /// The same float sixteen times.
    fn splat(self, x: f32) -> Self::F32;
    /// Reads sixteen floats.
    fn load(self, from: &[f32; LANES]) -> Self::F32;
    /// Reads sixteen signed bytes as floats.
    fn load_bytes(self, from: &[i8; LANES]) -> Self::F32;
    /// Reads sixteen halves as floats.
    fn load_halves(self, from: &[f16; LANES]) -> Self::F32;
    /// Writes sixteen floats.
    fn store(self, x: Self::F32, to: &mut [f32; LANES]);
    /// Writes sixteen floats as halves, each the nearest one, ties to even.
    fn store_halves(self, x: Self::F32, to: &mut [f16; LANES]);
    /// Writes the low byte of each integer.
    fn store_bytes(self, x: Self::I32, to: &mut [u8; LANES]);
    /// Writes the low byte of each integer, all from 0 to 255, and returns a vector with the same total as `sum`
    /// and them.
    #[inline(always)]
    fn store_and_add(self, x: Self::I32, sum: Self::I32, to: &mut [u8; LANES]) -> Self::I32 {
        self.store_bytes(x, to);
        self.add_int(sum, x)
    }
    /// Writes the integers of four vectors, all from 0 to 255, one vector behind the other.
    fn store_steps(self, x: [Self::I32; 4], to: &mut [u8; 4 * LANES]);
    /// Writes the low bytes of four vectors side by side, lane by lane.
    fn store_quads(self, x: [Self::I32; 4], to: &mut [u8; 4 * LANES]);

    /// `a + b`
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a - b`
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b`
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a / b`
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The smaller one; of zeros either, whatever their signs, and for what is not a number anything
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The larger one, as `min`
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The magnitude.
    fn abs(self, a: Self::F32) -> Self::F32;
    /// The magnitude of `a` with the sign of `b`.
    fn copy_sign(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The first `count` lanes of `a`, and `b` in the others.
    fn first(self, count: usize, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The nearest integer, ties to even, of floats of magnitudes up to 2^22.
    fn round(self, a: Self::F32) -> Self::I32;
    /// The nearest float, ties to even.
    fn float(self, a: Self::I32) -> Self::F32;
    /// `a + b`, wrapping.
    fn add_int(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// The bits of `a` plus the bits of `b` shifted up to the place of the exponent: `a` times 2 to
    /// the power of the integer in the low bits of `b`, where the result is a normal number.
    fn raise(self, a: Self::F32, b: Self::F32) -> Self::F32;

    /// The sum of all lanes, as a tree: `l[j] + l[j + 8]`, then `+ 4`, `+ 2`, `+ 1`.
    fn sum(self, a: Self::F32) -> f32;
    /// The smallest lane.
    fn smallest(self, a: Self::F32) -> f32;
    /// The largest lane.
    fn largest(self, a: Self::F32) -> f32;
    /// The sum of all lanes, wrapping.
    fn total(self, a: Self::I32) -> i32;

    /// The square root, correctly rounded.
    fn sqrt(self, x: f32) -> f32 {
        crate::scalar::sqrt(x)
    }

    /// How many places a panel of so many groups takes; 0 where nothing is kept of it.
    #[inline(always)]
    fn places(self, _groups: usize) -> usize {
        0
    }

    /// Memory for what is kept, whatever it holds.
    fn keep(self) -> Self::Kept;

    /// Looks at `count` panels before `rows` rows are taken through them: what costs as much for one row
    /// as for many is done here. What is kept of them goes to the places from `place` on. Of panels that go through
    /// in pieces nothing is kept.
    ///
    /// # Panics
    /// When there are not so many places.
    ///
    /// # Safety
    /// `w.start` is valid for reads of `(count - 1) * w.stride + 64 * w.groups` bytes, and what is known of the
    /// columns can be read for so many panels.
    #[inline(always)]
    unsafe fn ready(
        self,
        _w: Panels,
        _count: usize,
        _rows: usize,
        _kept: &mut Self::Kept,
        _place: usize,
    ) {
    }

    /// How many tiles of rows of so many groups can be kept at a time.
    #[inline(always)]
    fn slots(self, _groups: usize) -> usize {
        1
    }

    /// Whether what is kept of rows of so many groups is all that tiles read of them, where rows are not few.
    #[inline(always)]
    fn keeps_rows(self, _groups: usize) -> bool {
        false
    }

    /// Looks at the `M` rows of a tile before they are taken through panels, or at some of their groups. What is kept of
    /// them goes to a slot, one of [`slots`](Self::slots).
    ///
    /// # Safety
    /// `a` is valid for reads of `(M - 1) * row + 4 * groups.count` bytes.
    #[inline(always)]
    unsafe fn rows<const M: usize>(
        self,
        _a: *const u8,
        _row: usize,
        _groups: Groups,
        _kept: &mut Self::Kept,
        _slot: usize,
    ) {
    }

    /// Writes the outputs of `M` rows, of which it is said what a step is worth and what the smallest value is, and of
    /// a strip of panels of `groups` groups. Returns false where the tier leaves that to [`tile`](Self::tile), having
    /// written nothing.
    ///
    /// # Safety
    /// [`rows`](Self::rows) has looked at the rows, and [`ready`](Self::ready) at the strip's panels, and `kept` still
    /// has what they left at the slot and from the place on. What the strip names can be read and written.
    #[inline(always)]
    unsafe fn outputs<const M: usize>(
        self,
        _numbers: [&[f32; M]; 2],
        _strip: Strip,
        _groups: usize,
        _kept: &Self::Kept,
        _at: At,
    ) -> bool {
        unreachable!("only where it is said to be there")
    }

    /// The sums of row `m` and panel `n` of what [`tile`](Self::tile) has written, which may have an order of its own.
    ///
    /// # Panics
    /// When there is no such row or panel.
    #[inline(always)]
    fn sums<const M: usize, const N: usize>(
        self,
        tile: &[[Self::I32; N]; M],
        m: usize,
        n: usize,
    ) -> Self::I32 {
        tile[m][n]
    }

    /// Writes the dot products of `M` rows of activations with the 16 columns of each of `N` panels:
    /// `sums(out, m, n)[column]` is the sum of `a[m * row + i] * w.start[n * w.stride + i / 4 * 64 +
    /// column * 4 + i % 4]` over `i < 4 * w.groups`. The sum is exact as long as it fits into 32 bits.
    ///
    /// # Safety
    /// `a` is valid for reads of `(M - 1) * row + 4 * w.groups` bytes, and `w` of `(N - 1) * w.stride + 64 *
    /// w.groups`; what is known of the columns can be read for `N` panels. [`rows`](Self::rows) has looked at the
    /// rows, and [`ready`](Self::ready) at the panels, and `kept` still has what they left at the slot and from the
    /// place on.
    unsafe fn tile<const M: usize, const N: usize>(
        self,
        a: *const u8,
        row: usize,
        w: Panels,
        kept: &mut Self::Kept,
        at: At,
        out: &mut MaybeUninit<[[Self::I32; N]; M]>,
    );
}

/// Some of a row's groups of four.
#[derive(Copy, Clone)]
// Only AArch64 asks for all of it.
#[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
pub(crate) struct Groups {
    /// The first, a multiple of four.
    pub(crate) first: usize,
    /// How many they are: up to the last one of the row, or a multiple of four.
    pub(crate) count: usize,
    /// How many the row has.
    pub(crate) all: usize,
    /// Whether what is kept of them is not soon replaced by that of others.
    pub(crate) stays: bool,
}

impl Groups {
    /// All of a row that has so many.
    #[inline(always)]
    pub(crate) fn all(all: usize, stays: bool) -> Self {
        Groups {
            first: 0,
            count: all,
            all,
            stays,
        }
    }
}

/// Panels of packed weights, one behind the other.
#[derive(Copy, Clone)]
pub(crate) struct Panels {
    /// Where the first begins.
    pub(crate) start: *const i8,
    /// How far apart they begin.
    pub(crate) stride: usize,
    /// How many groups of four inputs each of them has.
    pub(crate) groups: usize,
    /// What is known of the columns of these panels and of those behind them.
    // Only AArch64 asks for it.
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
    pub(crate) columns: Option<Columns>,
}

/// Panels of a linear layer that some rows are taken through, one after another. Each has sixteen columns.
#[derive(Copy, Clone)]
// Only AArch64 asks for it.
#[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
pub(crate) struct Strip {
    /// How many panels there are, one at least.
    pub(crate) panels: usize,
    /// Their weights, one panel behind the other.
    pub(crate) weights: *const i8,
    /// Three numbers for each column, see [`Linear`](crate::Linear).
    pub(crate) scale: *const f32,
    pub(crate) sum: *const f32,
    pub(crate) bias: *const f32,
    /// Where the outputs of the first row go, and how far those of the next row are away.
    pub(crate) out: *mut f32,
    pub(crate) stride: usize,
}

impl Panels {
    /// The panels from the second on. There may be none, and then they must not be read.
    #[inline(always)]
    pub(crate) fn behind(self) -> Self {
        let columns = self.columns.map(|columns| Columns {
            scale: columns.scale.wrapping_add(1),
            sum: columns.sum.wrapping_add(1),
        });
        Panels {
            start: self.start.wrapping_add(self.stride),
            columns,
            ..self
        }
    }
}

/// What two numbers for each column of some panels say about its weights.
#[derive(Copy, Clone)]
#[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
pub(crate) struct Columns {
    /// What one step of the weights is worth.
    pub(crate) scale: *const [f32; LANES],
    /// That times the sum of the weights' integers.
    pub(crate) sum: *const [f32; LANES],
}

impl Columns {
    /// The sums of the integers of panel `n`.
    ///
    /// `sum / scale` is within a relative `4 * 2^-24` of it, since both may have been multiplied by a factor after
    /// the product was rounded. No more than 16,384 integers of magnitudes up to 127 add up to less than 2^21, so the
    /// nearest integer is the one.
    ///
    /// # Safety
    /// The numbers of panel `n` can be read.
    #[inline(always)]
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
    pub(crate) unsafe fn totals<S: Simd>(&self, s: S, n: usize) -> S::I32 {
        // SAFETY: the caller grants both reads.
        let [sum, scale] = unsafe { [&*self.sum.add(n), &*self.scale.add(n)] };
        s.round(s.div(s.load(sum), s.load(scale)))
    }
}

/// Where what is kept of a tile begins.
#[derive(Copy, Clone)]
// Only AArch64 keeps more than one thing.
#[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
pub(crate) struct At {
    /// The slot of its rows.
    pub(crate) slot: usize,
    /// The place of its first panel.
    pub(crate) place: usize,
}

/// The most rows that a tile has on any tier.
pub(crate) const MAX_ROWS: usize = 6;

/// The sixteen numbers of group `index`.
#[inline(always)]
pub(crate) fn lanes<T>(x: &[T], index: usize) -> &[T; LANES] {
    &x.as_chunks().0[index]
}

/// The sixteen numbers of group `index`, to be written.
#[inline(always)]
pub(crate) fn lanes_mut<T>(x: &mut [T], index: usize) -> &mut [T; LANES] {
    &mut x.as_chunks_mut().0[index]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use std::vec::Vec;

    /// The totals of a panel, as floats.
    struct Totals(Columns);

    impl Kernel for Totals {
        type Output = [f32; LANES];

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let mut told = [0.0; LANES];
            // SAFETY: the test's arrays are read, which are there.
            s.store(s.float(unsafe { self.0.totals(s, 0) }), &mut told);
            told
        }
    }

    #[test]
    fn the_sums_of_integers_come_back_whatever_the_scale() {
        let query = core::f32::consts::LOG2_E * (1.0 / 32f32.sqrt());
        let largest = 127 * 16_384;
        for isa in Isa::available() {
            for step in 0..40_000 {
                let seed = (step as u32).wrapping_mul(0x9E37_79B9);
                let scale = f32::from_bits(0x1900_0000 + seed % 0x2900_0000);
                let totals: [i32; LANES] = core::array::from_fn(|lane| match step % 3 {
                    0 => largest - lane as i32,
                    1 => lane as i32 - largest,
                    _ => (seed >> lane) as i32 % 200_000 - 100_000,
                });
                for factor in [1.0, query] {
                    let scales = [scale * factor; LANES];
                    let sums = totals.map(|total| scale * total as f32 * factor);
                    let columns = Columns {
                        scale: &raw const scales,
                        sum: &raw const sums,
                    };
                    let told = isa.run(Totals(columns));
                    assert_eq!(told, totals.map(|total| total as f32), "{scale:e}");
                }
            }
        }
    }

    /// Two panels, and two tiles of rows for each size that a tile may have, one behind the other.
    struct Neighbours {
        groups: usize,
        a: Vec<u8>,
        w: Vec<i8>,
    }

    impl Kernel for &Neighbours {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            self.tiles::<S, 1>(s);
            self.tiles::<S, 2>(s);
            self.tiles::<S, 3>(s);
            self.tiles::<S, 4>(s);
            self.tiles::<S, 5>(s);
            self.tiles::<S, 6>(s);
        }
    }

    impl Neighbours {
        /// Keeps panels and tiles beside one another, in memory that held something else before, in either order, and
        /// fails unless each product is right all the same.
        #[inline(always)]
        fn tiles<S: Simd, const M: usize>(&self, s: S) {
            if M > S::ROWS {
                return;
            }
            let (groups, places) = (self.groups, s.places(self.groups));
            let panels = S::PLACES.checked_div(places).map_or(2, |n| n.min(2));
            let slots = s.slots(groups).min(2);
            assert!(panels > 0 && slots > 0);
            let w = |at: usize| Panels {
                start: self.w[at * 64 * groups..].as_ptr(),
                stride: 64 * groups,
                groups,
                columns: None,
            };
            let a = |at: usize| self.a[at * M * 4 * groups..].as_ptr();
            for before in [0, 1] {
                let mut kept = s.keep();
                // SAFETY: every byte of it may be 0 or 1.
                unsafe { (&raw mut kept).write_bytes(before, 1) };
                for order in [[0, 1], [1, 0]] {
                    for at in order {
                        // SAFETY: there are two panels, and two tiles of `M` rows.
                        unsafe {
                            if at < panels {
                                s.ready(w(at), 1, MAX_ROWS, &mut kept, at * places);
                            }
                            if at < slots {
                                s.rows::<M>(
                                    a(at),
                                    4 * groups,
                                    Groups::all(groups, true),
                                    &mut kept,
                                    at,
                                );
                            }
                        }
                    }
                    for (panel, slot) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                        if panel >= panels || slot >= slots {
                            continue;
                        }
                        let place = panel * places;
                        let mut sums = MaybeUninit::<[[S::I32; 1]; M]>::uninit();
                        // SAFETY: both exist, and have been looked at.
                        let sums = unsafe {
                            let at = At { slot, place };
                            s.tile(a(slot), 4 * groups, w(panel), &mut kept, at, &mut sums);
                            sums.assume_init()
                        };
                        for m in 0..M {
                            let mut found = [0.0; LANES];
                            s.store(s.float(s.sums(&sums, m, 0)), &mut found);
                            let expected = self.product(slot * M + m, panel);
                            assert_eq!(found, expected, "{groups} groups, row {m} of {M}");
                        }
                    }
                }
            }
        }

        /// The products of a row and a panel, as floats.
        fn product(&self, row: usize, panel: usize) -> [f32; LANES] {
            let len = 4 * self.groups;
            let (a, w) = (&self.a[row * len..][..len], &self.w[panel * 16 * len..]);
            core::array::from_fn(|column| {
                let products = (0..len)
                    .map(|i| i32::from(a[i]) * i32::from(w[i / 4 * 64 + column * 4 + i % 4]));
                products.sum::<i32>() as f32
            })
        }
    }

    #[test]
    fn what_is_kept_stays_in_its_place() {
        let mut seed = 1u32;
        let mut byte = || {
            seed = seed.wrapping_mul(0x9E37_79B9).wrapping_add(7);
            (seed >> 24) as u8
        };
        for groups in (1..=21).chain([
            63, 64, 65, 384, 387, 700, 1023, 1024, 1025, 1535, 1536, 1537, 2048, 2049,
        ]) {
            let neighbours = Neighbours {
                groups,
                a: (0..2 * MAX_ROWS * 4 * groups).map(|_| byte()).collect(),
                w: (0..2 * 64 * groups)
                    .map(|_| (byte() as i8).max(-127))
                    .collect(),
            };
            for isa in Isa::available() {
                isa.run(&neighbours);
            }
        }
    }
}

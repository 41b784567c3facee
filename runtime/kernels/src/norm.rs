//! Layer norm, and the two places where it stands: behind a residual sum, and behind the sum of
//! the three embeddings.

use core::ops::Range;
use core::{array, mem};

use half::f16;

use crate::simd::{Kernel, Simd, lanes};
use crate::{Isa, LANES, Norm};

/// How many rows are normalized side by side. The sums of one row are a chain of additions that
/// wait for one another; several chains fill the waiting.
pub const NORM_TOGETHER: usize = 4;

/// A row of signed bytes with the worth of one step: how a bundle keeps its embeddings.
#[derive(Copy, Clone, Debug)]
pub struct ByteRow<'a> {
    /// The quantized values.
    pub values: &'a [i8],
    /// What one step is worth.
    pub scale: f32,
}

impl Isa {
    /// `x = norm(x + y)`, row by row; a row is as wide as the norm.
    ///
    /// # Panics
    /// When the norm's two arrays are not as long as its channels in whole vectors of 16, when it has
    /// none, when `x` and `y` differ in length, or when they are not whole rows.
    pub fn add_norm(self, x: &mut [f32], y: &[f32], norm: &Norm<'_>) {
        check_rows(norm, [x.len(), y.len(), y.len()]);
        self.run(AddNorm { x, y, norm });
    }

    /// `x = norm(x + y)`, row by row, with halves. There is room for the sums of some rows in `sums`.
    ///
    /// # Panics
    /// As [`add_norm`](Self::add_norm), and when `sums` is not [`NORM_TOGETHER`] rows long.
    pub fn add_norm_halves(self, x: &mut [f16], y: &[f16], norm: &Norm<'_>, sums: &mut [f32]) {
        check_rows(norm, [x.len(), y.len(), y.len()]);
        assert_eq!(
            sums.len(),
            NORM_TOGETHER * norm.weight.len(),
            "room for sums"
        );
        let x = Halves::Mut(x);
        self.run(AddNormHalves {
            x,
            y,
            norm,
            z: sums,
        });
    }

    /// `out = norm(x + y)`, row by row, from halves to floats.
    ///
    /// # Panics
    /// As [`add_norm`](Self::add_norm), and when `out` is not as long.
    pub fn add_norm_of_halves(self, x: &[f16], y: &[f16], norm: &Norm<'_>, out: &mut [f32]) {
        check_rows(norm, [x.len(), y.len(), out.len()]);
        let x = Halves::Ref(x);
        self.run(AddNormHalves { x, y, norm, z: out });
    }

    /// `out = norm((word + position) + kind)` for one token.
    ///
    /// # Panics
    /// When the norm's arrays are not as long as its channels in whole vectors of 16, when it has none,
    /// or when any other length differs from theirs.
    pub fn embed(
        self,
        word: ByteRow<'_>,
        position: ByteRow<'_>,
        kind: &[f32],
        norm: &Norm<'_>,
        out: &mut [f32],
    ) {
        check(norm);
        let lens = [
            word.values.len(),
            position.values.len(),
            kind.len(),
            out.len(),
        ];
        assert_eq!(lens, [norm.weight.len(); 4], "all as wide as the norm");
        self.run(Embed {
            word,
            position,
            kind,
            norm,
            out,
        });
    }
}

fn check(norm: &Norm<'_>) {
    let vectors = norm.channels.div_ceil(LANES);
    assert!(vectors > 0, "a channel at least");
    let lens = [norm.weight.len(), norm.bias.len()];
    assert_eq!(
        lens,
        [vectors * LANES; 2],
        "a weight and a bias for each channel, in whole vectors"
    );
}

/// What holds for whole rows of so many values each.
fn check_rows(norm: &Norm<'_>, lens: [usize; 3]) {
    check(norm);
    assert_eq!(lens, [lens[0]; 3], "a summand for each value");
    assert!(lens[0].is_multiple_of(norm.weight.len()), "whole rows");
}

struct AddNorm<'a> {
    x: &'a mut [f32],
    y: &'a [f32],
    norm: &'a Norm<'a>,
}

impl Kernel for AddNorm<'_> {
    type Output = ();
    const PRODUCTS: bool = false;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.norm.weight.len();
        let mut x = self.x.chunks_exact_mut(NORM_TOGETHER * width);
        let mut y = self.y.chunks_exact(NORM_TOGETHER * width);
        for (x, y) in (&mut x).zip(&mut y) {
            add_norm::<S, NORM_TOGETHER>(s, x, y, self.norm);
        }
        let x = x.into_remainder().chunks_exact_mut(width);
        for (x, y) in x.zip(y.remainder().chunks_exact(width)) {
            add_norm::<S, 1>(s, x, y, self.norm);
        }
    }
}

/// Adds and normalizes `R` rows.
#[inline(always)]
fn add_norm<S: Simd, const R: usize>(s: S, x: &mut [f32], y: &[f32], norm: &Norm<'_>) {
    let groups = norm.weight.len() / LANES;
    let mut z = cut_mut::<_, R>(x.as_chunks_mut().0, groups);
    let y = cut::<_, R>(y.as_chunks().0, groups);
    let mut sums = [s.splat(0.0); R];
    for i in 0..groups {
        for r in 0..R {
            let sum = s.add(s.load(&z[r][i]), s.load(&y[r][i]));
            s.store(sum, &mut z[r][i]);
            sums[r] = s.add(sums[r], sum);
        }
    }
    normalize(s, &mut z, sums, norm, |_, _, y, z| s.store(y, z));
}

/// A checked call of one of the two with halves.
struct AddNormHalves<'a> {
    x: Halves<'a>,
    y: &'a [f16],
    norm: &'a Norm<'a>,
    /// Room for the sums: of some rows, or of all, and then for what is made of them too.
    z: &'a mut [f32],
}

/// The first summands.
enum Halves<'a> {
    /// The results take their place.
    Mut(&'a mut [f16]),
    /// The results are floats.
    Ref(&'a [f16]),
}

impl Kernel for AddNormHalves<'_> {
    type Output = ();
    const PRODUCTS: bool = false;

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (width, len) = (self.norm.weight.len(), self.y.len());
        let (mut start, together) = (0, NORM_TOGETHER * width);
        while start + together <= len {
            self.rows::<S, NORM_TOGETHER>(s, start..start + together);
            start += together;
        }
        for start in (start..len).step_by(width) {
            self.rows::<S, 1>(s, start..start + width);
        }
    }
}

impl AddNormHalves<'_> {
    /// Adds and normalizes `R` rows.
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(&mut self, s: S, at: Range<usize>) {
        let groups = self.norm.weight.len() / LANES;
        let (x, z) = match &self.x {
            Halves::Mut(x) => (&x[at.clone()], &mut *self.z),
            Halves::Ref(x) => {
                let out = &mut self.z[at.clone()];
                // SAFETY: they are floats, and all of them are written now.
                unsafe { s.claim(out.as_mut_ptr().cast(), size_of_val(out)) };
                (&x[at.clone()], out)
            }
        };
        let mut z = cut_mut::<_, R>(z.as_chunks_mut().0, groups);
        let sums = add_halves(s, x, &self.y[at.clone()], &mut z);
        let mut x = match &mut self.x {
            Halves::Mut(x) => Some(cut_mut::<_, R>(x[at].as_chunks_mut().0, groups)),
            Halves::Ref(_) => None,
        };
        normalize(s, &mut z, sums, self.norm, |r, i, y, z| match &mut x {
            Some(x) => s.store_halves(y, &mut x[r][i]),
            None => s.store(y, z),
        });
    }
}

/// Writes the sums of `R` rows of halves to `z`, and returns the sums of each row's sixteen lanes.
#[inline(always)]
fn add_halves<S: Simd, const R: usize>(
    s: S,
    x: &[f16],
    y: &[f16],
    z: &mut [&mut [[f32; LANES]]; R],
) -> [S::F32; R] {
    let groups = z[0].len();
    let [x, y] = [x, y].map(|rows| cut::<_, R>(rows.as_chunks().0, groups));
    let mut sums = [s.splat(0.0); R];
    for i in 0..groups {
        for r in 0..R {
            let sum = s.add(s.load_halves(&x[r][i]), s.load_halves(&y[r][i]));
            s.store(sum, &mut z[r][i]);
            sums[r] = s.add(sums[r], sum);
        }
    }
    sums
}

struct Embed<'a> {
    word: ByteRow<'a>,
    position: ByteRow<'a>,
    kind: &'a [f32],
    norm: &'a Norm<'a>,
    out: &'a mut [f32],
}

impl Kernel for Embed<'_> {
    type Output = ();
    const PRODUCTS: bool = false;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let word_scale = s.splat(self.word.scale);
        let position_scale = s.splat(self.position.scale);
        let mut sum = s.splat(0.0);
        let (out, _) = self.out.as_chunks_mut();
        for (i, out) in out.iter_mut().enumerate() {
            let word = s.mul(s.load_bytes(lanes(self.word.values, i)), word_scale);
            let position = s.load_bytes(lanes(self.position.values, i));
            let position = s.mul(position, position_scale);
            let z = s.add(s.add(word, position), s.load(lanes(self.kind, i)));
            s.store(z, out);
            sum = s.add(sum, z);
        }
        normalize(s, &mut [out], [sum], self.norm, |_, _, y, z| s.store(y, z));
    }
}

/// `R` rows of `len` things, which stand behind one another.
#[inline(always)]
fn cut_mut<T, const R: usize>(rows: &mut [T], len: usize) -> [&mut [T]; R] {
    let mut rows = rows.chunks_exact_mut(len);
    array::from_fn(|_| rows.next().expect("so many rows"))
}

/// `R` rows of `len` things, to be read.
#[inline(always)]
fn cut<T, const R: usize>(rows: &[T], len: usize) -> [&[T]; R] {
    let mut rows = rows.chunks_exact(len);
    array::from_fn(|_| rows.next().expect("so many rows"))
}

/// Normalizes `R` rows; `sums` has the sums of each row's sixteen lanes. Each vector is put where it belongs, of which
/// the row's number, its own, and the place where its sums are is told.
#[inline(always)]
fn normalize<S: Simd, const R: usize>(
    s: S,
    rows: &mut [&mut [[f32; LANES]]; R],
    sums: [S::F32; R],
    norm: &Norm<'_>,
    mut put: impl FnMut(usize, usize, S::F32, &mut [f32; LANES]),
) {
    let (weight, bias) = (norm.weight.as_chunks().0, norm.bias.as_chunks().0);
    let groups = weight.len();
    for row in rows.iter_mut() {
        // So that the compiler knows how long they are.
        *row = &mut mem::take(row)[..groups];
    }
    let count = norm.channels as f32;
    let mut means = sums;
    for r in 0..R {
        means[r] = s.splat(s.sum(sums[r]) / count);
    }
    let mut squares = [s.splat(0.0); R];
    let (whole, left) = (norm.channels / LANES, norm.channels % LANES);
    for i in 0..whole {
        for r in 0..R {
            let distance = s.sub(s.load(&rows[r][i]), means[r]);
            squares[r] = s.add(squares[r], s.mul(distance, distance));
        }
    }
    if left > 0 {
        for r in 0..R {
            // The zeros behind the last channel are none of the row's values.
            let distance = s.sub(s.load(&rows[r][whole]), means[r]);
            let distance = s.first(left, distance, s.splat(0.0));
            squares[r] = s.add(squares[r], s.mul(distance, distance));
        }
    }
    let mut factors = squares;
    for r in 0..R {
        let variance = s.sum(squares[r]) / count;
        factors[r] = s.splat(1.0 / s.sqrt(variance + norm.eps));
    }
    for i in 0..groups {
        let (weight, bias) = (s.load(&weight[i]), s.load(&bias[i]));
        for r in 0..R {
            let z = &mut rows[r][i];
            let unit = s.mul(s.sub(s.load(z), means[r]), factors[r]);
            put(r, i, s.add(s.mul(unit, weight), bias), z);
        }
    }
}

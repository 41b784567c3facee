//! Layer norm, and the two places where it stands: behind a residual sum, and behind the sum of
//! the three embeddings.

use core::{array, mem};

use crate::simd::{Kernel, Simd, lanes};
use crate::{Isa, LANES, Norm};

/// How many rows are normalized side by side. The sums of one row are a chain of additions that
/// wait for one another; several chains fill the waiting.
const TOGETHER: usize = 4;

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
        check(norm);
        assert_eq!(x.len(), y.len(), "a summand for each value");
        assert!(x.len().is_multiple_of(norm.weight.len()), "whole rows");
        self.run(AddNorm { x, y, norm });
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
        let mut x = self.x.chunks_exact_mut(TOGETHER * width);
        let mut y = self.y.chunks_exact(TOGETHER * width);
        for (x, y) in (&mut x).zip(&mut y) {
            add_norm::<S, TOGETHER>(s, x, y, self.norm);
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
    let mut y = y.as_chunks().0.chunks_exact(groups);
    let y: [_; R] = array::from_fn(|_| y.next().expect("so many rows"));
    let mut sums = [s.splat(0.0); R];
    for i in 0..groups {
        for r in 0..R {
            let sum = s.add(s.load(&z[r][i]), s.load(&y[r][i]));
            s.store(sum, &mut z[r][i]);
            sums[r] = s.add(sums[r], sum);
        }
    }
    normalize(s, &mut z, sums, norm);
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
        normalize(s, &mut [out], [sum], self.norm);
    }
}

/// `R` rows of `len` things, which stand behind one another.
#[inline(always)]
fn cut_mut<T, const R: usize>(rows: &mut [T], len: usize) -> [&mut [T]; R] {
    let mut rows = rows.chunks_exact_mut(len);
    array::from_fn(|_| rows.next().expect("so many rows"))
}

/// Normalizes `R` rows in place; `sums` has the sums of each row's sixteen lanes.
#[inline(always)]
fn normalize<S: Simd, const R: usize>(
    s: S,
    rows: &mut [&mut [[f32; LANES]]; R],
    sums: [S::F32; R],
    norm: &Norm<'_>,
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
            s.store(s.add(s.mul(unit, weight), bias), z);
        }
    }
}

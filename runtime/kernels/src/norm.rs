//! Layer norm, and the two places where it stands: behind a residual sum, and behind the sum of
//! the three embeddings.

use crate::simd::{Kernel, Simd, lanes, lanes_mut};
use crate::{Isa, LANES, Norm};

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
    /// When the norm's two arrays differ in length or are not a multiple of 16 long from 16 on,
    /// when `x` and `y` differ in length, or when they are not whole rows.
    pub fn add_norm(self, x: &mut [f32], y: &[f32], norm: &Norm<'_>) {
        check(norm);
        assert_eq!(x.len(), y.len(), "a summand for each value");
        assert!(x.len().is_multiple_of(norm.weight.len()), "whole rows");
        self.run(AddNorm { x, y, norm });
    }

    /// `out = norm((word + position) + kind)` for one token.
    ///
    /// # Panics
    /// When the norm's arrays are not a multiple of 16 long from 16 on, or when any other length
    /// differs from theirs.
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
    let width = norm.weight.len();
    assert!(width > 0 && width.is_multiple_of(LANES), "whole vectors");
    assert_eq!(norm.bias.len(), width, "a weight and a bias for each value");
}

struct AddNorm<'a> {
    x: &'a mut [f32],
    y: &'a [f32],
    norm: &'a Norm<'a>,
}

impl Kernel for AddNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.norm.weight.len();
        for (x, y) in self
            .x
            .chunks_exact_mut(width)
            .zip(self.y.chunks_exact(width))
        {
            let mut sum = s.splat(0.0);
            for (x, y) in x.as_chunks_mut().0.iter_mut().zip(y.as_chunks().0) {
                let z = s.add(s.load(x), s.load(y));
                s.store(z, x);
                sum = s.add(sum, z);
            }
            normalize(s, x, sum, self.norm);
        }
    }
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

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let word_scale = s.splat(self.word.scale);
        let position_scale = s.splat(self.position.scale);
        let mut sum = s.splat(0.0);
        for i in 0..self.out.len() / LANES {
            let word = s.mul(s.load_bytes(lanes(self.word.values, i)), word_scale);
            let position = s.load_bytes(lanes(self.position.values, i));
            let position = s.mul(position, position_scale);
            let z = s.add(s.add(word, position), s.load(lanes(self.kind, i)));
            s.store(z, lanes_mut(self.out, i));
            sum = s.add(sum, z);
        }
        normalize(s, self.out, sum, self.norm);
    }
}

/// Normalizes one row in place. `sum` has the sums of its sixteen lanes.
#[inline(always)]
fn normalize<S: Simd>(s: S, row: &mut [f32], sum: S::F32, norm: &Norm<'_>) {
    let count = row.len() as f32;
    let mean = s.splat(s.sum(sum) / count);
    let (row, _) = row.as_chunks_mut::<LANES>();
    let mut squares = s.splat(0.0);
    for z in row.iter() {
        let distance = s.sub(s.load(z), mean);
        squares = s.add(squares, s.mul(distance, distance));
    }
    let variance = s.sum(squares) / count;
    let factor = s.splat(1.0 / s.sqrt(variance + norm.eps));
    let (weight, bias) = (norm.weight.as_chunks().0, norm.bias.as_chunks().0);
    for ((z, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
        let unit = s.mul(s.sub(s.load(z), mean), factor);
        s.store(s.add(s.mul(unit, s.load(weight)), s.load(bias)), z);
    }
}

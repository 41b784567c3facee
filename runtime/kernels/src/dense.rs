//! The small float layer at the very end: logits from a row of hidden values.

use crate::simd::{Kernel, Simd};
use crate::{Isa, LANES};

impl Isa {
    /// `out[row][o] = sum(weight[o][i] * x[row][i]) + bias[o]` in floats, where `x` has rows of
    /// `width` values, and `out` a row of `bias.len()` values for each.
    ///
    /// # Panics
    /// When `width` is not a multiple of 16 from 16 on, or a length does not fit the others.
    pub fn dense(self, x: &[f32], width: usize, weight: &[f32], bias: &[f32], out: &mut [f32]) {
        assert!(width > 0 && width.is_multiple_of(LANES), "whole vectors");
        assert!(x.len().is_multiple_of(width), "whole rows");
        assert_eq!(weight.len(), bias.len() * width, "a row for each output");
        assert_eq!(out.len(), x.len() / width * bias.len(), "all outputs");
        self.run(Dense {
            x,
            width,
            weight,
            bias,
            out,
        });
    }
}

struct Dense<'a> {
    x: &'a [f32],
    width: usize,
    weight: &'a [f32],
    bias: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Dense<'_> {
    type Output = ();
    const PRODUCTS: bool = false;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.x.chunks_exact(self.width);
        let outs = self.out.chunks_exact_mut(self.bias.len().max(1));
        for (x, out) in rows.zip(outs) {
            let weights = self.weight.chunks_exact(self.width);
            for ((out, weight), bias) in out.iter_mut().zip(weights).zip(self.bias) {
                *out = dot(s, x, weight) + bias;
            }
        }
    }
}

/// The sum of products over sixteen lanes, then over the lanes as a tree.
#[inline(always)]
fn dot<S: Simd>(s: S, a: &[f32], b: &[f32]) -> f32 {
    let mut sum = s.splat(0.0);
    for (a, b) in a.as_chunks().0.iter().zip(b.as_chunks().0) {
        sum = s.add(sum, s.mul(s.load(a), s.load(b)));
    }
    s.sum(sum)
}

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
        let outputs = self.bias.len().max(1);
        let rows = self.x.chunks_exact(self.width);
        for (x, out) in rows.zip(self.out.chunks_exact_mut(outputs)) {
            let (together, singly) = out.as_chunks_mut::<TOGETHER>();
            let mut weights = self.weight.chunks_exact(TOGETHER * self.width);
            for (out, weights) in together.iter_mut().zip(&mut weights) {
                *out = dots(s, x, weights);
            }
            let weights = weights.remainder().chunks_exact(self.width);
            for (out, weight) in singly.iter_mut().zip(weights) {
                [*out] = dots(s, x, weight);
            }
            for (out, bias) in out.iter_mut().zip(self.bias) {
                *out += bias;
            }
        }
    }
}

/// How many outputs are computed side by side: a value is read once for all of them.
const TOGETHER: usize = 4;

/// For each of `N` rows of weights the sum of products over sixteen lanes, then over the lanes as a tree.
#[inline(always)]
fn dots<S: Simd, const N: usize>(s: S, x: &[f32], weights: &[f32]) -> [f32; N] {
    let rows: [_; N] = core::array::from_fn(|n| weights[n * x.len()..][..x.len()].as_chunks().0);
    let x = x.as_chunks().0;
    let mut sums = [s.splat(0.0); N];
    for i in 0..x.len() {
        let value = s.load(&x[i]);
        for n in 0..N {
            sums[n] = s.add(sums[n], s.mul(value, s.load(&rows[n][i])));
        }
    }
    sums.map(|sum| s.sum(sum))
}

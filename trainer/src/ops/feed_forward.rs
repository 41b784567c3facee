//! The feed-forward half of a layer:
//!
//! ```text
//! h = x W₁ᵀ        a = gelu(h + b₁)        y = norm(x + dropout(a W₂ᵀ + b₂))
//! ```
//!
//! `h`, four times as wide as `x`, is the largest thing that a layer keeps; `a` is not kept but computed again in
//! the pass over `h` that the backward GELU makes anyway.
//!
//! Both directions go through [`ROWS`] rows at a time, so that what one product writes is still in the cache when the
//! next one reads it, and so that no more than a block of `a` is ever there. How many they are is fixed: the weights'
//! gradients are added up block by block, always alike.

use super::{Dense, LayerNorm, Pass, Site};
use crate::kernels::dropout::Dropout;
use crate::kernels::gemm::Write;
use crate::kernels::workspace::Buffer;
use crate::kernels::{gelu, linear, norm};

/// How many rows a block has.
///
/// `h` and `a` of so many are 6 MB in a BERT of hidden size 384; a weight's gradient, which is read and written for
/// each block, is 2.4 MB there.
pub const ROWS: usize = 512;

/// The parameters of `intermediate` and `output`.
pub struct FeedForward {
    /// Which layer this is, from 0.
    pub layer: usize,
    /// `intermediate.dense`
    pub intermediate: Dense,
    /// `output.dense`
    pub output: Dense,
    /// `output.LayerNorm`
    pub norm: LayerNorm,
    /// Probability of dropout on the output.
    pub dropout: f64,
}

/// What the backward pass needs, beside the input.
pub(super) struct Activations {
    /// h
    inner: Buffer,
    /// What the norm reads.
    sum: Buffer,
}

impl FeedForward {
    /// From rows of `hidden` to as many.
    pub(super) fn forward(&self, x: &[f32], pass: &Pass) -> (Buffer, Activations) {
        let Self {
            intermediate,
            output,
            ..
        } = self;
        let (hidden, wide) = (intermediate.inputs(), intermediate.outputs());
        let rows = x.len() / hidden;
        let mut inner = pass.workspace.take(rows * wide);
        let mut sum = pass.workspace.take(x.len());
        let mut activated = pass.workspace.take(rows.min(ROWS) * wide);
        let [first, second] = [intermediate, output].map(|dense| dense.weight.values());
        let bias = intermediate.bias.values();
        let blocks = x.chunks(ROWS * hidden).zip(inner.chunks_mut(ROWS * wide));
        for ((x, inner), sum) in blocks.zip(sum.chunks_mut(ROWS * hidden)) {
            let (rows, activated) = (x.len() / hidden, &mut activated[..inner.len()]);
            let dims = [intermediate, output].map(|dense| dense.dims(rows));
            linear::forward(pass.precision, dims[0], x, &first, None, inner);
            gelu::forward(pass.isa, inner, &bias, activated);
            linear::forward(pass.precision, dims[1], activated, &second, None, sum);
        }
        drop(activated);
        let mut y = pass.workspace.take(x.len());
        let bias = output.bias.values();
        self.norm.with(|norm| {
            norm::add_forward(pass.isa, norm, &bias, self.mask(pass), x, &mut sum, &mut y)
        });
        (y, Activations { inner, sum })
    }

    /// The result once more, to the last bit, from what was kept.
    pub(super) fn again(&self, kept: &Activations, pass: &Pass) -> Buffer {
        self.norm.of(&kept.sum, pass)
    }

    /// The gradient of `x`, from that of the result; the parameters' are added to them.
    pub(super) fn backward(
        &self,
        x: &[f32],
        dy: Buffer,
        Activations { inner, sum }: Activations,
        pass: &Pass,
    ) -> Buffer {
        let Self {
            intermediate,
            output,
            norm,
            ..
        } = self;
        let (hidden, wide) = (intermediate.inputs(), intermediate.outputs());
        let block = ROWS.min(x.len() / hidden) * wide;
        // The residual's gradient, to which the other is added.
        let mut dx = pass.workspace.take(x.len());
        let mut doutput = pass.workspace.take(x.len());
        let sums = norm.with(|norm| {
            let mask = self.mask(pass);
            norm::add_backward(pass.isa, norm, mask, &sum, &dy, &mut dx, &mut doutput)
        });
        drop((dy, sum));
        norm.weight.add_values(sums.part(0));
        norm.bias.add_values(sums.part(1));
        output.bias.add_values(sums.part(2));

        let [mut activated, mut dinner] = [block; 2].map(|len| pass.workspace.take(len));
        let [first, second] = [intermediate, output].map(|dense| dense.weight.values());
        let bias = intermediate.bias.values();
        let blocks = x.chunks(ROWS * hidden).zip(inner.chunks(ROWS * wide));
        let gradients = doutput
            .chunks(ROWS * hidden)
            .zip(dx.chunks_mut(ROWS * hidden));
        for ((x, inner), (doutput, dx)) in blocks.zip(gradients) {
            let (rows, len) = (x.len() / hidden, inner.len());
            let (activated, dinner) = (&mut activated[..len], &mut dinner[..len]);
            let dims = [intermediate, output].map(|dense| dense.dims(rows));
            linear::backward_input(
                pass.precision,
                dims[1],
                doutput,
                &second,
                Write::Over,
                dinner,
            );
            let dbias = gelu::backward(pass.isa, inner, &bias, activated, dinner);
            intermediate.bias.add_values(dbias.part(0));
            output.weight.add_gradient(|dw, write| {
                linear::backward_weight(pass.precision, dims[1], doutput, activated, write, dw)
            });
            intermediate.weight.add_gradient(|dw, write| {
                linear::backward_weight(pass.precision, dims[0], dinner, x, write, dw)
            });
            linear::backward_input(pass.precision, dims[0], dinner, &first, Write::Add, dx);
        }
        dx
    }

    fn mask(&self, pass: &Pass) -> Dropout {
        let site = Site::FeedForwardOutput(self.layer);
        pass.row_dropout(self.dropout, site, self.output.outputs())
    }
}

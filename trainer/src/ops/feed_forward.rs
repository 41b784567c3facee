//! The feed-forward half of a layer:
//!
//! ```text
//! h = x W₁ᵀ        a = gelu(h + b₁)        y = norm(x + dropout(a W₂ᵀ + b₂))
//! ```
//!
//! `h`, four times as wide as `x`, is the largest thing that a layer keeps; `a` is not kept but computed again in
//! the pass over `h` that the backward GELU makes anyway.

use super::{Dense, LayerNorm, Pass, Site};
use crate::kernels::dropout::Dropout;
use crate::kernels::gemm::Write;
use crate::kernels::workspace::Buffer;
use crate::kernels::{gelu, linear, norm};

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
        let rows = x.len() / intermediate.inputs();
        let mut inner = pass.workspace.take(rows * intermediate.outputs());
        let weight = intermediate.weight.values();
        linear::forward(
            pass.precision,
            intermediate.dims(rows),
            x,
            &weight,
            None,
            &mut inner,
        );
        let mut activated = pass.workspace.take(inner.len());
        let bias = intermediate.bias.values();
        gelu::forward(pass.isa, &inner, &bias, &mut activated);

        let mut sum = pass.workspace.take(x.len());
        let weight = output.weight.values();
        linear::forward(
            pass.precision,
            output.dims(rows),
            &activated,
            &weight,
            None,
            &mut sum,
        );
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
        let rows = x.len() / intermediate.inputs();
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

        let mut dinner = pass.workspace.take(inner.len());
        let weight = output.weight.values();
        linear::backward_input(
            pass.precision,
            output.dims(rows),
            &doutput,
            &weight,
            Write::Over,
            &mut dinner,
        );
        let mut activated = pass.workspace.take(inner.len());
        let bias = intermediate.bias.values();
        let dbias = gelu::backward(pass.isa, &inner, &bias, &mut activated, &mut dinner);
        drop(inner);
        intermediate.bias.add_values(dbias.part(0));
        output.weight.add_gradient(|dw, write| {
            linear::backward_weight(
                pass.precision,
                output.dims(rows),
                &doutput,
                &activated,
                write,
                dw,
            )
        });
        drop((activated, doutput));

        let dims = intermediate.dims(rows);
        intermediate.weight.add_gradient(|dw, write| {
            linear::backward_weight(pass.precision, dims, &dinner, x, write, dw)
        });
        let weight = intermediate.weight.values();
        linear::backward_input(pass.precision, dims, &dinner, &weight, Write::Add, &mut dx);
        dx
    }

    fn mask(&self, pass: &Pass) -> Dropout {
        pass.dropout(self.dropout, Site::FeedForwardOutput(self.layer))
    }
}

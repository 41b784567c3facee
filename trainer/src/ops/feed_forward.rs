//! The feed-forward half of a layer:
//!
//! ```text
//! h = x W₁ᵀ        a = gelu(h + b₁)        y = norm(x + dropout(a W₂ᵀ + b₂))
//! ```
//!
//! `h`, four times as wide as `x`, is the largest thing that a layer keeps; `a` is not kept but computed again in
//! the pass over `h` that the backward GELU makes anyway.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{Dense, LayerNorm, Pass, Saved, Site, read, slice, tensor_like};
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

impl FeedForward {
    /// From `[rows, hidden]` to the same shape.
    ///
    /// # Errors
    /// Those of candle.
    pub fn forward(self: &Arc<Self>, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        let dropout = pass.dropout(self.dropout, Site::FeedForwardOutput(self.layer));
        x.apply_op1(Op {
            weights: self.clone(),
            pass: pass.clone(),
            dropout,
            saved: Saved::empty(),
        })
    }
}

struct Op {
    weights: Arc<FeedForward>,
    pass: Pass,
    dropout: Dropout,
    saved: Saved<Activations>,
}

struct Activations {
    /// h
    inner: Buffer,
    /// What the norm reads.
    sum: Buffer,
}

impl CustomOp1 for Op {
    fn name(&self) -> &'static str {
        "feed-forward"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Self { weights, pass, .. } = self;
        let FeedForward {
            intermediate,
            output,
            norm,
            ..
        } = &**weights;
        let x = slice(storage, layout)?;
        let rows = x.len() / intermediate.inputs();
        let mut inner = pass.workspace.take(rows * intermediate.outputs());
        linear::forward(
            intermediate.dims(rows),
            x,
            &intermediate.weight.values(),
            None,
            &mut inner,
        );
        let mut activated = pass.workspace.take(inner.len());
        gelu::forward(
            pass.isa,
            &inner,
            &intermediate.bias.values(),
            &mut activated,
        );

        let mut sum = pass.workspace.take(x.len());
        let mut y = vec![0.0; x.len()];
        linear::forward(
            output.dims(rows),
            &activated,
            &output.weight.values(),
            None,
            &mut sum,
        );
        let bias = output.bias.values();
        norm.with(|norm| {
            norm::add_forward(pass.isa, norm, &bias, self.dropout, x, &mut sum, &mut y)
        });
        self.saved.put(Activations { inner, sum });
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let saved = self.saved.take()?;
        let dx = read(x, |x| read(dy, |dy| Ok(self.backward(x, dy, saved))))?;
        Ok(Some(tensor_like(dx, x)?))
    }
}

impl Op {
    /// The gradient of `x`; the parameters' are added to them.
    fn backward(&self, x: &[f32], dy: &[f32], Activations { inner, sum }: Activations) -> Vec<f32> {
        let Self { weights, pass, .. } = self;
        let FeedForward {
            intermediate,
            output,
            norm,
            ..
        } = &**weights;
        let rows = x.len() / intermediate.inputs();
        // The residual's gradient, to which the other is added.
        let mut dx = vec![0.0; x.len()];
        let mut doutput = pass.workspace.take(x.len());
        let sums = norm.with(|norm| {
            norm::add_backward(
                pass.isa,
                norm,
                self.dropout,
                &sum,
                dy,
                &mut dx,
                &mut doutput,
            )
        });
        norm.weight.add_values(sums.part(0));
        norm.bias.add_values(sums.part(1));
        output.bias.add_values(sums.part(2));

        let mut dinner = pass.workspace.take(inner.len());
        let mut activated = pass.workspace.take(inner.len());
        linear::backward_input(
            output.dims(rows),
            &doutput,
            &output.weight.values(),
            Write::Over,
            &mut dinner,
        );
        let dbias = gelu::backward(
            pass.isa,
            &inner,
            &intermediate.bias.values(),
            &mut activated,
            &mut dinner,
        );
        intermediate.bias.add_values(dbias.part(0));
        output.weight.add_gradient(|dw, write| {
            linear::backward_weight(output.dims(rows), &doutput, &activated, write, dw)
        });

        let dims = intermediate.dims(rows);
        intermediate
            .weight
            .add_gradient(|dw, write| linear::backward_weight(dims, &dinner, x, write, dw));
        linear::backward_input(
            dims,
            &dinner,
            &intermediate.weight.values(),
            Write::Add,
            &mut dx,
        );
        dx
    }
}

//! The last layer of a head: `y = dropout(x) Wᵀ + b`, over pooled rows or over every token's.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{Dense, Pass, Site, read, slice, tensor_like};
use crate::kernels::dropout::{self, Dropout};
use crate::kernels::gemm::{Precision, Write};
use crate::kernels::linear;

/// The parameters of `classifier`.
pub struct Classifier {
    /// `classifier`
    pub dense: Dense,
    /// Probability of dropout on its input.
    pub dropout: f64,
}

impl Classifier {
    /// From `[rows, hidden]` to `[rows, outputs]`.
    ///
    /// # Errors
    /// Those of candle.
    pub fn forward(self: &Arc<Self>, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        let dropout = pass.row_dropout(self.dropout, Site::Classifier, self.dense.inputs());
        x.apply_op1(Op {
            weights: self.clone(),
            pass: pass.clone(),
            dropout,
        })
    }
}

struct Op {
    weights: Arc<Classifier>,
    pass: Pass,
    dropout: Dropout,
}

impl Op {
    fn masked(&self, x: &[f32]) -> Vec<f32> {
        let mut x = x.to_vec();
        dropout::apply(self.dropout, &mut x);
        x
    }
}

impl CustomOp1 for Op {
    fn name(&self) -> &'static str {
        "classifier"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let dense = &self.weights.dense;
        let x = self.masked(slice(storage, layout)?);
        let rows = x.len() / dense.inputs();
        let mut y = vec![0.0; rows * dense.outputs()];
        linear::forward(
            Precision::F32,
            dense.dims(rows),
            &x,
            &dense.weight.values(),
            Some(&dense.bias.values()),
            &mut y,
        );
        Ok((CpuStorage::F32(y), (rows, dense.outputs()).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dense = &self.weights.dense;
        let dims = dense.dims(x.dims()[0]);
        let masked = read(x, |x| Ok(self.masked(x)))?;
        let mut dx = vec![0.0; x.elem_count()];
        read(dy, |dy| {
            dense.weight.add_gradient(|dw, write| {
                linear::backward_weight(Precision::F32, dims, dy, &masked, write, dw)
            });
            dense
                .bias
                .add_values(linear::backward_bias(self.pass.isa, dims.outputs, dy).part(0));
            linear::backward_input(
                Precision::F32,
                dims,
                dy,
                &dense.weight.values(),
                Write::Over,
                &mut dx,
            );
            Ok(())
        })?;
        dropout::apply(self.dropout, &mut dx);
        Ok(Some(tensor_like(dx, x)?))
    }
}

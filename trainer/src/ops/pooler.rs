//! BERT's pooler: `y = tanh(x Wᵀ + b)`; backward, `d = dy·(1 − y²)` is the gradient of the dense layer's output.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{Dense, Pass, read, slice, tensor_like};
use crate::kernels::gemm::{Precision, Write};
use crate::kernels::linear;

/// The parameters of `pooler`.
pub struct Pooler {
    /// `dense`
    pub dense: Dense,
}

impl Pooler {
    /// From `[sequences, hidden]` to the same shape.
    ///
    /// # Errors
    /// Those of candle.
    pub fn forward(self: &Arc<Self>, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        x.apply_op1(Op {
            weights: self.clone(),
            pass: pass.clone(),
        })
    }
}

struct Op {
    weights: Arc<Pooler>,
    pass: Pass,
}

impl CustomOp1 for Op {
    fn name(&self) -> &'static str {
        "pooler"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let dense = &self.weights.dense;
        let x = slice(storage, layout)?;
        let rows = x.len() / dense.inputs();
        let mut y = vec![0.0; rows * dense.outputs()];
        linear::forward(
            Precision::F32,
            dense.dims(rows),
            x,
            &dense.weight.values(),
            Some(&dense.bias.values()),
            &mut y,
        );
        y.iter_mut().for_each(|y| *y = y.tanh());
        Ok((CpuStorage::F32(y), (rows, dense.outputs()).into()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dense = &self.weights.dense;
        let d: Vec<f32> = read(y, |y| {
            read(dy, |dy| {
                Ok(dy.iter().zip(y).map(|(dy, y)| dy * (1.0 - y * y)).collect())
            })
        })?;
        let dims = dense.dims(d.len() / dense.outputs());
        let mut dx = vec![0.0; x.elem_count()];
        read(x, |x| {
            dense.weight.add_gradient(|dw, write| {
                linear::backward_weight(Precision::F32, dims, &d, x, write, dw)
            });
            Ok(())
        })?;
        dense
            .bias
            .add_values(linear::backward_bias(self.pass.isa, dims.outputs, &d).part(0));
        linear::backward_input(
            Precision::F32,
            dims,
            &d,
            &dense.weight.values(),
            Write::Over,
            &mut dx,
        );
        Ok(Some(tensor_like(dx, x)?))
    }
}

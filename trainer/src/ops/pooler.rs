//! What stands between the first rows and the classifier: BERT's pooler, `y = tanh(x Wᵀ + b)`, or DistilBERT's
//! `pre_classifier`, `y = max(x Wᵀ + b, 0)`. Backward, the gradient of the dense layer's output is `d = dy·(1 − y²)`, or
//! `dy` where `y` is above 0.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{Dense, Pass, read, slice, tensor_like};
use crate::kernels::gemm::{Precision, Write};
use crate::kernels::linear;

/// The parameters of `pooler`.
pub struct Pooler {
    /// `dense`
    pub dense: Dense,
    /// What follows it.
    pub squash: Squash,
}

/// What follows the dense layer.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Squash {
    /// BERT's.
    Tanh,
    /// DistilBERT's.
    Relu,
}

impl Squash {
    fn of(self, y: f32) -> f32 {
        match self {
            Squash::Tanh => y.tanh(),
            Squash::Relu => y.max(0.0),
        }
    }

    /// The derivative where the value is `y`.
    fn slope(self, y: f32) -> f32 {
        match self {
            Squash::Tanh => 1.0 - y * y,
            Squash::Relu => f32::from(u8::from(y > 0.0)),
        }
    }
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
        let squash = self.weights.squash;
        y.iter_mut().for_each(|y| *y = squash.of(*y));
        Ok((CpuStorage::F32(y), (rows, dense.outputs()).into()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let Pooler { dense, squash } = &*self.weights;
        let d: Vec<f32> = read(y, |y| {
            read(dy, |dy| {
                Ok(dy
                    .iter()
                    .zip(y)
                    .map(|(dy, y)| dy * squash.slope(*y))
                    .collect())
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

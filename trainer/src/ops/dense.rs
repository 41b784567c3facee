//! A dense layer's parameters, and several of them over the same rows as one product.

use std::sync::Arc;

use super::{Parameter, Pass};
use crate::kernels::gemm::Write;
use crate::kernels::linear::{self, Dims};
use crate::kernels::workspace::Buffer;

/// `y = x Wᵀ + b`
pub struct Dense {
    /// `weight`, `[outputs, inputs]`
    pub weight: Arc<Parameter>,
    /// `bias`, `[outputs]`
    pub bias: Arc<Parameter>,
}

impl Dense {
    /// Columns of `y`.
    pub fn outputs(&self) -> usize {
        self.weight.shape()[0]
    }

    /// Columns of `x`.
    pub fn inputs(&self) -> usize {
        self.weight.shape()[1]
    }

    /// The layer's shape over `rows` rows.
    pub(super) fn dims(&self, rows: usize) -> Dims {
        Dims {
            rows,
            outputs: self.outputs(),
            inputs: self.inputs(),
        }
    }
}

/// Dense layers over the same rows, their outputs side by side: query, key and value. The parameters stay apart; a
/// product works on a copy of them, stacked, which costs less than a thousandth of the product.
pub(super) struct Stack<'a> {
    layers: &'a [&'a Dense],
    dims: Dims,
    weight: Buffer,
}

impl<'a> Stack<'a> {
    /// Stacks the weights of `layers`, which have the same inputs, for a product over `rows` rows.
    pub fn new(pass: &Pass, layers: &'a [&'a Dense], rows: usize) -> Self {
        let outputs = layers.iter().map(|layer| layer.outputs()).sum();
        let dims = Dims {
            rows,
            outputs,
            inputs: layers[0].inputs(),
        };
        let mut weight = pass.workspace.take(outputs * dims.inputs);
        let mut rest = &mut weight[..];
        for layer in layers {
            let values = layer.weight.values();
            let (place, after) = rest.split_at_mut(values.len());
            place.copy_from_slice(&values);
            rest = after;
        }
        Self {
            layers,
            dims,
            weight,
        }
    }

    /// `x Wᵀ + b`, rows of all the layers' outputs.
    pub fn forward(&self, pass: &Pass, x: &[f32]) -> Buffer {
        let bias: Vec<f32> = self
            .layers
            .iter()
            .flat_map(|layer| layer.bias.values().to_vec())
            .collect();
        let mut y = pass.workspace.take(self.dims.rows * self.dims.outputs);
        linear::forward(
            pass.precision,
            self.dims,
            x,
            &self.weight,
            Some(&bias),
            &mut y,
        );
        y
    }

    /// Adds the parameters' gradients, and writes or adds that of `x` to `dx`.
    pub fn backward(&self, pass: &Pass, x: &[f32], dy: &[f32], write: Write, dx: &mut [f32]) {
        linear::backward_input(pass.precision, self.dims, dy, &self.weight, write, dx);
        let mut dw = pass.workspace.take(self.weight.len());
        linear::backward_weight(pass.precision, self.dims, dy, x, Write::Over, &mut dw);
        let sums = linear::backward_bias(pass.isa, self.dims.outputs, dy);
        let (mut dw, mut db) = (&dw[..], sums.part(0));
        for layer in self.layers {
            let (part, rest) = dw.split_at(layer.weight.len());
            layer.weight.add_values(part);
            dw = rest;
            let (part, rest) = db.split_at(layer.bias.len());
            layer.bias.add_values(part);
            db = rest;
        }
    }
}

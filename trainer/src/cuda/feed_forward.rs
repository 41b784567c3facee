//! The feed-forward half of a layer on the device: the road of [`crate::ops::feed_forward`].

use super::encoder::Sum;
use super::kernels::Gelu;
use super::machine::{Buffer, Operand};
use super::pass::{Dense, Output, Pass, Rows};
use crate::device::DeviceError;
use crate::ops::Site;
use crate::ops::feed_forward::FeedForward;

/// What the backward pass needs.
pub struct Kept {
    /// The rows of the layer, as products read them.
    x: Buffer,
    /// The first product.
    h: Buffer,
    /// What the norm reads.
    z: Buffer,
    rows: usize,
}

impl Pass<'_> {
    /// From rows to as many.
    pub fn feed(&self, layer: &FeedForward, x: Rows) -> Result<(Rows, Kept), DeviceError> {
        let rows = x.count;
        let (inner, output) = (Dense::of(&layer.intermediate), Dense::of(&layer.output));
        let h = self.operands(rows * inner.outputs)?;
        self.forward(self.operand, inner, rows, x.operand(), self.over(&h))?;
        let a = self.operands(rows * inner.outputs)?;
        let argument = Gelu {
            a: a.at(),
            ..self.gelu(layer, &h, rows)
        };
        // SAFETY: `h` and `a` have `rows` rows of the layer's inner width.
        unsafe { self.stream.gelu_forward(self.operand, argument) }?;
        let z = self.full(rows * output.outputs)?;
        self.forward(self.operand, output, rows, a.at(), full(&z, false))?;
        let y = self.norm_of_sum(&sum(layer), rows, &x.full, 0, &z)?;
        let x = x.into_operand();
        Ok((y, Kept { x, h, z, rows }))
    }

    /// The gradient of the rows, from that of the result; the parameters' are added to them.
    pub fn feed_backward(
        &self,
        layer: &FeedForward,
        kept: Kept,
        dy: &Buffer,
    ) -> Result<Buffer, DeviceError> {
        let Kept { x, h, z, rows } = kept;
        let (inner, output) = (Dense::of(&layer.intermediate), Dense::of(&layer.output));
        let (dx, doutput) = self.norm_of_sum_backward(&sum(layer), rows, &z, dy)?;
        let d = self.operands(rows * inner.outputs)?;
        self.backward_input(self.operand, output, rows, doutput.at(), self.over(&d))?;
        let a = self.operands(rows * inner.outputs)?;
        let partials = self.partials(rows, 1, inner.outputs)?;
        let argument = Gelu {
            a: a.at(),
            d: d.at(),
            partials: partials.at(),
            ..self.gelu(layer, &h, rows)
        };
        // SAFETY: `h`, `a` and `d` have `rows` rows of the layer's inner width, `partials` the strips' sums.
        unsafe { self.stream.gelu_backward(self.operand, argument) }?;
        self.add_partials(
            &partials,
            1,
            rows,
            inner.outputs,
            &[&layer.intermediate.bias],
        )?;
        self.backward_weight(self.operand, output, rows, doutput.at(), a.at())?;
        self.backward_weight(self.operand, inner, rows, d.at(), x.at())?;
        self.backward_input(self.operand, inner, rows, d.at(), full(&dx, true))?;
        Ok(dx)
    }

    fn gelu(&self, layer: &FeedForward, h: &Buffer, rows: usize) -> Gelu {
        Gelu {
            h: h.at(),
            bias: self.model.value(&layer.intermediate.bias),
            a: 0,
            d: 0,
            partials: 0,
            rows: rows as u32,
            width: layer.intermediate.outputs() as u32,
        }
    }

    /// Over whatever a buffer holds, as products read it.
    fn over(&self, buffer: &Buffer) -> Output {
        Output {
            at: buffer.at(),
            written: self.operand,
            add: false,
        }
    }
}

/// In f32.
fn full(buffer: &Buffer, add: bool) -> Output {
    Output {
        at: buffer.at(),
        written: Operand::Full,
        add,
    }
}

fn sum(layer: &FeedForward) -> Sum<'_> {
    Sum {
        norm: &layer.norm,
        added: &layer.output.bias,
        dropout: layer.dropout,
        site: Site::FeedForwardOutput(layer.layer),
    }
}

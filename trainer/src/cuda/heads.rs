//! The heads on the device, in f32: the road of [`crate::ops::pooler`] and [`crate::ops::classifier`].

use super::kernels::{ColumnSums, Dropout, Elements};
use super::machine::{Address, Buffer, Operand};
use super::pass::{Dense, Output, Pass};
use crate::device::DeviceError;
use crate::kernels::dropout;
use crate::model::Head;
use crate::ops::classifier::Classifier;
use crate::ops::pooler::{Pooler, Squash};
use crate::ops::{self, Site};

/// What the backward pass needs.
pub struct Kept {
    /// The encoder's rows.
    x: Buffer,
    /// The pooler's result, where there is one.
    pooled: Option<Buffer>,
    /// What the classifier's product reads.
    masked: Buffer,
    rows: usize,
}

impl Pass<'_> {
    /// The logits of rows.
    pub fn answer(
        &self,
        head: &Head,
        x: Buffer,
        rows: usize,
    ) -> Result<(Buffer, Kept), DeviceError> {
        let (pooled, classifier) = match head {
            Head::Sequence { pooler, classifier } => {
                (Some(self.pool(pooler, &x, rows)?), classifier)
            }
            Head::Token(classifier) => (None, classifier),
        };
        let masked = self.full(rows * classifier.dense.inputs())?;
        let read = pooled.as_ref().unwrap_or(&x);
        self.mask_elements(classifier, &masked, read, rows)?;
        let logits = self.dense(&classifier.dense, &masked, rows)?;
        let bias = self.model.value(&classifier.dense.bias);
        let argument = self.elements(&logits, bias, rows, classifier.dense.outputs());
        // SAFETY: `logits` has `rows` rows of the classifier's outputs, as many as its bias.
        unsafe { self.stream.add_bias(Operand::Full, argument) }?;
        let kept = Kept {
            x,
            pooled,
            masked,
            rows,
        };
        Ok((logits, kept))
    }

    /// The gradient of the encoder's rows, from that of the logits; the parameters' are added to them.
    pub fn answer_backward(
        &self,
        head: &Head,
        kept: Kept,
        dlogits: &Buffer,
    ) -> Result<Buffer, DeviceError> {
        let Kept {
            x,
            pooled,
            masked,
            rows,
        } = kept;
        let classifier = match head {
            Head::Sequence { classifier, .. } | Head::Token(classifier) => classifier,
        };
        let d = self.dense_backward(&classifier.dense, &masked, dlogits, rows)?;
        self.mask_elements(classifier, &d, &d, rows)?;
        match (head, pooled) {
            (Head::Sequence { pooler, .. }, Some(pooled)) => {
                self.pool_backward(pooler, &x, &pooled, &d, rows)
            }
            _ => Ok(d),
        }
    }

    fn pool(&self, pooler: &Pooler, x: &Buffer, rows: usize) -> Result<Buffer, DeviceError> {
        let y = self.dense(&pooler.dense, x, rows)?;
        let bias = self.model.value(&pooler.dense.bias);
        let argument = self.elements(&y, bias, rows, pooler.dense.outputs());
        // SAFETY: `y` has `rows` rows of the pooler's outputs, as many as its bias.
        unsafe {
            match pooler.squash {
                Squash::Tanh => self.stream.tanh_forward(Operand::Full, argument),
                Squash::Relu => self.stream.relu_forward(Operand::Full, argument),
            }
        }?;
        Ok(y)
    }

    fn pool_backward(
        &self,
        pooler: &Pooler,
        x: &Buffer,
        y: &Buffer,
        d: &Buffer,
        rows: usize,
    ) -> Result<Buffer, DeviceError> {
        let argument = self.elements(d, y.at(), rows, pooler.dense.outputs());
        // SAFETY: `d` and `y` have `rows` rows of the pooler's outputs.
        unsafe {
            match pooler.squash {
                Squash::Tanh => self.stream.tanh_backward(Operand::Full, argument),
                Squash::Relu => self.stream.relu_backward(Operand::Full, argument),
            }
        }?;
        self.dense_backward(&pooler.dense, x, d, rows)
    }

    /// `to = m·from`, with the classifier's mask.
    fn mask_elements(
        &self,
        classifier: &Classifier,
        to: &Buffer,
        from: &Buffer,
        rows: usize,
    ) -> Result<(), DeviceError> {
        let argument = Elements {
            dropout: self.dropout(classifier.dropout, Site::Classifier),
            ..self.elements(to, from.at(), rows, classifier.dense.inputs())
        };
        // SAFETY: both have `rows` rows of the classifier's inputs.
        unsafe { self.stream.mask_elements(Operand::Full, argument) }
    }

    /// `x Wᵀ`
    fn dense(&self, dense: &ops::Dense, x: &Buffer, rows: usize) -> Result<Buffer, DeviceError> {
        let y = self.full(rows * dense.outputs())?;
        self.forward(Operand::Full, Dense::of(dense), rows, x.at(), over(&y))?;
        Ok(y)
    }

    /// The gradient of `x`; adds the parameters'.
    fn dense_backward(
        &self,
        dense: &ops::Dense,
        x: &Buffer,
        dy: &Buffer,
        rows: usize,
    ) -> Result<Buffer, DeviceError> {
        let shape = Dense::of(dense);
        self.backward_weight(Operand::Full, shape, rows, dy.at(), x.at())?;
        let partials = self.partials(rows, 1, dense.outputs())?;
        let argument = ColumnSums {
            x: dy.at(),
            partials: partials.at(),
            rows: rows as u32,
            width: dense.outputs() as u32,
        };
        // SAFETY: `dy` has `rows` rows of the layer's outputs, `partials` the strips' sums.
        unsafe { self.stream.column_sums(Operand::Full, argument) }?;
        self.add_partials(&partials, 1, rows, dense.outputs(), &[&dense.bias])?;
        let dx = self.full(rows * dense.inputs())?;
        self.backward_input(Operand::Full, shape, rows, dy.at(), over(&dx))?;
        Ok(dx)
    }

    fn elements(&self, x: &Buffer, with: Address, rows: usize, width: usize) -> Elements {
        Elements {
            x: x.at(),
            with,
            count: (rows * width) as u64,
            width: width as u64,
            dropout: Dropout::whole(dropout::Dropout::OFF),
        }
    }
}

/// In f32, over whatever a buffer holds.
fn over(buffer: &Buffer) -> Output {
    Output {
        at: buffer.at(),
        written: Operand::Full,
        add: false,
    }
}

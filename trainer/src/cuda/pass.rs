//! One run of the network over one batch on the device, and the steps that all parts share.

use std::sync::Arc;

use super::engine::Model;
use super::inputs::{Offset, PackedSums, Sent};
use super::kernels::{AddPartials, Dropout, STRIP, Stream};
use super::machine::{Address, Buffer, Matrix, Memory, Operand, Product};
use crate::batches::Batch;
use crate::device::DeviceError;
use crate::kernels::dropout;
use crate::ops::{self, Parameter, Site};

/// What every part needs to know.
pub struct Pass<'a> {
    /// The parameters.
    pub model: &'a Model,
    /// Where kernels run.
    pub stream: &'a Stream,
    /// Where buffers come from.
    pub memory: &'a Arc<Memory>,
    /// What the encoder's products read.
    pub operand: Operand,
    /// In training, what dropout's masks depend on.
    pub masks: Option<u64>,
    /// The batch on the host.
    pub batch: &'a Batch,
    /// What was sent of it.
    pub sent: Sent,
    /// The tokens in it.
    pub tokens: Offset,
    /// Where each sequence begins, and the end of the last.
    pub starts: Offset,
    /// In training, how the tables' gradients are added up.
    pub sums: Option<PackedSums>,
}

/// Rows of the network: in f32, and once more as products read them where that is bf16.
pub struct Rows {
    /// f32.
    pub full: Buffer,
    /// bf16.
    pub half: Option<Buffer>,
    /// How many.
    pub count: usize,
}

impl Rows {
    /// As products read them.
    pub fn operand(&self) -> Address {
        self.half.as_ref().unwrap_or(&self.full).at()
    }

    /// The buffer that products read; the other is given back.
    pub fn into_operand(self) -> Buffer {
        self.half.unwrap_or(self.full)
    }
}

/// A dense layer, or several over the same rows whose parameters lie one after the other.
#[derive(Copy, Clone)]
pub struct Dense<'a> {
    /// The first of the weights.
    pub weight: &'a Arc<Parameter>,
    /// Columns of the result.
    pub outputs: usize,
    /// Columns of the argument.
    pub inputs: usize,
}

impl<'a> Dense<'a> {
    /// One layer.
    pub fn of(dense: &'a ops::Dense) -> Self {
        Self::stack(dense, 1)
    }

    /// `count` layers of one shape, `first` the first in the flat buffers.
    pub fn stack(first: &'a ops::Dense, count: usize) -> Self {
        Self {
            weight: &first.weight,
            outputs: count * first.outputs(),
            inputs: first.inputs(),
        }
    }
}

/// A result of a product: where it is written, as what, and whether it is added to.
#[derive(Copy, Clone)]
pub struct Output {
    /// Its first number.
    pub at: Address,
    /// Of its numbers.
    pub written: Operand,
    /// Whether it is added to.
    pub add: bool,
}

impl Pass<'_> {
    /// Tokens of the batch.
    pub fn rows(&self) -> usize {
        self.batch.packing.rows()
    }

    /// Sequences of the batch.
    pub fn sequences(&self) -> usize {
        self.batch.packing.sequences()
    }

    /// The mask at a site, over all its elements.
    pub fn mask(&self, p: f64, site: Site) -> dropout::Dropout {
        ops::dropout(self.masks, p, site)
    }

    /// The same as kernels take it.
    pub fn dropout(&self, p: f64, site: Site) -> Dropout {
        Dropout::whole(self.mask(p, site))
    }

    /// A buffer of `count` f32.
    pub fn full(&self, count: usize) -> Result<Buffer, DeviceError> {
        self.memory.take(4 * count)
    }

    /// A buffer of `count` numbers as the encoder's products read them.
    pub fn operands(&self, count: usize) -> Result<Buffer, DeviceError> {
        self.memory.take(self.operand.size() * count)
    }

    /// Buffers for `count` rows that go on to products.
    pub fn new_rows(&self, count: usize, width: usize) -> Result<Rows, DeviceError> {
        let half = match self.operand {
            Operand::Full => None,
            Operand::Half => Some(self.operands(count * width)?),
        };
        let full = self.full(count * width)?;
        Ok(Rows { full, half, count })
    }

    /// `y = x Wᵀ`, for `rows` rows.
    pub fn forward(
        &self,
        operand: Operand,
        dense: Dense<'_>,
        rows: usize,
        x: Address,
        y: Output,
    ) -> Result<(), DeviceError> {
        let weight = self.model.weight(operand, dense.weight);
        self.product(Product {
            operand,
            left: plain(x, dense.inputs),
            right: transposed(weight, dense.inputs),
            result: plain(y.at, dense.outputs),
            written: y.written,
            rows,
            columns: dense.outputs,
            inner: dense.inputs,
            add: y.add,
        })
    }

    /// `dx = dy W`
    pub fn backward_input(
        &self,
        operand: Operand,
        dense: Dense<'_>,
        rows: usize,
        dy: Address,
        dx: Output,
    ) -> Result<(), DeviceError> {
        let weight = self.model.weight(operand, dense.weight);
        self.product(Product {
            operand,
            left: plain(dy, dense.outputs),
            right: plain(weight, dense.inputs),
            result: plain(dx.at, dense.inputs),
            written: dx.written,
            rows,
            columns: dense.inputs,
            inner: dense.outputs,
            add: dx.add,
        })
    }

    /// `dW += dyᵀ x`, in f32.
    pub fn backward_weight(
        &self,
        operand: Operand,
        dense: Dense<'_>,
        rows: usize,
        dy: Address,
        x: Address,
    ) -> Result<(), DeviceError> {
        let gradient = self.model.gradient(dense.weight);
        self.product(Product {
            operand,
            left: transposed(dy, dense.outputs),
            right: plain(x, dense.inputs),
            result: plain(gradient, dense.inputs),
            written: Operand::Full,
            rows: dense.outputs,
            columns: dense.inputs,
            inner: rows,
            add: true,
        })
    }

    fn product(&self, product: Product) -> Result<(), DeviceError> {
        // SAFETY: the callers above give each matrix's sizes with its buffer, which they hold; a result is a buffer of
        // its own or a place among the gradients, which no product reads.
        unsafe { self.stream.machine().multiply(&product) }
    }

    /// Room for the sums of strips of `rows` rows, `parts` sums of `width` each.
    pub fn partials(&self, rows: usize, parts: usize, width: usize) -> Result<Buffer, DeviceError> {
        self.full(rows.div_ceil(STRIP) * parts * width)
    }

    /// Adds up the sums of strips that have `parts` parts: the first ones, each to the gradient of a parameter.
    pub fn add_partials(
        &self,
        partials: &Buffer,
        parts: usize,
        rows: usize,
        width: usize,
        parameters: &[&Arc<Parameter>],
    ) -> Result<(), DeviceError> {
        let mut sums = [0; 3];
        for (sum, parameter) in sums.iter_mut().zip(parameters) {
            *sum = self.model.gradient(parameter);
        }
        let argument = AddPartials {
            partials: partials.at(),
            sums,
            strips: rows.div_ceil(STRIP) as u32,
            parts: parts as u32,
            added: parameters.len() as u32,
            width: width as u32,
        };
        // SAFETY: `partials` is as long as `Pass::partials` made it for these rows; each gradient has `width` numbers.
        unsafe { self.stream.add_partials(Operand::Full, argument) }
    }
}

fn plain(at: Address, stride: usize) -> Matrix {
    Matrix {
        at,
        stride,
        transposed: false,
    }
}

fn transposed(at: Address, stride: usize) -> Matrix {
    Matrix {
        transposed: true,
        ..plain(at, stride)
    }
}

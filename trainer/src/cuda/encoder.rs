//! Embeddings and layers on the device: the road of [`crate::ops::encoder`].

use std::sync::Arc;

use super::attention::Kept as AttentionKept;
use super::feed_forward::Kept as FeedForwardKept;
use super::kernels::{EmbedForward, NormBackward, NormForward, Scatter};
use super::machine::{Address, Buffer, Operand};
use super::pass::{Pass, Rows};
use crate::device::DeviceError;
use crate::ops::encoder::Encoder;
use crate::ops::self_attention::Asking;
use crate::ops::{LayerNorm, Parameter, Site};

/// What the backward pass needs.
pub struct Kept {
    /// What the embeddings' norm reads.
    embedded: Buffer,
    layers: Vec<(AttentionKept, FeedForwardKept)>,
}

/// What stands around a norm of a sum.
pub struct Sum<'a> {
    /// The norm.
    pub norm: &'a LayerNorm,
    /// Bias of the product.
    pub added: &'a Arc<Parameter>,
    /// Probability of dropout on the product.
    pub dropout: f64,
    /// Where its mask is.
    pub site: Site,
}

impl Pass<'_> {
    /// From the batch's tokens to rows, of every token or of the first of each sequence.
    pub fn encode(&self, encoder: &Encoder, asking: Asking) -> Result<(Rows, Kept), DeviceError> {
        let (mut x, embedded) = self.embed(encoder)?;
        let mut layers = Vec::with_capacity(encoder.layers.len());
        for (i, layer) in encoder.layers.iter().enumerate() {
            let (between, attention) =
                self.attend(&layer.attention, x, asking_of(encoder, asking, i))?;
            let (y, feed_forward) = self.feed(&layer.feed_forward, between)?;
            x = y;
            // Without a backward pass what was kept is given back at once.
            if self.masks.is_some() {
                layers.push((attention, feed_forward));
            }
        }
        Ok((x, Kept { embedded, layers }))
    }

    /// Adds the gradients of the encoder's parameters, from that of its rows.
    pub fn encode_backward(
        &self,
        encoder: &Encoder,
        kept: Kept,
        dy: Buffer,
    ) -> Result<(), DeviceError> {
        let Kept {
            embedded,
            mut layers,
        } = kept;
        let mut d = dy;
        while let Some((attention, feed_forward)) = layers.pop() {
            let layer = &encoder.layers[layers.len()];
            d = self.feed_backward(&layer.feed_forward, feed_forward, &d)?;
            d = self.attend_backward(&layer.attention, attention, &d)?;
        }
        self.embed_backward(encoder, &embedded, &d)
    }

    fn embed(&self, encoder: &Encoder) -> Result<(Rows, Buffer), DeviceError> {
        let embeddings = &encoder.embeddings;
        let width = embeddings.norm.weight.len();
        let y = self.new_rows(self.rows(), width)?;
        let z = self.full(self.rows() * width)?;
        let argument = EmbedForward {
            word: self.model.value(&embeddings.word),
            position: self.model.value(&embeddings.position),
            kind: self.model.value(&embeddings.kind),
            tokens: self.sent.at(self.tokens),
            weight: self.model.value(&embeddings.norm.weight),
            bias: self.model.value(&embeddings.norm.bias),
            z: z.at(),
            y: y.full.at(),
            operand: half(&y),
            dropout: self.dropout(embeddings.dropout, Site::Embeddings),
            rows: self.rows() as u32,
            width: width as u32,
            eps: embeddings.norm.eps,
        };
        // SAFETY: the buffers have a row for each token; the tokens' rows of the tables were checked by the engine.
        unsafe { self.stream.embed_forward(self.operand, argument) }?;
        Ok((y, z))
    }

    fn embed_backward(
        &self,
        encoder: &Encoder,
        z: &Buffer,
        dy: &Buffer,
    ) -> Result<(), DeviceError> {
        let embeddings = &encoder.embeddings;
        let (rows, width) = (self.rows(), embeddings.norm.weight.len());
        let dz = self.full(rows * width)?;
        let partials = self.partials(rows, 3, width)?;
        let argument = NormBackward {
            z: z.at(),
            dy: dy.at(),
            weight: self.model.value(&embeddings.norm.weight),
            dz: dz.at(),
            dx: 0,
            partials: partials.at(),
            dropout: self.dropout(embeddings.dropout, Site::Embeddings),
            rows: rows as u32,
            width: width as u32,
            eps: embeddings.norm.eps,
        };
        // SAFETY: `z`, `dy` and `dz` have a row for each token, `partials` the strips' sums.
        unsafe { self.stream.norm_backward(self.operand, argument) }?;
        // The third part is that of a product's bias, of which there is none here.
        let norm = &embeddings.norm;
        self.add_partials(&partials, 3, rows, width, &[&norm.weight, &norm.bias])?;
        self.scatter(encoder, &dz, width)
    }

    fn scatter(&self, encoder: &Encoder, dz: &Buffer, width: usize) -> Result<(), DeviceError> {
        let Some(sums) = self.sums else {
            return Ok(());
        };
        let embeddings = &encoder.embeddings;
        for table in [&embeddings.word, &embeddings.position, &embeddings.kind] {
            self.model.gradient(table);
        }
        let of_pieces = self.full(sums.piece_count * width)?;
        let argument = Scatter {
            dz: dz.at(),
            order: self.sent.at(sums.order),
            pieces: self.sent.at(sums.pieces),
            sums: of_pieces.at(),
            rows: self.sent.at(sums.rows),
            gradient: self.model.gradients(),
            width: width as u32,
            piece_count: sums.piece_count as u32,
            row_count: sums.row_count as u32,
        };
        // SAFETY: `inputs::Sums` made the indices, for this batch's rows and the tables' places.
        unsafe {
            self.stream.sum_pieces(Operand::Full, argument)?;
            self.stream.add_pieces(Operand::Full, argument)
        }
    }

    /// `z = residual + dropout(z + bias)`, `y = norm(z)`, for `rows` rows; row i of the residual is row `from[i]`.
    pub fn norm_of_sum(
        &self,
        sum: &Sum<'_>,
        rows: usize,
        residual: &Buffer,
        from: Address,
        z: &Buffer,
    ) -> Result<Rows, DeviceError> {
        let width = sum.norm.weight.len();
        let y = self.new_rows(rows, width)?;
        let argument = NormForward {
            weight: self.model.value(&sum.norm.weight),
            bias: self.model.value(&sum.norm.bias),
            added: self.model.value(sum.added),
            residual: residual.at(),
            from,
            z: z.at(),
            y: y.full.at(),
            operand: half(&y),
            dropout: self.dropout(sum.dropout, sum.site),
            rows: rows as u32,
            width: width as u32,
            eps: sum.norm.eps,
        };
        // SAFETY: `z` and `y` have `rows` rows, and the residual those that `from` names or as many.
        unsafe { self.stream.norm_forward(self.operand, argument) }?;
        Ok(y)
    }

    /// From `dy` the gradients of the sum, which is the residual's, and of the product; adds those of the parameters.
    pub fn norm_of_sum_backward(
        &self,
        sum: &Sum<'_>,
        rows: usize,
        z: &Buffer,
        dy: &Buffer,
    ) -> Result<(Buffer, Buffer), DeviceError> {
        let width = sum.norm.weight.len();
        let (dz, dx) = (self.full(rows * width)?, self.operands(rows * width)?);
        let partials = self.partials(rows, 3, width)?;
        let argument = NormBackward {
            z: z.at(),
            dy: dy.at(),
            weight: self.model.value(&sum.norm.weight),
            dz: dz.at(),
            dx: dx.at(),
            partials: partials.at(),
            dropout: self.dropout(sum.dropout, sum.site),
            rows: rows as u32,
            width: width as u32,
            eps: sum.norm.eps,
        };
        // SAFETY: all buffers have `rows` rows, `partials` the strips' sums.
        unsafe { self.stream.norm_backward(self.operand, argument) }?;
        let parameters = [&sum.norm.weight, &sum.norm.bias, sum.added];
        self.add_partials(&partials, 3, rows, width, &parameters)?;
        Ok((dz, dx))
    }
}

/// Where the bf16 of rows is, or 0.
fn half(rows: &Rows) -> Address {
    rows.half.as_ref().map_or(0, Buffer::at)
}

/// The rows of layer `i` that ask: in all but the last, every one.
fn asking_of(encoder: &Encoder, asking: Asking, i: usize) -> Asking {
    if i + 1 == encoder.layers.len() {
        asking
    } else {
        Asking::EveryRow
    }
}

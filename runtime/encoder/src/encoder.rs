//! The blocks of the network, each a sequence of kernels.

use core::fmt;

use berth_bundle::{Bundle, Layer};
use berth_kernels::{
    Activation, Attention, AttentionScratch, ByteRow, ColumnsMut, Isa, Linear, RowsMut,
};

use crate::scratch::Scratch;

/// A model's weights, and the instruction set that they are used with.
#[derive(Clone)]
pub struct Encoder<'a> {
    bundle: Bundle<'a>,
    isa: Isa,
}

/// Which rows of a layer's output are needed.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Rows {
    /// Those of all tokens.
    All,
    /// That of `[CLS]` alone.
    First,
}

/// Why an input has no output.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum ForwardError {
    /// No tokens, not even `[CLS]`.
    NoTokens,
    /// More tokens than the model has positions or the scratch has room for.
    TooManyTokens {
        /// How many there are.
        tokens: usize,
        /// How many there may be.
        most: usize,
    },
    /// An id that the model has no embedding for.
    UnknownId {
        /// The id.
        id: u32,
        /// Where it stands.
        position: usize,
    },
    /// The second text begins behind the last token.
    Second {
        /// Where it is said to begin.
        second: usize,
        /// How many tokens there are.
        tokens: usize,
    },
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForwardError::NoTokens => f.write_str("no tokens"),
            ForwardError::TooManyTokens { tokens, most } => {
                write!(f, "{tokens} tokens where there is room for {most}")
            }
            ForwardError::UnknownId { id, position } => {
                write!(f, "token {position} is {id}, which the model has no embedding for")
            }
            ForwardError::Second { second, tokens } => {
                write!(f, "the second text begins at {second} of {tokens} tokens")
            }
        }
    }
}

impl core::error::Error for ForwardError {}

impl<'a> Encoder<'a> {
    /// An encoder over the bundle's weights; they are used where they lie.
    pub fn new(bundle: &Bundle<'a>, isa: Isa) -> Self {
        let bundle = bundle.clone();
        Encoder { bundle, isa }
    }

    /// The instruction set that the kernels run on.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Computes the logits of one input: `outputs` of them for a head that reads the first row,
    /// else so many for each token. The tokens from `second` on belong to the second text.
    ///
    /// # Errors
    /// As [`embed`](Self::embed).
    ///
    /// # Panics
    /// When `logits` has another length.
    pub fn forward(
        &self,
        ids: &[u32],
        second: usize,
        scratch: &mut Scratch<'_>,
        logits: &mut [f32],
    ) -> Result<(), ForwardError> {
        self.check(ids, second, scratch)?;
        let all = core::mem::take(&mut scratch.hidden);
        let hidden = &mut all[..ids.len() * self.hidden()];
        let embedded = self.embed(ids, second, hidden, scratch);
        if embedded.is_ok() {
            let layers = self.bundle.header().shape.layers as usize;
            for index in 0..layers {
                self.layer(index, self.rows(index), hidden, scratch);
            }
            let rows = if self.rows(layers - 1) == Rows::First { 1 } else { ids.len() };
            self.head(&hidden[..rows * self.hidden()], logits, scratch);
        }
        scratch.hidden = all;
        embedded
    }

    /// Which rows of a layer's output somebody reads.
    pub fn rows(&self, layer: usize) -> Rows {
        let header = self.bundle.header();
        let last = layer + 1 == header.shape.layers as usize;
        if last && header.task.reads_first_row_only() { Rows::First } else { Rows::All }
    }

    /// Writes the embedding of each token to its row of `hidden`, `[tokens][hidden]`.
    ///
    /// # Errors
    /// When there is no token, or more than the model has positions or the scratch has room for,
    /// when an id is unknown, or when `second` is behind the end.
    ///
    /// # Panics
    /// When `hidden` has another length.
    pub fn embed(
        &self,
        ids: &[u32],
        second: usize,
        hidden: &mut [f32],
        scratch: &mut Scratch<'_>,
    ) -> Result<(), ForwardError> {
        self.check(ids, second, scratch)?;
        let width = self.hidden();
        assert_eq!(hidden.len(), ids.len() * width, "a row for each token");
        let tables = self.bundle.embeddings();
        for (position, (&id, out)) in ids.iter().zip(hidden.chunks_exact_mut(width)).enumerate() {
            let unknown = ForwardError::UnknownId { id, position };
            let word = byte_row(tables.word, tables.word_scale, id as usize, width);
            let place = byte_row(tables.position, tables.position_scale, position, width);
            let kind = if position < second { 0 } else { width };
            let kind = &tables.kind[kind..kind + width];
            let (word, place) = (word.ok_or(unknown)?, place.ok_or(unknown)?);
            self.isa.embed(word, place, kind, &tables.norm, out);
        }
        Ok(())
    }

    /// Replaces the rows of `hidden` by the layer's output. With [`Rows::First`] the first row
    /// alone is the output, and the others mean nothing.
    ///
    /// # Panics
    /// When there is no such layer, when `hidden` is not whole rows, one at least, or when the
    /// scratch has no room for so many.
    pub fn layer(
        &self,
        index: usize,
        rows: Rows,
        hidden: &mut [f32],
        scratch: &mut Scratch<'_>,
    ) {
        let width = self.hidden();
        let tokens = hidden.len() / width;
        assert!(tokens > 0 && tokens * width == hidden.len(), "whole rows");
        assert!(tokens <= scratch.tokens, "scratch for so many tokens");
        let layer = self.bundle.layer(index);
        let needed = if rows == Rows::First { 1 } else { tokens };

        self.attend(&layer, needed, hidden, scratch);
        let hidden = &mut hidden[..needed * width];
        let narrow = &mut scratch.narrow[..needed * width];
        self.isa.add_norm(hidden, narrow, &layer.attention_norm);

        let inside = needed * layer.up.outputs;
        let quantized = &mut *scratch.quantized;
        let (scale, low) = (&mut *scratch.scale, &mut *scratch.low);
        let mut apply = |linear: &Linear<'_>, x: &[f32], activation, out: &mut [f32]| {
            self.linear(linear, x, activation, out, (&mut *quantized, &mut *scale, &mut *low));
        };
        let wide = &mut scratch.wide[..inside];
        apply(&layer.up, hidden, Activation::Gelu, wide);
        apply(&layer.down, wide, Activation::None, narrow);
        self.isa.add_norm(hidden, narrow, &layer.output_norm);
    }

    /// Leaves the attention block's output for the first `needed` rows in `scratch.narrow`.
    fn attend(
        &self,
        layer: &Layer<'_>,
        needed: usize,
        hidden: &[f32],
        scratch: &mut Scratch<'_>,
    ) {
        let shape = &self.bundle.header().shape;
        let width = self.hidden();
        let tokens = hidden.len() / width;
        let qkv = &mut scratch.wide[..tokens * layer.qkv.outputs];
        let quantized = &mut *scratch.quantized;
        let (scale, low) = (&mut *scratch.scale, &mut *scratch.low);
        self.project(&layer.qkv, hidden, needed, qkv, (&mut *quantized, &mut *scale, &mut *low));

        let heads = shape.heads as usize;
        let input = Attention { qkv, tokens, heads, head_size: shape.head_size() as usize };
        let mut memory =
            AttentionScratch::new(scratch.attention_floats, scratch.attention_bytes);
        let context = &mut scratch.narrow[..needed * width];
        let columns = ColumnsMut::new(context, width).expect("whole rows");
        self.isa.attention(&input, 0..heads, &mut memory, columns);

        // Query, key and value are done with, so their memory takes the output.
        let out = &mut scratch.wide[..needed * width];
        let memory = (quantized, scale, low);
        self.linear(&layer.attention_out, context, Activation::None, out, memory);
        context.copy_from_slice(out);
    }

    /// Query, key and value of every token; the queries of the first `needed` alone.
    fn project(
        &self,
        qkv: &Linear<'_>,
        hidden: &[f32],
        needed: usize,
        out: &mut [f32],
        memory: Memory<'_>,
    ) {
        let width = self.hidden();
        let tokens = hidden.len() / width;
        let x = self.quantize(hidden, width, memory);
        let columns = ColumnsMut::new(out, qkv.outputs).expect("whole rows");
        let (queries, rest) = columns.split_at(width);
        let split = width / berth_kernels::LANES;
        let first = x.first(needed);
        self.isa.linear(first, qkv, 0..split, Activation::None, queries.first_rows(needed));
        debug_assert_eq!(x.len(), tokens);
        self.isa.linear(x, qkv, split..3 * split, Activation::None, rest);
    }

    /// Turns rows into logits: through the pooler where there is one, then the last dense layer.
    ///
    /// # Panics
    /// When `rows` is not whole rows, one at least, when the scratch has no room for so many, or
    /// when `logits` does not have `outputs` values for each.
    pub fn head(&self, rows: &[f32], logits: &mut [f32], scratch: &mut Scratch<'_>) {
        let width = self.hidden();
        let head = self.bundle.head();
        let x = match &head.pooler {
            Some(pooler) => {
                let pooled = &mut scratch.narrow[..rows.len()];
                let memory = (&mut *scratch.quantized, &mut *scratch.scale, &mut *scratch.low);
                self.linear(pooler, rows, Activation::None, pooled, memory);
                self.isa.tanh(pooled);
                pooled
            }
            None => rows,
        };
        self.isa.dense(x, width, head.weight, head.bias, logits);
    }

    /// A dense layer on rows of floats.
    fn linear(
        &self,
        linear: &Linear<'_>,
        x: &[f32],
        activation: Activation,
        out: &mut [f32],
        memory: Memory<'_>,
    ) {
        let x = self.quantize(x, linear.inputs, memory);
        let out = ColumnsMut::new(out, linear.outputs).expect("whole rows");
        self.isa.linear(x, linear, 0..linear.panels(), activation, out);
    }

    fn quantize<'m>(
        &self,
        x: &[f32],
        width: usize,
        (values, scale, low): Memory<'m>,
    ) -> berth_kernels::Rows<'m> {
        let count = x.len() / width;
        let (values, scale, low) =
            (&mut values[..x.len()], &mut scale[..count], &mut low[..count]);
        let mut rows = RowsMut::new(width, values, scale, low).expect("rows of whole groups");
        self.isa.quantize_rows(x, rows.reborrow());
        rows.into_rows()
    }

    fn hidden(&self) -> usize {
        self.bundle.header().shape.hidden as usize
    }

    fn check(
        &self,
        ids: &[u32],
        second: usize,
        scratch: &Scratch<'_>,
    ) -> Result<(), ForwardError> {
        let tokens = ids.len();
        let most = scratch.tokens.min(self.bundle.header().shape.positions as usize);
        if tokens == 0 {
            return Err(ForwardError::NoTokens);
        }
        if tokens > most {
            return Err(ForwardError::TooManyTokens { tokens, most });
        }
        if second > tokens {
            return Err(ForwardError::Second { second, tokens });
        }
        Ok(())
    }
}

/// Where quantized rows go: their values, and the scale and the lowest value of each.
type Memory<'m> = (&'m mut [u8], &'m mut [f32], &'m mut [f32]);

/// A row of a quantized table, where there is one.
fn byte_row<'t>(
    table: &'t [i8],
    scales: &[f32],
    index: usize,
    width: usize,
) -> Option<ByteRow<'t>> {
    let scale = *scales.get(index)?;
    let values = table.chunks_exact(width).nth(index)?;
    Some(ByteRow { values, scale })
}

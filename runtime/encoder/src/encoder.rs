//! The blocks of the network, each a sequence of kernels.

use core::ops::Range;
use core::{iter, mem};

use berth_bundle::{Bundle, Layer, LayerWeights, Shape};
use berth_kernels::{
    Activation, Attention, AttentionScratch, ByteRow, ColumnsMut, Isa, LANES, f16,
};

use crate::error::ForwardError;
use crate::scratch::{
    BLOCK, Bench, HeadsMemory, Quantized, RowsMemory, SHORT, Scratch, heads_together, kept,
};
use crate::team::{Team, parts, share};
use crate::watch::{Part, Watch};
use crate::weights::{Value, Weights};

/// A model's weights, and the instruction set that they are used with.
#[derive(Clone, Debug)]
pub struct Encoder<'a> {
    bundle: Bundle<'a>,
    isa: Isa,
    watch: Option<&'a dyn Watch>,
}

/// Which rows of a layer's output are needed.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Rows {
    /// Those of all tokens.
    All,
    /// That of `[CLS]` alone.
    First,
}

impl<'a> Encoder<'a> {
    /// An encoder over the bundle's weights; they are used where they lie.
    pub fn new(bundle: &Bundle<'a>, isa: Isa) -> Self {
        let bundle = bundle.clone();
        Encoder {
            bundle,
            isa,
            watch: None,
        }
    }

    /// The same, watched.
    pub fn watched(self, watch: &'a dyn Watch) -> Self {
        Encoder {
            watch: Some(watch),
            ..self
        }
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
    /// When `logits` has another length, or the scratch was cut for another shape.
    pub fn forward(
        &self,
        ids: &[u32],
        second: usize,
        scratch: &mut Scratch<'_>,
        logits: &mut [f32],
    ) -> Result<(), ForwardError> {
        self.check(ids, second, scratch)?;
        // The rows are lent to the blocks beside the rest of the scratch.
        let rows = mem::take(&mut scratch.hidden);
        let done = self.run(ids, second, rows, scratch, logits);
        scratch.hidden = rows;
        done
    }

    /// All blocks, one after another, on rows at the beginning of `rows`.
    fn run(
        &self,
        ids: &[u32],
        second: usize,
        rows: &mut [f32],
        scratch: &mut Scratch<'_>,
        logits: &mut [f32],
    ) -> Result<(), ForwardError> {
        let width = self.width();
        let hidden = &mut rows[..ids.len() * width];
        self.embed(ids, second, hidden, scratch)?;
        let mut needed = Rows::All;
        for index in 0..self.shape().layers as usize {
            needed = self.rows(index);
            self.layer(index, needed, hidden, scratch);
        }
        let read = match needed {
            Rows::All => hidden,
            Rows::First => &mut hidden[..width],
        };
        self.head(read, logits, scratch);
        Ok(())
    }

    /// Which rows of a layer's output somebody reads.
    pub fn rows(&self, layer: usize) -> Rows {
        let last = layer.checked_add(1) == Some(self.shape().layers as usize);
        if last && self.bundle.header().task.reads_first_row_only() {
            Rows::First
        } else {
            Rows::All
        }
    }

    /// Writes the embedding of each token to its row of `hidden`, `[tokens][width]`.
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
        let width = self.width();
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
    pub fn layer(&self, index: usize, rows: Rows, hidden: &mut [f32], scratch: &mut Scratch<'_>) {
        let width = self.width();
        let tokens = hidden.len() / width;
        assert!(tokens > 0 && tokens * width == hidden.len(), "whole rows");
        assert!(tokens <= scratch.tokens, "scratch for so many tokens");
        let needed = match rows {
            Rows::All => tokens,
            Rows::First => 1,
        };
        let (long, bench) = (tokens > SHORT, &mut scratch.bench);
        match self.bundle.layer(index) {
            LayerWeights::Int8(layer) if long => {
                let halves = &mut scratch.halves[..tokens * width];
                let x = self.begin(hidden, halves, &mut scratch.quantized, bench.team);
                self.attend::<f16, _>(&layer.qkv, x, [tokens, needed], bench);
                self.follow(&layer, hidden, halves, needed, bench);
            }
            LayerWeights::Int8(layer) => {
                let x = self.begin::<f32>(hidden, &mut [], &mut scratch.quantized, bench.team);
                self.attend::<f32, _>(&layer.qkv, x, [tokens, needed], bench);
                self.follow::<f32, _>(&layer, hidden, &mut [], needed, bench);
            }
            LayerWeights::F32(layer) => {
                self.attend(&layer.qkv, &*hidden, [tokens, needed], bench);
                self.follow(&layer, hidden, &mut [], needed, bench);
            }
        }
    }

    /// The rows that an int8 layer begins with, and what its first linear reads of them.
    fn begin<'q, V: Value>(
        &self,
        hidden: &[f32],
        own: &mut [V],
        quantized: &'q mut Quantized<'_>,
        team: &dyn Team,
    ) -> berth_kernels::Rows<'q> {
        let width = self.width();
        let tokens = hidden.len() / width;
        let each = tokens.div_ceil(team.threads());
        let places = quantized.pieces(tokens, width, each);
        let hidden = hidden.chunks(each * width);
        let pieces = hidden.zip(runs(own, each * width)).zip(places);
        share(team, parts(pieces), |((hidden, own), places)| {
            V::begin(self.isa, hidden, own);
            self.isa.quantize_rows(V::rows(hidden, own), places);
        });
        quantized.written(tokens, width)
    }

    /// From a layer's rows to the context of the first `needed` of them: a few heads at a time,
    /// so that their query, key and value are still near when attention reads them.
    fn attend<V: Value, L: Weights<V>>(
        &self,
        qkv: &L,
        x: L::Rows<'_>,
        [tokens, needed]: [usize; 2],
        bench: &mut Bench<'_>,
    ) {
        let (width, heads) = (self.heads_width(), self.shape().heads as usize);
        let head_width = width / heads;
        let team = bench.team;
        let context = kept(bench.context, needed * width).expect("room for so many tokens");
        let mut rest = Some(whole(context, width));
        let shares = bench.shares.chunks_mut(bench.share);
        let pieces = cut(heads, team.threads())
            .zip(shares)
            .map(|(heads, memory)| {
                let left = rest.take().expect("columns of the heads that are left");
                let (out, right) = left.split_at(heads.len() * head_width);
                rest = Some(right);
                (heads, out, memory)
            });
        share(team, parts(pieces), |(heads, mut out, memory)| {
            for heads in steps(heads, heads_together(self.shape(), tokens)) {
                let (columns, right) = out.split_at(heads.len() * head_width);
                self.heads(*qkv, (x, tokens), heads, memory, columns);
                out = right;
            }
        });
    }

    /// Query, key and value of some heads, and their attention: of all rows, and of as many as `out`
    /// has.
    fn heads<V: Value, L: Weights<V>>(
        &self,
        qkv: L,
        (x, tokens): (L::Rows<'_>, usize),
        heads: Range<usize>,
        memory: &mut [u8],
        out: ColumnsMut<'_, V>,
    ) {
        let head_width = self.shape().head_width() as usize;
        let memory = HeadsMemory::carve(memory, self.bundle.header(), tokens);
        let memory = memory.expect("a share for so many tokens");
        let columns = heads.len() * head_width;
        let buffer = &mut memory.qkv[..tokens * 3 * columns];
        let (queries, others) = whole(buffer, 3 * columns).split_at(columns);
        let (keys, values) = others.split_at(columns);
        let panels = |third: usize| {
            let panel = |head: usize| (third * self.heads_width() + head * head_width) / LANES;
            panel(heads.start)..panel(heads.end)
        };
        let queries = queries.first_rows(out.rows());
        let parts = [(panels(0), queries), (panels(1), keys), (panels(2), values)];
        self.tell(Part::Linear, || qkv.parts(self.isa, x, parts));
        let input = Attention {
            qkv: buffer,
            tokens,
            heads: heads.len(),
            head_size: head_width,
        };
        let mut scratch = AttentionScratch::new(memory.floats, memory.bytes);
        self.tell(Part::Attention, || {
            L::attention(self.isa, &input, &mut scratch, out);
        });
    }

    /// What follows attention in a layer, for the first `needed` rows: each of them by itself.
    fn follow<V: Value, L: Weights<V>>(
        &self,
        layer: &Layer<'_, L>,
        hidden: &mut [f32],
        own: &mut [V],
        needed: usize,
        bench: &mut Bench<'_>,
    ) {
        let (width, heads) = (self.width(), self.heads_width());
        let each = needed.div_ceil(bench.team.threads());
        let context = kept(bench.context, needed * heads).expect("room for so many tokens");
        let context = context.chunks(each * heads);
        let hidden = hidden[..needed * width].chunks_mut(each * width);
        let shares = bench.shares.chunks_mut(bench.share);
        let rows = hidden.zip(runs(own, each * width));
        let pieces = rows.zip(context).zip(shares);
        share(bench.team, parts(pieces), |((rows, context), memory)| {
            let blocks = rows.0.chunks_mut(BLOCK * width);
            let blocks = blocks.zip(runs(rows.1, BLOCK * width));
            for (rows, context) in blocks.zip(context.chunks(BLOCK * heads)) {
                self.after_attention(layer, rows, context, memory);
            }
        });
    }

    /// The rest of a layer, for a block of rows: attention's output layer, the feed-forward block,
    /// and behind each the residual sum and the norm.
    fn after_attention<V: Value, L: Weights<V>>(
        &self,
        layer: &Layer<'_, L>,
        (hidden, own): (&mut [f32], &mut [V]),
        context: &[V],
        memory: &mut [u8],
    ) {
        let rows = hidden.len() / self.width();
        let memory = RowsMemory::carve(memory, self.bundle.header(), rows);
        let RowsMemory {
            inside,
            out,
            sums,
            ranges,
            mut quantized,
        } = memory.expect("a share for a block of rows");
        let isa = self.isa;
        let Layer {
            attention_out,
            up,
            down,
            ..
        } = *layer;

        let x = attention_out.rows(isa, context, &mut quantized);
        self.tell(Part::Linear, || {
            attention_out.all(isa, x, whole(out, attention_out.outputs()));
        });
        V::norm(isa, (hidden, own), out, &layer.attention_norm, sums);

        let x = up.rows(isa, V::rows(hidden, own), &mut quantized);
        self.tell(Part::Linear, || {
            up.inside(isa, x, whole(inside, up.outputs()), ranges);
        });
        self.tell(Part::Linear, || {
            let out = whole(out, down.outputs());
            down.behind(isa, inside, ranges, &mut quantized, out);
        });
        V::end(isa, (hidden, own), out, &layer.output_norm);
    }

    /// Turns rows into logits: through the pooler where there is one, then the last dense layer.
    ///
    /// # Panics
    /// When `rows` is not whole rows, one at least, when it is more than the one row that a pooler reads, when the scratch
    /// has no room for so many, or when `logits` does not have `outputs` values for each.
    pub fn head(&self, rows: &[f32], logits: &mut [f32], scratch: &mut Scratch<'_>) {
        let width = self.width();
        assert!(
            !rows.is_empty() && rows.len().is_multiple_of(width),
            "whole rows"
        );
        assert!(
            rows.len() / width <= scratch.tokens,
            "scratch for so many tokens"
        );
        let head = self.bundle.head();
        let x = match &head.pooler {
            Some(pooler) => {
                assert_eq!(rows.len(), width, "the one row that a pooler reads");
                let pooled =
                    kept::<f32>(scratch.bench.context, rows.len()).expect("room for a row");
                let x = scratch.quantized.rows(self.isa, rows, width);
                let (all, out) = (0..pooler.panels(), whole(pooled, width));
                self.isa.linear(x, pooler, all, Activation::None, out);
                if self.bundle.header().has_relu_head() {
                    // No sum of a zero depends on its sign.
                    pooled.iter_mut().for_each(|y| *y = y.max(0.0));
                } else {
                    self.isa.tanh(pooled);
                }
                pooled
            }
            None => rows,
        };
        self.isa.dense(x, width, head.weight, head.bias, logits);
    }

    /// Does a part of the work, and tells who watches.
    fn tell(&self, part: Part, work: impl FnOnce()) {
        if let Some(watch) = self.watch {
            watch.begin(part);
            work();
            watch.end(part);
        } else {
            work();
        }
    }

    fn shape(&self) -> &Shape {
        &self.bundle.header().shape
    }

    /// How many elements a row has between the layers.
    fn width(&self) -> usize {
        self.shape().width() as usize
    }

    /// How many elements the heads of a row have together.
    fn heads_width(&self) -> usize {
        self.shape().heads_width() as usize
    }

    fn check(&self, ids: &[u32], second: usize, scratch: &Scratch<'_>) -> Result<(), ForwardError> {
        let most = scratch.tokens.min(self.shape().positions as usize);
        check_input(ids.len(), second, most)
    }
}

/// Whether an input of so many tokens, those from `second` on of the second text, has an output where there is room for
/// `most`; but for ids that the model has not.
///
/// # Errors
/// In what it has none.
pub fn check_input(tokens: usize, second: usize, most: usize) -> Result<(), ForwardError> {
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

/// Cuts `count` things into at most `pieces` ranges, as equal as can be and none of them empty.
fn cut(count: usize, pieces: usize) -> impl Iterator<Item = Range<usize>> {
    let pieces = pieces.min(count);
    (0..pieces).map(move |piece| piece * count / pieces..(piece + 1) * count / pieces)
}

/// Cuts a range into pieces of `most`, the last one perhaps shorter.
fn steps(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range
        .step_by(most)
        .map(move |start| start..end.min(start + most))
}

/// Pieces of so many values, of which there may be none: then each is empty.
fn runs<V>(values: &mut [V], len: usize) -> impl Iterator<Item = &mut [V]> {
    let mut rest = values;
    iter::repeat_with(move || {
        let all = mem::take(&mut rest);
        let (run, behind) = all.split_at_mut(len.min(all.len()));
        rest = behind;
        run
    })
}

/// All columns of a matrix that was cut to whole rows.
fn whole<T>(matrix: &mut [T], columns: usize) -> ColumnsMut<'_, T> {
    ColumnsMut::new(matrix, columns).expect("whole rows")
}

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

//! Where each array stands in its section: one walk for the reader, the writer and the lengths.
//!
//! [`embeddings`], [`layer`] and [`head`] name the arrays of a section in the order of the file,
//! each with the number of elements that the shape asks for. What happens to an array on the way
//! is the visitor's: [`Measure`] adds up the bytes, [`Slices`] points the array at its bytes, and
//! the writer's visitor copies it. So the three can't disagree.

use berth_kernels::{LANES, Linear, LinearF32, Norm};
use berth_task::Task;

use crate::ALIGNMENT;
use crate::section::SectionKind;
use crate::shape::Shape;

/// The embedding tables, row by row.
#[derive(Copy, Clone, Debug)]
pub struct Embeddings<'a> {
    /// `[vocab_size][width]`.
    pub word: &'a [i8],
    /// `[vocab_size]`: what one step of each row is worth.
    pub word_scale: &'a [f32],
    /// `[positions][width]`.
    pub position: &'a [i8],
    /// `[positions]`: what one step of each row is worth.
    pub position_scale: &'a [f32],
    /// `[types][width]`, not quantized.
    pub kind: &'a [f32],
    /// Applied to the sum of the three.
    pub norm: Norm<'a>,
}

/// One encoder layer, in int8 if nothing else is said.
#[derive(Copy, Clone, Debug)]
pub struct Layer<'a, L = Linear<'a>> {
    /// Query, key and value in one: `3 * heads_width` outputs, each third sorted by head.
    ///
    /// The outputs of the query carry the factor `log2(e) / sqrt(head size)`.
    pub qkv: L,
    /// From the heads' values, side by side, back to `width`.
    pub attention_out: L,
    /// After attention.
    pub attention_norm: Norm<'a>,
    /// From `width` to `inside_width`; GELU follows.
    pub up: L,
    /// From `inside_width` to `width`.
    pub down: L,
    /// At the end of the layer.
    pub output_norm: Norm<'a>,
}

/// One encoder layer in floats.
pub type LayerF32<'a> = Layer<'a, LinearF32<'a>>;

/// One encoder layer as it stands in a bundle.
#[derive(Copy, Clone, Debug)]
pub enum LayerWeights<'a> {
    /// In int8.
    Int8(Layer<'a>),
    /// In floats.
    F32(LayerF32<'a>),
}

impl<'a> LayerWeights<'a> {
    /// The layer, where it is in int8.
    pub fn int8(self) -> Option<Layer<'a>> {
        match self {
            LayerWeights::Int8(layer) => Some(layer),
            LayerWeights::F32(_) => None,
        }
    }

    /// The layer, where it is in floats.
    pub fn f32(self) -> Option<LayerF32<'a>> {
        match self {
            LayerWeights::Int8(_) => None,
            LayerWeights::F32(layer) => Some(layer),
        }
    }
}

/// A linear of either kind, to be walked over.
pub(crate) trait AnyLinear<'a>: Copy {
    /// Before a walk has filled it in.
    const EMPTY: Self;

    /// Walks over it. Both dimensions are multiples of 16, so the packed weights have no padding.
    fn walk(&mut self, inputs: u64, outputs: u64, to: &mut impl Arrays<'a>);
}

/// What turns the encoder's rows into logits.
#[derive(Copy, Clone, Debug)]
pub struct Head<'a> {
    /// `width` to `width` on the first row; tanh follows, or ReLU where the section's kind says so. There for
    /// tasks that read the first row only, and for no other.
    pub pooler: Option<Linear<'a>>,
    /// `[outputs][width]`, not quantized.
    pub weight: &'a [f32],
    /// `[outputs]`.
    pub bias: &'a [f32],
}

/// What is done with each array of a section, in the order of the file.
pub(crate) trait Arrays<'a> {
    /// `array` has, or shall have, `count` elements.
    fn integers(&mut self, array: &mut &'a [i8], count: u64);
    /// As `integers`.
    fn floats(&mut self, array: &mut &'a [f32], count: u64);
    /// `field` is, or shall be, `size`; it is not stored, since the shape has it.
    fn dimension(&mut self, field: &mut usize, size: u64);
}

/// Walks over the section of the embeddings.
pub(crate) fn embeddings<'a>(shape: &Shape, of: &mut Embeddings<'a>, to: &mut impl Arrays<'a>) {
    let width = u64::from(shape.width());
    let [words, positions, types] = [shape.vocab_size, shape.positions, shape.types].map(u64::from);
    to.integers(&mut of.word, words * width);
    to.floats(&mut of.word_scale, words);
    to.integers(&mut of.position, positions * width);
    to.floats(&mut of.position_scale, positions);
    to.floats(&mut of.kind, types * width);
    norm(shape, &mut of.norm, to);
}

/// Walks over the section of a layer.
pub(crate) fn layer<'a, L: AnyLinear<'a>>(
    shape: &Shape,
    of: &mut Layer<'a, L>,
    to: &mut impl Arrays<'a>,
) {
    let widths = [shape.width(), shape.heads_width(), shape.inside_width()];
    let [width, heads, inside] = widths.map(u64::from);
    of.qkv.walk(width, 3 * heads, to);
    of.attention_out.walk(heads, width, to);
    norm(shape, &mut of.attention_norm, to);
    of.up.walk(width, inside, to);
    of.down.walk(inside, width, to);
    norm(shape, &mut of.output_norm, to);
}

/// Walks over the section of the head, and over the pooler where `of` has one.
pub(crate) fn head<'a>(shape: &Shape, of: &mut Head<'a>, to: &mut impl Arrays<'a>) {
    let [width, outputs] = [shape.width(), shape.outputs].map(u64::from);
    if let Some(pooler) = &mut of.pooler {
        pooler.walk(width, width, to);
    }
    to.floats(&mut of.weight, outputs * width);
    to.floats(&mut of.bias, outputs);
}

impl<'a> AnyLinear<'a> for Linear<'a> {
    const EMPTY: Self = Linear {
        inputs: 0,
        outputs: 0,
        weights: &[],
        scale: &[],
        sum: &[],
        bias: &[],
    };

    fn walk(&mut self, inputs: u64, outputs: u64, to: &mut impl Arrays<'a>) {
        debug_assert!(in_lanes([inputs, outputs]));
        to.dimension(&mut self.inputs, inputs);
        to.dimension(&mut self.outputs, outputs);
        to.integers(&mut self.weights, outputs * inputs);
        for array in [&mut self.scale, &mut self.sum, &mut self.bias] {
            to.floats(array, outputs);
        }
    }
}

impl<'a> AnyLinear<'a> for LinearF32<'a> {
    const EMPTY: Self = LinearF32 {
        inputs: 0,
        outputs: 0,
        weights: &[],
        bias: &[],
    };

    fn walk(&mut self, inputs: u64, outputs: u64, to: &mut impl Arrays<'a>) {
        debug_assert!(in_lanes([inputs, outputs]));
        to.dimension(&mut self.inputs, inputs);
        to.dimension(&mut self.outputs, outputs);
        to.floats(&mut self.weights, outputs * inputs);
        to.floats(&mut self.bias, outputs);
    }
}

/// Whether a linear's dimensions fill whole vectors, as a shape that was checked sees to.
fn in_lanes(dimensions: [u64; 2]) -> bool {
    dimensions.iter().all(|n| n.is_multiple_of(LANES as u64))
}

/// Walks over a layer norm; its epsilon and its channels are the shape's.
fn norm<'a>(shape: &Shape, of: &mut Norm<'a>, to: &mut impl Arrays<'a>) {
    of.eps = shape.norm_eps;
    to.dimension(&mut of.channels, u64::from(shape.hidden));
    for array in [&mut of.weight, &mut of.bias] {
        to.floats(array, u64::from(shape.width()));
    }
}

impl Embeddings<'_> {
    /// Before a walk has filled it in.
    const EMPTY: Self = Embeddings {
        word: &[],
        word_scale: &[],
        position: &[],
        position_scale: &[],
        kind: &[],
        norm: NO_NORM,
    };

    /// The embeddings in their section.
    pub(crate) fn read<'a>(shape: &Shape, section: &'a [u8]) -> Embeddings<'a> {
        let mut this = Embeddings::EMPTY;
        embeddings(shape, &mut this, &mut Slices { rest: section });
        this
    }
}

/// Before a walk has filled it in.
fn no_layer<'a, L: AnyLinear<'a>>() -> Layer<'a, L> {
    Layer {
        qkv: L::EMPTY,
        attention_out: L::EMPTY,
        attention_norm: NO_NORM,
        up: L::EMPTY,
        down: L::EMPTY,
        output_norm: NO_NORM,
    }
}

/// The layer in its section.
pub(crate) fn read_layer<'a, L: AnyLinear<'a>>(shape: &Shape, section: &'a [u8]) -> Layer<'a, L> {
    let mut this = no_layer();
    layer(shape, &mut this, &mut Slices { rest: section });
    this
}

impl Head<'_> {
    /// Before a walk has filled it in.
    fn empty(task: Task) -> Self {
        Head {
            pooler: task.reads_first_row_only().then_some(Linear::EMPTY),
            weight: &[],
            bias: &[],
        }
    }

    /// The head in its section.
    pub(crate) fn read<'a>(shape: &Shape, task: Task, section: &'a [u8]) -> Head<'a> {
        let mut this = Head::empty(task);
        head(shape, &mut this, &mut Slices { rest: section });
        this
    }
}

/// Before a walk has filled it in.
const NO_NORM: Norm<'static> = Norm {
    weight: &[],
    bias: &[],
    channels: 0,
    eps: 0.0,
};

/// How many bytes a section has for a checked shape; `None` where the shape doesn't say.
pub(crate) fn section_len(kind: SectionKind, shape: &Shape, task: Task) -> Option<u64> {
    let mut measure = Measure { len: 0 };
    match kind {
        SectionKind::Embeddings => {
            embeddings(shape, &mut { Embeddings::EMPTY }, &mut measure);
        }
        SectionKind::Layer(_) => layer(shape, &mut no_layer::<Linear<'_>>(), &mut measure),
        SectionKind::LayerF32(_) => layer(shape, &mut no_layer::<LinearF32<'_>>(), &mut measure),
        SectionKind::Head | SectionKind::HeadRelu => {
            head(shape, &mut Head::empty(task), &mut measure)
        }
        SectionKind::Decisions => return Some(4 * u64::from(shape.outputs)),
        SectionKind::Tokenizer
        | SectionKind::Training
        | SectionKind::Selftest
        | SectionKind::Card => return None,
    }
    Some(measure.len)
}

/// How many zeros follow `len` bytes up to the next multiple of 64.
pub(crate) fn padding(len: u64) -> u64 {
    len.next_multiple_of(ALIGNMENT as u64) - len
}

/// Adds up how long a section is. With the bounds of a checked shape no sum comes near `u64::MAX`.
struct Measure {
    len: u64,
}

impl Measure {
    fn add(&mut self, bytes: u64) {
        self.len += bytes + padding(bytes);
    }
}

impl Arrays<'_> for Measure {
    fn integers(&mut self, _: &mut &[i8], count: u64) {
        self.add(count);
    }

    fn floats(&mut self, _: &mut &[f32], count: u64) {
        self.add(count * 4);
    }

    fn dimension(&mut self, _: &mut usize, _: u64) {}
}

/// Cuts a section into its arrays.
///
/// Opening has checked that the section is as long as [`Measure`] says, and that it begins at a
/// multiple of 64 in memory. So every cut is inside, and no cast meets a bad alignment.
struct Slices<'a> {
    rest: &'a [u8],
}

impl<'a> Slices<'a> {
    fn take(&mut self, bytes: u64) -> &'a [u8] {
        let (array, rest) = self.rest.split_at(bytes as usize);
        self.rest = &rest[padding(bytes) as usize..];
        array
    }
}

impl<'a> Arrays<'a> for Slices<'a> {
    fn integers(&mut self, array: &mut &'a [i8], count: u64) {
        *array = bytemuck::cast_slice(self.take(count));
    }

    fn floats(&mut self, array: &mut &'a [f32], count: u64) {
        *array = bytemuck::cast_slice(self.take(count * 4));
    }

    fn dimension(&mut self, field: &mut usize, size: u64) {
        *field = size as usize;
    }
}

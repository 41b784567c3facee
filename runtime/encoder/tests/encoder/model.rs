//! A small model of random weights, as a bundle and as the oracle computes it.

use berth_bundle::{AlignedBytes, Embeddings, Head, Header, Layer as Weights, Shape, Writer};
use berth_kernels::{Activation, Attention, ByteRow, Norm};
use berth_task::{Labels, Task};

use crate::input::{Layer as Linear, LayerF32 as LinearF32, Random};
use crate::oracle;

pub const VOCABULARY: usize = 23;
pub const POSITIONS: usize = 130;

const OUTPUTS: usize = 3;

/// Sizes of whole vectors.
const WHOLE: Shape = Shape {
    vocab_size: VOCABULARY as u32,
    hidden: 64,
    layers: 2,
    heads: 2,
    intermediate: 144,
    positions: POSITIONS as u32,
    types: 2,
    outputs: OUTPUTS as u32,
    norm_eps: 1e-12,
};

/// Sizes of which none fills whole vectors; four heads of 13 are wider than a row of 52.
const PARTIAL: Shape = Shape {
    hidden: 52,
    heads: 4,
    intermediate: 70,
    ..WHOLE
};

pub struct Model {
    task: Task,
    shape: Shape,
    word: Vec<i8>,
    word_scale: Vec<f32>,
    position: Vec<i8>,
    position_scale: Vec<f32>,
    kind: Vec<f32>,
    norm: OwnNorm,
    layers: Vec<AnyLayer>,
    pooler: Option<Linear>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// A linear of one of the two kinds, and what is done with it.
trait Kind {
    type View<'d>
    where
        Self: 'd;

    fn random(random: &mut Random, inputs: usize, outputs: usize) -> Self;
    fn view(&self) -> Self::View<'_>;
    /// All rows through it.
    fn apply(&self, x: &[f32], activation: Activation) -> Vec<f32>;
    fn attention(input: &Attention<'_>, head: usize) -> Vec<f32>;
}

impl Kind for Linear {
    type View<'d> = berth_kernels::Linear<'d>;

    fn random(random: &mut Random, inputs: usize, outputs: usize) -> Self {
        Linear::random(random, inputs, outputs)
    }

    fn view(&self) -> Self::View<'_> {
        self.view()
    }

    fn apply(&self, x: &[f32], activation: Activation) -> Vec<f32> {
        apply(self, x, activation)
    }

    fn attention(input: &Attention<'_>, head: usize) -> Vec<f32> {
        oracle::attention(input, head, input.tokens)
    }
}

impl Kind for LinearF32 {
    type View<'d> = berth_kernels::LinearF32<'d>;

    fn random(random: &mut Random, inputs: usize, outputs: usize) -> Self {
        LinearF32::random(random, inputs, outputs)
    }

    fn view(&self) -> Self::View<'_> {
        self.view()
    }

    fn apply(&self, x: &[f32], activation: Activation) -> Vec<f32> {
        let rows = x.chunks(self.inputs);
        rows.flat_map(|x| oracle::linear_f32(x, self, activation))
            .collect()
    }

    fn attention(input: &Attention<'_>, head: usize) -> Vec<f32> {
        oracle::attention_f32(input, head, input.tokens)
    }
}

enum AnyLayer {
    Int8(Layer<Linear>),
    F32(Layer<LinearF32>),
}

struct Layer<L> {
    qkv: L,
    attention_out: L,
    attention_norm: OwnNorm,
    up: L,
    down: L,
    output_norm: OwnNorm,
}

struct OwnNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    channels: usize,
    eps: f32,
}

impl OwnNorm {
    fn random(random: &mut Random, shape: &Shape) -> Self {
        let [width, ..] = widths(shape);
        OwnNorm {
            weight: random.floats(width, 1.5),
            bias: random.floats(width, 0.5),
            channels: shape.hidden as usize,
            eps: shape.norm_eps,
        }
    }

    fn view(&self) -> Norm<'_> {
        Norm {
            weight: &self.weight,
            bias: &self.bias,
            channels: self.channels,
            eps: self.eps,
        }
    }
}

/// Of a row, of its heads together, and inside of a feed-forward block.
fn widths(shape: &Shape) -> [usize; 3] {
    [shape.width(), shape.heads_width(), shape.inside_width()].map(|width| width as usize)
}

impl<L: Kind> Layer<L> {
    fn random(random: &mut Random, shape: &Shape) -> Self {
        let [width, heads, inside] = widths(shape);
        Layer {
            qkv: L::random(random, width, 3 * heads),
            attention_out: L::random(random, heads, width),
            attention_norm: OwnNorm::random(random, shape),
            up: L::random(random, width, inside),
            down: L::random(random, inside, width),
            output_norm: OwnNorm::random(random, shape),
        }
    }

    fn view(&self) -> Weights<'_, L::View<'_>> {
        Weights {
            qkv: self.qkv.view(),
            attention_out: self.attention_out.view(),
            attention_norm: self.attention_norm.view(),
            up: self.up.view(),
            down: self.down.view(),
            output_norm: self.output_norm.view(),
        }
    }

    /// `[tokens][width]` to the same, with what is kept in between as `keep` leaves it.
    fn forward(&self, x: &[f32], shape: &Shape, keep: fn(f32) -> f32) -> Vec<f32> {
        let kept = |x: Vec<f32>| -> Vec<f32> { x.into_iter().map(keep).collect() };
        let x = kept(x.to_vec());
        let tokens = x.len() / shape.width() as usize;
        let [heads, head_size] = [shape.heads, shape.head_width()].map(|n| n as usize);
        let qkv = self.qkv.apply(&x, Activation::None);
        let input = Attention {
            qkv: &qkv,
            tokens,
            heads,
            head_size,
        };
        let of_heads: Vec<_> = (0..heads).map(|head| L::attention(&input, head)).collect();
        let context: Vec<f32> = (0..tokens)
            .flat_map(|token| of_heads.iter().map(move |head| (token, head)))
            .flat_map(|(token, head)| &head[token * head_size..][..head_size])
            .copied()
            .collect();
        let context = kept(context);
        let out = kept(self.attention_out.apply(&context, Activation::None));
        let x = kept(add_norm(&x, &out, &self.attention_norm));
        let inside = kept(self.up.apply(&x, Activation::Gelu));
        let out = kept(self.down.apply(&inside, Activation::None));
        add_norm(&x, &out, &self.output_norm)
    }
}

/// All rows through a linear.
fn apply(linear: &Linear, x: &[f32], activation: Activation) -> Vec<f32> {
    let row = |x| oracle::linear(&oracle::quantize_row(x), linear, activation);
    x.chunks(linear.inputs).flat_map(row).collect()
}

fn add_norm(x: &[f32], y: &[f32], norm: &OwnNorm) -> Vec<f32> {
    let width = norm.weight.len();
    let rows = x.chunks(width).zip(y.chunks(width));
    rows.flat_map(|(x, y)| oracle::add_norm(x, y, &norm.view()))
        .collect()
}

impl Model {
    pub fn random(random: &mut Random, task: Task) -> Self {
        Model::mixed(random, task, &[])
    }

    /// The same with some of its two layers in floats.
    pub fn mixed(random: &mut Random, task: Task, f32_layers: &[usize]) -> Self {
        Model::shaped(random, task, f32_layers, WHOLE)
    }

    /// The same with sizes that fill no whole vectors.
    pub fn partial(random: &mut Random, task: Task, f32_layers: &[usize]) -> Self {
        Model::shaped(random, task, f32_layers, PARTIAL)
    }

    fn shaped(random: &mut Random, task: Task, f32_layers: &[usize], shape: Shape) -> Self {
        let layer = |random: &mut Random, index: usize| {
            if f32_layers.contains(&index) {
                AnyLayer::F32(Layer::random(random, &shape))
            } else {
                AnyLayer::Int8(Layer::random(random, &shape))
            }
        };
        let first_only = task.reads_first_row_only();
        let [width, ..] = widths(&shape);
        Model {
            task,
            shape,
            word: random.steps(VOCABULARY * width),
            word_scale: (0..VOCABULARY).map(|_| 0.01 * random.unit()).collect(),
            position: random.steps(POSITIONS * width),
            position_scale: (0..POSITIONS).map(|_| 0.002 * random.unit()).collect(),
            kind: random.floats(2 * width, 0.3),
            norm: OwnNorm::random(random, &shape),
            layers: (0..2).map(|index| layer(random, index)).collect(),
            pooler: first_only.then(|| Linear::random(random, width, width)),
            weight: random.floats(OUTPUTS * width, 0.4),
            bias: random.floats(OUTPUTS, 0.1),
        }
    }

    /// The logits as the oracle computes them: every row of every layer, whether read or not.
    pub fn forward(&self, ids: &[u32], second: usize) -> Vec<f32> {
        let [width, ..] = widths(&self.shape);
        let embedded = ids.iter().enumerate().flat_map(|(place, &id)| {
            let word = byte_row(&self.word, &self.word_scale, id as usize);
            let position = byte_row(&self.position, &self.position_scale, place);
            let kind = &self.kind[usize::from(place >= second) * width..][..width];
            oracle::embed(word, position, kind, &self.norm.view())
        });
        let layers = self.layers.iter();
        let rows = layers.fold(embedded.collect(), |x: Vec<f32>, layer| match layer {
            AnyLayer::Int8(layer) if ids.len() > 64 => layer.forward(&x, &self.shape, oracle::half),
            AnyLayer::Int8(layer) => layer.forward(&x, &self.shape, |x| x),
            AnyLayer::F32(layer) => layer.forward(&x, &self.shape, |x| x),
        });
        let read = match &self.pooler {
            Some(pooler) => {
                let pooled = apply(pooler, &rows[..width], Activation::None);
                pooled.into_iter().map(oracle::tanh).collect()
            }
            None => rows,
        };
        let logits = |x| oracle::dense(x, &self.weight, &self.bias);
        read.chunks(width).flat_map(logits).collect()
    }

    pub fn bundle(&self) -> AlignedBytes {
        let labels = Labels::of(["a", "b", "c"]).unwrap();
        let header = Header::new(self.shape, self.task, labels, POSITIONS as u32);
        let mut writer = Writer::new(header).unwrap();
        let embeddings = Embeddings {
            word: &self.word,
            word_scale: &self.word_scale,
            position: &self.position,
            position_scale: &self.position_scale,
            kind: &self.kind,
            norm: self.norm.view(),
        };
        writer.embeddings(&embeddings).unwrap();
        for layer in &self.layers {
            match layer {
                AnyLayer::Int8(layer) => writer.layer(&layer.view()),
                AnyLayer::F32(layer) => writer.layer_f32(&layer.view()),
            }
            .unwrap();
        }
        let head = Head {
            pooler: self.pooler.as_ref().map(Linear::view),
            weight: &self.weight,
            bias: &self.bias,
        };
        writer.head(&head).unwrap();
        writer.tokenizer(&[]).unwrap();
        writer.training(&[]).unwrap();
        writer.to_bytes().unwrap()
    }
}

fn byte_row<'t>(table: &'t [i8], scales: &[f32], index: usize) -> ByteRow<'t> {
    let width = table.len() / scales.len();
    ByteRow {
        values: &table[index * width..][..width],
        scale: scales[index],
    }
}

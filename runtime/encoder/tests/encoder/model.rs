//! A small model of random weights, as a bundle and as the oracle computes it.

use berth_bundle::{AlignedBytes, Embeddings, Head, Header, Layer as Weights, Shape, Writer};
use berth_kernels::{Activation, Attention, ByteRow, Norm};
use berth_task::{Labels, Task};

use crate::input::{Layer as Linear, LayerF32 as LinearF32, Random};
use crate::oracle;

pub const VOCABULARY: usize = 23;
pub const POSITIONS: usize = 130;

const HIDDEN: usize = 64;
const HEADS: usize = 2;
const INTERMEDIATE: usize = 144;
const OUTPUTS: usize = 3;
const EPS: f32 = 1e-12;

pub struct Model {
    task: Task,
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
}

impl OwnNorm {
    fn random(random: &mut Random) -> Self {
        OwnNorm {
            weight: random.floats(HIDDEN, 1.5),
            bias: random.floats(HIDDEN, 0.5),
        }
    }

    fn view(&self) -> Norm<'_> {
        Norm {
            weight: &self.weight,
            bias: &self.bias,
            eps: EPS,
        }
    }
}

impl<L: Kind> Layer<L> {
    fn random(random: &mut Random) -> Self {
        Layer {
            qkv: L::random(random, HIDDEN, 3 * HIDDEN),
            attention_out: L::random(random, HIDDEN, HIDDEN),
            attention_norm: OwnNorm::random(random),
            up: L::random(random, HIDDEN, INTERMEDIATE),
            down: L::random(random, INTERMEDIATE, HIDDEN),
            output_norm: OwnNorm::random(random),
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

    /// `[tokens][HIDDEN]` to the same.
    fn forward(&self, x: &[f32]) -> Vec<f32> {
        let tokens = x.len() / HIDDEN;
        let qkv = self.qkv.apply(x, Activation::None);
        let input = Attention {
            qkv: &qkv,
            tokens,
            heads: HEADS,
            head_size: HIDDEN / HEADS,
        };
        let heads = [0, 1].map(|head| L::attention(&input, head));
        let [first, second] = heads.each_ref().map(|head| head.chunks(HIDDEN / HEADS));
        let context: Vec<f32> = first
            .zip(second)
            .flat_map(|(a, b)| [a, b].concat())
            .collect();
        let out = self.attention_out.apply(&context, Activation::None);
        let x = add_norm(x, &out, &self.attention_norm);
        let inside = self.up.apply(&x, Activation::Gelu);
        let out = self.down.apply(&inside, Activation::None);
        add_norm(&x, &out, &self.output_norm)
    }
}

/// All rows through a linear.
fn apply(linear: &Linear, x: &[f32], activation: Activation) -> Vec<f32> {
    let row = |x| oracle::linear(&oracle::quantize_row(x), linear, activation);
    x.chunks(linear.inputs).flat_map(row).collect()
}

fn add_norm(x: &[f32], y: &[f32], norm: &OwnNorm) -> Vec<f32> {
    let rows = x.chunks(HIDDEN).zip(y.chunks(HIDDEN));
    rows.flat_map(|(x, y)| oracle::add_norm(x, y, &norm.view()))
        .collect()
}

impl Model {
    pub fn random(random: &mut Random, task: Task) -> Self {
        Model::mixed(random, task, &[])
    }

    /// The same with some of its two layers in floats.
    pub fn mixed(random: &mut Random, task: Task, f32_layers: &[usize]) -> Self {
        let layer = |random: &mut Random, index: usize| {
            if f32_layers.contains(&index) {
                AnyLayer::F32(Layer::random(random))
            } else {
                AnyLayer::Int8(Layer::random(random))
            }
        };
        let first_only = task.reads_first_row_only();
        Model {
            task,
            word: random.steps(VOCABULARY * HIDDEN),
            word_scale: (0..VOCABULARY).map(|_| 0.01 * random.unit()).collect(),
            position: random.steps(POSITIONS * HIDDEN),
            position_scale: (0..POSITIONS).map(|_| 0.002 * random.unit()).collect(),
            kind: random.floats(2 * HIDDEN, 0.3),
            norm: OwnNorm::random(random),
            layers: (0..2).map(|index| layer(random, index)).collect(),
            pooler: first_only.then(|| Linear::random(random, HIDDEN, HIDDEN)),
            weight: random.floats(OUTPUTS * HIDDEN, 0.4),
            bias: random.floats(OUTPUTS, 0.1),
        }
    }

    /// The logits as the oracle computes them: every row of every layer, whether read or not.
    pub fn forward(&self, ids: &[u32], second: usize) -> Vec<f32> {
        let embedded = ids.iter().enumerate().flat_map(|(place, &id)| {
            let word = byte_row(&self.word, &self.word_scale, id as usize);
            let position = byte_row(&self.position, &self.position_scale, place);
            let kind = &self.kind[usize::from(place >= second) * HIDDEN..][..HIDDEN];
            oracle::embed(word, position, kind, &self.norm.view())
        });
        let layers = self.layers.iter();
        let rows = layers.fold(embedded.collect(), |x: Vec<f32>, layer| match layer {
            AnyLayer::Int8(layer) => layer.forward(&x),
            AnyLayer::F32(layer) => layer.forward(&x),
        });
        let read = match &self.pooler {
            Some(pooler) => {
                let pooled = apply(pooler, &rows[..HIDDEN], Activation::None);
                pooled.into_iter().map(oracle::tanh).collect()
            }
            None => rows,
        };
        let logits = |x| oracle::dense(x, &self.weight, &self.bias);
        read.chunks(HIDDEN).flat_map(logits).collect()
    }

    pub fn bundle(&self) -> AlignedBytes {
        let [vocab_size, hidden, heads] = [VOCABULARY, HIDDEN, HEADS].map(|n| n as u32);
        let shape = Shape {
            vocab_size,
            hidden,
            layers: self.layers.len() as u32,
            heads,
            intermediate: INTERMEDIATE as u32,
            positions: POSITIONS as u32,
            types: 2,
            outputs: OUTPUTS as u32,
            norm_eps: EPS,
        };
        let labels = Labels::of(["a", "b", "c"]).unwrap();
        let header = Header::new(shape, self.task, labels, POSITIONS as u32);
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
    ByteRow {
        values: &table[index * HIDDEN..][..HIDDEN],
        scale: scales[index],
    }
}

//! A small model of random weights, as a bundle and as the oracle computes it.

use berth_bundle::{AlignedBytes, Embeddings, Head, Header, Layer as Weights, Shape, Writer};
use berth_kernels::{Activation, Attention, ByteRow, Norm};
use berth_task::{Labels, Task};

use crate::input::{Layer as Linear, Random};
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
    layers: Vec<Layer>,
    pooler: Option<Linear>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

struct Layer {
    qkv: Linear,
    attention_out: Linear,
    attention_norm: OwnNorm,
    up: Linear,
    down: Linear,
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

impl Layer {
    fn random(random: &mut Random) -> Self {
        Layer {
            qkv: Linear::random(random, HIDDEN, 3 * HIDDEN),
            attention_out: Linear::random(random, HIDDEN, HIDDEN),
            attention_norm: OwnNorm::random(random),
            up: Linear::random(random, HIDDEN, INTERMEDIATE),
            down: Linear::random(random, INTERMEDIATE, HIDDEN),
            output_norm: OwnNorm::random(random),
        }
    }

    fn view(&self) -> Weights<'_> {
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
        let qkv = apply(&self.qkv, x, Activation::None);
        let input = Attention {
            qkv: &qkv,
            tokens,
            heads: HEADS,
            head_size: HIDDEN / HEADS,
        };
        let heads = [0, 1].map(|head| oracle::attention(&input, head, tokens));
        let [first, second] = heads.each_ref().map(|head| head.chunks(HIDDEN / HEADS));
        let context: Vec<f32> = first
            .zip(second)
            .flat_map(|(a, b)| [a, b].concat())
            .collect();
        let out = apply(&self.attention_out, &context, Activation::None);
        let x = add_norm(x, &out, &self.attention_norm);
        let inside = apply(&self.up, &x, Activation::Gelu);
        let out = apply(&self.down, &inside, Activation::None);
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
        let first_only = task.reads_first_row_only();
        Model {
            task,
            word: random.steps(VOCABULARY * HIDDEN),
            word_scale: (0..VOCABULARY).map(|_| 0.01 * random.unit()).collect(),
            position: random.steps(POSITIONS * HIDDEN),
            position_scale: (0..POSITIONS).map(|_| 0.002 * random.unit()).collect(),
            kind: random.floats(2 * HIDDEN, 0.3),
            norm: OwnNorm::random(random),
            layers: (0..2).map(|_| Layer::random(random)).collect(),
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
        let rows = layers.fold(embedded.collect(), |x: Vec<f32>, layer| layer.forward(&x));
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
            writer.layer(&layer.view()).unwrap();
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

//! Small seeded bundles to test with: real in every part but the training.

mod tables;

use berth_bundle::{Embeddings, Head, Header, Layer, LayerF32, Shape, Writer};
use berth_kernels::{
    Linear, LinearF32, Norm, pack, packed_len, packed_len_f32, quantize_weight_row,
};
use berth_task::{Labels, SpanRules, Task};

pub use tables::WORDS;

/// The most tokens of a model made here.
pub const POSITIONS: usize = 48;

/// A bundle for `task`, the same bytes for the same arguments.
pub fn bundle(task: Task, labels: &[&str]) -> Vec<u8> {
    bundle_with(task, labels, |_| ())
}

#[allow(dead_code, reason = "not every program that shares this file needs it")]
/// A bundle for question answering whose rules are the usual ones, changed.
pub fn bundle_for_spans(change: impl FnOnce(&mut SpanRules)) -> Vec<u8> {
    let task = Task::QuestionAnswering;
    let edit = |header: &mut Header| change(header.spans.as_mut().unwrap());
    made(task, &[], |_| (), edit, &[])
        .to_bytes()
        .unwrap()
        .to_vec()
}

/// A bundle whose shape is the usual one, changed.
pub fn bundle_with(task: Task, labels: &[&str], change: impl FnOnce(&mut Shape)) -> Vec<u8> {
    made(task, labels, change, |_| (), &[])
        .to_bytes()
        .unwrap()
        .to_vec()
}

/// The same before it is put together: with every section that a bundle must have.
pub fn writer(task: Task, labels: &[&str], change: impl FnOnce(&mut Shape)) -> Writer {
    made(task, labels, change, |_| (), &[])
}

/// A bundle whose second layer runs in floats.
pub fn mixed(task: Task, labels: &[&str]) -> Vec<u8> {
    made(task, labels, |_| (), |_| (), &[1])
        .to_bytes()
        .unwrap()
        .to_vec()
}

fn made(
    task: Task,
    labels: &[&str],
    change: impl FnOnce(&mut Shape),
    edit: impl FnOnce(&mut Header),
    f32_layers: &[u32],
) -> Writer {
    let tables = tables::tables();
    let outputs = match task {
        Task::TextPairRegression => 1,
        Task::QuestionAnswering => 2,
        _ => labels.len() as u32,
    };
    let mut shape = Shape {
        vocab_size: tables.ids,
        hidden: 32,
        layers: 2,
        heads: 2,
        intermediate: 64,
        positions: POSITIONS as u32,
        types: 2,
        outputs,
        norm_eps: 1e-12,
    };
    change(&mut shape);
    let hidden = shape.width() as usize;
    let labels = Labels::of(labels.iter().copied()).unwrap();
    let mut random = Random(1);
    let mut header = Header::new(shape, task, labels, 32);
    edit(&mut header);
    let mut writer = Writer::new(header).unwrap();
    write_embeddings(&mut writer, &shape, &mut random);
    for layer in 0..shape.layers {
        if f32_layers.contains(&layer) {
            write_layer_f32(&mut writer, &shape, &mut random);
        } else {
            write_layer(&mut writer, &shape, &mut random);
        }
    }
    let pooler = dense(&mut random, hidden, hidden);
    let weight = random.floats(outputs as usize * hidden, 1.0);
    let bias = random.floats(outputs as usize, 0.5);
    let pooler = task.reads_first_row_only().then(|| pooler.view());
    writer
        .head(&Head {
            pooler,
            weight: &weight,
            bias: &bias,
        })
        .unwrap();
    writer.tokenizer(&tables.bytes).unwrap();
    writer.training(b"{}").unwrap();
    writer
}

/// Texts of every kind that a session has to take: short, long, foreign, none.
pub fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "a",
        "a gripping film",
        "Film! (Not a GOOD one?)",
        "é",
        "日本語 text",
        "\0\t\n",
        "[CLS] [SEP] [MASK]",
        "👩‍👩‍👧",
        "\u{300}a\u{301}",
    ]
    .map(str::to_owned)
    .into();
    let mut random = Random(7);
    for length in 1..60 {
        let words = (0..length).map(|_| WORDS[random.below(WORDS.len())]);
        texts.push(words.collect::<Vec<_>>().join(" "));
    }
    texts.push("x".repeat(100_000));
    texts.push("good film ".repeat(10_000));
    texts
}

/// A generator of numbers without much order (Marsaglia's xorshift).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// From `-range` to `range`.
    fn float(&mut self, range: f32) -> f32 {
        ((self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * range
    }

    fn floats(&mut self, count: usize, range: f32) -> Vec<f32> {
        (0..count).map(|_| self.float(range)).collect()
    }
}

/// A dense layer of one's own.
struct Dense {
    inputs: usize,
    outputs: usize,
    weights: Vec<i8>,
    scale: Vec<f32>,
    sum: Vec<f32>,
    bias: Vec<f32>,
}

impl Dense {
    fn view(&self) -> Linear<'_> {
        let Dense {
            inputs, outputs, ..
        } = *self;
        Linear::new(
            inputs,
            outputs,
            &self.weights,
            &self.scale,
            &self.sum,
            &self.bias,
        )
        .unwrap()
    }
}

fn dense(random: &mut Random, inputs: usize, outputs: usize) -> Dense {
    let mut rows = vec![0; inputs * outputs];
    let (mut scale, mut sum) = (Vec::new(), Vec::new());
    for row in rows.chunks_exact_mut(inputs) {
        let step = quantize_weight_row(&random.floats(inputs, 0.3), row);
        scale.push(step);
        sum.push(step * row.iter().map(|&q| i32::from(q)).sum::<i32>() as f32);
    }
    let mut weights = vec![0; packed_len(outputs, inputs)];
    pack(&rows, outputs, inputs, &mut weights);
    let bias = random.floats(outputs, 0.1);
    Dense {
        inputs,
        outputs,
        weights,
        scale,
        sum,
        bias,
    }
}

/// Of a row between the layers, of its heads together, and inside of a feed-forward block. What fills them up is
/// random as well: no reader relies on zeros there.
fn widths(shape: &Shape) -> [usize; 3] {
    [shape.width(), shape.heads_width(), shape.inside_width()].map(|width| width as usize)
}

fn write_embeddings(writer: &mut Writer, shape: &Shape, random: &mut Random) {
    let hidden = shape.width() as usize;
    let mut table = |rows: u32| {
        let mut q = vec![0; rows as usize * hidden];
        let scale: Vec<f32> = q
            .chunks_exact_mut(hidden)
            .map(|row| quantize_weight_row(&random.floats(hidden, 1.0), row))
            .collect();
        (q, scale)
    };
    let (word, word_scale) = table(shape.vocab_size);
    let (position, position_scale) = table(shape.positions);
    let kind = random.floats(shape.types as usize * hidden, 0.5);
    let (weight, bias) = (random.floats(hidden, 1.0), random.floats(hidden, 0.1));
    let norm = Norm {
        weight: &weight,
        bias: &bias,
        channels: shape.hidden as usize,
        eps: shape.norm_eps,
    };
    let embeddings = Embeddings {
        word: &word,
        word_scale: &word_scale,
        position: &position,
        position_scale: &position_scale,
        kind: &kind,
        norm,
    };
    writer.embeddings(&embeddings).unwrap();
}

fn write_layer(writer: &mut Writer, shape: &Shape, random: &mut Random) {
    let [hidden, heads, between] = widths(shape);
    let qkv = dense(random, hidden, 3 * heads);
    let attention_out = dense(random, heads, hidden);
    let up = dense(random, hidden, between);
    let down = dense(random, between, hidden);
    let norms: [Vec<f32>; 4] = std::array::from_fn(|i| random.floats(hidden, [1.0, 0.1][i % 2]));
    let norm = |at: usize| Norm {
        weight: &norms[at],
        bias: &norms[at + 1],
        channels: shape.hidden as usize,
        eps: shape.norm_eps,
    };
    let layer = Layer {
        qkv: qkv.view(),
        attention_out: attention_out.view(),
        attention_norm: norm(0),
        up: up.view(),
        down: down.view(),
        output_norm: norm(2),
    };
    writer.layer(&layer).unwrap();
}

/// As [`write_layer`], in floats; the order of the weights does not matter where they are random.
fn write_layer_f32(writer: &mut Writer, shape: &Shape, random: &mut Random) {
    let [hidden, heads, between] = widths(shape);
    let sizes = [
        (hidden, 3 * heads),
        (heads, hidden),
        (hidden, between),
        (between, hidden),
    ];
    let arrays = sizes.map(|(inputs, outputs)| {
        let weights = random.floats(packed_len_f32(outputs, inputs), 0.3);
        (weights, random.floats(outputs, 0.1))
    });
    let linear = |at: usize| LinearF32 {
        inputs: sizes[at].0,
        outputs: sizes[at].1,
        weights: &arrays[at].0,
        bias: &arrays[at].1,
    };
    let (weight, bias) = (random.floats(hidden, 1.0), random.floats(hidden, 0.1));
    let norm = Norm {
        weight: &weight,
        bias: &bias,
        channels: shape.hidden as usize,
        eps: shape.norm_eps,
    };
    let layer: LayerF32<'_> = Layer {
        qkv: linear(0),
        attention_out: linear(1),
        attention_norm: norm,
        up: linear(2),
        down: linear(3),
        output_norm: norm,
    };
    writer.layer_f32(&layer).unwrap();
}

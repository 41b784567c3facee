//! `NUMERICS.md`, line by line, in plain scalar Rust.

use berth_kernels::{
    Activation, Attention, ByteRow, EXP2, EXP2_255, EXP2_LOWEST, GELU, GELU_END, Norm, TANH_FACTOR,
};

use crate::input::{Layer, LayerF32};

/// Element `i` is added to lane `i % 16`, and the lanes are added as a tree.
pub fn sum(values: impl Iterator<Item = f32>) -> f32 {
    let mut lanes = [0.0; 16];
    for (i, value) in values.enumerate() {
        lanes[i % 16] += value;
    }
    for half in [8, 4, 2, 1] {
        for j in 0..half {
            lanes[j] += lanes[j + half];
        }
    }
    lanes[0]
}

/// The largest value, 0 without a sign.
fn largest(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(f32::MIN, f32::max) + 0.0
}

/// The smallest value, 0 without a sign.
fn smallest(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(f32::MAX, f32::min) + 0.0
}

/// The nearest number of eleven bits, ties to even, with steps no finer than `2^-24`; infinity from 65,520 on.
pub fn half(x: f32) -> f32 {
    let exponent = ((x.to_bits() >> 23 & 255) as i32 - 127).max(-14);
    let step = 2f32.powi(exponent - 10);
    let rounded = (x / step).round_ties_even() * step;
    if rounded.abs() < 65_536.0 {
        rounded
    } else {
        f32::INFINITY.copysign(x)
    }
}

fn round(x: f32) -> i32 {
    x.round_ties_even() as i32
}

/// A quantized row: its steps, what one is worth, and what 0 stands for.
pub struct Row {
    pub steps: Vec<u8>,
    pub scale: f32,
    pub low: f32,
}

pub fn quantize_row(x: &[f32]) -> Row {
    let low = smallest(x.iter().copied());
    let high = largest(x.iter().copied());
    let range = (high - low).max(1e-20);
    let step = |x: &f32| round((x - low) * (255.0 / range)).min(255) as u8;
    Row {
        steps: x.iter().map(step).collect(),
        scale: range / 255.0,
        low,
    }
}

/// One row through a dense layer.
pub fn linear(x: &Row, layer: &Layer, activation: Activation) -> Vec<f32> {
    let view = layer.view();
    let output = |(o, steps): (usize, &[i8])| {
        let pairs = x.steps.iter().zip(steps);
        let total: i32 = pairs.map(|(&x, &w)| i32::from(x) * i32::from(w)).sum();
        let y = ((total as f32 * view.scale[o]) * x.scale) + ((x.low * view.sum[o]) + view.bias[o]);
        match activation {
            Activation::None => y,
            Activation::Gelu => gelu(y),
        }
    };
    let rows = layer.steps.chunks(layer.inputs);
    rows.enumerate().map(output).collect()
}

/// One row through a dense layer in floats.
pub fn linear_f32(x: &[f32], layer: &LayerF32, activation: Activation) -> Vec<f32> {
    let rows = layer.weights.chunks(layer.inputs).zip(&layer.bias);
    rows.map(|(w, bias)| {
        let y = in_order(x.iter().zip(w).map(|(x, w)| x * w)) + bias;
        match activation {
            Activation::None => y,
            Activation::Gelu => gelu(y),
        }
    })
    .collect()
}

/// One after another, from 0.0 on.
fn in_order(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(0.0, |sum, value| sum + value)
}

fn horner(coefficients: &[f32], x: f32) -> f32 {
    let (first, rest) = coefficients.split_first().expect("a coefficient");
    rest.iter().fold(*first, |sum, c| (sum * x) + c)
}

pub fn gelu(x: f32) -> f32 {
    let inside = x.clamp(-GELU_END, GELU_END);
    x * (0.5 + (inside * horner(&GELU, inside * inside)))
}

fn exp2(coefficients: &[f32], t: f32) -> f32 {
    let t = t.max(EXP2_LOWEST);
    let whole = t.round_ties_even();
    // By its exponent: how exact `powi` is, nobody says.
    let power = f32::from_bits(((whole as i32 + 127) as u32) << 23);
    horner(coefficients, t - whole) * power
}

pub fn tanh(x: f32) -> f32 {
    let u = exp2(&EXP2, x.abs() * TANH_FACTOR);
    ((1.0 - u) / (1.0 + u)).copysign(x)
}

/// One head of attention: `[rows][head_size]`.
pub fn attention(input: &Attention<'_>, head: usize, rows: usize) -> Vec<f32> {
    let Attention {
        qkv,
        tokens,
        heads,
        head_size,
    } = *input;
    let part = |token: usize, part: usize| -> &[f32] {
        &qkv[((token * 3 + part) * heads + head) * head_size..][..head_size]
    };
    let channels = 0..head_size;
    let count = tokens as f32;
    let mean: Vec<f32> = channels
        .clone()
        .map(|c| (0..tokens).fold(0.0, |sum, t| sum + part(t, 1)[c]) / count)
        .collect();
    let keys: Vec<(Vec<i32>, f32)> = (0..tokens)
        .map(|t| {
            let key: Vec<f32> = part(t, 1).iter().zip(&mean).map(|(k, m)| k - m).collect();
            let range = largest(key.iter().map(|k| k.abs())).max(1e-20);
            let steps = key.iter().map(|k| round(k * (127.0 / range)));
            (steps.collect(), range / 127.0)
        })
        .collect();
    let values: Vec<(Vec<i32>, f32)> = channels
        .map(|c| {
            let range = largest((0..tokens).map(|t| part(t, 2)[c].abs())).max(1e-20);
            let steps = (0..tokens).map(|t| round(part(t, 2)[c] * (127.0 / range)));
            (steps.collect(), range / 127.0)
        })
        .collect();
    let row = |token| {
        let query = quantize_row(part(token, 0));
        let weights = softmax(&keys, &query);
        let share = 1.0 / weights.iter().sum::<i32>() as f32;
        values
            .iter()
            .map(move |(steps, scale)| {
                let total: i32 = steps.iter().zip(&weights).map(|(v, e)| v * e).sum();
                ((total as f32) * share) * scale
            })
            .collect::<Vec<f32>>()
    };
    (0..rows).flat_map(row).collect()
}

/// One head of attention in floats: `[rows][head_size]`.
pub fn attention_f32(input: &Attention<'_>, head: usize, rows: usize) -> Vec<f32> {
    let Attention {
        qkv,
        tokens,
        heads,
        head_size,
    } = *input;
    let part = |token: usize, part: usize| -> &[f32] {
        &qkv[((token * 3 + part) * heads + head) * head_size..][..head_size]
    };
    let row = |token| {
        let score = |t| in_order(part(token, 0).iter().zip(part(t, 1)).map(|(q, k)| q * k));
        let scores: Vec<f32> = (0..tokens).map(score).collect();
        let most = largest(scores.iter().copied());
        let weights: Vec<f32> = scores.iter().map(|s| exp2(&EXP2, s - most)).collect();
        let share = 1.0 / sum(weights.iter().copied());
        let mean = move |c: usize| {
            in_order(weights.iter().enumerate().map(|(t, e)| e * part(t, 2)[c])) * share
        };
        (0..head_size).map(mean).collect::<Vec<f32>>()
    };
    (0..rows).flat_map(row).collect()
}

/// The weight of each key, from 0 to 255.
fn softmax(keys: &[(Vec<i32>, f32)], query: &Row) -> Vec<i32> {
    let score = |(key, scale): &(Vec<i32>, f32)| {
        let pairs = query.steps.iter().zip(key);
        let total: i32 = pairs.map(|(&q, k)| i32::from(q) * k).sum();
        let sum = scale * key.iter().sum::<i32>() as f32;
        ((total as f32 * scale) * query.scale) + (query.low * sum)
    };
    let scores: Vec<f32> = keys.iter().map(score).collect();
    let most = largest(scores.iter().copied());
    let weight = |score: &f32| round(exp2(&EXP2_255, score - most));
    scores.iter().map(weight).collect()
}

pub fn normalize(z: &[f32], norm: &Norm<'_>) -> Vec<f32> {
    let count = norm.channels as f32;
    let mean = sum(z.iter().copied()) / count;
    let values = z[..norm.channels].iter();
    let variance = sum(values.map(|z| (z - mean) * (z - mean))) / count;
    let factor = 1.0 / (variance + norm.eps).sqrt();
    let learned = norm.weight.iter().zip(norm.bias);
    z.iter()
        .zip(learned)
        .map(|(z, (g, b))| (((z - mean) * factor) * g) + b)
        .collect()
}

pub fn add_norm(x: &[f32], y: &[f32], norm: &Norm<'_>) -> Vec<f32> {
    let z: Vec<f32> = x.iter().zip(y).map(|(x, y)| x + y).collect();
    normalize(&z, norm)
}

pub fn embed(word: ByteRow<'_>, position: ByteRow<'_>, kind: &[f32], norm: &Norm<'_>) -> Vec<f32> {
    let bytes = word.values.iter().zip(position.values);
    let z: Vec<f32> = bytes
        .zip(kind)
        .map(|((&w, &p), k)| ((f32::from(w) * word.scale) + (f32::from(p) * position.scale)) + k)
        .collect();
    normalize(&z, norm)
}

pub fn dense(x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let rows = weight.chunks(x.len());
    let output = |(w, b): (&[f32], &f32)| sum(x.iter().zip(w).map(|(x, w)| x * w)) + b;
    rows.zip(bias).map(output).collect()
}

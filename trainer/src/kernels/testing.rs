//! What the kernels are tested against: plain functions in f64, and finite differences of those.

use crate::random::Random;

/// `n` normal draws, the same for the same seed.
pub fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..n).map(|_| random.normal() as f32).collect()
}

/// Runs `f` in a pool of `threads` threads.
pub fn on_threads<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("threads")
        .install(f)
}

/// Σ a·b
pub fn dot(a: &[f64], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * f64::from(*b)).sum()
}

/// The norm of the difference is at most `tolerance` times the norm of what is expected (or times 1e-3 of the
/// number of elements' root, where that is larger: a gradient may well be 0).
#[track_caller]
pub fn assert_close(what: &str, ours: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), expected.len(), "{what}: lengths");
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut ours.iter().zip(expected).map(|(x, y)| f64::from(*x) - y));
    let scale = norm(&mut expected.iter().copied()).max(1e-3 * (ours.len() as f64).sqrt());
    assert!(
        difference <= tolerance * scale,
        "{what}: off by {:.2e} of {scale:.2e}",
        difference / scale
    );
}

/// x·Φ(x) with Φ as a power series, for |x| < 8.
pub fn gelu(x: f64) -> f64 {
    let (mut term, mut total, mut k) = (x, x, 1.0);
    while term.abs() > 1e-20 * total.abs() && k < 400.0 {
        k += 2.0;
        term *= x * x / k;
        total += term;
    }
    x * (0.5 + total * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt())
}

/// Layer norm of rows as wide as `weight`.
pub fn layer_norm(z: &[f64], weight: &[f64], bias: &[f64], eps: f64) -> Vec<f64> {
    let n = weight.len();
    let row = |z: &[f64]| {
        let mean = z.iter().sum::<f64>() / n as f64;
        let variance = z.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / n as f64;
        let deviation = (variance + eps).sqrt();
        z.iter()
            .zip(weight)
            .zip(bias)
            .map(|((z, g), b)| (z - mean) / deviation * g + b)
            .collect::<Vec<_>>()
    };
    z.chunks(n).flat_map(row).collect()
}

/// Attention over rows of query, key, value; `factor(sequence, head, query * n + key)` is dropout's.
pub fn attention(
    lengths: &[usize],
    heads: usize,
    size: usize,
    only_first: bool,
    factor: impl Fn(usize, usize, usize) -> f64,
    qkv: &[f64],
) -> Vec<f64> {
    let width = heads * size;
    let mut out = Vec::new();
    let mut first = 0;
    for (sequence, &n) in lengths.iter().enumerate() {
        let at = |part: usize, row: usize, column: usize| {
            qkv[(first + row) * 3 * width + part * width + column]
        };
        for query in 0..if only_first { 1 } else { n } {
            for head in 0..heads {
                let columns = head * size..(head + 1) * size;
                let score = |key| {
                    columns
                        .clone()
                        .map(|c| at(0, query, c) * at(1, key, c))
                        .sum::<f64>()
                        / (size as f64).sqrt()
                };
                let exps: Vec<f64> = (0..n).map(|key| f64::exp(score(key))).collect();
                let total: f64 = exps.iter().sum();
                let weight =
                    |key: usize| exps[key] / total * factor(sequence, head, query * n + key);
                out.extend(
                    columns
                        .clone()
                        .map(|c| (0..n).map(|key| weight(key) * at(2, key, c)).sum::<f64>()),
                );
            }
        }
        first += n;
    }
    out
}

/// Calling functions of f64 inputs from f32 ones, and their slopes.
pub mod gradient {
    fn widened(inputs: &[&[f32]]) -> Vec<Vec<f64>> {
        inputs
            .iter()
            .map(|x| x.iter().map(|x| f64::from(*x)).collect())
            .collect()
    }

    fn call<R>(inputs: &[Vec<f64>], f: impl Fn(&[&[f64]]) -> R) -> R {
        f(&inputs.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// `f` of the inputs.
    pub fn values(inputs: &[&[f32]], f: impl Fn(&[&[f64]]) -> Vec<f64>) -> Vec<f64> {
        call(&widened(inputs), f)
    }

    /// Central differences of `f` for every element of input `which`. In f64 with a step of 1e-5, rounding and the
    /// neglected third derivative both stay near 1e-10.
    pub fn differences(inputs: &[&[f32]], which: usize, f: impl Fn(&[&[f64]]) -> f64) -> Vec<f64> {
        const STEP: f64 = 1e-5;
        let mut inputs = widened(inputs);
        (0..inputs[which].len())
            .map(|i| {
                let middle = inputs[which][i];
                inputs[which][i] = middle + STEP;
                let above = call(&inputs, &f);
                inputs[which][i] = middle - STEP;
                let below = call(&inputs, &f);
                inputs[which][i] = middle;
                (above - below) / (2.0 * STEP)
            })
            .collect()
    }
}

//! Bias and GELU in one pass: `a = g(h + b)` with `g(x) = x·Φ(x)`, Φ the normal distribution function (the erf form
//! of Hendrycks and Gimpel, arXiv:1606.08415).
//!
//! Only `h` is kept for the backward pass. There `g'(x) = Φ(x) + x·φ(x)`, and since Φ is at hand, `a` is computed
//! again for next to nothing: the weight gradient of the layer that reads `a` needs it.

use rayon::prelude::*;

use super::isa::{Arithmetic, Isa, kernel};
use super::math::normal;
use super::parallel::{ROWS, Sums};

/// `a = g(h + b)` for rows of `bias.len()`.
pub fn forward(isa: Isa, h: &[f32], bias: &[f32], a: &mut [f32]) {
    let task = ROWS * bias.len();
    a.par_chunks_mut(task)
        .zip(h.par_chunks(task))
        .for_each(|(a, h)| rows_forward(isa, h, bias, a));
}

/// Turns `d`, the gradient of `a`, into that of `h` in place, writes `a` once more, and returns the gradient of the
/// bias.
pub fn backward(isa: Isa, h: &[f32], bias: &[f32], a: &mut [f32], d: &mut [f32]) -> Sums<1> {
    let task = ROWS * bias.len();
    let rows = h
        .par_chunks(task)
        .zip(a.par_chunks_mut(task))
        .zip(d.par_chunks_mut(task));
    Sums::collect(bias.len(), rows, |_, ((h, a), d), [dbias]| {
        rows_backward(isa, h, bias, a, d, dbias)
    })
}

kernel! { fn rows_forward(h: &[f32], bias: &[f32], a: &mut [f32]) = rows_forward_body }
kernel! { fn rows_backward(h: &[f32], bias: &[f32], a: &mut [f32], d: &mut [f32], dbias: &mut [f32]) = rows_backward_body }

#[inline(always)]
fn rows_forward_body(math: impl Arithmetic, h: &[f32], bias: &[f32], a: &mut [f32]) {
    let width = bias.len();
    for (h, a) in h.chunks_exact(width).zip(a.chunks_exact_mut(width)) {
        for ((a, h), b) in a.iter_mut().zip(h).zip(bias) {
            let x = h + b;
            *a = x * normal(math, x).0;
        }
    }
}

#[inline(always)]
fn rows_backward_body(
    math: impl Arithmetic,
    h: &[f32],
    bias: &[f32],
    a: &mut [f32],
    d: &mut [f32],
    dbias: &mut [f32],
) {
    let width = bias.len();
    for ((h, a), d) in h
        .chunks_exact(width)
        .zip(a.chunks_exact_mut(width))
        .zip(d.chunks_exact_mut(width))
    {
        for ((((a, d), h), b), db) in a.iter_mut().zip(d).zip(h).zip(bias).zip(dbias.iter_mut()) {
            let x = h + b;
            let (cdf, density) = normal(math, x);
            *a = x * cdf;
            *d *= cdf + density;
            *db += *d;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_close, dot, gelu, gradient, numbers};

    fn naive(h: &[f64], bias: &[f64]) -> Vec<f64> {
        h.iter()
            .enumerate()
            .map(|(i, h)| gelu(h + bias[i % bias.len()]))
            .collect()
    }

    #[test]
    fn forward_and_gradients_agree_with_finite_differences() {
        for (rows, width) in [(1, 1), (1, 15), (3, 16), (64, 17), (65, 33), (130, 4)] {
            let (h, bias, da) = (
                numbers(rows * width, 1),
                numbers(width, 2),
                numbers(rows * width, 3),
            );
            let h: Vec<f32> = h.iter().map(|h| 3.0 * h).collect();
            let expected = gradient::values(&[&h, &bias], |v| naive(v[0], v[1]));
            let loss = |v: &[&[f64]]| dot(&naive(v[0], v[1]), &da);
            for isa in Isa::available() {
                let mut a = vec![0.0; h.len()];
                forward(isa, &h, &bias, &mut a);
                assert_close("a", &a, &expected, 1e-6);
                let (mut again, mut d) = (vec![0.0; h.len()], da.clone());
                let dbias = backward(isa, &h, &bias, &mut again, &mut d);
                assert_eq!(a, again);
                assert_close(
                    "dh",
                    &d,
                    &gradient::differences(&[&h, &bias], 0, loss),
                    1e-6,
                );
                assert_close(
                    "db",
                    dbias.part(0),
                    &gradient::differences(&[&h, &bias], 1, loss),
                    1e-6,
                );
            }
        }
    }
}

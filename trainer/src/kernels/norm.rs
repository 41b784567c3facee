//! Residual, dropout and layer norm in one pass over a row.
//!
//! Forward, with `x` the product of the dense layer before (its bias `c` not yet added), `r` the residual and `m` the
//! dropout factors:
//!
//! ```text
//! z = r + m·(x + c)        kept for the backward pass, in the place of x
//! y = g·ẑ + b              ẑ = (z − mean z) / √(var z + ε), variance over the row in a second pass
//! ```
//!
//! Backward, with `u = dy·g` (Ba, Kiros and Hinton, arXiv:1607.06450):
//!
//! ```text
//! dz = (u − mean u − ẑ·mean(u·ẑ)) / √(var z + ε)      the residual's gradient
//! dx = m·dz    dg = Σ dy·ẑ    db = Σ dy    dc = Σ dx    sums over rows
//! ```

use rayon::prelude::*;

use super::dropout::Dropout;
use super::isa::{Arithmetic, Isa, kernel};
use super::math::sum;
use super::parallel::{ROWS, Sums};

/// A layer norm's parameters, and what it adds to the variance.
#[derive(Copy, Clone)]
pub struct Norm<'a> {
    /// g
    pub weight: &'a [f32],
    /// b
    pub bias: &'a [f32],
    /// ε
    pub eps: f32,
}

/// `y = norm(z)` for rows of `norm.weight.len()`.
pub fn forward(isa: Isa, norm: Norm<'_>, z: &[f32], y: &mut [f32]) {
    let task = ROWS * norm.weight.len();
    let rows = z.par_chunks(task).zip(y.par_chunks_mut(task));
    rows.for_each(|(z, y)| rows_forward(isa, norm, z, y));
}

/// `z = residual + dropout(z + bias)`, then `y = norm(z)`, for rows of `bias.len()`.
pub fn add_forward(
    isa: Isa,
    norm: Norm<'_>,
    bias: &[f32],
    dropout: Dropout,
    residual: &[f32],
    z: &mut [f32],
    y: &mut [f32],
) {
    let task = ROWS * bias.len();
    let rows = z
        .par_chunks_mut(task)
        .zip(y.par_chunks_mut(task))
        .zip(residual.par_chunks(task));
    rows.enumerate().for_each(|(i, ((z, y), residual))| {
        add_rows_forward(isa, norm, bias, dropout.skip(i * task), residual, z, y)
    });
}

/// From `dy` the gradients of the sum (`dz`) and of the dense product (`dx`); returns the sums dg, db, dc.
pub fn add_backward(
    isa: Isa,
    norm: Norm<'_>,
    dropout: Dropout,
    z: &[f32],
    dy: &[f32],
    dz: &mut [f32],
    dx: &mut [f32],
) -> Sums<3> {
    let width = norm.weight.len();
    let task = ROWS * width;
    let rows = z
        .par_chunks(task)
        .zip(dy.par_chunks(task))
        .zip(dz.par_chunks_mut(task))
        .zip(dx.par_chunks_mut(task));
    Sums::collect(width, rows, |i, (((z, dy), dz), dx), sums| {
        add_rows_backward(isa, norm, dropout.skip(i * task), z, dy, [dz, dx], sums);
    })
}

kernel! { fn rows_forward(norm: Norm<'_>, z: &[f32], y: &mut [f32]) = rows_forward_body }
kernel! {
    fn add_rows_forward(
        norm: Norm<'_>, bias: &[f32], dropout: Dropout, residual: &[f32], z: &mut [f32], y: &mut [f32],
    ) = add_rows_forward_body
}
kernel! {
    fn add_rows_backward(
        norm: Norm<'_>, dropout: Dropout, z: &[f32], dy: &[f32], gradients: [&mut [f32]; 2], sums: [&mut [f32]; 3],
    ) = add_rows_backward_body
}

#[inline(always)]
fn rows_forward_body(math: impl Arithmetic, norm: Norm<'_>, z: &[f32], y: &mut [f32]) {
    let width = norm.weight.len();
    for (z, y) in z.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        row_forward(math, norm, z, y);
    }
}

#[inline(always)]
fn add_rows_forward_body(
    math: impl Arithmetic,
    norm: Norm<'_>,
    bias: &[f32],
    dropout: Dropout,
    residual: &[f32],
    z: &mut [f32],
    y: &mut [f32],
) {
    let width = bias.len();
    let rows = z
        .chunks_exact_mut(width)
        .zip(y.chunks_exact_mut(width))
        .zip(residual.chunks_exact(width));
    for (row, ((z, y), residual)) in rows.enumerate() {
        if dropout.is_off() {
            for ((z, residual), bias) in z.iter_mut().zip(residual).zip(bias) {
                *z = residual + (*z + bias);
            }
        } else {
            let dropout = dropout.skip(row * width);
            for (i, ((z, residual), bias)) in z.iter_mut().zip(residual).zip(bias).enumerate() {
                *z = math.mul_add(dropout.factor(i as u32), *z + bias, *residual);
            }
        }
        row_forward(math, norm, z, y);
    }
}

#[inline(always)]
fn add_rows_backward_body(
    math: impl Arithmetic,
    norm: Norm<'_>,
    dropout: Dropout,
    z: &[f32],
    dy: &[f32],
    [dz, dx]: [&mut [f32]; 2],
    [dg, db, dc]: [&mut [f32]; 3],
) {
    let width = norm.weight.len();
    let outputs = dz.chunks_exact_mut(width).zip(dx.chunks_exact_mut(width));
    let rows = z
        .chunks_exact(width)
        .zip(dy.chunks_exact(width))
        .zip(outputs);
    for (row, ((z, dy), (dz, dx))) in rows.enumerate() {
        row_backward(math, norm, z, dy, dz, dg, db);
        let dropout = dropout.skip(row * width);
        for (i, ((dx, dz), dc)) in dx.iter_mut().zip(dz).zip(dc.iter_mut()).enumerate() {
            *dx = *dz * dropout.factor(i as u32);
            *dc += *dx;
        }
    }
}

/// `y = norm(z)` for one row.
#[inline(always)]
pub(super) fn row_forward(math: impl Arithmetic, norm: Norm<'_>, z: &[f32], y: &mut [f32]) {
    let (mean, scale) = moments(norm.eps, z);
    for (((y, z), g), b) in y.iter_mut().zip(z).zip(norm.weight).zip(norm.bias) {
        *y = math.mul_add((z - mean) * scale, *g, *b);
    }
}

/// `dz` from `dy` for one row; adds to the sums `dg` and `db`.
#[inline(always)]
pub(super) fn row_backward(
    math: impl Arithmetic,
    norm: Norm<'_>,
    z: &[f32],
    dy: &[f32],
    dz: &mut [f32],
    dg: &mut [f32],
    db: &mut [f32],
) {
    let n = z.len();
    let (g, dy) = (&norm.weight[..n], &dy[..n]);
    let (mean, scale) = moments(norm.eps, z);
    let mean_u = sum(n, |i| dy[i] * g[i]) / n as f32;
    let mean_uz = sum(n, |i| dy[i] * g[i] * ((z[i] - mean) * scale)) / n as f32;
    let (dz, dg, db) = (&mut dz[..n], &mut dg[..n], &mut db[..n]);
    for i in 0..n {
        let normal = (z[i] - mean) * scale;
        dg[i] = math.mul_add(dy[i], normal, dg[i]);
        db[i] += dy[i];
        dz[i] = scale * (math.mul_add(dy[i], g[i], -mean_u) - normal * mean_uz);
    }
}

/// Mean, and one over the standard deviation.
#[inline(always)]
fn moments(eps: f32, z: &[f32]) -> (f32, f32) {
    let n = z.len();
    let mean = sum(n, |i| z[i]) / n as f32;
    let variance = sum(n, |i| (z[i] - mean) * (z[i] - mean)) / n as f32;
    (mean, 1.0 / (variance + eps).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_close, dot, gradient, layer_norm, numbers};

    const EPS: f32 = 1e-3;

    /// x, residual, dense bias, norm weight, norm bias → y, with the kernel's own dropout factors.
    fn naive(dropout: Dropout, v: &[&[f64]]) -> Vec<f64> {
        let width = v[2].len();
        let z: Vec<f64> = (0..v[0].len())
            .map(|i| v[1][i] + f64::from(dropout.factor(i as u32)) * (v[0][i] + v[2][i % width]))
            .collect();
        layer_norm(&z, v[3], v[4], f64::from(EPS))
    }

    #[test]
    fn forward_and_gradients_agree_with_finite_differences() {
        for (rows, width) in [(1, 5), (1, 15), (3, 16), (64, 17), (65, 33), (130, 4)] {
            let n = rows * width;
            let [x, residual, dy] = [1, 2, 3].map(|seed| numbers(n, seed));
            let [bias, weight, shift] = [4, 5, 6].map(|seed| numbers(width, seed));
            let inputs: [&[f32]; 5] = [&x, &residual, &bias, &weight, &shift];
            let norm = Norm {
                weight: &weight,
                bias: &shift,
                eps: EPS,
            };
            for dropout in [Dropout::OFF, Dropout::new(0.3, 11)] {
                let loss = |v: &[&[f64]]| dot(&naive(dropout, v), &dy);
                let expected: Vec<_> = (0..5)
                    .map(|which| gradient::differences(&inputs, which, loss))
                    .collect();
                for isa in Isa::available() {
                    let (mut z, mut y) = (x.clone(), vec![0.0; n]);
                    add_forward(isa, norm, &bias, dropout, &residual, &mut z, &mut y);
                    assert_close(
                        "y",
                        &y,
                        &gradient::values(&inputs, |v| naive(dropout, v)),
                        2e-6,
                    );
                    let (mut dz, mut dx) = (vec![0.0; n], vec![0.0; n]);
                    let sums = add_backward(isa, norm, dropout, &z, &dy, &mut dz, &mut dx);
                    assert_close("dx", &dx, &expected[0], 1e-5);
                    assert_close("dresidual", &dz, &expected[1], 1e-5);
                    assert_close("dc", sums.part(2), &expected[2], 1e-5);
                    assert_close("dg", sums.part(0), &expected[3], 1e-5);
                    assert_close("db", sums.part(1), &expected[4], 1e-5);
                }
            }
        }
    }
}

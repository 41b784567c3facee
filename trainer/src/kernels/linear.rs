//! A dense layer over rows: `y = x Wᵀ + b`, and the gradients `dx = dy W`, `dW = dyᵀ x`, `db = Σ rows of dy`.

use rayon::prelude::*;

use super::gemm::{Matrix, MatrixMut, Precision, Workers, Write, product};
use super::isa::{Arithmetic, Isa, kernel};
use super::parallel::{ROWS, Sums};

/// `x` is `[rows, inputs]`, `W` is `[outputs, inputs]`, `y` is `[rows, outputs]`, all row-major without gaps.
#[derive(Copy, Clone, Debug)]
pub struct Dims {
    /// Rows of `x` and `y`.
    pub rows: usize,
    /// Columns of `y`.
    pub outputs: usize,
    /// Columns of `x`.
    pub inputs: usize,
}

/// `y = x Wᵀ + b`; without a bias, `y = x Wᵀ`.
pub fn forward(
    precision: Precision,
    dims: Dims,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let Dims {
        rows,
        outputs,
        inputs,
    } = dims;
    let write = match bias {
        Some(bias) => {
            y.par_chunks_mut(ROWS * outputs).for_each(|y| {
                for row in y.chunks_exact_mut(outputs) {
                    row.copy_from_slice(bias);
                }
            });
            Write::Add
        }
        None => Write::Over,
    };
    let (x, weight) = (
        Matrix::new(x, rows, inputs, inputs),
        Matrix::new(weight, outputs, inputs, inputs),
    );
    product(
        precision,
        MatrixMut::new(y, rows, outputs, outputs),
        write,
        x,
        weight.t(),
        Workers::All,
    );
}

/// `dx = dy W`, or added to what `dx` holds.
pub fn backward_input(
    precision: Precision,
    dims: Dims,
    dy: &[f32],
    weight: &[f32],
    write: Write,
    dx: &mut [f32],
) {
    let Dims {
        rows,
        outputs,
        inputs,
    } = dims;
    let (dy, weight) = (
        Matrix::new(dy, rows, outputs, outputs),
        Matrix::new(weight, outputs, inputs, inputs),
    );
    product(
        precision,
        MatrixMut::new(dx, rows, inputs, inputs),
        write,
        dy,
        weight,
        Workers::All,
    );
}

/// `dW = dyᵀ x`, or added to what `dw` holds.
pub fn backward_weight(
    precision: Precision,
    dims: Dims,
    dy: &[f32],
    x: &[f32],
    write: Write,
    dw: &mut [f32],
) {
    let Dims {
        rows,
        outputs,
        inputs,
    } = dims;
    let (dy, x) = (
        Matrix::new(dy, rows, outputs, outputs),
        Matrix::new(x, rows, inputs, inputs),
    );
    product(
        precision,
        MatrixMut::new(dw, outputs, inputs, inputs),
        write,
        dy.t(),
        x,
        Workers::All,
    );
}

/// The sum of the rows of `dy`, each `outputs` wide.
pub fn backward_bias(isa: Isa, outputs: usize, dy: &[f32]) -> Sums<1> {
    Sums::collect(outputs, dy.par_chunks(ROWS * outputs), |_, dy, [sum]| {
        add_rows(isa, dy, sum)
    })
}

kernel! {
    /// Adds each row of `rows` to `sum`.
    fn add_rows(rows: &[f32], sum: &mut [f32]) = add_rows_body
}

#[inline(always)]
fn add_rows_body(_: impl Arithmetic, rows: &[f32], sum: &mut [f32]) {
    for row in rows.chunks_exact(sum.len()) {
        for (sum, x) in sum.iter_mut().zip(row) {
            *sum += x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_close, dot, gradient, numbers};

    /// The oracle in f64.
    fn naive(dims: Dims, x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
        let Dims {
            rows,
            outputs,
            inputs,
        } = dims;
        let at = |i: usize, j: usize| {
            bias[j]
                + (0..inputs)
                    .map(|k| x[i * inputs + k] * weight[j * inputs + k])
                    .sum::<f64>()
        };
        (0..rows * outputs)
            .map(|ij| at(ij / outputs, ij % outputs))
            .collect()
    }

    #[test]
    fn forward_and_gradients_agree_with_finite_differences() {
        for (rows, outputs, inputs) in [
            (1, 1, 1),
            (1, 5, 3),
            (63, 7, 5),
            (64, 16, 8),
            (65, 17, 33),
            (130, 3, 48),
        ] {
            let dims = Dims {
                rows,
                outputs,
                inputs,
            };
            let (x, weight, bias) = (
                numbers(rows * inputs, 1),
                numbers(outputs * inputs, 2),
                numbers(outputs, 3),
            );
            let dy = numbers(rows * outputs, 4);
            let mut y = vec![0.0; rows * outputs];
            forward(Precision::F32, dims, &x, &weight, Some(&bias), &mut y);
            assert_close(
                "y",
                &y,
                &gradient::values(&[&x, &weight, &bias], |v| naive(dims, v[0], v[1], v[2])),
                1e-6,
            );

            let loss = |v: &[&[f64]]| dot(&naive(dims, v[0], v[1], v[2]), &dy);
            let expected = |which| gradient::differences(&[&x, &weight, &bias], which, loss);
            let (mut dx, mut dw) = (vec![9.0; x.len()], vec![0.0; weight.len()]);
            backward_input(Precision::F32, dims, &dy, &weight, Write::Over, &mut dx);
            backward_weight(Precision::F32, dims, &dy, &x, Write::Add, &mut dw);
            assert_close("dx", &dx, &expected(0), 1e-6);
            assert_close("dw", &dw, &expected(1), 1e-6);
            for isa in Isa::available() {
                assert_close(
                    "db",
                    backward_bias(isa, outputs, &dy).part(0),
                    &expected(2),
                    1e-6,
                );
            }
        }
    }
}

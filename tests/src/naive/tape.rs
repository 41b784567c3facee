//! Reverse-mode differentiation: every operation stands with its derivative beside it.
//!
//! A [`Tape`] holds the values in the order they were computed, each with a step that turns the
//! loss's gradient at this value into its share at the values it was made of.
//! [`Tape::gradients`] runs the steps from the last to the first.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use super::matrix::{Matrix, dot};

/// A value on a tape.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Var(usize);

/// Gradient at the result, all values, the gradients to add to.
type Back = Box<dyn Fn(&Matrix, &[Matrix], &mut [Matrix])>;

/// What was computed, in order.
#[derive(Default)]
pub struct Tape {
    values: Vec<Matrix>,
    steps: Vec<Back>,
}

impl Tape {
    /// Puts a parameter or an input on the tape.
    pub fn leaf(&mut self, value: Matrix) -> Var {
        self.push(value, |_, _, _| ())
    }

    /// A value.
    pub fn value(&self, x: Var) -> &Matrix {
        &self.values[x.0]
    }

    /// `x · wᵀ + b`, the bias added to every row: `[n × inputs]`, `[outputs × inputs]`, `[1 × outputs]`.
    pub fn linear(&mut self, x: Var, w: Var, b: Var) -> Var {
        let mut y = self.value(x).times_transposed(self.value(w));
        for i in 0..y.rows {
            let bias = &self.values[b.0].data;
            y.row_mut(i).iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
        self.push(y, move |g, values, grads| {
            grads[x.0].add(&g.times(&values[w.0]));
            grads[w.0].add(&g.transposed().times(&values[x.0]));
            grads[b.0].add(&g.sum_of_rows());
        })
    }

    /// `a · bᵀ`.
    pub fn times_transposed(&mut self, a: Var, b: Var) -> Var {
        let product = self.value(a).times_transposed(self.value(b));
        self.push(product, move |g, values, grads| {
            grads[a.0].add(&g.times(&values[b.0]));
            grads[b.0].add(&g.transposed().times(&values[a.0]));
        })
    }

    /// `a · b`.
    pub fn times(&mut self, a: Var, b: Var) -> Var {
        let product = self.value(a).times(self.value(b));
        self.push(product, move |g, values, grads| {
            grads[a.0].add(&g.times_transposed(&values[b.0]));
            grads[b.0].add(&values[a.0].transposed().times(g));
        })
    }

    /// `x + y`.
    pub fn add(&mut self, x: Var, y: Var) -> Var {
        let sum = self.value(x).zip(self.value(y), |x, y| x + y);
        self.push(sum, move |g, _, grads| {
            grads[x.0].add(g);
            grads[y.0].add(g);
        })
    }

    /// `x` times a constant.
    pub fn scale(&mut self, x: Var, by: f64) -> Var {
        let scaled = self.value(x).map(|x| x * by);
        self.push(scaled, move |g, _, grads| {
            grads[x.0].add(&g.map(|g| g * by))
        })
    }

    /// The named rows of a table, in this order; a row may be named more than once.
    pub fn rows(&mut self, table: Var, rows: &[usize]) -> Var {
        let from = self.value(table);
        let data = rows
            .iter()
            .flat_map(|row| from.row(*row))
            .copied()
            .collect();
        let picked = Matrix::new(rows.len(), from.columns, data);
        let rows = rows.to_vec();
        self.push(picked, move |g, _, grads| {
            for (i, row) in rows.iter().enumerate() {
                let into = grads[table.0].row_mut(*row);
                into.iter_mut()
                    .zip(g.row(i))
                    .for_each(|(into, g)| *into += g);
            }
        })
    }

    /// Some columns, from `start` on.
    pub fn columns(&mut self, x: Var, start: usize, count: usize) -> Var {
        let from = self.value(x);
        let rows = 0..from.rows;
        let data = rows
            .flat_map(|i| &from.row(i)[start..start + count])
            .copied()
            .collect();
        let picked = Matrix::new(from.rows, count, data);
        self.push(picked, move |g, _, grads| {
            for i in 0..g.rows {
                let into = &mut grads[x.0].row_mut(i)[start..start + count];
                into.iter_mut()
                    .zip(g.row(i))
                    .for_each(|(into, g)| *into += g);
            }
        })
    }

    /// Matrices of the same number of rows side by side.
    pub fn beside(&mut self, parts: &[Var]) -> Var {
        let rows = self.value(parts[0]).rows;
        let columns = parts.iter().map(|part| self.value(*part).columns).sum();
        let mut whole = Matrix::zeros(rows, columns);
        let mut start = 0;
        for part in parts {
            let part = self.value(*part);
            for i in 0..rows {
                whole.row_mut(i)[start..start + part.columns].copy_from_slice(part.row(i));
            }
            start += part.columns;
        }
        let parts = parts.to_vec();
        self.push(whole, move |g, _, grads| {
            let mut start = 0;
            for part in &parts {
                let part = &mut grads[part.0];
                for i in 0..g.rows {
                    let from = &g.row(i)[start..start + part.columns];
                    part.row_mut(i)
                        .iter_mut()
                        .zip(from)
                        .for_each(|(into, g)| *into += g);
                }
                start += part.columns;
            }
        })
    }

    /// Softmax of each row.
    pub fn softmax(&mut self, x: Var) -> Var {
        let mut y = self.value(x).clone();
        for i in 0..y.rows {
            softmax(y.row_mut(i));
        }
        let result = self.next();
        self.push(y, move |g, values, grads| {
            let y = &values[result.0];
            for i in 0..g.rows {
                let along = dot(g.row(i), y.row(i));
                let into = grads[x.0].row_mut(i).iter_mut();
                for ((into, g), y) in into.zip(g.row(i)).zip(y.row(i)) {
                    *into += y * (g - along);
                }
            }
        })
    }

    /// `x · Φ(x)` with Φ the normal distribution's cumulative function.
    pub fn gelu(&mut self, x: Var) -> Var {
        let y = self.value(x).map(|x| x * normal_cdf(x));
        self.push(y, move |g, values, grads| {
            let slope = |x: f64| normal_cdf(x) + x * (-x * x / 2.0).exp() / (2.0 * PI).sqrt();
            grads[x.0].add(&g.zip(&values[x.0], |g, x| g * slope(x)));
        })
    }

    /// Hyperbolic tangent.
    pub fn tanh(&mut self, x: Var) -> Var {
        let y = self.value(x).map(f64::tanh);
        let result = self.next();
        self.push(y, move |g, values, grads| {
            grads[x.0].add(&g.zip(&values[result.0], |g, y| g * (1.0 - y * y)));
        })
    }

    /// Each row brought to mean 0 and variance 1, times `weight`, plus `bias` (one row each).
    pub fn layer_norm(&mut self, x: Var, weight: Var, bias: Var, eps: f64) -> Var {
        let mut y = normalized(self.value(x), eps);
        for i in 0..y.rows {
            let (weight, bias) = (&self.values[weight.0].data, &self.values[bias.0].data);
            for ((y, w), b) in y.row_mut(i).iter_mut().zip(weight).zip(bias) {
                *y = *y * w + b;
            }
        }
        self.push(y, move |g, values, grads| {
            let unit = normalized(&values[x.0], eps);
            grads[weight.0].add(&g.zip(&unit, |g, u| g * u).sum_of_rows());
            grads[bias.0].add(&g.sum_of_rows());
            for i in 0..g.rows {
                let along = g.row(i).iter().zip(&values[weight.0].data);
                let along: Vec<f64> = along.map(|(g, w)| g * w).collect();
                let n = along.len() as f64;
                let mean = along.iter().sum::<f64>() / n;
                let slope = dot(&along, unit.row(i)) / n;
                let (_, deviation) = moments(values[x.0].row(i), eps);
                let into = grads[x.0].row_mut(i).iter_mut();
                for ((into, g), u) in into.zip(&along).zip(unit.row(i)) {
                    *into += (g - mean - u * slope) / deviation;
                }
            }
        })
    }

    /// The cross-entropy of one row of logits with a label, as a matrix of one number.
    pub fn cross_entropy(&mut self, logits: Var, label: usize) -> Var {
        let mut chances = self.value(logits).data.clone();
        softmax(&mut chances);
        let loss = Matrix::new(1, 1, vec![-chances[label].ln()]);
        self.push(loss, move |g, _, grads| {
            for (i, into) in grads[logits.0].data.iter_mut().enumerate() {
                *into += g.data[0] * (chances[i] - f64::from(u8::from(i == label)));
            }
        })
    }

    /// The gradient of one number at every value before it, times `weight`.
    pub fn gradients(&self, loss: Var, weight: f64) -> Gradients {
        assert_eq!(self.value(loss).data.len(), 1, "a loss is one number");
        let zeros = self
            .values
            .iter()
            .map(|value| Matrix::zeros(value.rows, value.columns));
        let mut grads: Vec<Matrix> = zeros.collect();
        grads[loss.0].data[0] = weight;
        for step in (0..=loss.0).rev() {
            let grad = std::mem::replace(&mut grads[step], Matrix::zeros(0, 0));
            self.steps[step](&grad, &self.values, &mut grads);
            grads[step] = grad;
        }
        Gradients(grads)
    }

    fn next(&self) -> Var {
        Var(self.values.len())
    }

    fn push(
        &mut self,
        value: Matrix,
        back: impl Fn(&Matrix, &[Matrix], &mut [Matrix]) + 'static,
    ) -> Var {
        let var = self.next();
        self.values.push(value);
        self.steps.push(Box::new(back));
        var
    }
}

/// The gradient at each value of a tape.
pub struct Gradients(Vec<Matrix>);

impl Gradients {
    /// The gradient at a value.
    pub fn at(&self, x: Var) -> &Matrix {
        &self.0[x.0]
    }
}

fn softmax(row: &mut [f64]) {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    row.iter_mut().for_each(|x| *x = (*x - largest).exp());
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= sum);
}

/// Mean, and the square root of variance plus `eps`.
fn moments(row: &[f64], eps: f64) -> (f64, f64) {
    let n = row.len() as f64;
    let mean = row.iter().sum::<f64>() / n;
    let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
    (mean, (variance + eps).sqrt())
}

fn normalized(x: &Matrix, eps: f64) -> Matrix {
    let mut unit = x.clone();
    for i in 0..x.rows {
        let (mean, deviation) = moments(x.row(i), eps);
        unit.row_mut(i)
            .iter_mut()
            .for_each(|x| *x = (*x - mean) / deviation);
    }
    unit
}

fn normal_cdf(x: f64) -> f64 {
    (1.0 + erf(x * FRAC_1_SQRT_2)) / 2.0
}

/// The error function by `2/√π · e^(−x²) · Σ 2ⁿ x²ⁿ⁺¹ / (2n+1)!!`, whose terms all have one sign
/// (Abramowitz and Stegun, 7.1.6). Beyond 6 it is ±1 in `f64`.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > 1e-17 * sum.abs() {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    sum * (-x * x).exp() * 2.0 / PI.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function_has_its_known_values() {
        let known = [
            (0.0, 0.0),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
        ];
        let known = known
            .into_iter()
            .chain([(2.0, 0.995_322_265_018_952_7), (7.0, 1.0)]);
        for (x, y) in known {
            assert!((erf(x) - y).abs() < 1e-15, "erf({x})");
            assert_eq!(erf(-x), -erf(x));
        }
    }
}

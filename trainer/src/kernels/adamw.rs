//! One AdamW update of a slice of parameters, with the gradient's scale folded in, and sums of squares.
//!
//! With decay `λ`, learning rate `η`, step `t` counted from 1, and the scaled gradient `g` (Loshchilov and Hutter,
//! arXiv:1711.05101, in the order of operations of PyTorch's implementation):
//!
//! ```text
//! p ← p·(1 − η·λ)
//! m ← m + (1 − β₁)·(g − m)          v ← β₂·v + (1 − β₂)·g²
//! p ← p − η/(1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)
//! ```

use rayon::prelude::*;

use super::isa::{Arithmetic, Isa, kernel};
use super::math::sum;
use super::parallel::ROWS;

/// Elements in one task.
const TASK: usize = 1 << 15;

/// The numbers of one update, the same for every element of a group.
#[derive(Copy, Clone, Debug)]
pub struct Update {
    /// 1 − η·λ
    keep: f32,
    /// η / (1 − β₁ᵗ)
    rate: f32,
    /// 1 / √(1 − β₂ᵗ)
    spread: f32,
    /// 1 − β₁, subtracted in f64: 1 − 0.999 in f32 is off by 1.3e-5 of itself.
    fresh1: f32,
    /// β₂
    beta2: f32,
    /// 1 − β₂
    fresh2: f32,
    eps: f32,
    /// What the gradient is multiplied with.
    scale: f32,
}

/// What stays the same from step to step.
#[derive(Copy, Clone, Debug)]
pub struct Betas {
    /// β₁, decay of the mean.
    pub first: f64,
    /// β₂, decay of the mean square.
    pub second: f64,
    /// ε
    pub eps: f64,
}

impl Update {
    /// The update of step `step`, counted from 1.
    pub fn new(betas: Betas, learning_rate: f64, weight_decay: f64, step: u64, scale: f32) -> Self {
        let exponent = i32::try_from(step).unwrap_or(i32::MAX);
        Self {
            keep: (1.0 - learning_rate * weight_decay) as f32,
            rate: (learning_rate / (1.0 - betas.first.powi(exponent))) as f32,
            spread: (1.0 / (1.0 - betas.second.powi(exponent)).sqrt()) as f32,
            fresh1: (1.0 - betas.first) as f32,
            beta2: betas.second as f32,
            fresh2: (1.0 - betas.second) as f32,
            eps: betas.eps as f32,
            scale,
        }
    }

    /// Its numbers in their order, for those who compute it elsewhere.
    #[cfg(any(feature = "cuda", test))]
    pub(crate) fn numbers(self) -> [f32; 8] {
        let Self {
            keep,
            rate,
            spread,
            fresh1,
            beta2,
            fresh2,
            eps,
            scale,
        } = self;
        [keep, rate, spread, fresh1, beta2, fresh2, eps, scale]
    }

    /// Moves parameters `p` along gradients `g`, with moments `m` and `v`, all of one length.
    pub fn apply(self, isa: Isa, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        let tasks = p
            .par_chunks_mut(TASK)
            .zip(g.par_chunks(TASK))
            .zip(m.par_chunks_mut(TASK))
            .zip(v.par_chunks_mut(TASK));
        tasks.for_each(|(((p, g), m), v)| update(isa, self, p, g, m, v));
    }

    /// The same, by the calling thread.
    pub fn apply_here(self, isa: Isa, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        update(isa, self, p, g, m, v);
    }

    /// What [`Update::apply`] comes to for rows whose gradient and moments are zero, to the last bit.
    pub fn decay(self, isa: Isa, rows: Vec<Option<&mut [f32]>>) {
        if self.keep != 1.0 {
            let rows = rows.into_par_iter().with_min_len(ROWS).flatten_iter();
            rows.for_each(|p| multiply(isa, self.keep, p));
        }
    }
}

/// Σ x², in a fixed order.
pub fn sum_of_squares(isa: Isa, x: &[f32]) -> f64 {
    const PART: usize = 4096;
    let sums: Vec<f64> = x
        .par_chunks(TASK)
        .map(|task| {
            task.chunks(PART)
                .map(|part| f64::from(squares(isa, part)))
                .sum()
        })
        .collect();
    sums.iter().sum()
}

kernel! { fn update(u: Update, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) = update_body }
kernel! { fn multiply(factor: f32, p: &mut [f32]) = multiply_body }
kernel! { fn squares(x: &[f32]) -> f32 = squares_body }

#[inline(always)]
fn update_body(
    math: impl Arithmetic,
    u: Update,
    p: &mut [f32],
    g: &[f32],
    m: &mut [f32],
    v: &mut [f32],
) {
    for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
        let g = g * u.scale;
        *m = math.mul_add(u.fresh1, g - *m, *m);
        *v = math.mul_add(u.fresh2 * g, g, u.beta2 * *v);
        let step = *m / math.mul_add(v.sqrt(), u.spread, u.eps);
        *p = math.mul_add(-u.rate, step, *p * u.keep);
    }
}

#[inline(always)]
fn multiply_body(_: impl Arithmetic, factor: f32, p: &mut [f32]) {
    for p in p {
        *p *= factor;
    }
}

#[inline(always)]
fn squares_body(_: impl Arithmetic, x: &[f32]) -> f32 {
    sum(x.len(), |i| x[i] * x[i])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_close, numbers, on_threads};

    const BETAS: Betas = Betas {
        first: 0.9,
        second: 0.999,
        eps: 1e-8,
    };

    #[test]
    fn ten_steps_agree_with_the_formula_in_f64() {
        for isa in Isa::available() {
            let mut p = numbers(37, 1);
            let (mut m, mut v) = (vec![0.0; 37], vec![0.0; 37]);
            let mut oracle: Vec<[f64; 3]> = p.iter().map(|p| [f64::from(*p), 0.0, 0.0]).collect();
            for t in 1..=10 {
                let (lr, decay, scale) = (1e-2 / t as f64, 0.1, 0.5);
                let g = numbers(37, 100 + t);
                Update::new(BETAS, lr, decay, t, scale).apply(isa, &mut p, &g, &mut m, &mut v);
                for ([p, m, v], g) in oracle.iter_mut().zip(&g) {
                    let g = f64::from(g * scale);
                    *m = 0.9 * *m + 0.1 * g;
                    *v = 0.999 * *v + 0.001 * g * g;
                    let (m_hat, v_hat) = (
                        *m / (1.0 - 0.9f64.powi(t as i32)),
                        *v / (1.0 - 0.999f64.powi(t as i32)),
                    );
                    *p -= lr * decay * *p;
                    *p -= lr * m_hat / (v_hat.sqrt() + 1e-8);
                }
            }
            for (index, ours) in [&p, &m, &v].into_iter().enumerate() {
                assert_close(
                    "p, m, v",
                    ours,
                    &oracle.iter().map(|o| o[index]).collect::<Vec<_>>(),
                    2e-6,
                );
            }
        }
    }

    #[test]
    fn sums_of_squares_are_right_and_the_same_for_any_number_of_threads() {
        let x = numbers(100_003, 1);
        let exact: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
        let ours = on_threads(1, || sum_of_squares(Isa::best(), &x));
        assert!((ours / exact - 1.0).abs() < 1e-6);
        assert_eq!(ours, on_threads(2, || sum_of_squares(Isa::best(), &x)));
    }
}

//! The three curves of BERT: GELU, powers of two for softmax, and tanh.
//!
//! Each is a polynomial evaluated by Horner's rule, a rounded multiplication and a rounded addition
//! a step. The coefficients are minimax fits (Lawson's iteration on Chebyshev points, in f64), then
//! rounded to f32; they are normative, the highest power first.

use crate::scalar::ROUND;
use crate::simd::{Kernel, Simd};
use crate::{Isa, LANES};

/// From here on GELU is exactly `x`, and from here down exactly 0: the polynomial at this very
/// float is exactly a half.
pub const GELU_END: f32 = 4.140531;

/// `(Phi(x) - 1/2) / x` in powers of `x^2`, for the normal distribution `Phi`, up to [`GELU_END`].
pub const GELU: [f32; 8] = [
    -9.252829e-10,
    8.095727e-8,
    -3.0786857e-6,
    6.744381e-5,
    -0.0009547437,
    0.009314186,
    -0.06555731,
    0.39848348,
];

/// `255 * 2^f` for `f` between -1/2 and 1/2, within a relative 7.5e-5.
pub const EXP2_255: [f32; 4] = [14.068775, 61.865837, 176.78156, 254.98166];

/// `2^f` for `f` between -1/2 and 1/2, within a relative 1.1e-7 as it is computed.
pub const EXP2: [f32; 7] = [
    0.00015345812,
    0.0013399931,
    0.009618489,
    0.055503286,
    0.24022646,
    core::f32::consts::LN_2,
    1.0,
];

/// Lower exponents are taken for this one, whose power is 8e-31. No power is then a number without its full precision.
pub const EXP2_LOWEST: f32 = -100.0;

/// `-2 / ln 2`: `e^(-2x)` is 2 to the power of this times `x`.
pub const TANH_FACTOR: f32 = -2.0 * core::f32::consts::LOG2_E;

/// The polynomial with these coefficients, the highest power first, at `x`.
#[inline(always)]
fn horner<S: Simd, const N: usize>(s: S, coefficients: &[f32; N], x: S::F32) -> S::F32 {
    let mut sum = s.splat(coefficients[0]);
    for &coefficient in &coefficients[1..] {
        sum = s.add(s.mul(sum, x), s.splat(coefficient));
    }
    sum
}

/// `x * Phi(x)` with an error of at most 8e-5.
#[inline(always)]
pub(crate) fn gelu<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let inside = s.max(s.min(x, s.splat(GELU_END)), s.splat(-GELU_END));
    let p = horner(s, &GELU, s.mul(inside, inside));
    s.mul(x, s.add(s.splat(0.5), s.mul(inside, p)))
}

/// 2 to the power of `t <= 0`, times whatever the coefficients are scaled by.
#[inline(always)]
pub(crate) fn exp2<S: Simd, const N: usize>(s: S, coefficients: &[f32; N], t: S::F32) -> S::F32 {
    let t = s.max(t, s.splat(EXP2_LOWEST));
    let shifted = s.add(t, s.splat(ROUND));
    let whole = s.sub(shifted, s.splat(ROUND));
    let p = horner(s, coefficients, s.sub(t, whole));
    s.raise(p, shifted)
}

/// The hyperbolic tangent with an error of at most 1.3e-7: `(1 - u) / (1 + u)` for
/// `u = e^(-2|x|)`, with the sign of `x`.
#[inline(always)]
fn tanh<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let u = exp2(s, &EXP2, s.mul(s.abs(x), s.splat(TANH_FACTOR)));
    let one = s.splat(1.0);
    s.copy_sign(s.div(s.sub(one, u), s.add(one, u)), x)
}

impl Isa {
    /// Replaces every value by its hyperbolic tangent, within 1.3e-7.
    pub fn tanh(self, values: &mut [f32]) {
        self.run(Tanh { values });
    }
}

struct Tanh<'a> {
    values: &'a mut [f32],
}

impl Kernel for Tanh<'_> {
    type Output = ();
    const PRODUCTS: bool = false;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for values in self.values.chunks_mut(LANES) {
            let mut lanes = [0.0; LANES];
            lanes[..values.len()].copy_from_slice(values);
            let curve = tanh(s, s.load(&lanes));
            s.store(curve, &mut lanes);
            values.copy_from_slice(&lanes[..values.len()]);
        }
    }
}

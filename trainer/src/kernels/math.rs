//! Exponential and normal distribution as polynomials, so that the compiler can vectorize the loops around them,
//! and sums over sixteen lanes.

use super::isa::Arithmetic;

/// Lanes of the sums below: one AVX-512 register.
pub const LANES: usize = 16;

/// `exp(x)` with a relative error of at most 2.4e-7 for `x` in [-87, 88]; outside, the value at the border; NaN stays.
///
/// `x = n·ln 2 + r` with integer `n` and |r| ≤ ln 2 / 2, then `exp(x) = 2ⁿ·exp(r)` with the Taylor-like polynomial
/// of the Cephes library for `exp(r)`. Adding 1.5·2²³ rounds to an integer and leaves it in the low mantissa bits.
#[inline(always)]
pub fn exp(math: impl Arithmetic, x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    // In this order a NaN comes out of both choices.
    let x = if -87.0 > x { -87.0 } else { x };
    let x = if 88.0 < x { 88.0 } else { x };
    let shifted = math.mul_add(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = math.mul_add(n, 2.121_944_4e-4, math.mul_add(n, -0.693_359_4, x));
    let mut p = math.mul_add(1.987_569_1e-4, r, 1.398_2e-3);
    p = math.mul_add(p, r, 8.333_452e-3);
    p = math.mul_add(p, r, 4.166_579_6e-2);
    p = math.mul_add(p, r, 1.666_666_5e-1);
    p = math.mul_add(p, r, 0.5);
    let y = math.mul_add(p, r * r, r) + 1.0;
    y * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

/// The standard normal distribution function Φ(x) and `x·φ(x)`, φ its density; absolute errors at most 3e-7 and 2e-7.
///
/// erf by formula 7.1.26 of Abramowitz and Stegun, "Handbook of Mathematical Functions" (error below 1.5e-7), whose
/// exponential is the density's too.
#[inline(always)]
pub fn normal(math: impl Arithmetic, x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let e = exp(math, -z * z);
    let t = 1.0 / math.mul_add(0.327_591_1, z, 1.0);
    let mut p = math.mul_add(1.061_405_4, t, -1.453_152);
    p = math.mul_add(p, t, 1.421_413_8);
    p = math.mul_add(p, t, -0.284_496_74);
    p = math.mul_add(p, t, 0.254_829_6);
    let upper_tail = 0.5 * p * t * e;
    let cdf = if x < 0.0 {
        upper_tail
    } else {
        1.0 - upper_tail
    };
    (cdf, x * e * 0.398_942_3)
}

/// Sum of `term(i)` for `i` in `0..n`: element `i` goes to lane `i mod 16`, then the lanes are added in a tree.
#[inline(always)]
pub fn sum(n: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let whole = n / LANES * LANES;
    let mut i = 0;
    while i < whole {
        for (j, lane) in lanes.iter_mut().enumerate() {
            *lane += term(i + j);
        }
        i += LANES;
    }
    for (lane, i) in lanes.iter_mut().zip(whole..n) {
        *lane += term(i);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for j in 0..width {
            lanes[j] += lanes[j + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The largest of `x`; of an empty slice, minus infinity. NaNs may be passed over.
#[inline(always)]
pub fn max(x: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = greater(*lane, x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = greater(*lane, x);
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, greater)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::isa::{Fused, Separate};

    /// Both ways of multiplying and adding, over a fine grid.
    fn worst(
        range: std::ops::Range<i32>,
        step: f64,
        error: impl Fn(f64, f32) -> f64,
        f: impl Fn(f32) -> f32,
    ) -> f64 {
        range
            .map(|i| (f64::from(i) * step) as f32)
            .map(|x| error(f64::from(x), f(x)))
            .fold(0.0, f64::max)
    }

    #[test]
    fn exp_keeps_its_bound() {
        let relative = |x: f64, y: f32| (f64::from(y) / x.exp() - 1.0).abs();
        let both: [fn(f32) -> f32; 2] = [|x| exp(Fused, x), |x| exp(Separate, x)];
        for f in both {
            assert!(worst(-870_000..880_000, 1e-4, relative, f) < 2.4e-7);
            assert_eq!(f(0.0), 1.0);
            assert_eq!(f(-1000.0), f(-87.0));
            assert!(f(f32::NAN).is_nan());
        }
    }

    #[test]
    fn the_normal_distribution_keeps_its_bounds() {
        let both: [fn(f32) -> (f32, f32); 2] = [|x| normal(Fused, x), |x| normal(Separate, x)];
        for f in both {
            let cdf = |x: f64, y: f32| (f64::from(y) - phi(x)).abs();
            assert!(worst(-80_000..80_000, 1e-4, cdf, |x| f(x).0) < 3e-7);
            let density = |x: f64, y: f32| {
                (f64::from(y) - x * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt())
                    .abs()
            };
            assert!(worst(-80_000..80_000, 1e-4, density, |x| f(x).1) < 2e-7);
        }
    }

    /// Φ by the series Φ(x) = 1/2 + φ(x)·(x + x³/3 + x⁵/15 + …), exact enough in f64 for |x| ≤ 8.
    fn phi(x: f64) -> f64 {
        let (mut term, mut total, mut k) = (x, x, 1.0);
        while term.abs() > 1e-20 * total.abs() && k < 400.0 {
            k += 2.0;
            term *= x * x / k;
            total += term;
        }
        0.5 + total * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
    }

    #[test]
    fn sums_and_maxima_around_the_lanes() {
        for n in 0..70 {
            let x: Vec<f32> = (0..n).map(|i| ((i * 37 % 11) as f32) - 5.0).collect();
            assert_eq!(sum(n, |i| x[i]), x.iter().sum::<f32>());
            assert_eq!(max(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}

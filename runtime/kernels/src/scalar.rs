//! The few scalar operations that the arithmetic needs and `core` does not have.

/// Adding this number leaves a float no room for a fraction: the sum is rounded to the nearest
/// integer, ties to even, and its low bits are that integer. Right for magnitudes up to 2^22.
pub(crate) const ROUND: f32 = 12_582_912.0;

/// `x` rounded to the nearest integer, ties to even, for magnitudes up to 2^22.
#[inline(always)]
pub(crate) fn round(x: f32) -> i32 {
    ((x + ROUND).to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32)
}

/// The square root, correctly rounded.
///
/// The mantissa is widened until its integer root has 25 bits: one more than a float holds, and the
/// last one rounds. No root of a float lies halfway between two floats, so there is no tie.
pub(crate) fn sqrt(x: f32) -> f32 {
    if x == 0.0 || x == f32::INFINITY {
        return x;
    }
    if x.is_nan() || x < 0.0 {
        return f32::NAN;
    }
    if x < f32::MIN_POSITIVE {
        // Both factors are powers of two, so neither product is rounded.
        return sqrt(x * 16_777_216.0) / 4096.0;
    }
    let bits = x.to_bits();
    let exponent = (bits >> 23) as i32 - 127;
    let mantissa = u64::from(bits & 0x7f_ffff | 0x80_0000);
    // In [2^48, 2^50): the mantissa times 2^25, or twice that to make the exponent even.
    let root = (mantissa << (25 + (exponent & 1))).isqrt() as u32;
    // The 24 bits of a mantissa include the leading one, which carries into the exponent.
    let biased = ((exponent >> 1) + 126) as u32;
    f32::from_bits((biased << 23) + root.div_ceil(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_the_nearest_floats() {
        let same = |x: f32| assert_eq!(sqrt(x).to_bits(), x.sqrt().to_bits(), "{x:e}");
        (0..f32::INFINITY.to_bits())
            .step_by(1009)
            .map(f32::from_bits)
            .for_each(same);
        for x in [
            0.0,
            -0.0,
            1.0,
            4.0,
            2.0,
            f32::MAX,
            f32::MIN_POSITIVE,
            1e-45,
            f32::INFINITY,
        ] {
            same(x);
            same(x.next_down().abs());
            same(x.next_up().abs());
        }
        assert!(sqrt(-1.0).is_nan() && sqrt(f32::NAN).is_nan());
    }

    #[test]
    fn rounds_to_the_nearest_and_ties_to_even() {
        for half in -600_000i32..600_000 {
            let x = half as f32 * 0.5;
            assert_eq!(round(x), x.round_ties_even() as i32);
        }
        for x in [
            -127.000_01f32,
            -0.499_999_97,
            0.499_999_97,
            254.500_02,
            4_194_304.0,
        ] {
            assert_eq!(round(x), x.round_ties_even() as i32);
        }
    }
}

//! The few scalar operations that the arithmetic needs and `core` does not have.

/// Adding this number leaves a float no room for a fraction: the sum is rounded to the nearest
/// integer, ties to even, and its low bits are that integer. Right for magnitudes up to 2^22.
pub(crate) const ROUND: f32 = 12_582_912.0;

/// `x` rounded to the nearest integer, ties to even, for magnitudes up to 2^22.
#[inline(always)]
pub(crate) fn round(x: f32) -> i32 {
    ((x + ROUND).to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

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

//! What both x86-64 tiers do alike: the lower half of the reduction tree, and the square root.

use core::arch::x86_64::*;

/// Folds eight lanes: `l[j]` with `l[j + 4]`, then `+ 2`, then `+ 1`.
macro_rules! fold {
    ($vector:expr, $four:path, $one:path) => {{
        let four = $four(
            _mm256_castps256_ps128($vector),
            _mm256_extractf128_ps::<1>($vector),
        );
        let two = $four(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32($one(two, _mm_movehdup_ps(two)))
    }};
}

/// The sum of eight lanes, as a tree.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn sum(x: __m256) -> f32 {
    fold!(x, _mm_add_ps, _mm_add_ss)
}

/// The smallest of eight lanes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn smallest(x: __m256) -> f32 {
    fold!(x, _mm_min_ps, _mm_min_ss)
}

/// The largest of eight lanes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn largest(x: __m256) -> f32 {
    fold!(x, _mm_max_ps, _mm_max_ss)
}

/// The sum of eight integers, wrapping.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn total(x: __m256i) -> i32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
    let one = _mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two));
    _mm_cvtsi128_si32(one)
}

/// The square root; every x86-64 machine has it.
#[inline(always)]
pub(super) fn sqrt(x: f32) -> f32 {
    // SAFETY: SSE is part of x86-64.
    unsafe { _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))) }
}

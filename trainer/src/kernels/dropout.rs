//! Dropout's mask as a function: whether an element is kept is a hash of (key, index).
//!
//! The key stands for the run's seed, the batch's number and the place in the network, so nothing is stored between
//! forward and backward pass, any number of threads sees the same mask, and a resumed run continues it exactly.

use crate::random;

/// A mask over elements `0..2³²`, and the factor of the elements that it keeps.
#[derive(Copy, Clone, Debug)]
pub struct Dropout {
    /// Elements whose hash is below it are dropped.
    threshold: u32,
    /// 1 / (1 - p)
    scale: f32,
    key: u64,
    /// What is added to every index.
    first: u32,
}

impl Dropout {
    /// Keeps everything.
    pub const OFF: Self = Self {
        threshold: 0,
        scale: 1.0,
        key: 0,
        first: 0,
    };

    /// Drops each element with probability `p` in [0, 1).
    pub fn new(p: f64, key: u64) -> Self {
        if p <= 0.0 {
            return Self::OFF;
        }
        Self {
            threshold: (p * 4_294_967_296.0) as u32,
            scale: (1.0 / (1.0 - p)) as f32,
            key,
            first: 0,
        }
    }

    /// The mask from element `count` on: its element 0 is this one's `count`.
    pub fn skip(self, count: usize) -> Self {
        Self {
            first: self.first.wrapping_add(count as u32),
            ..self
        }
    }

    /// An independent mask for part `index` of the place: a sequence's head, say.
    pub fn part(self, index: usize) -> Self {
        Self {
            key: random::key(&[self.key, index as u64]),
            ..self
        }
    }

    /// Threshold, scale and key of a mask that begins at element 0, for those who compute it elsewhere.
    #[cfg(any(feature = "cuda", test))]
    pub(crate) fn parts(self) -> (u32, f32, u64) {
        debug_assert_eq!(self.first, 0);
        (self.threshold, self.scale, self.key)
    }

    /// Whether everything is kept.
    #[inline(always)]
    pub fn is_off(&self) -> bool {
        self.threshold == 0
    }

    /// What element `index` is multiplied with: 0, or 1 / (1 - p).
    ///
    /// The hash is the finalizer of MurmurHash3 with a second half of the key added in its middle; without that, the
    /// masks of two keys would be permutations of one another.
    #[inline(always)]
    pub fn factor(&self, index: u32) -> f32 {
        let mut h = self.first.wrapping_add(index) ^ self.key as u32;
        h ^= h >> 16;
        h = h
            .wrapping_mul(0x85eb_ca6b)
            .wrapping_add((self.key >> 32) as u32);
        h ^= h >> 13;
        h = h.wrapping_mul(0xc2b2_ae35);
        h ^= h >> 16;
        if h >= self.threshold { self.scale } else { 0.0 }
    }
}

/// `x[i] *= factor(i)`
#[inline(always)]
pub fn apply(dropout: Dropout, x: &mut [f32]) {
    if !dropout.is_off() {
        for (i, x) in x.iter_mut().enumerate() {
            *x *= dropout.factor(i as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(dropout: Dropout, n: u32) -> Vec<bool> {
        (0..n).map(|i| dropout.factor(i) == 0.0).collect()
    }

    #[test]
    fn drops_its_share_and_scales_the_rest() {
        for p in [0.05, 0.1, 0.5] {
            let n = 1 << 20;
            let dropped = mask(Dropout::new(p, 99), n)
                .into_iter()
                .filter(|&gone| gone)
                .count() as f64
                / f64::from(n);
            // Four standard deviations of a binomial share.
            assert!(
                (dropped - p).abs() < 4.0 * (p * (1.0 - p) / f64::from(n)).sqrt(),
                "{p}: {dropped}"
            );
            let kept = (0..100)
                .map(|i| Dropout::new(p, 1).factor(i))
                .find(|&f| f != 0.0);
            assert_eq!(kept, Some((1.0 / (1.0 - p)) as f32));
        }
        assert!((0..1000).all(|i| Dropout::OFF.factor(i) == 1.0));
    }

    #[test]
    fn a_mask_can_begin_in_the_middle() {
        let dropout = Dropout::new(0.3, 4).part(2);
        assert_eq!(
            mask(dropout, 100)[40..],
            mask(dropout.skip(30).skip(10), 60)
        );
    }

    #[test]
    fn masks_of_different_keys_parts_and_neighbours_are_independent() {
        let n = 1 << 18;
        let base = Dropout::new(0.5, 5);
        let same = |a: &[bool], b: &[bool]| {
            a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64
        };
        let a = mask(base, n);
        for other in [
            mask(Dropout::new(0.5, 6), n),
            mask(base.part(0), n),
            mask(base.part(1), n),
        ] {
            assert!((same(&a, &other) - 0.5).abs() < 0.005);
        }
        for shift in [1, 2, 16, 384, 1024] {
            assert!(
                (same(&a[shift..], &a[..a.len() - shift]) - 0.5).abs() < 0.005,
                "shift {shift}"
            );
        }
        assert_eq!(a, mask(Dropout::new(0.5, 5), n));
    }
}

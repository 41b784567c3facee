//! Cuts a product of rows and panels into tiles of the sizes that a tier has registers for.
//!
//! A tile is `M` rows by `N` panels of 16 columns, both known to the compiler, so that its sums
//! never leave the registers while the inputs stream by. Rows are cut as evenly as can be: eleven
//! rows are 6 + 5, not 6 + 5 with an idle sixth, and a single row costs a single row.

use core::ops::Range;

use crate::simd::{MAX_ROWS, Simd};

/// Writes a block out for `i = 0, 1, ..`, as long as that is below a constant of at most six.
///
/// The sums of a tile live in registers only while every index into them is a constant, and the
/// compiler does not unroll loops this large by itself.
macro_rules! unroll {
    ($i:ident < $count:ident $block:block) => {
        unroll!($i < $count $block 0 1 2 3 4 5)
    };
    ($i:ident < $count:ident $block:block $($number:literal)*) => {
        $(if $number < $count {
            let $i = $number;
            $block
        })*
    };
}
pub(crate) use unroll;

/// What is done with each tile.
pub(crate) trait Tiles<S: Simd> {
    /// Computes rows `row..row + M` of panels `panel..panel + N`.
    fn tile<const M: usize, const N: usize>(&mut self, s: S, row: usize, panel: usize);
}

/// Visits all tiles of `rows` rows and the given panels. A group of panels is taken through all
/// rows before the next one begins, so that the weights are read from far away only once.
#[inline(always)]
pub(crate) fn all<S: Simd>(s: S, rows: usize, panels: Range<usize>, tiles: &mut impl Tiles<S>) {
    for (panel, group) in groups(panels, S::PANELS) {
        for (row, len) in cut(rows, S::ROWS) {
            let at = panel..panel + group;
            match len {
                1 => of_rows::<S, 1>(s, row, at, tiles),
                2 => of_rows::<S, 2>(s, row, at, tiles),
                3 => of_rows::<S, 3>(s, row, at, tiles),
                4 => of_rows::<S, 4>(s, row, at, tiles),
                5 => of_rows::<S, 5>(s, row, at, tiles),
                _ => of_rows::<S, MAX_ROWS>(s, row, at, tiles),
            }
        }
    }
}

/// Visits the tiles of rows `row..row + M` and the given panels.
#[inline(always)]
pub(crate) fn of_rows<S: Simd, const M: usize>(
    s: S,
    row: usize,
    panels: Range<usize>,
    tiles: &mut impl Tiles<S>,
) {
    if M > S::ROWS {
        return; // Never asked for; said so that the compiler leaves such tiles out.
    }
    for (panel, group) in groups(panels, S::PANELS) {
        match group {
            4 if S::PANELS >= 4 => tiles.tile::<M, 4>(s, row, panel),
            2 if S::PANELS >= 2 => tiles.tile::<M, 2>(s, row, panel),
            _ => tiles.tile::<M, 1>(s, row, panel),
        }
    }
}

/// Cuts `count` rows into pieces of at most `most`, as equal as can be: `(start, len)`.
#[inline(always)]
pub(crate) fn cut(count: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let pieces = count.div_ceil(most);
    let mut start = 0;
    (0..pieces).map(move |done| {
        let len = (count - start).div_ceil(pieces - done);
        start += len;
        (start - len, len)
    })
}

/// Cuts panels into groups of 4, 2 or 1, the largest first and none above `most`: `(start, len)`.
#[inline(always)]
fn groups(panels: Range<usize>, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut start = panels.start;
    core::iter::from_fn(move || {
        let left = panels.end.saturating_sub(start);
        let len = [4, 2, 1].into_iter().find(|&len| len <= left.min(most))?;
        start += len;
        Some((start - len, len))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn joined(pieces: &[(usize, usize)], start: usize) -> usize {
        pieces.iter().fold(start, |end, piece| {
            assert_eq!(piece.0, end);
            end + piece.1
        })
    }

    #[test]
    fn rows_are_all_cut_and_as_evenly_as_can_be() {
        for count in 0..100 {
            for most in 1..=MAX_ROWS {
                let pieces: Vec<_> = cut(count, most).collect();
                assert_eq!(joined(&pieces, 0), count);
                let lens = || pieces.iter().map(|piece| piece.1);
                assert!(lens().all(|len| (1..=most).contains(&len)));
                assert!(lens().max().unwrap_or(0) <= lens().min().unwrap_or(0) + 1);
                assert_eq!(pieces.len(), count.div_ceil(most));
            }
        }
    }

    #[test]
    fn panels_are_all_grouped_and_by_the_largest_that_fits() {
        for (start, end) in [(0, 0), (0, 1), (3, 10), (1, 24), (5, 5), (7, 4)] {
            for most in [1, 2, 4] {
                let pieces: Vec<_> = groups(start..end, most).collect();
                assert_eq!(joined(&pieces, start), end.max(start));
                assert!(pieces.iter().all(|piece| piece.1 <= most));
            }
        }
        let pieces: Vec<_> = groups(0..11, 4).map(|piece| piece.1).collect();
        assert_eq!(pieces, [4, 4, 2, 1]);
    }
}

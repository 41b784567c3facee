//! Cuts a product of rows and panels into tiles of the sizes that a tier has registers for.
//!
//! A tile is `M` rows by `N` panels of 16 columns, both known to the compiler, so that its sums
//! never leave the registers while the inputs stream by. Rows are cut as evenly as can be: eleven
//! rows are 6 + 5, not 6 + 5 with an idle sixth, and a single row costs a single row.

use core::ops::Range;

use crate::LANES;
use crate::simd::{MAX_ROWS, Simd};
use crate::weights::GROUP;

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

/// Runs a block for `i = 0, 1, ..` below a constant of at most six: written out where the tier has its sums in
/// registers at that point, else as a loop, which is much less code.
macro_rules! each {
    ($tier:ident, $i:ident < $count:ident $block:block) => {
        if $tier::SUMS_IN_REGISTERS {
            unroll!($i < $count $block);
        } else {
            for $i in 0..$count $block
        }
    };
}
pub(crate) use each;

/// What is done with each tile.
pub(crate) trait Tiles<S: Simd> {
    /// Called before the tiles of panels `panel..panel + count`, all of which come before the next call.
    fn begin(&mut self, s: S, panel: usize, count: usize);

    /// Called before the tiles of rows `row..row + M`, all of which come before the next call. They are the
    /// `index`-th rows since the call of [`begin`](Self::begin).
    fn rows<const M: usize>(&mut self, s: S, row: usize, index: usize);

    /// Computes rows `row..row + M` of panels `panel..panel + N`.
    fn tile<const M: usize, const N: usize>(&mut self, s: S, row: usize, panel: usize);

    /// Computes rows `row..row + M` of some panels, one by one, for tiers that ask for it.
    fn strip<const M: usize>(&mut self, s: S, row: usize, panels: Range<usize>);
}

/// Visits all tiles of `rows` rows and the given panels. As many panels as are kept `together` are taken
/// through all rows before the next ones begin, so that the weights are read from far away only once.
#[inline(always)]
pub(crate) fn all<S: Simd>(
    s: S,
    rows: usize,
    panels: Range<usize>,
    together: usize,
    tiles: &mut impl Tiles<S>,
) {
    for panels in pieces_of(panels, together) {
        tiles.begin(s, panels.start, panels.len());
        for (index, (row, len)) in cut(rows, S::ROWS, S::STEP).enumerate() {
            let (row, panels) = ((row, index), panels.clone());
            match len {
                1 => through::<S, 1>(s, row, panels, tiles),
                2 if S::ROWS >= 2 => through::<S, 2>(s, row, panels, tiles),
                3 if S::ROWS >= 3 => through::<S, 3>(s, row, panels, tiles),
                4 if S::ROWS >= 4 => through::<S, 4>(s, row, panels, tiles),
                5 if S::ROWS >= 5 => through::<S, 5>(s, row, panels, tiles),
                _ if S::ROWS >= MAX_ROWS => through::<S, MAX_ROWS>(s, row, panels, tiles),
                _ => unreachable!("no tile has more rows"),
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
    together: usize,
    tiles: &mut impl Tiles<S>,
) {
    if M > S::ROWS {
        return; // Never asked for; said so that the compiler leaves such tiles out.
    }
    tiles.rows::<M>(s, row, 0);
    for panels in pieces_of(panels, together) {
        tiles.begin(s, panels.start, panels.len());
        through_panels::<S, M>(s, row, panels, tiles);
    }
}

/// Takes `M` rows through some panels.
#[inline(always)]
fn through<S: Simd, const M: usize>(
    s: S,
    (row, index): (usize, usize),
    panels: Range<usize>,
    tiles: &mut impl Tiles<S>,
) {
    tiles.rows::<M>(s, row, index);
    through_panels::<S, M>(s, row, panels, tiles);
}

/// Visits the tiles of `M` rows and some panels.
#[inline(always)]
fn through_panels<S: Simd, const M: usize>(
    s: S,
    row: usize,
    panels: Range<usize>,
    tiles: &mut impl Tiles<S>,
) {
    if S::STRIPS {
        return tiles.strip::<M>(s, row, panels);
    }
    for (panel, group) in groups(panels, S::PANELS) {
        match group {
            4 if S::PANELS >= 4 => tiles.tile::<M, 4>(s, row, panel),
            2 if S::PANELS >= 2 => tiles.tile::<M, 2>(s, row, panel),
            _ => tiles.tile::<M, 1>(s, row, panel),
        }
    }
}

/// How many panels of so many groups are taken through so many rows together: as many as there are places for; or, where
/// rows are many or no panel is kept, as many as the tier says, an even number in strips, if it is not one.
#[inline(always)]
pub(crate) fn together<S: Simd>(s: S, groups: usize, rows: usize) -> usize {
    let least = if S::STRIPS { 2 } else { S::PANELS };
    let near = (S::BYTES_TOGETHER / (LANES * GROUP * groups.max(1))).max(least);
    match S::PLACES.checked_div(s.places(groups)) {
        Some(places) if rows > S::FEW_ROWS => (places.min(near) / 2 * 2).max(1),
        Some(places) => places.max(1),
        None => near,
    }
}

/// Cuts panels into pieces of at most `most`.
#[inline(always)]
fn pieces_of(panels: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let end = panels.end;
    panels
        .step_by(most)
        .map(move |start| start..end.min(start + most))
}

/// Cuts `count` rows into pieces of at most `most`, as equal as can be: `(start, len)`. Each piece but
/// the last is a multiple of `step` long, as `most` is.
#[inline(always)]
pub(crate) fn cut(count: usize, most: usize, step: usize) -> impl Iterator<Item = (usize, usize)> {
    let pieces = count.div_ceil(most);
    let mut start = 0;
    (0..pieces).map(move |done| {
        let left = (count - start).div_ceil(step);
        let len = (left.div_ceil(pieces - done) * step).min(count - start);
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
            for (most, step) in [
                (1, 1),
                (2, 1),
                (3, 1),
                (4, 1),
                (5, 1),
                (6, 1),
                (4, 2),
                (6, 2),
            ] {
                let pieces: Vec<_> = cut(count, most, step).collect();
                assert_eq!(joined(&pieces, 0), count);
                let lens = || pieces.iter().map(|piece| piece.1);
                assert!(lens().all(|len| (1..=most).contains(&len)));
                assert!(lens().rev().skip(1).all(|len| len.is_multiple_of(step)));
                let steps = || lens().map(|len| len.div_ceil(step));
                assert!(steps().max().unwrap_or(0) <= steps().min().unwrap_or(0) + 1);
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

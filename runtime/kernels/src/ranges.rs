//! The inside of a feed-forward block, from one dense layer to the next.
//!
//! It is the widest that there is, and no row of it can be quantized before all of it is known. So the first layer
//! writes halves, and takes the range of each row on the way; the second one quantizes them:
//!
//! ```text
//! linear_and_ranges    columns from the first to the last  --->  halves, ranges
//! linear_in_ranges     columns from the last to the first  <---
//! ```
//!
//! In that order a second-level cache that does not hold all of it still has the columns that come first, and has room
//! for what they become as they are used up. Where a tier keeps what tiles read of the rows, and they are neither few nor
//! too many for that, they are brought there at once, and no row of bytes is written beside it.

use core::ops::Range;

use half::f16;

use crate::element::Lane;
use crate::rows::{RowsMut, steps_between, write_steps};
use crate::simd::{Groups, MAX_ROWS, Simd};
use crate::tile;
use crate::weights::GROUP;
use crate::{LANES, Linear};

/// The smallest values of a row and the largest, lane by lane.
pub type RowRange = [[f32; LANES]; 2];

/// Takes whole vectors into a row's range.
#[inline(always)]
pub(crate) fn widen<S: Simd>(s: S, y: &[f32], [lows, highs]: &mut RowRange) {
    let (mut low, mut high) = (s.load(lows), s.load(highs));
    for y in y.as_chunks().0 {
        let y = s.load(y);
        (low, high) = (s.min(low, y), s.max(high, y));
    }
    s.store(low, lows);
    s.store(high, highs);
}

/// How many columns of all rows are quantized before those that stand before them.
const COLUMNS_TOGETHER: usize = 256;

/// Rows that are not quantized yet, but whose ranges are known, and room for them.
pub(crate) struct Inside<'a> {
    x: &'a [f16],
    ranges: &'a mut [RowRange],
    pub(crate) rows: RowsMut<'a>,
    width: usize,
}

impl<'a> Inside<'a> {
    /// Rows for a layer. The layer is not looked at but for its inputs.
    ///
    /// # Panics
    /// When there is not a range for each row, when `x` does not have the values of just these rows, or when the
    /// inputs are no multiple of 16.
    pub(crate) fn checked(
        x: &'a [f16],
        ranges: &'a mut [RowRange],
        rows: RowsMut<'a>,
        linear: &Linear<'_>,
    ) -> Self {
        let width = linear.inputs;
        assert_eq!(rows.len(), ranges.len(), "a range for each row");
        assert_eq!(Some(x.len()), rows.len().checked_mul(width), "all values");
        assert!(width.is_multiple_of(LANES), "whole vectors");
        Inside {
            x,
            ranges,
            rows,
            width,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Quantizes the rows: to where the tier keeps what tiles read of them, a slot for each tile, or to their room.
    #[inline(always)]
    pub(crate) fn quantize<S: Simd>(&mut self, s: S, mut kept: Option<&mut S::Kept>) {
        s.apart(|| self.numbers(s));
        for start in (0..self.width).step_by(COLUMNS_TOGETHER).rev() {
            let columns = start..self.width.min(start + COLUMNS_TOGETHER);
            let Some(kept) = &mut kept else {
                s.apart(|| self.write(s, columns));
                continue;
            };
            for (slot, (row, len)) in tile::cut(self.len(), S::ROWS, S::STEP).enumerate() {
                let mut bytes = [[0; COLUMNS_TOGETHER]; MAX_ROWS];
                s.apart(|| {
                    for (m, to) in bytes.iter_mut().enumerate().take(len) {
                        let x = &self.x[(row + m) * self.width..][columns.clone()];
                        quantize(s, x, &self.ranges[row + m], &mut to[..columns.len()]);
                    }
                });
                let groups = Groups {
                    first: columns.start / GROUP,
                    count: columns.len() / GROUP,
                    all: self.width / GROUP,
                    stays: true,
                };
                let bytes = bytes.as_ptr().cast();
                // SAFETY: there are as many rows of so many bytes.
                unsafe {
                    match len {
                        1 => s.rows::<1>(bytes, COLUMNS_TOGETHER, groups, kept, slot),
                        2 => s.rows::<2>(bytes, COLUMNS_TOGETHER, groups, kept, slot),
                        3 => s.rows::<3>(bytes, COLUMNS_TOGETHER, groups, kept, slot),
                        4 => s.rows::<4>(bytes, COLUMNS_TOGETHER, groups, kept, slot),
                        5 if S::ROWS >= 5 => {
                            s.rows::<5>(bytes, COLUMNS_TOGETHER, groups, kept, slot);
                        }
                        _ if S::ROWS >= MAX_ROWS => {
                            s.rows::<MAX_ROWS>(bytes, COLUMNS_TOGETHER, groups, kept, slot);
                        }
                        _ => unreachable!("no tile has more rows"),
                    }
                }
            }
        }
    }

    /// Turns the ranges into what a step is worth and the smallest value, which the rows keep; and in place of each
    /// range, sixteen times, the smallest value and how many steps 1 is.
    #[inline(always)]
    fn numbers<S: Simd>(&mut self, s: S) {
        let numbers = self.rows.numbers();
        for ([lows, highs], (scale, low)) in self.ranges.iter_mut().zip(numbers) {
            // The half that is nearest to the smallest value is the smallest of the halves.
            let mut halves = [f16::ZERO; LANES];
            f16::store(s, s.load(lows), &mut halves);
            *low = s.smallest(f16::load(s, &halves)) + 0.0;
            f16::store(s, s.load(highs), &mut halves);
            let high = s.largest(f16::load(s, &halves)) + 0.0;
            let steps;
            (steps, (*scale, *low)) = steps_between(*low, high);
            (*lows, *highs) = ([*low; LANES], [steps; LANES]);
        }
    }

    /// Quantizes some columns of all rows to their room.
    #[inline(always)]
    fn write<S: Simd>(&mut self, s: S, columns: Range<usize>) {
        for (row, numbers) in self.ranges.iter().enumerate() {
            let x = &self.x[row * self.width..][columns.clone()];
            quantize(
                s,
                x,
                numbers,
                &mut self.rows.values_of(row)[columns.clone()],
            );
        }
    }
}

/// Quantizes some columns of a row, whose range [`Inside::numbers`] has turned into numbers.
#[inline(always)]
fn quantize<S: Simd>(s: S, x: &[f16], [low, steps]: &RowRange, to: &mut [u8]) {
    write_steps(s, x.as_chunks().0, to, s.load(low), s.load(steps));
}

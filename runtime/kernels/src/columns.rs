//! A matrix that is written in pieces: some of its columns, for all of its rows.
//!
//! Threads share the work on a query by columns (panels of a linear layer, heads of attention), but
//! rows are what lies together in memory. [`ColumnsMut`] can be split between columns, which a
//! slice cannot.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ops::Range;
use core::ptr::NonNull;
use core::slice;

use crate::LANES;
use crate::element::Lane;
use crate::simd::Simd;

/// Exclusive access to a range of columns of a row-major matrix.
#[derive(Debug)]
pub struct ColumnsMut<'a, T = f32> {
    /// The first of these columns in the first row.
    start: NonNull<T>,
    rows: usize,
    columns: usize,
    /// How far the same column of the next row is away; at least `columns`.
    stride: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: like `&mut [T]`, the view is the only way to its elements, and they may be sent.
unsafe impl<T: Send> Send for ColumnsMut<'_, T> {}

impl<'a, T> ColumnsMut<'a, T> {
    /// All columns of a matrix that has `columns` of them, or `None` when the last row would not be
    /// whole.
    pub fn new(matrix: &'a mut [T], columns: usize) -> Option<Self> {
        let rows = matrix.len().checked_div(columns)?;
        (rows * columns == matrix.len()).then(|| ColumnsMut {
            start: NonNull::from(matrix).cast(),
            rows,
            columns,
            stride: columns,
            owner: PhantomData,
        })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns there are.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The columns before `column`, and those from it on.
    ///
    /// # Panics
    /// When there are fewer columns.
    pub fn split_at(self, column: usize) -> (Self, Self) {
        assert!(column <= self.columns, "split inside the matrix");
        let left = ColumnsMut {
            columns: column,
            ..self
        };
        let right = ColumnsMut {
            // SAFETY: the first row has `columns` elements from `start` on, or there is no row and
            // the pointer, which may then be dangling, is left as it is.
            start: unsafe { self.start.add(if self.rows > 0 { column } else { 0 }) },
            columns: self.columns - column,
            ..self
        };
        (left, right)
    }

    /// The given columns alone.
    ///
    /// # Panics
    /// When there are fewer columns.
    pub fn only(self, columns: Range<usize>) -> Self {
        self.split_at(columns.end).0.split_at(columns.start).1
    }

    /// The first `rows` rows alone.
    ///
    /// # Panics
    /// When there are fewer rows.
    pub fn first_rows(self, rows: usize) -> Self {
        assert!(rows <= self.rows, "no more rows than there are");
        ColumnsMut { rows, ..self }
    }

    /// These columns of one row.
    ///
    /// # Panics
    /// When there is no such row.
    #[inline(always)]
    pub fn row(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.rows, "a row of the matrix");
        // SAFETY: the matrix is borrowed for as long as the view lives, and row `row` of it has
        // `columns` elements from here on. No two views share one, since they are only ever
        // split, and this one is borrowed exclusively for as long as the slice lives.
        unsafe {
            let start = self.start.as_ptr().add(row * self.stride);
            slice::from_raw_parts_mut(start, self.columns)
        }
    }

    /// Sixteen of these columns, or the fewer that are left, of rows `row..row + M`.
    ///
    /// # Panics
    /// When there are no such rows, or no such columns.
    #[inline(always)]
    pub(crate) fn panel<'p, const M: usize>(
        &'p mut self,
        row: usize,
        panel: usize,
        spare: &'p mut Spare<T, M>,
    ) -> PanelMut<'p, T, M> {
        let column = panel * LANES;
        assert!(row + M <= self.rows, "rows of the matrix");
        assert!(column < self.columns, "columns of the matrix");
        let columns = self.columns - column;
        // SAFETY: there is such a row, and such a column in it.
        let start = unsafe { self.start.add(row * self.stride + column) };
        if columns >= LANES {
            return PanelMut {
                lanes: start,
                step: self.stride,
                rest: None,
                owner: PhantomData,
            };
        }
        PanelMut {
            lanes: NonNull::from(&mut spare.0).cast(),
            step: LANES,
            rest: Some((start, columns, self.stride)),
            owner: PhantomData,
        }
    }

    /// Sixteen columns after sixteen columns of rows `row..row + M`, panel after panel.
    ///
    /// # Panics
    /// When there are no such rows, or a panel has fewer than sixteen columns.
    #[inline(always)]
    pub(crate) fn panels<const M: usize>(
        &mut self,
        row: usize,
        panels: Range<usize>,
    ) -> PanelsMut<'_, T, M> {
        assert!(row + M <= self.rows, "rows of the matrix");
        assert!(panels.end <= self.columns / LANES, "columns of the matrix");
        assert!(panels.start <= panels.end, "a range of panels");
        PanelsMut {
            // SAFETY: there is such a row, and so many columns in it.
            next: unsafe { self.start.add(row * self.stride + panels.start * LANES) },
            step: self.stride,
            left: panels.len(),
            owner: PhantomData,
        }
    }
}

/// Panels of `M` rows, one after another, see [`ColumnsMut::panels`].
pub(crate) struct PanelsMut<'a, T, const M: usize> {
    /// The next panel's sixteen columns of the first row.
    next: NonNull<T>,
    /// How far those of the next row are away.
    step: usize,
    /// How many panels there are from the next on.
    left: usize,
    owner: PhantomData<&'a mut [T]>,
}

impl<T, const M: usize> PanelsMut<'_, T, M> {
    /// Where the next panel's first row begins, and how far the next row is away. Sixteen columns of `M` rows and of as
    /// many panels as there are may be written.
    #[inline(always)]
    pub(crate) fn start(&self) -> (*mut T, usize) {
        (self.next.as_ptr(), self.step)
    }
}

impl<'a, T, const M: usize> Iterator for PanelsMut<'a, T, M> {
    type Item = PanelMut<'a, T, M>;

    #[inline(always)]
    fn next(&mut self) -> Option<PanelMut<'a, T, M>> {
        self.left = self.left.checked_sub(1)?;
        let lanes = self.next;
        // SAFETY: one behind the last panel at most, in a row that has as many columns or the end of the matrix.
        self.next = unsafe { lanes.add(LANES) };
        Some(PanelMut {
            lanes,
            step: self.step,
            rest: None,
            owner: PhantomData,
        })
    }
}

/// Room for `M` rows of sixteen columns, where a matrix has fewer.
pub(crate) struct Spare<T, const M: usize>([MaybeUninit<[T; LANES]>; M]);

impl<T: Copy, const M: usize> Spare<T, M> {
    /// Room that holds nothing yet.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Spare([MaybeUninit::uninit(); M])
    }
}

/// One to sixteen columns of `M` rows, each of which has to be written, and then, unless they are sixteen,
/// [`finish`](Self::finish) called, which alone brings them to the matrix.
pub(crate) struct PanelMut<'a, T, const M: usize> {
    /// Where sixteen lanes of the first row may be written.
    lanes: NonNull<T>,
    /// How far those of the next row are away.
    step: usize,
    /// Where there are fewer columns: the first of them, how many there are, and how far those of the next row
    /// are away.
    rest: Option<(NonNull<T>, usize, usize)>,
    owner: PhantomData<&'a mut [T]>,
}

impl<T: Lane, const M: usize> PanelMut<'_, T, M> {
    /// Writes a row.
    ///
    /// # Panics
    /// When there is no such row.
    #[inline(always)]
    pub(crate) fn put<S: Simd>(&mut self, s: S, row: usize, x: S::F32) {
        assert!(row < M, "a row of these");
        // Not stored there at once: the spare room may hold no elements yet, and then there is no reference to them.
        let mut lanes = [T::default(); LANES];
        T::store(s, x, &mut lanes);
        // SAFETY: sixteen lanes of `M` rows may be written, in the matrix, as `ColumnsMut::panel` has
        // seen, or in the spare room. Both are borrowed exclusively for as long as this lives.
        unsafe { self.lanes.add(row * self.step).cast().write(lanes) };
    }

    /// Brings the rows to the matrix where it has fewer columns than were written.
    ///
    /// # Safety
    /// All `M` rows have been [`put`](Self::put).
    #[inline(always)]
    pub(crate) unsafe fn finish(self) {
        let Some((start, columns, stride)) = self.rest else {
            return;
        };
        for row in 0..M {
            // SAFETY: the caller's promise: all rows of the spare room have been written. `ColumnsMut::panel` has
            // seen that the matrix has so many columns of each row.
            unsafe {
                let from = self.lanes.add(row * self.step);
                start
                    .add(row * stride)
                    .copy_from_nonoverlapping(from, columns);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::vec;

    #[test]
    fn threads_write_their_own_columns() {
        let mut matrix = vec![0.0; 5 * 7];
        let all = ColumnsMut::new(&mut matrix, 7).unwrap();
        let (left, right) = all.split_at(3);
        let (middle, right) = right.split_at(4);
        assert_eq!(
            (middle.rows(), middle.columns(), right.columns()),
            (5, 4, 0)
        );
        thread::scope(|scope| {
            for (mut view, mark) in [(left, 10.0), (middle, 20.0), (right, 30.0)] {
                scope.spawn(move || {
                    for row in 0..5 {
                        view.row(row).fill(mark + row as f32);
                    }
                });
            }
        });
        for (at, &value) in matrix.iter().enumerate() {
            let mark = if at % 7 < 3 { 10.0 } else { 20.0 };
            assert_eq!(value, mark + (at / 7) as f32);
        }
    }

    #[test]
    fn ranges_of_columns_and_rows() {
        let mut matrix: vec::Vec<f32> = (0..12).map(|i| i as f32).collect();
        let mut view = ColumnsMut::new(&mut matrix, 4)
            .unwrap()
            .only(1..3)
            .first_rows(2);
        assert_eq!(view.row(0), [1.0, 2.0]);
        assert_eq!(view.row(1), [5.0, 6.0]);
        assert_eq!(view.rows(), 2);
        assert!(ColumnsMut::new(&mut matrix, 5).is_none());
        assert!(ColumnsMut::new(&mut matrix, 0).is_none());
        let empty = ColumnsMut::<f32>::new(&mut [], 4).unwrap();
        assert_eq!(empty.split_at(2).1.columns(), 2);
    }

    #[test]
    #[should_panic(expected = "a row of the matrix")]
    fn no_row_behind_the_last() {
        let mut matrix = [0.0; 4];
        ColumnsMut::new(&mut matrix, 2).unwrap().row(2);
    }
}

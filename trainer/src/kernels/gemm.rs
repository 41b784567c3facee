//! Matrix products behind views that check their bounds once: in f32 by the `gemm` crate (AVX-512, AVX2 or NEON, chosen
//! at run time), in mixed precision by [`bf16`].
//!
//! Only rows and columns are split over threads, never the inner dimension, so a product has the same bits for any
//! number of threads.

#[cfg(target_arch = "x86_64")]
pub mod bf16;
pub mod meter;

use gemm::Parallelism;

#[cfg(target_arch = "x86_64")]
pub use bf16::Bf16;

/// There are no bf16 products on this architecture, and so no proof of them.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Bf16 {}

#[cfg(not(target_arch = "x86_64"))]
impl Bf16 {
    /// None.
    pub fn detect() -> Option<Self> {
        None
    }

    fn product(self, _: MatrixMut<'_>, _: Write, _: Matrix<'_>, _: Matrix<'_>, _: Workers) {
        match self {}
    }
}

/// How the factors of a product are rounded. Sums are f32 either way.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Not at all.
    F32,
    /// To bf16.
    Mixed(Bf16),
}

/// A matrix inside a slice: element (i, j) at `i * row_stride + j * column_stride`.
#[derive(Copy, Clone)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major, rows `row_stride` apart (at least `columns`).
    ///
    /// # Panics
    /// If the slice is too short.
    pub fn new(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        check(data.len(), rows, columns, row_stride);
        Self {
            data,
            rows,
            columns,
            row_stride,
            column_stride: 1,
        }
    }

    /// The transpose, without moving anything.
    pub fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// A row-major matrix that a product is written to.
pub struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// Row-major, rows `row_stride` apart (at least `columns`).
    ///
    /// # Panics
    /// If the slice is too short.
    pub fn new(data: &'a mut [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        check(data.len(), rows, columns, row_stride);
        Self {
            data,
            rows,
            columns,
            row_stride,
        }
    }
}

fn check(len: usize, rows: usize, columns: usize, row_stride: usize) {
    assert!(
        columns <= row_stride || rows <= 1,
        "rows of {columns} overlap at stride {row_stride}"
    );
    let needed = if rows == 0 || columns == 0 {
        0
    } else {
        (rows - 1) * row_stride + columns
    };
    assert!(
        needed <= len,
        "a {rows} x {columns} matrix with stride {row_stride} in {len} elements"
    );
}

/// What becomes of the numbers that are there already.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// They are replaced.
    Over,
    /// They are added to.
    Add,
}

/// Who works on a product.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Workers {
    /// The calling thread: for small products inside a parallel loop.
    One,
    /// The threads of the current rayon pool.
    All,
}

/// `out = a · b`, or `out += a · b`.
///
/// # Panics
/// If the shapes don't fit.
pub fn product(
    precision: Precision,
    out: MatrixMut<'_>,
    write: Write,
    a: Matrix<'_>,
    b: Matrix<'_>,
    workers: Workers,
) {
    assert!(
        (out.rows, out.columns, a.columns) == (a.rows, b.columns, b.rows),
        "{} x {} = {} x {} times {} x {}",
        out.rows,
        out.columns,
        a.rows,
        a.columns,
        b.rows,
        b.columns
    );
    let operations = 2 * out.rows * out.columns * a.columns;
    meter::counted(operations, || match precision {
        Precision::F32 => f32_product(out, write, a, b, workers),
        Precision::Mixed(bf16) => bf16.product(out, write, a, b, workers),
    });
}

/// [`product`] of fitting shapes, by the crate.
fn f32_product(out: MatrixMut<'_>, write: Write, a: Matrix<'_>, b: Matrix<'_>, workers: Workers) {
    let parallelism = match workers {
        Workers::All if rayon::current_num_threads() > 1 => Parallelism::Rayon(0),
        _ => Parallelism::None,
    };
    // SAFETY: the views hold every element that the shapes and strides reach (checked when they were made, and
    // transposing keeps the set of elements); `out` is borrowed mutably and its rows don't overlap.
    unsafe {
        gemm::gemm(
            out.rows,
            out.columns,
            a.columns,
            out.data.as_mut_ptr(),
            1,
            out.row_stride as isize,
            write == Write::Add,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1f32,
            1f32,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{numbers, on_threads};

    fn naive(
        m: usize,
        n: usize,
        k: usize,
        a: impl Fn(usize, usize) -> f32,
        b: impl Fn(usize, usize) -> f32,
    ) -> Vec<f64> {
        let at = |i, j| {
            (0..k)
                .map(|p| f64::from(a(i, p)) * f64::from(b(p, j)))
                .sum()
        };
        (0..m * n).map(|ij| at(ij / n, ij % n)).collect()
    }

    #[test]
    fn products_of_all_orientations_strides_and_edge_sizes() {
        for (m, n, k) in [
            (1, 1, 1),
            (1, 17, 5),
            (3, 5, 7),
            (16, 16, 16),
            (17, 33, 31),
            (64, 12, 65),
            (129, 1, 48),
            (65, 96, 130),
        ] {
            let (a, b) = (numbers(m * (k + 3), 1), numbers(k * (n + 2), 2));
            let (at, bt) = (numbers(k * (m + 1), 3), numbers(n * (k + 5), 4));
            let cases: [(Matrix, Matrix, Vec<f64>); 3] = [
                (
                    Matrix::new(&a, m, k, k + 3),
                    Matrix::new(&b, k, n, n + 2),
                    naive(
                        m,
                        n,
                        k,
                        |i, p| a[i * (k + 3) + p],
                        |p, j| b[p * (n + 2) + j],
                    ),
                ),
                (
                    Matrix::new(&a, m, k, k + 3),
                    Matrix::new(&bt, n, k, k + 5).t(),
                    naive(
                        m,
                        n,
                        k,
                        |i, p| a[i * (k + 3) + p],
                        |p, j| bt[j * (k + 5) + p],
                    ),
                ),
                (
                    Matrix::new(&at, k, m, m + 1).t(),
                    Matrix::new(&b, k, n, n + 2),
                    naive(
                        m,
                        n,
                        k,
                        |i, p| at[p * (m + 1) + i],
                        |p, j| b[p * (n + 2) + j],
                    ),
                ),
            ];
            for (a, b, expected) in cases {
                let mut out = vec![1.0; m * (n + 1)];
                product(
                    Precision::F32,
                    MatrixMut::new(&mut out, m, n, n + 1),
                    Write::Over,
                    a,
                    b,
                    Workers::One,
                );
                product(
                    Precision::F32,
                    MatrixMut::new(&mut out, m, n, n + 1),
                    Write::Add,
                    a,
                    b,
                    Workers::All,
                );
                for (i, row) in out.chunks(n + 1).enumerate() {
                    for (x, y) in row.iter().zip(&expected[i * n..(i + 1) * n]) {
                        assert!(
                            (f64::from(*x) - 2.0 * y).abs() < 1e-5 * (k as f64).sqrt() + 1e-6,
                            "{m} {n} {k}: {x} {y}"
                        );
                    }
                    assert_eq!(row[n], 1.0, "the gap between rows is left alone");
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let shapes = [(512, 96, 384), (96, 384, 700), (384, 96, 1024)];
        let run = || -> Vec<Vec<f32>> {
            let one = |(m, n, k): (usize, usize, usize)| {
                let (a, b) = (numbers(k * m, 5), numbers(k * n, 6));
                let mut out = vec![0.0; m * n];
                product(
                    Precision::F32,
                    MatrixMut::new(&mut out, m, n, n),
                    Write::Over,
                    Matrix::new(&a, k, m, m).t(),
                    Matrix::new(&b, k, n, n),
                    Workers::All,
                );
                out
            };
            shapes.into_iter().map(one).collect()
        };
        assert_eq!(on_threads(1, run), on_threads(2, run));
        assert_eq!(on_threads(1, run), on_threads(3, run));
    }

    #[test]
    #[should_panic(expected = "matrix with stride")]
    fn a_view_outside_its_slice_is_refused() {
        Matrix::new(&[0.0; 10], 3, 4, 4);
    }
}

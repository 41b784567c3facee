//! Matrices of `f64`, and maps of them by name.

use std::collections::BTreeMap;

/// Tensors by their names in a checkpoint. A vector is a matrix of one row.
pub type Named = BTreeMap<String, Matrix>;

/// A matrix, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    /// `rows * columns` numbers.
    pub data: Vec<f64>,
}

impl Matrix {
    /// A matrix of these numbers.
    ///
    /// # Panics
    /// When there are not `rows * columns` of them.
    pub fn new(rows: usize, columns: usize, data: Vec<f64>) -> Self {
        assert_eq!(data.len(), rows * columns, "a matrix of {rows} × {columns}");
        Matrix {
            rows,
            columns,
            data,
        }
    }

    /// A matrix of zeros.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Matrix::new(rows, columns, vec![0.0; rows * columns])
    }

    /// A checkpoint's tensor of one or two dimensions.
    pub fn from_tensor(shape: &[usize], data: &[f32]) -> Self {
        let (rows, columns) = match *shape {
            [columns] => (1, columns),
            [rows, columns] => (rows, columns),
            _ => panic!("a tensor of {} dimensions", shape.len()),
        };
        Matrix::new(rows, columns, data.iter().copied().map(f64::from).collect())
    }

    /// One row.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.data[row * self.columns..][..self.columns]
    }

    /// One row, to be written.
    pub fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.data[row * self.columns..][..self.columns]
    }

    /// The sum of the products of two rows of equal length, for each pair of a row here and there:
    /// `self · otherᵀ`.
    pub fn times_transposed(&self, other: &Matrix) -> Matrix {
        let mut product = Matrix::zeros(self.rows, other.rows);
        for i in 0..self.rows {
            for j in 0..other.rows {
                product.row_mut(i)[j] = dot(self.row(i), other.row(j));
            }
        }
        product
    }

    /// `self · other`.
    pub fn times(&self, other: &Matrix) -> Matrix {
        self.times_transposed(&other.transposed())
    }

    /// Rows become columns.
    pub fn transposed(&self) -> Matrix {
        let mut turned = Matrix::zeros(self.columns, self.rows);
        for i in 0..self.rows {
            for j in 0..self.columns {
                turned.row_mut(j)[i] = self.row(i)[j];
            }
        }
        turned
    }

    /// Adds another matrix of the same shape.
    pub fn add(&mut self, other: &Matrix) {
        assert_eq!((self.rows, self.columns), (other.rows, other.columns));
        self.data
            .iter_mut()
            .zip(&other.data)
            .for_each(|(x, y)| *x += y);
    }

    /// A matrix of the same shape, each number put through a function.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Matrix {
        Matrix::new(
            self.rows,
            self.columns,
            self.data.iter().map(|x| f(*x)).collect(),
        )
    }

    /// A matrix of the same shape, made of the numbers of two.
    pub fn zip(&self, other: &Matrix, f: impl Fn(f64, f64) -> f64) -> Matrix {
        assert_eq!((self.rows, self.columns), (other.rows, other.columns));
        let data = self
            .data
            .iter()
            .zip(&other.data)
            .map(|(x, y)| f(*x, *y))
            .collect();
        Matrix::new(self.rows, self.columns, data)
    }

    /// The sum over the rows, as a row.
    pub fn sum_of_rows(&self) -> Matrix {
        let mut sum = Matrix::zeros(1, self.columns);
        for i in 0..self.rows {
            sum.data
                .iter_mut()
                .zip(self.row(i))
                .for_each(|(s, x)| *s += x);
        }
        sum
    }

    /// The Euclidean length of all numbers as one vector.
    pub fn norm(&self) -> f64 {
        dot(&self.data, &self.data).sqrt()
    }

    /// How far `found` lies from this reference: the norm of the difference by the reference's norm.
    pub fn relative_error(&self, found: &Matrix) -> f64 {
        self.zip(found, |x, y| x - y).norm() / self.norm()
    }
}

/// The sum of products.
pub fn dot(x: &[f64], y: &[f64]) -> f64 {
    assert_eq!(x.len(), y.len());
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

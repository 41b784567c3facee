//! A checkpoint's vectors as they stand in a bundle: filled up with zeros to whole vectors of the kernels.
//!
//! ```text
//!   312 values of a row          [ 312 values | 8 zeros ]
//!   12 heads of 26 values        [ 26 values | 6 zeros ] [ 26 values | 6 zeros ] …
//! ```
//!
//! The zeros change no answer: weights that are read by them or that make them are 0, and a norm leaves them
//! out of its mean and its variance.

use berth_kernels::LANES;

/// Parts of equal length, one behind the other, each followed by zeros up to a whole vector.
#[derive(Copy, Clone, PartialEq, Debug)]
pub(crate) struct Spread {
    parts: usize,
    len: usize,
    width: usize,
}

impl Spread {
    /// One part of `len` values.
    pub(crate) fn one(len: usize) -> Self {
        Spread::parts(1, len)
    }

    /// `parts` of `len` values each.
    pub(crate) fn parts(parts: usize, len: usize) -> Self {
        let width = len.next_multiple_of(LANES);
        Spread { parts, len, width }
    }

    /// How many values a vector has in a checkpoint.
    pub(crate) fn len(self) -> usize {
        self.parts * self.len
    }

    /// How many elements it has in a bundle.
    pub(crate) fn width(self) -> usize {
        self.parts * self.width
    }

    /// Vectors `elements[vectors][len][zeros.len()]`, with `zeros` for each value that is filled in.
    fn fill<T: Clone>(self, elements: Vec<T>, zeros: &[T]) -> Vec<T> {
        if self.len == self.width {
            return elements;
        }
        let each = zeros.len();
        let mut filled = Vec::with_capacity(elements.len() / self.len * self.width);
        for part in elements.chunks(self.len * each) {
            filled.extend_from_slice(part);
            for _ in self.len..self.width {
                filled.extend_from_slice(zeros);
            }
        }
        filled
    }

    /// Vectors, one behind the other, each value that is filled in being `zero`.
    pub(crate) fn vectors<T: Clone>(self, values: Vec<T>, zero: T) -> Vec<T> {
        self.fill(values, &[zero])
    }

    /// A matrix `[outputs][inputs]` whose rows' inputs are spread like `inputs`, and whose outputs like this.
    pub(crate) fn matrix<T: Clone>(self, inputs: Spread, values: Vec<T>, zero: T) -> Vec<T> {
        let rows = inputs.vectors(values, zero.clone());
        self.fill(rows, &vec![zero; inputs.width()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_filled_up_to_whole_vectors() {
        let spread = Spread::parts(2, 3);
        assert_eq!((spread.len(), spread.width()), (6, 32));
        let filled = spread.vectors((1..=12).collect(), 0);
        assert_eq!(filled.len(), 64);
        for (part, filled) in filled.chunks(16).enumerate() {
            let first = 3 * part + 1;
            assert_eq!(filled[..3], [first, first + 1, first + 2]);
            assert_eq!(filled[3..], [0; 13]);
        }
    }

    #[test]
    fn a_matrix_is_filled_up_both_ways() {
        let filled = Spread::parts(2, 1).matrix(Spread::one(2), vec![1, 2, 3, 4], 0);
        assert_eq!(filled.len(), 32 * 16);
        for (row, values) in filled.chunks(16).enumerate() {
            let expected = match row {
                0 => [1, 2],
                16 => [3, 4],
                _ => [0; 2],
            };
            assert_eq!(values[..2], expected, "row {row}");
            assert_eq!(values[2..], [0; 14]);
        }
    }

    #[test]
    fn what_fills_whole_vectors_stays_as_it_is() {
        let spread = Spread::parts(3, 16);
        assert_eq!((spread.len(), spread.width()), (48, 48));
        let values: Vec<u32> = (0..96).collect();
        assert_eq!(spread.vectors(values.clone(), 0), values);
    }
}

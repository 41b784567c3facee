//! What a batch sends to the device: tokens, where sequences lie, the order in which the embedding tables' gradients are
//! added up, targets. All of it goes in one copy.

use std::ops::Range;
use std::sync::Arc;

use super::machine::{Address, Buffer, Memory};
use crate::device::DeviceError;
use crate::kernels::embed::Token;

/// Rows of a batch whose gradients a block adds up for one row of a table.
const PIECE: usize = 32;
/// What each array's beginning is a multiple of.
const ALIGNMENT: usize = 16;

/// Arrays, one after the other.
#[derive(Default)]
pub struct Packed {
    bytes: Vec<u8>,
}

/// Where an array is in [`Packed`].
#[derive(Copy, Clone, Debug)]
pub struct Offset(usize);

impl Packed {
    /// Adds an array of numbers of `N` bytes.
    pub fn put<const N: usize>(&mut self, numbers: impl IntoIterator<Item = [u8; N]>) -> Offset {
        self.bytes
            .resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        let offset = Offset(self.bytes.len());
        self.bytes.extend(numbers.into_iter().flatten());
        offset
    }

    /// Adds an array of indices.
    pub fn indices(&mut self, indices: impl IntoIterator<Item = usize>) -> Offset {
        self.put(indices.into_iter().map(|i| (i as u32).to_ne_bytes()))
    }

    /// Sends all of it.
    pub fn send(self, memory: &Arc<Memory>) -> Result<Sent, DeviceError> {
        let buffer = memory.take(self.bytes.len())?;
        buffer.upload(0, &self.bytes)?;
        Ok(Sent(buffer))
    }
}

/// The arrays on the device.
pub struct Sent(Buffer);

impl Sent {
    /// The memory that they take.
    pub fn into_buffer(self) -> Buffer {
        self.0
    }

    /// Where an array is.
    pub fn at(&self, offset: Offset) -> Address {
        self.0.at() + offset.0 as u64
    }
}

/// How the rows of a batch are added to those of the tables: in pieces of rows that take the same row of a table.
#[derive(Default)]
pub struct Sums {
    /// Rows of the batch.
    order: Vec<usize>,
    /// Where in `order` each piece begins.
    pieces: Vec<usize>,
    /// A row of a table, as its first number among all parameters, and its pieces.
    rows: Vec<(usize, Range<usize>)>,
}

/// [`Sums`], packed.
#[derive(Copy, Clone, Debug)]
pub struct PackedSums {
    /// `order`, and after it nothing.
    pub order: Offset,
    /// `pieces`, and the end of the last.
    pub pieces: Offset,
    /// `rows`.
    pub rows: Offset,
    /// How many pieces.
    pub piece_count: usize,
    /// How many rows.
    pub row_count: usize,
}

impl Sums {
    /// Of tokens into the tables of words, positions and kinds, whose first numbers are `tables`, all of them `width`
    /// wide; none into a table that is fixed, which has no first number here.
    pub fn new(tokens: &[Token], tables: [Option<usize>; 3], width: usize) -> Self {
        let mut sums = Self::default();
        let rows: [fn(&Token) -> u32; 3] = [
            |token| token.word,
            |token| token.position,
            |token| token.kind,
        ];
        for (table, row) in tables.into_iter().zip(rows) {
            if let Some(table) = table {
                sums.add(tokens, table, width, row);
            }
        }
        sums
    }

    fn add(&mut self, tokens: &[Token], table: usize, width: usize, row: fn(&Token) -> u32) {
        let mut order: Vec<usize> = (0..tokens.len()).collect();
        // Stable: rows of the batch stay in their order.
        order.sort_by_key(|&i| row(&tokens[i]));
        for same in order.chunk_by(|&i, &j| row(&tokens[i]) == row(&tokens[j])) {
            let first = self.pieces.len();
            for piece in same.chunks(PIECE) {
                self.pieces.push(self.order.len());
                self.order.extend(piece);
            }
            let at = table + row(&tokens[same[0]]) as usize * width;
            self.rows.push((at, first..self.pieces.len()));
        }
    }

    /// Adds them to what is sent.
    pub fn pack(&self, packed: &mut Packed) -> PackedSums {
        let end = self.order.len();
        let row = |(at, pieces): &(usize, Range<usize>)| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&(*at as u64).to_ne_bytes());
            bytes[8..12].copy_from_slice(&(pieces.start as u32).to_ne_bytes());
            bytes[12..].copy_from_slice(&(pieces.end as u32).to_ne_bytes());
            bytes
        };
        PackedSums {
            order: packed.indices(self.order.iter().copied()),
            pieces: packed.indices(self.pieces.iter().copied().chain([end])),
            rows: packed.put(self.rows.iter().map(row)),
            piece_count: self.pieces.len(),
            row_count: self.rows.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_added_once_in_pieces_of_one_row_of_a_table() {
        let token = |i: u32| Token {
            word: i * 7 % 5,
            position: i,
            kind: 0,
        };
        let tokens: Vec<Token> = (0..70).map(token).collect();
        let sums = Sums::new(&tokens, [0, 1000, 5000].map(Some), 10);
        assert_eq!(sums.order.len(), 3 * 70);
        let ends = sums.pieces[1..].iter().copied().chain([sums.order.len()]);
        let pieces: Vec<&[usize]> = sums
            .pieces
            .iter()
            .zip(ends)
            .map(|(&first, end)| &sums.order[first..end])
            .collect();
        assert!(
            pieces
                .iter()
                .all(|piece| (1..=PIECE).contains(&piece.len()))
        );
        let mut seen = 0;
        for (at, range) in &sums.rows {
            for &row in pieces[range.clone()].iter().copied().flatten() {
                let token = tokens[row];
                let places = [
                    token.word * 10,
                    1000 + token.position * 10,
                    5000 + token.kind * 10,
                ];
                assert!(places.contains(&(*at as u32)), "{row} {at}");
                seen += 1;
            }
        }
        assert_eq!(seen, 3 * 70);
        assert_eq!(sums.rows.len(), 5 + 70 + 1);
        assert_eq!(sums.rows.last().map(|(_, pieces)| pieces.len()), Some(3));
        let fixed = Sums::new(&tokens, [Some(0), Some(1000), None], 10);
        assert_eq!(fixed.rows[..], sums.rows[..5 + 70]);
        assert_eq!(fixed.order.len(), 2 * 70);
    }
}

//! The moments of a table: the two running means of AdamW, for the rows that have ever had a gradient.
//!
//! The moments of the other rows are exactly zero, and a step does nothing to such a row but the decay. So they are
//! not kept: of a vocabulary of 30,522 pieces a data set of some thousand sentences touches a sixth. The rows lie in
//! the order in which they were first touched, in blocks, so that nothing is moved when there are more of them:
//!
//! ```text
//! slots: row of the table ─► slot       rows: slot ─► row       blocks: slot / BLOCK ─► moments of BLOCK rows
//! ```

use rayon::prelude::*;

use crate::kernels::adamw::Update;
use crate::kernels::isa::Isa;

/// Rows in a block, which is a task for the threads.
const BLOCK: usize = 64;
/// The slot of a row that has none.
const NONE: u32 = u32::MAX;

/// The moments of some rows of a table.
pub(super) struct RowMoments {
    width: usize,
    slots: Vec<u32>,
    rows: Vec<u32>,
    blocks: Vec<Block>,
    zeros: Vec<f32>,
}

/// The means of [`BLOCK`] rows: of the gradient, and of its square.
struct Block([Vec<f32>; 2]);

impl RowMoments {
    /// Of a table of `rows` rows, none of them touched yet.
    pub fn new(rows: usize, width: usize) -> Self {
        Self {
            width,
            slots: vec![NONE; rows],
            rows: Vec::new(),
            blocks: Vec::new(),
            zeros: vec![0.0; width],
        }
    }

    /// For the same table, from both moments of the whole of it.
    ///
    /// # Panics
    /// If they are not as long as the table.
    pub fn like(&self, [first, second]: [&[f32]; 2]) -> Self {
        let width = self.width;
        assert_eq!([first.len(), second.len()], [self.slots.len() * width; 2]);
        let mut moments = Self::new(self.slots.len(), width);
        let rows = first.chunks_exact(width).zip(second.chunks_exact(width));
        for (row, (first, second)) in (0..).zip(rows) {
            if [first, second].into_iter().flatten().any(|x| *x != 0.0) {
                let slot = moments.touch(row);
                let Block(both) = &mut moments.blocks[slot / BLOCK];
                let place = slot % BLOCK * width..(slot % BLOCK + 1) * width;
                both[0][place.clone()].copy_from_slice(first);
                both[1][place].copy_from_slice(second);
            }
        }
        moments
    }

    /// How many rows have moments.
    #[cfg(test)]
    pub fn touched(&self) -> usize {
        self.rows.len()
    }

    /// The rows of one moment of the whole table, 0 or 1: zeros for the rows that were never touched.
    pub fn table(&self, moment: usize) -> impl Iterator<Item = &[f32]> {
        self.slots.iter().map(move |&slot| match slot {
            NONE => &self.zeros[..],
            slot => {
                let (block, place) = (slot as usize / BLOCK, slot as usize % BLOCK);
                &self.blocks[block].0[moment][place * self.width..][..self.width]
            }
        })
    }

    /// Moves the table `p` along the gradients of the rows `touched`, which `gradient` gives; that of the other rows is
    /// zero.
    pub fn step<'g>(
        &mut self,
        isa: Isa,
        update: Update,
        p: &mut [f32],
        touched: &[u32],
        gradient: impl Fn(u32) -> Option<&'g [f32]> + Sync,
    ) {
        for &row in touched {
            self.touch(row);
        }
        let Self {
            width,
            rows,
            blocks,
            zeros,
            ..
        } = self;
        let mut table: Vec<Option<&mut [f32]>> = p.chunks_exact_mut(*width).map(Some).collect();
        let mut moving: Vec<&mut [f32]> = rows
            .iter()
            .filter_map(|&row| table[row as usize].take())
            .collect();
        let tasks = moving.par_chunks_mut(BLOCK).zip(rows.par_chunks(BLOCK));
        tasks
            .zip(blocks)
            .for_each(|((moving, rows), Block([first, second]))| {
                let moments = first
                    .chunks_exact_mut(*width)
                    .zip(second.chunks_exact_mut(*width));
                for ((p, row), (m, v)) in moving.iter_mut().zip(rows).zip(moments) {
                    update.apply_here(isa, p, gradient(*row).unwrap_or(zeros), m, v);
                }
            });
        update.decay(isa, table);
    }

    /// The slot of a row, from now on if it had none.
    fn touch(&mut self, row: u32) -> usize {
        let slot = &mut self.slots[row as usize];
        if *slot == NONE {
            *slot = self.rows.len() as u32;
            if self.rows.len() == self.blocks.len() * BLOCK {
                let block = [0, 1].map(|_| vec![0.0; BLOCK * self.width]);
                self.blocks.push(Block(block));
            }
            self.rows.push(row);
        }
        *slot as usize
    }
}

//! Loops over rows on the threads of the current rayon pool, cut at fixed places, so that a sum over rows has the
//! same order, and the same bits, for any number of threads.

use rayon::prelude::*;

/// Rows in one task.
pub const ROWS: usize = 64;

/// Sums of columns that a backward pass collects beside its rows: `parts` sums of `width` numbers.
pub struct Sums<const PARTS: usize> {
    width: usize,
    totals: Vec<f32>,
}

impl<const PARTS: usize> Sums<PARTS> {
    /// Runs `work(task, sums)` for each of the tasks of `items`, each with zeroed sums of its own, and adds the
    /// tasks' sums in the order of the items.
    pub fn collect<I: Send>(
        width: usize,
        items: impl IndexedParallelIterator<Item = I>,
        work: impl Fn(usize, I, [&mut [f32]; PARTS]) + Sync,
    ) -> Self {
        let tasks = items.len();
        let mut partial = vec![0f32; tasks * PARTS * width];
        items
            .zip(partial.par_chunks_mut((PARTS * width).max(1)))
            .enumerate()
            .for_each(|(task, (item, sums))| {
                let mut parts = sums.chunks_mut(width);
                work(
                    task,
                    item,
                    std::array::from_fn(|_| parts.next().unwrap_or_default()),
                );
            });
        let mut totals = vec![0f32; PARTS * width];
        for sums in partial.chunks((PARTS * width).max(1)) {
            for (total, sum) in totals.iter_mut().zip(sums) {
                *total += sum;
            }
        }
        Self { width, totals }
    }

    /// The total of part `index`.
    pub fn part(&self, index: usize) -> &[f32] {
        &self.totals[index * self.width..(index + 1) * self.width]
    }
}

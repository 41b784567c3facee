//! Memory that is used again on every step.
//!
//! A step needs the same buffers as the step before. Given back to the system they would be cleared and mapped anew
//! each time, page by page; so they stay here between uses. Batches of another size need others: then each buffer
//! that has to be made takes the place of one that the batch before left.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// A shared store of free buffers. Cloning gives another handle to the same store.
#[derive(Clone, Default)]
pub struct Workspace(Arc<Mutex<Store>>);

#[derive(Default)]
struct Store {
    free: Vec<Free>,
    /// Passes begun.
    pass: u64,
}

struct Free {
    data: Vec<f32>,
    /// The pass that used it last.
    pass: u64,
}

/// `len` numbers of any value, borrowed from a [`Workspace`] until dropped.
pub struct Buffer {
    /// At least `len` long.
    data: Vec<f32>,
    len: usize,
    home: Workspace,
}

impl Workspace {
    /// Begins another pass over a batch: what only earlier passes used makes room when there is need.
    pub fn begin_pass(&self) {
        self.with_store(|store| store.pass += 1);
    }

    /// A buffer of `len` numbers with whatever values the last user left.
    ///
    /// It is the smallest free one that is long enough, but not over twice as long. If there is none, a new one is
    /// made, and of the free ones that this pass has not used the longest is dropped.
    pub fn take(&self, len: usize) -> Buffer {
        let data = self.with_store(|store| store.take(len));
        Buffer {
            data: data.unwrap_or_else(|| vec![0.0; len]),
            len,
            home: self.clone(),
        }
    }

    fn with_store<R>(&self, f: impl FnOnce(&mut Store) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store {
    fn take(&mut self, len: usize) -> Option<Vec<f32>> {
        let of = |free: &Free| free.data.len();
        let all = 0..self.free.len();
        let fitting = all
            .clone()
            .filter(|&i| (len..=2 * len).contains(&of(&self.free[i])));
        if let Some(best) = fitting.min_by_key(|&i| of(&self.free[i])) {
            return Some(self.free.swap_remove(best).data);
        }
        let stale = all.filter(|&i| self.free[i].pass < self.pass);
        if let Some(longest) = stale.max_by_key(|&i| of(&self.free[i])) {
            self.free.swap_remove(longest);
        }
        None
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        if !data.is_empty() {
            self.home.with_store(|store| {
                let pass = store.pass;
                store.free.push(Free { data, pass });
            });
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_used_again_where_it_fits() {
        let workspace = Workspace::default();
        let address = workspace.take(100).as_ptr();
        let again = workspace.take(60);
        assert_eq!((again.as_ptr(), again.len()), (address, 60));
        assert_ne!(workspace.take(60).as_ptr(), address, "it is in use");
        drop(again);
        assert_ne!(
            workspace.take(20).as_ptr(),
            address,
            "far too long for this"
        );
    }

    /// Buffers and numbers that are free.
    fn free(workspace: &Workspace) -> (usize, usize) {
        workspace.with_store(|store| {
            let numbers = store.free.iter().map(|free| free.data.len()).sum();
            (store.free.len(), numbers)
        })
    }

    #[test]
    fn a_pass_of_another_size_does_not_add_to_the_memory_of_the_one_before() {
        let workspace = Workspace::default();
        for size in [100, 1000, 90, 1000, 10_000, 7] {
            for _ in 0..2 {
                workspace.begin_pass();
                let held: Vec<Buffer> = (0..3).map(|_| workspace.take(size)).collect();
                drop((held, workspace.take(4 * size)));
            }
            assert_eq!(free(&workspace), (4, 7 * size));
        }
    }

    #[test]
    fn what_a_pass_has_used_stays_for_the_next() {
        let workspace = Workspace::default();
        for _ in 0..3 {
            workspace.begin_pass();
            for size in [10, 1000, 10, 100_000] {
                drop(workspace.take(size));
            }
            assert_eq!(free(&workspace), (3, 101_010));
        }
    }
}

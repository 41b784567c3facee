//! Memory that is used again on every step.
//!
//! A step needs the same buffers as the step before. Given back to the system they would be cleared and mapped anew
//! each time, page by page; so they stay here between uses.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// A shared store of free buffers. Cloning gives another handle to the same store.
#[derive(Clone, Default)]
pub struct Workspace(Arc<Mutex<Vec<Vec<f32>>>>);

/// `len` numbers of any value, borrowed from a [`Workspace`] until dropped.
pub struct Buffer {
    /// At least `len` long.
    data: Vec<f32>,
    len: usize,
    home: Workspace,
}

impl Workspace {
    /// A buffer of `len` numbers with whatever values the last user left.
    ///
    /// It is the smallest free one that is long enough, but not over twice as long. If there is none, a new one is
    /// made and the longest of the free ones that are too short is dropped: batches have grown beyond it.
    pub fn take(&self, len: usize) -> Buffer {
        let data = self.with_free(|free| {
            let fitting = (0..free.len()).filter(|&i| (len..=2 * len).contains(&free[i].len()));
            if let Some(best) = fitting.min_by_key(|&i| free[i].len()) {
                return Some(free.swap_remove(best));
            }
            if let Some(outgrown) = (0..free.len())
                .filter(|&i| free[i].len() < len)
                .max_by_key(|&i| free[i].len())
            {
                free.swap_remove(outgrown);
            }
            None
        });
        Buffer {
            data: data.unwrap_or_else(|| vec![0.0; len]),
            len,
            home: self.clone(),
        }
    }

    fn with_free<R>(&self, f: impl FnOnce(&mut Vec<Vec<f32>>) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        if !data.is_empty() {
            self.home.with_free(|free| free.push(data));
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

    #[test]
    fn outgrown_buffers_are_dropped() {
        let workspace = Workspace::default();
        for len in 1..50 {
            drop(workspace.take(len * len));
        }
        assert!(workspace.with_free(|free| free.len()) < 4);
    }
}

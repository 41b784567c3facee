//! Threads inside a forward pass.
//!
//! A layer is cut into parts that write nothing in common, each part is done by one thread, and the
//! next step begins when all are done:
//!
//! ```text
//!  rows, quantized ─┬─► heads 0 … 5  ─┬─► rows 0 … 63   ─┬─► the next layer
//!                   └─► heads 6 … 11 ─┘─► rows 64 … 127 ─┘
//!                       their columns of    attention's output layer, feed-forward,
//!                       query, key, value;  both norms
//!                       their attention
//! ```
//!
//! Which thread computes a number changes nothing about how it is computed, so the bits are the same
//! for any number of threads. Who starts the threads is the caller's affair: here is only the face of a
//! [`Team`], and [`Alone`], the team of one.

/// The most threads that share a forward pass.
pub const MAX_THREADS: usize = 16;

/// Threads that do the parts of a piece of work.
///
/// # Safety
/// [`run`](Self::run) calls `work` at most once with each number, all below `parts`, and returns, or
/// unwinds, only when none of these calls is going on any more and none will begin.
pub unsafe trait Team: Sync {
    /// How many threads there are, 1 to [`MAX_THREADS`].
    fn threads(&self) -> usize;

    /// Calls `work(0)` to `work(parts - 1)` in any order and on any thread, and waits for them. There
    /// are at most [`threads`](Self::threads) parts.
    ///
    /// # Panics
    /// When one of the calls does.
    fn run(&self, parts: usize, work: &(dyn Fn(usize) + Sync));
}

/// The caller's thread and no other.
#[derive(Copy, Clone, Debug)]
pub struct Alone;

// SAFETY: the range has every number below `parts` once, and each call ends before the next.
unsafe impl Team for Alone {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
        (0..parts).for_each(work);
    }
}

/// A part for each thread, where it has one.
pub(crate) type Parts<T> = [Option<T>; MAX_THREADS];

/// The first parts of an iterator that has no more than there are threads at most.
pub(crate) fn parts<T>(parts: impl IntoIterator<Item = T>) -> Parts<T> {
    let mut parts = parts.into_iter();
    let all = core::array::from_fn(|_| parts.next());
    debug_assert!(parts.next().is_none(), "a thread for each part");
    all
}

/// Lets the team do `work` on each part.
pub(crate) fn share<T: Send>(team: &dyn Team, mut parts: Parts<T>, work: impl Fn(T) + Sync) {
    let count = parts.iter().take_while(|part| part.is_some()).count();
    let slots = Slots(parts.as_mut_ptr());
    team.run(count, &|index| {
        assert!(index < count, "a part that there is");
        // SAFETY: the index is below the array's length, and no other call gets the same one (the
        // contract of `Team`), so nobody else touches this part. The array outlives the calls, since
        // `run` returns or unwinds only after them.
        let part = unsafe { &mut *slots.at(index) };
        if let Some(part) = part.take() {
            work(part);
        }
    });
}

/// The address of the parts, for all threads.
struct Slots<T>(*mut Option<T>);

impl<T> Slots<T> {
    /// The address of one part.
    fn at(&self, index: usize) -> *mut Option<T> {
        self.0.wrapping_add(index)
    }
}

// SAFETY: through the address each part is taken by one thread alone, as `share` sees to, and the parts
// may be sent to it.
unsafe impl<T: Send> Sync for Slots<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn every_part_is_done_once_and_none_beside_them() {
        for count in 0..=MAX_THREADS {
            let mut numbers: Vec<usize> = (0..count).collect();
            share(&Alone, parts(&mut numbers), |number| *number += 100);
            let expected: Vec<usize> = (100..100 + count).collect();
            assert_eq!(numbers, expected);
        }
    }
}

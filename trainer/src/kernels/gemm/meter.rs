//! How much of a step its matrix products are: their floating-point operations and their time, counted on demand.
//!
//! A product that all threads share counts its time once, and one inside a parallel loop on each thread that computes
//! one: shares of the time are those of a run on one thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

static COUNTING: AtomicBool = AtomicBool::new(false);
static OPERATIONS: AtomicU64 = AtomicU64::new(0);
static NANOSECONDS: AtomicU64 = AtomicU64::new(0);

/// What the products since [`start`] have come to.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Products {
    /// Multiplications and additions.
    pub operations: u64,
    /// Their time.
    pub time: Duration,
}

/// Counts from zero.
pub fn start() {
    OPERATIONS.store(0, Relaxed);
    NANOSECONDS.store(0, Relaxed);
    COUNTING.store(true, Relaxed);
}

/// Stops counting.
pub fn stop() -> Products {
    COUNTING.store(false, Relaxed);
    Products {
        operations: OPERATIONS.load(Relaxed),
        time: Duration::from_nanos(NANOSECONDS.load(Relaxed)),
    }
}

/// Computes a product of `operations`, counted if it is asked for.
pub(super) fn counted(operations: usize, product: impl FnOnce()) {
    if !COUNTING.load(Relaxed) {
        return product();
    }
    let begun = Instant::now();
    product();
    NANOSECONDS.fetch_add(begun.elapsed().as_nanos() as u64, Relaxed);
    OPERATIONS.fetch_add(operations as u64, Relaxed);
}

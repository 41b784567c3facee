//! An allocator with a counter in front: how a program shows that a query allocates nothing.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// Passes every call on to the allocator that it wraps, and counts the ones that ask for memory.
///
/// ```
/// # use std::alloc::System;
/// use berth_runtime::counting::{Counting, allocations};
///
/// #[global_allocator]
/// static ALLOCATOR: Counting<System> = Counting(System);
///
/// let before = allocations();
/// drop(std::hint::black_box(Box::new(5)));
/// assert_eq!(allocations() - before, 1);
/// ```
pub struct Counting<A>(pub A);

/// How often memory was asked for since the program began, by all threads; 0 for ever where the
/// program has not made [`Counting`] its allocator.
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Relaxed)
}

// SAFETY: each function hands its arguments to the same function of `A` and returns what that
// returns, so `A` keeps the contract of `GlobalAlloc` for it; the counter allocates nothing.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller promises of `layout` what `A` asks for.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller promises of `layout` what `A` asks for.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller got `block` from this allocator, and so from `A`, with this layout.
        unsafe { self.0.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller got `block` from this allocator, and so from `A`, with this layout.
        unsafe { self.0.dealloc(block, layout) }
    }
}

//! A counting allocator: tokenizing takes nothing from it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use berth_wordpiece::{Piece, Tokenizer};

use crate::kit::{bert, bert_vocabulary};
use crate::strings::Strings;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting touches a thread-local
// integer that is initialized without allocating and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps GlobalAlloc's contract, which is System's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above; `memory` is from `alloc`, thus from System.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn tokenizing_allocates_nothing() {
    let tables = &bert().1;
    let mut strings = Strings::new(&bert_vocabulary(), 10);
    let texts: Vec<String> = (0..2_000)
        .map(|_| strings.next())
        .chain(["a ".repeat(60_000)])
        .collect();
    let mut out = vec![Piece::default(); 256];
    let before = ALLOCATIONS.get();
    let tokenizer = Tokenizer::new(tables).unwrap();
    let mut pieces = 0;
    for pair in texts.windows(2) {
        pieces += tokenizer.pieces(&pair[0], &mut out).total;
        pieces += tokenizer
            .encode(&pair[0], Some(&pair[1]), 128, &mut out)
            .unwrap()
            .len;
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert!(pieces > 10_000 && before > 0);
}

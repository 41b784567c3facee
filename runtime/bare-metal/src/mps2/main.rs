//! `berth-mps2`: classifies a text on a Cortex-M4, qemu's `mps2-an386`.
//!
//! ```sh
//! qemu-system-arm -M mps2-an386 -nographic -nic none -device loader,file=BUNDLE,addr=0x100000,force-raw=on \
//!     -semihosting-config enable=on,target=native,arg="a gripping film" -kernel berth-mps2
//! ```
//!
//! The first of the board's memories stands for flash: the program lies in its first MiB, a small bundle in the
//! three others. There is no vector unit; the portable kernels run, with the same bits.
#![no_std]
#![no_main]

use core::arch::global_asm;
use core::slice;

use berth_bare_metal::{Memory, board};

/// Where the bundle lies, and how long it may be.
const FLASH: usize = 0x0010_0000;
const FLASH_BYTES: usize = 0x0030_0000;

/// For texts of 128 pieces, in a model of 32 values a token.
static mut MEMORY: Memory<128, 100_000> = Memory::new();

global_asm!(include_str!("start.s"));

/// Called once, by the start-up code.
#[unsafe(no_mangle)]
extern "C" fn berth_main() -> ! {
    let memory = &raw mut MEMORY;
    // SAFETY: nothing else takes the address of `MEMORY`, and this function is called once.
    let memory = unsafe { &mut *memory };
    let flash: *const u8 = core::ptr::with_exposed_provenance(FLASH);
    // SAFETY: the machine has this memory, the program does not reach into it, as its linker script holds, and
    // nobody writes to it while the program runs.
    let flash = unsafe { slice::from_raw_parts(flash, FLASH_BYTES) };
    board::run(flash, memory)
}

/// Called by the start-up code where the core can't go on.
#[unsafe(no_mangle)]
extern "C" fn berth_fault(status: usize, memory: usize, bus: usize) -> ! {
    board::fail(format_args!(
        "fault status {status:#x}, addresses {memory:#x} and {bus:#x}"
    ))
}

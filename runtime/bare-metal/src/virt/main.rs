//! `berth-virt`: classifies a text on qemu's `virt` machine, a bare 64-bit core with flash.
//!
//! ```sh
//! cp BUNDLE flash && truncate --size 64M flash
//! qemu-system-aarch64 -M virt -cpu cortex-a53 -m 128M -nographic -nic none \
//!     -drive if=pflash,unit=1,format=raw,readonly=on,file=flash \
//!     -semihosting-config enable=on,target=native,arg="a gripping film" -kernel berth-virt
//! ```
//!
//! The bundle lies in the second bank of flash and is read in place. The instruction set is the one that the
//! program was compiled for: NEON, or with `-C target-feature=+dotprod` the dot product.
#![no_std]
#![no_main]

use core::arch::global_asm;
use core::slice;

use berth_bare_metal::{Memory, board};

/// Where the second bank of flash begins, and how long it is.
const FLASH: usize = 0x0400_0000;
const FLASH_BYTES: usize = 0x0400_0000;

/// For texts of 512 pieces, in a model of 384 values a token.
static mut MEMORY: Memory<512, 3_000_000> = Memory::new();

global_asm!(include_str!("start.s"));

/// Called once, by the start-up code.
#[unsafe(no_mangle)]
extern "C" fn berth_main() -> ! {
    let memory = &raw mut MEMORY;
    // SAFETY: nothing else takes the address of `MEMORY`, and this function is called once.
    let memory = unsafe { &mut *memory };
    let flash: *const u8 = core::ptr::with_exposed_provenance(FLASH);
    // SAFETY: the machine has this flash, the start-up code has mapped it to be read alone, and nobody writes
    // to it while the program runs.
    let flash = unsafe { slice::from_raw_parts(flash, FLASH_BYTES) };
    board::run(flash, memory)
}

/// Called by the start-up code where the core can't go on.
#[unsafe(no_mangle)]
extern "C" fn berth_fault(syndrome: usize, at: usize, address: usize) -> ! {
    board::fail(format_args!(
        "exception {syndrome:#x} at {at:#x}, address {address:#x}"
    ))
}

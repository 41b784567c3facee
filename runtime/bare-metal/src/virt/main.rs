//! `berth-virt`: classifies a text on qemu's `virt` machine, a bare AArch64 core with flash.
//!
//! ```sh
//! qemu-system-aarch64 -M virt -cpu cortex-a53 -m 128M -nographic -nic none \
//!     -drive if=pflash,unit=1,format=raw,readonly=on,file=BUNDLE-PADDED-TO-64-MIB \
//!     -semihosting-config enable=on,target=native,arg="a gripping film" -kernel berth-virt
//! ```
//!
//! The bundle lies in the second bank of flash and is read in place. The instruction set is the one that the
//! program was compiled for: NEON, or with `-C target-feature=+dotprod` the dot product.
#![no_std]
#![no_main]

use core::arch::global_asm;
use core::fmt::Write;
use core::panic::PanicInfo;
use core::slice;

use berth_bare_metal::semihosting::{Console, command_line, exit};
use berth_bare_metal::{Failed, Memory, answer};

/// Where the second bank of flash begins, and how long it is.
const FLASH: usize = 0x0400_0000;
const FLASH_BYTES: usize = 0x0400_0000;

/// The longest input in pieces, and what the encoder calculates in: enough for six layers of 384 channels.
type Room = Memory<128, 0x0010_0000>;

static mut MEMORY: Room = Room::new();

// The stack, the vector unit, then Rust.
global_asm!(
    ".section .text.start, \"ax\"",
    ".global _start",
    "_start:",
    "adrp x0, __stack_top",
    "add x0, x0, :lo12:__stack_top",
    "mov sp, x0",
    "mrs x0, cpacr_el1",
    "orr x0, x0, #(3 << 20)",
    "msr cpacr_el1, x0",
    "isb",
    "bl berth_main",
    ".section .text",
);

unsafe extern "C" {
    static __program_start: u8;
    static __program_end: u8;
    static __stack_bytes: u8;
}

/// Called once, by the start-up code.
#[unsafe(no_mangle)]
extern "C" fn berth_main() -> ! {
    let memory = &raw mut MEMORY;
    // SAFETY: nothing else takes the address of `MEMORY`, and this function is called once.
    let memory = unsafe { &mut *memory };
    let program = (&raw const __program_end).addr() - (&raw const __program_start).addr();
    let stack = (&raw const __stack_bytes).addr();
    let _ = writeln!(
        Console,
        "program {program} bytes, memory {} bytes, stack {stack} bytes",
        size_of::<Room>(),
    );
    let mut text = [0; 1024];
    let done =
        bundle().and_then(|bundle| answer(bundle, command_line(&mut text), memory, &mut Console));
    if let Err(failed) = done {
        let _ = writeln!(Console, "berth-virt: {failed}");
    }
    exit(done.is_err())
}

/// The bundle in flash, as long as it says that it is.
fn bundle() -> Result<&'static [u8], Failed> {
    let start: *const u8 = core::ptr::with_exposed_provenance(FLASH);
    // SAFETY: the machine has this flash, and nobody writes to it.
    let flash = unsafe { slice::from_raw_parts(start, FLASH_BYTES) };
    let len = flash[16..]
        .first_chunk()
        .copied()
        .map_or(0, u64::from_le_bytes);
    let len = usize::try_from(len).ok();
    len.and_then(|len| flash.get(..len))
        .ok_or(Failed::NotABundle)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(Console, "berth-virt: {info}");
    exit(true)
}

//! `berth-mps2`: the encoder on a Cortex-M4, qemu's `mps2-an386`, with a tiny model in the program itself.
//!
//! ```sh
//! qemu-system-arm -M mps2-an386 -nographic -nic none \
//!     -semihosting-config enable=on,target=native -kernel berth-mps2
//! ```
//!
//! There is no vector unit: the portable kernels run, with the same bits.
#![no_std]
#![no_main]

use core::arch::global_asm;
use core::fmt::Write;
use core::panic::PanicInfo;

use berth_bare_metal::semihosting::{Console, exit};
use berth_bare_metal::{Memory, checksum};
use berth_bundle::include_bundle;

/// How long the input is, and what the encoder calculates in.
const TOKENS: usize = 8;
type Room = Memory<TOKENS, 0x4000>;

static mut MEMORY: Room = Room::new();

// The first two words of the core's vector table: the stack, and where to begin. The floating-point unit is
// switched on before any Rust.
global_asm!(
    ".section .vectors, \"a\"",
    ".word __stack_top",
    ".word _start",
    ".section .text.start, \"ax\"",
    ".global _start",
    ".thumb_func",
    "_start:",
    "ldr r0, =0xe000ed88",
    "ldr r1, [r0]",
    "orr r1, r1, #(0xf << 20)",
    "str r1, [r0]",
    "dsb",
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
    let bundle = include_bundle!("../../../../tests/golden/bundle/tiny.berth");
    let _ = writeln!(
        Console,
        "program {program} bytes with a model of {}, memory {} bytes, stack {stack} bytes",
        bundle.len(),
        size_of::<Room>(),
    );
    let done = checksum(bundle, TOKENS, memory, &mut Console);
    if let Err(failed) = done {
        let _ = writeln!(Console, "berth-mps2: {failed}");
    }
    exit(done.is_err())
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(Console, "berth-mps2: {info}");
    exit(true)
}

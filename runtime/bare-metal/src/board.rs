//! What the two programs have in common: from the start-up code to the last line.
//!
//! The linker script of each names where the program and its stack lie:
//!
//! | symbol | what lies there |
//! |---|---|
//! | `__program_start`, `__program_end` | code and tables |
//! | `__stack_bottom`, `__stack_top` | the stack, which grows from the top and was zero when it began |

use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::ptr;

use crate::answer::{answer, open, selftest};
use crate::error::Failed;
use crate::memory::Memory;
use crate::semihosting::{Console, command_line, exit};

unsafe extern "C" {
    static __program_start: u8;
    static __program_end: u8;
    static __stack_bottom: usize;
    static __stack_top: usize;
}

/// The longest command line, in bytes.
const LINE_BYTES: usize = 4096;

/// Classifies the text on the command line by the bundle in `flash`, prints what that takes, asks the bundle's
/// own inputs, and ends: with code 1 where one of these failed.
pub fn run<const TOKENS: usize, const SCRATCH: usize>(
    flash: &[u8],
    memory: &mut Memory<TOKENS, SCRATCH>,
) -> ! {
    match lines(flash, memory) {
        Ok(()) => exit(false),
        Err(why) => fail(format_args!("{why}")),
    }
}

/// Says why, and ends with code 1.
pub fn fail(why: fmt::Arguments<'_>) -> ! {
    // Where nobody listens, the code has to do.
    let _ = writeln!(Console, "failed: {why}");
    exit(true)
}

fn lines<const TOKENS: usize, const SCRATCH: usize>(
    flash: &[u8],
    memory: &mut Memory<TOKENS, SCRATCH>,
) -> Result<(), Failed> {
    let mut line = [0; LINE_BYTES];
    let text = command_line(&mut line).ok_or(Failed::NoText)?;
    let bundle = open(flash)?;
    answer(&bundle, text, memory, &mut Console)?;
    writeln!(Console, "{}", selftest(&bundle, memory)?)?;
    writeln!(
        Console,
        "bytes: {} program, {} memory, {} stack, {} of it used; bundle {}",
        (&raw const __program_end).addr() - (&raw const __program_start).addr(),
        size_of_val(memory),
        stack().len() * size_of::<usize>(),
        stack_used(),
        bundle.file_len(),
    )?;
    Ok(())
}

/// The places of the stack's words, from the end that is used last.
fn stack() -> core::ops::Range<usize> {
    let bottom = &raw const __stack_bottom;
    let top = &raw const __stack_top;
    0..(top.addr() - bottom.addr()) / size_of::<usize>()
}

/// How many bytes of the stack have been written to.
fn stack_used() -> usize {
    let untouched = stack().take_while(|&at| {
        let word = (&raw const __stack_bottom).wrapping_add(at);
        // SAFETY: the linker script has reserved the words from bottom to top for the stack, so that each is
        // memory which can be read. It is read whatever it holds, and no reference to it is made.
        unsafe { ptr::read_volatile(word) == 0 }
    });
    (stack().len() - untouched.count()) * size_of::<usize>()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    fail(format_args!("{info}"))
}

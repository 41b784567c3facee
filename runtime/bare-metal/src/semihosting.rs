//! What a debugger or an emulator does for a program that asks it: prints, hands over the command line, ends.
//!
//! The calls are Arm's semihosting, version 2: an operation's number in the first register, the address of its
//! arguments in the second. A board without a debugger attached has a serial port in this place.

use core::arch::asm;
use core::fmt::{self, Write};

const WRITE0: usize = 0x04;
const GET_CMDLINE: usize = 0x15;
const EXIT: usize = 0x18;

/// Why a program ends, as [`EXIT`] knows it: by itself, or because something failed.
const APPLICATION_EXIT: usize = 0x20026;
const INTERNAL_ERROR: usize = 0x20024;

/// Asks the debugger.
///
/// # Safety
/// `argument` is what the operation asks for; addresses in it are valid for what the operation does there.
unsafe fn ask(operation: usize, argument: usize) -> usize {
    let answer: usize;
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the debugger reads and writes what the caller vouches for.
    unsafe {
        asm!("hlt #0xf000", inout("x0") operation => answer, in("x1") argument);
    }
    #[cfg(target_arch = "arm")]
    // SAFETY: as above.
    unsafe {
        asm!("bkpt #0xab", inout("r0") operation => answer, in("r1") argument);
    }
    answer
}

/// The debugger's console.
#[derive(Copy, Clone, Debug)]
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.as_bytes().chunks(63) {
            let mut ended = [0; 64];
            ended[..part.len()].copy_from_slice(part);
            // SAFETY: the string ends with a zero and lives until the call is over.
            unsafe { ask(WRITE0, ended.as_ptr().expose_provenance()) };
        }
        Ok(())
    }
}

/// The command line; `None` where it is empty, longer than `to`, or not UTF-8.
pub fn command_line(to: &mut [u8]) -> Option<&str> {
    let mut block = [to.as_mut_ptr().expose_provenance(), to.len()];
    // SAFETY: the block names memory that is borrowed for writing, with its length; the length of the line is
    // written to the block.
    let failed = unsafe { ask(GET_CMDLINE, block.as_mut_ptr().expose_provenance()) };
    let end = to.iter().position(|&byte| byte == 0)?;
    let text = core::str::from_utf8(&to[..end]).ok();
    text.filter(|text| failed == 0 && !text.is_empty())
}

/// Ends the program: with code 0, or 1 where something failed.
pub fn exit(failed: bool) -> ! {
    let reason = if failed {
        INTERNAL_ERROR
    } else {
        APPLICATION_EXIT
    };
    let block = [reason, usize::from(failed)];
    let argument = match cfg!(target_arch = "aarch64") {
        // 64-bit machines pass a block: the reason, and a code.
        true => block.as_ptr().expose_provenance(),
        false => reason,
    };
    loop {
        // SAFETY: the argument is what this machine's call takes.
        unsafe { ask(EXIT, argument) };
    }
}

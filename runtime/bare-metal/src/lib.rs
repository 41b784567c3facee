//! Answers where there is neither an operating system nor an allocator nor the standard library.
//!
//! ```text
//!  flash                      text
//!    bundle, used in place ─► pieces ─► ids ─► logits ─► lines for people
//!                             \________ Memory ________/
//! ```
//!
//! 1. **The memory is one block whose size the compiler knows.** [`Memory`] names the most tokens and the
//!    bytes that the encoder calculates in; a board reserves it where it has room.
//! 2. **The bundle stays where it is**, in flash or in the program, and is read in place.
//! 3. **Two boards show how** (the programs `berth-virt` and `berth-mps2`, for machines that qemu
//!    emulates): a start-up in a dozen instructions, a linker script, and [`semihosting`] in place of a serial port.
//! 4. **The same bits.** What is printed is what the workstation prints, to the bit of every logit.
#![no_std]

#[cfg(test)]
extern crate std;

mod answer;
#[cfg(target_os = "none")]
pub mod semihosting;

pub use answer::{Failed, Memory, answer, checksum};

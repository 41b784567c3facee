//! Answers where there is neither an operating system nor an allocator nor the standard library.
//!
//! ```text
//!  flash                      text
//!    bundle, used in place ─► pieces ─► ids ─► logits ─► labels with scores
//!                             \________ Memory ________/
//! ```
//!
//! 1. **The memory is one block whose size the compiler knows.** [`Memory`] names the most tokens and the
//!    bytes that the encoder calculates in; a board reserves it where it has room.
//! 2. **The bundle stays where it is**, in flash, and is read in place ([`open`]).
//! 3. **Two machines show how**, both as qemu emulates them: `berth-virt` a 64-bit core, `berth-mps2` a
//!    Cortex-M4. Each has its start-up code (`start.s`), its linker script and a `main.rs` of a few
//!    lines; what they have in common is `board`. Print by `semihosting`, or put a serial port there.
//! 4. **The same bits.** [`answer`] prints the bits of every logit, which are the workstation's, and
//!    [`selftest`] asks the inputs with known answers that the bundle carries.
#![no_std]

#[cfg(test)]
extern crate std;

mod answer;
#[cfg(target_os = "none")]
pub mod board;
mod error;
mod memory;
#[cfg(target_os = "none")]
pub mod semihosting;

pub use answer::{answer, open, selftest};
pub use error::{Check, Failed};
pub use memory::Memory;

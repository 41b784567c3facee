//! Answers one text with neither the standard library nor an allocator.
//!
//! That this program links is the proof that nothing between a text and its logits allocates: a
//! crate that asks for an allocator would need one here, and there is none. It is built by
//! `.ci/run`, for the workstation and for ARM, where both have to print the same bits, and so have
//! the machines without an operating system there:
//!
//! ```text
//! $ berth-bare "a gripping film with a big heart" < models/sentiment/sentiment.berth
//! positive 0.94956917 40216d08
//! negative 0.05043078 c00917dc
//! selftest: 6 of 6 the same bits
//! ```
//!
//! It stands on the C library for its arguments, `read` and `write`, as a program on bare metal
//! stands on its board's flash and serial port. All memory is one static block.
#![no_std]
#![no_main]

use core::ffi::{CStr, c_char, c_int, c_void};
use core::fmt::{self, Write};
use core::panic::PanicInfo;

use berth_bare_metal::{Failed, Memory, answer, open, selftest};

/// The largest bundle that is read.
const BUNDLE_BYTES: usize = 1 << 26;

/// Memory for texts of 512 pieces.
type Room = Memory<512, { 1 << 24 }>;

/// Where everything lies, at an address that a bundle can be used at.
#[repr(C, align(64))]
struct Everything {
    bundle: [u8; BUNDLE_BYTES],
    memory: Room,
}

static mut EVERYTHING: Everything = Everything {
    bundle: [0; BUNDLE_BYTES],
    memory: Memory::new(),
};

#[link(name = "c")]
unsafe extern "C" {
    fn read(file: c_int, buffer: *mut c_void, length: usize) -> isize;
    fn write(file: c_int, buffer: *const c_void, length: usize) -> isize;
    fn abort() -> !;
}

/// Called by the C library's start-up code.
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, arguments: *const *const c_char) -> c_int {
    let memory = &raw mut EVERYTHING;
    // SAFETY: the C library calls this function once, and no other takes the address of `EVERYTHING`.
    let Everything { bundle, memory } = unsafe { &mut *memory };
    if count != 2 {
        return failed("one text, and a bundle on standard input");
    }
    // SAFETY: there are two arguments, so the second is a pointer to a string that ends with a zero
    // and stays as it is while the program runs.
    let text = unsafe { CStr::from_ptr(*arguments.add(1)) };
    let Ok(text) = text.to_str() else {
        return failed("the text is not UTF-8");
    };
    let length = read_all(bundle);
    match lines(&bundle[..length], text, memory) {
        Ok(()) => 0,
        Err(why) => failed(why),
    }
}

/// Prints a line for each label, and what became of the bundle's own inputs.
fn lines(bundle: &[u8], text: &str, memory: &mut Room) -> Result<(), Failed> {
    let bundle = open(bundle)?;
    answer(&bundle, text, memory, &mut File(1))?;
    writeln!(File(1), "{}", selftest(&bundle, memory)?)?;
    Ok(())
}

/// Reads standard input to its end, or until the buffer is full; returns how much that was.
fn read_all(buffer: &mut [u8]) -> usize {
    let mut length = 0;
    loop {
        let rest = &mut buffer[length..];
        // SAFETY: the pointer and the length are those of a slice that is borrowed for writing.
        match unsafe { read(0, rest.as_mut_ptr().cast(), rest.len()) } {
            more @ 1.. => length += more as usize,
            _ => return length,
        }
    }
}

/// An open file, by its number.
struct File(c_int);

impl Write for File {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            // SAFETY: the pointer and the length are those of a slice.
            match unsafe { write(self.0, rest.as_ptr().cast(), rest.len()) } {
                written @ 1.. => rest = &rest[written as usize..],
                _ => return Err(fmt::Error),
            }
        }
        Ok(())
    }
}

fn failed(what: impl fmt::Display) -> c_int {
    // Where nobody listens on standard error either, the exit code has to do.
    let _ = writeln!(File(2), "berth-bare: {what}");
    1
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(File(2), "berth-bare: {info}");
    // SAFETY: `abort` may be called at any time.
    unsafe { abort() }
}

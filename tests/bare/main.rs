//! Answers one text with neither the standard library nor an allocator.
//!
//! That this program links is the proof that nothing between a text and its logits allocates: a
//! crate that asks for an allocator would need one here, and there is none. It is built by
//! `.ci/run`, for the workstation and for ARM, where both have to print the same bits:
//!
//! ```text
//! berth-bare "a gripping film" < sentiment.berth
//! negative c01e6a3f
//! positive 401b52d8
//! ```
//!
//! It stands on the C library for its arguments, `read` and `write`, as a program on bare metal
//! stands on its board's flash and serial port. All memory is one static block.
#![no_std]
#![no_main]

use core::ffi::{CStr, c_char, c_int, c_void};
use core::fmt::{self, Write};
use core::panic::PanicInfo;

use berth_bundle::Bundle;
use berth_encoder::{Encoder, Scratch, scratch_bytes};
use berth_kernels::Isa;
use berth_task::MAX_LABELS;
use berth_wordpiece::{Piece, Tokenizer};

/// The largest bundle that is read.
const BUNDLE_BYTES: usize = 1 << 26;
/// What the encoder calculates in.
const SCRATCH_BYTES: usize = 1 << 24;
/// The longest input in pieces.
const TOKENS: usize = 128;

/// Where everything lies, at an address that a bundle can be used at.
#[repr(C, align(64))]
struct Memory {
    bundle: [u8; BUNDLE_BYTES],
    scratch: [u8; SCRATCH_BYTES],
    pieces: [Piece; 2 * TOKENS],
    ids: [u32; TOKENS],
    logits: [f32; MAX_LABELS],
}

const NO_PIECE: Piece = Piece {
    id: 0,
    start: 0,
    end: 0,
};

static mut MEMORY: Memory = Memory {
    bundle: [0; BUNDLE_BYTES],
    scratch: [0; SCRATCH_BYTES],
    pieces: [NO_PIECE; 2 * TOKENS],
    ids: [0; TOKENS],
    logits: [0.0; MAX_LABELS],
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
    let memory = &raw mut MEMORY;
    // SAFETY: the C library calls this function once, and no other takes the address of `MEMORY`.
    let memory = unsafe { &mut *memory };
    if count != 2 {
        return failed("one text, and a bundle on standard input");
    }
    // SAFETY: there are two arguments, so the second is a pointer to a string that ends with a zero
    // and stays as it is while the program runs.
    let text = unsafe { CStr::from_ptr(*arguments.add(1)) };
    let Ok(text) = text.to_str() else {
        return failed("the text is not UTF-8");
    };
    match answer(text, memory) {
        Ok(()) => 0,
        Err(what) => failed(what),
    }
}

/// Prints each label with the bits of its logit.
fn answer(text: &str, memory: &mut Memory) -> Result<(), &'static str> {
    let length = read_all(&mut memory.bundle);
    let bundle = Bundle::open(&memory.bundle[..length]).map_err(|_| "this is no bundle")?;
    bundle.verify().map_err(|_| "the bundle is damaged")?;
    let tokenizer = Tokenizer::new(bundle.tokenizer()).map_err(|_| "its tables are damaged")?;
    let header = bundle.header();
    let limit = TOKENS.min(header.shape.positions as usize);
    let encoding = tokenizer.encode(text, None, limit, &mut memory.pieces);
    let encoding = encoding.map_err(|_| "the model has no room for a text")?;
    let ids = &mut memory.ids[..encoding.len];
    for (id, piece) in ids.iter_mut().zip(&memory.pieces) {
        *id = piece.id;
    }
    if scratch_bytes(header, encoding.len) > SCRATCH_BYTES {
        return Err("the model is too wide");
    }
    let scratch = Scratch::carve(&mut memory.scratch, header, encoding.len);
    let mut scratch = scratch.ok_or("the model is too wide")?;
    let logits = memory.logits.get_mut(..header.shape.outputs as usize);
    let logits = logits.ok_or("the model has too many outputs")?;
    let encoder = Encoder::new(&bundle, Isa::best());
    let computed = encoder.forward(ids, encoding.second, &mut scratch, logits);
    computed.map_err(|_| "the model does not know a piece of the text")?;
    for (label, logit) in header.labels.iter().zip(logits) {
        writeln!(File(1), "{label} {:08x}", logit.to_bits()).map_err(|_| "nobody listens")?;
    }
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

fn failed(what: &str) -> c_int {
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

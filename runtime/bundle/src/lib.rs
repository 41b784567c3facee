//! The one file that a device reads: the format, its reader, and the writer behind `std`.
//!
//! `FORMAT.md` beside this crate is the specification. In one picture:
//!
//! ```text
//! +--------+------------------+---+------------+-----+- ... -+------+-----------+----------+
//! | prefix | header           | 0 | embeddings | layer 0     | head | tokenizer | training |
//! | 64     | task, labels,    |   | weights as the kernels read them,     | for the          |
//! | bytes  | shape, sections  |   | every array 64-byte aligned           | workstation      |
//! +--------+------------------+---+------------+-----+- ... -+------+-----------+----------+
//!      \______ CRC-32C ______/         each section with a CRC-32C in the header
//! ```
//!
//! 1. **Opening is cheap.** [`Bundle::open`] reads the first few kilobytes: it checks the structure
//!    and copies the [`Header`] out. What follows is used where it lies, in a map or in flash.
//! 2. **What `open` returned can be used without further checks of lengths.** The one walk over
//!    the arrays of a section (the `layout` module) gives the writer its order, `open` the length
//!    that each section has to have, and the reader the place of each array.
//! 3. **Verification is a second step**, since it reads every byte: [`Bundle::verify`], or a
//!    [`Verifier`] that is fed the file piece by piece. A single changed byte anywhere is found.
//! 4. **Bytes are only values.** No length or index is taken from a section's content here; who
//!    uses the tokenizer's tables checks each index when it is read.
//! 5. **No allocator.** What the header holds has a fixed capacity, listed in `FORMAT.md`.
#![no_std]

#[cfg(feature = "std")]
extern crate std;

#[cfg(not(target_endian = "little"))]
compile_error!("a bundle's numbers are little-endian and are used where they lie");

mod calibration;
mod checksum;
mod error;
mod header;
mod layout;
mod open;
mod prefix;
mod section;
mod selftest;
mod shape;
mod verify;
mod version;

#[cfg(feature = "std")]
mod aligned;
#[cfg(feature = "std")]
pub mod atomic;
#[cfg(feature = "std")]
mod writer;

pub use calibration::{Calibration, MAX_THRESHOLDS, Threshold};
pub use error::OpenError;
pub use header::{
    DECISION, Header, MAX_CARD_BYTES, MAX_METRICS, MAX_NAME_BYTES, Metric, Provenance,
};
pub use layout::{Embeddings, Head, Layer, LayerF32, LayerWeights};
pub use open::Bundle;
pub use prefix::{MAGIC, MAX_HEADER_LEN};
pub use section::{MAX_SECTIONS, Section, SectionKind};
pub use selftest::{Golden, Selftest, SelftestError, logits_crc};
pub use shape::{MAX_LAYERS, MAX_POSITIONS, MAX_WIDTH, Shape, ShapeError};
pub use verify::{Verifier, VerifyError};
pub use version::FORMAT_VERSION;

#[cfg(feature = "std")]
pub use {
    aligned::AlignedBytes,
    writer::{Staged, WriteError, Writer},
};

/// Every array of the file, and the file itself in memory, begins at a multiple of this.
pub const ALIGNMENT: usize = 64;

/// A bundle built into the program, as `&'static [u8]` with the alignment that
/// [`Bundle::open`] asks for. The path is taken as `include_bytes!` takes it.
///
/// ```
/// use berth_bundle::{Bundle, include_bundle};
/// let bytes: &'static [u8] = include_bundle!(concat!(
///     env!("CARGO_MANIFEST_DIR"),
///     "/../../tests/golden/bundle/tiny.berth"
/// ));
/// Bundle::open(bytes).unwrap().verify().unwrap();
/// ```
#[macro_export]
macro_rules! include_bundle {
    ($path:expr) => {{
        #[repr(C, align(64))]
        struct Aligned<B: ?Sized>(B);
        static BUNDLE: &Aligned<[u8]> = &Aligned(*include_bytes!($path));
        &BUNDLE.0
    }};
}

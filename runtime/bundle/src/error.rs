//! The ways in which bytes can fail to be a bundle.

use core::fmt;

use berth_kernels::NUMERICS_VERSION;

use crate::ALIGNMENT;
use crate::section::SectionKind;
use crate::shape::ShapeError;
use crate::verify::VerifyError;
use crate::version::FORMAT_VERSION;

/// Why bytes are not a bundle that can be used: one variant for each way in which they can lie.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum OpenError {
    /// They don't begin as a bundle does.
    NotABundle,
    /// They don't begin at a multiple of [`ALIGNMENT`] in memory.
    Misaligned,
    /// They are in a format of another version, this one.
    FormatVersion(u32),
    /// Some are missing at the end.
    Cut {
        /// How many there are.
        found: u64,
        /// How many there should be, at least.
        expected: u64,
    },
    /// There are some behind the end.
    Longer {
        /// How many there are.
        found: u64,
        /// How many there should be.
        expected: u64,
    },
    /// A header of this length is over the cap, or longer than the file.
    HeaderLength(u32),
    /// A byte of the prefix that has no meaning yet is not zero.
    Reserved,
    /// The prefix or the header has changed since it was written.
    HeaderChecksum,
    /// The header's bytes are not the encoding of one, or something in it is over its capacity.
    HeaderEncoding,
    /// There are bytes between the end of the header and where it should end.
    HeaderTail,
    /// The weights were quantized for another version of the arithmetic, this one.
    Numerics(u16),
    /// A dimension can't be.
    Shape(ShapeError),
    /// A size fills no whole vectors, in a file of a version that has no such sizes, this one.
    PartialVectors(u32),
    /// The number of labels, or of outputs, is not what the task asks for.
    Outputs,
    /// This bound on the tokens is too small for a pair of texts, or above the positions.
    MaxTokens(u32),
    /// The rules by which spans are chosen can't be followed, or stand with a task that has none.
    Spans,
    /// The temperature is out of range or has nothing to divide, or a figure beside it can't be.
    Calibration,
    /// A label is decided at another score than one half.
    Decisions,
    /// The scores that decide labels have changed since they were written.
    DecisionsChecksum,
    /// The section table doesn't name exactly the sections of such a model, in their order.
    SectionTable,
    /// This section is not as long as the shape asks, or longer than it may be.
    SectionLength(SectionKind),
    /// The last section doesn't end where the file does.
    FileLength,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            OpenError::NotABundle => f.write_str("not a Berth bundle"),
            OpenError::Misaligned => write!(
                f,
                "the bundle must begin at a multiple of {ALIGNMENT} in memory"
            ),
            OpenError::FormatVersion(version) if version > FORMAT_VERSION => write!(
                f,
                "bundle format {version} is newer than {FORMAT_VERSION}, the newest that this \
                 program reads; use a newer Berth, or quantize the model again with this one"
            ),
            OpenError::FormatVersion(version) => write!(
                f,
                "bundle format {version} is not read any more; quantize the model again"
            ),
            OpenError::Cut { found, expected } => write!(
                f,
                "the bundle is cut off: {found} of at least {expected} bytes are there"
            ),
            OpenError::Longer { found, expected } => write!(
                f,
                "the bundle has {} bytes behind its end at {expected}",
                found.saturating_sub(expected)
            ),
            OpenError::HeaderLength(len) => {
                write!(f, "the bundle can't have a header of {len} bytes")
            }
            OpenError::Reserved => f.write_str("the bundle's prefix is not padded with zeros"),
            OpenError::HeaderChecksum => {
                f.write_str("the bundle's header is damaged: its checksum differs")
            }
            OpenError::HeaderEncoding => f.write_str("the bundle's header can't be decoded"),
            OpenError::HeaderTail => f.write_str("the bundle's header is longer than its content"),
            OpenError::Numerics(version) => write!(
                f,
                "the bundle was quantized for numerics {version}, and this program computes \
                 numerics {NUMERICS_VERSION}; quantize the model again with this version"
            ),
            OpenError::Shape(error) => write!(f, "the bundle holds no model: {error}"),
            OpenError::PartialVectors(version) => write!(
                f,
                "sizes that are no multiples of 16 stand in a bundle of format {version}, which has none"
            ),
            OpenError::Outputs => f.write_str("the bundle's labels and outputs don't fit its task"),
            OpenError::MaxTokens(tokens) => write!(
                f,
                "the bundle's bound of {tokens} tokens can't hold a pair, or is above its positions"
            ),
            OpenError::Spans => {
                f.write_str("the bundle's rules for answers to questions can't be followed")
            }
            OpenError::Calibration => {
                f.write_str("the bundle's temperature or the figures beside it can't be")
            }
            OpenError::Decisions => f.write_str(
                "the bundle decides labels at another score than 0.5, which no program does",
            ),
            OpenError::DecisionsChecksum => VerifyError::Section(SectionKind::Decisions).fmt(f),
            OpenError::SectionTable => {
                f.write_str("the bundle's table doesn't list the sections of its model in order")
            }
            OpenError::SectionLength(kind) => write!(
                f,
                "the bundle's section \"{kind}\" is not as long as the model's shape asks"
            ),
            OpenError::FileLength => {
                f.write_str("the bundle's last section doesn't end where the file does")
            }
        }
    }
}

impl core::error::Error for OpenError {}

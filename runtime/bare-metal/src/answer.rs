//! From a text to lines, in memory that is known beforehand.

use core::fmt::{self, Write};

use berth_bundle::{Bundle, Header, logits_crc};
use berth_encoder::{Encoder, Scratch, scratch_bytes};
use berth_kernels::Isa;
use berth_task::MAX_LABELS;
use berth_wordpiece::{Piece, Tokenizer};

/// All that an answer needs beside the bundle and the stack: for inputs of at most `TOKENS` pieces, with
/// `SCRATCH` bytes to calculate in.
#[repr(C, align(64))]
pub struct Memory<const TOKENS: usize, const SCRATCH: usize> {
    scratch: [u8; SCRATCH],
    pieces: [[Piece; 2]; TOKENS],
    ids: [u32; TOKENS],
    logits: [f32; MAX_LABELS],
}

impl<const TOKENS: usize, const SCRATCH: usize> Memory<TOKENS, SCRATCH> {
    /// Memory for a static, of zeros throughout.
    pub const fn new() -> Self {
        let nothing = Piece {
            id: 0,
            start: 0,
            end: 0,
        };
        Memory {
            scratch: [0; SCRATCH],
            pieces: [[nothing; 2]; TOKENS],
            ids: [0; TOKENS],
            logits: [0.0; MAX_LABELS],
        }
    }
}

impl<const TOKENS: usize, const SCRATCH: usize> Default for Memory<TOKENS, SCRATCH> {
    fn default() -> Self {
        Memory::new()
    }
}

/// Why there is no answer.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Failed {
    /// The bytes are no bundle, or one of another version.
    NotABundle,
    /// A byte of the bundle is not what was written.
    Damaged,
    /// The bundle carries no tokenizer that can be used.
    Tokenizer,
    /// The memory is too small for this model.
    Memory {
        /// How many bytes of scratch it takes.
        needed: usize,
    },
    /// The model has more outputs than there are labels, or an answer for every token.
    Outputs,
    /// The model does not know a piece of the text.
    UnknownPiece,
    /// What was printed did not arrive.
    Output,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::NotABundle => f.write_str("this is no bundle"),
            Failed::Damaged => f.write_str("the bundle is damaged"),
            Failed::Tokenizer => f.write_str("the bundle's tokenizer can't be used"),
            Failed::Memory { needed } => write!(f, "the model takes {needed} bytes of scratch"),
            Failed::Outputs => f.write_str("the model is no classifier of texts"),
            Failed::UnknownPiece => f.write_str("the model does not know a piece of the text"),
            Failed::Output => f.write_str("nobody listens"),
        }
    }
}

impl core::error::Error for Failed {}

impl From<fmt::Error> for Failed {
    fn from(_: fmt::Error) -> Self {
        Failed::Output
    }
}

/// Classifies `text`, and prints each label with the bits of its logit:
///
/// ```text
/// negative c01e6a3f
/// positive 401b52d8
/// ```
///
/// A text that is longer than the memory allows for is cut.
///
/// # Errors
/// When the bundle is none or damaged, when it does not classify, when it needs more memory, or when `out`
/// takes nothing.
pub fn answer<const TOKENS: usize, const SCRATCH: usize>(
    bundle: &[u8],
    text: &str,
    memory: &mut Memory<TOKENS, SCRATCH>,
    out: &mut impl Write,
) -> Result<(), Failed> {
    let bundle = Bundle::open(bundle).map_err(|_| Failed::NotABundle)?;
    bundle.verify().map_err(|_| Failed::Damaged)?;
    let tokenizer = Tokenizer::new(bundle.tokenizer()).map_err(|_| Failed::Tokenizer)?;
    let header = bundle.header();
    let limit = TOKENS.min(header.shape.positions as usize);
    let pieces = memory.pieces.as_flattened_mut();
    let encoding = tokenizer.encode(text, None, limit, pieces);
    let encoding = encoding.map_err(|_| Failed::Tokenizer)?;
    for (id, piece) in memory.ids.iter_mut().zip(pieces).take(encoding.len) {
        *id = piece.id;
    }
    let logits = forward(&bundle, encoding.len, encoding.second, memory)?;
    for (label, logit) in header.labels.iter().zip(logits) {
        writeln!(out, "{label} {:08x}", logit.to_bits())?;
    }
    Ok(())
}

/// Runs a model of any classifying task on `tokens` ids that are scattered over its vocabulary, and prints a
/// checksum of the logits.
///
/// # Errors
/// As [`answer`].
pub fn checksum<const TOKENS: usize, const SCRATCH: usize>(
    bundle: &[u8],
    tokens: usize,
    memory: &mut Memory<TOKENS, SCRATCH>,
    out: &mut impl Write,
) -> Result<(), Failed> {
    let bundle = Bundle::open(bundle).map_err(|_| Failed::NotABundle)?;
    bundle.verify().map_err(|_| Failed::Damaged)?;
    let tokens = tokens.min(TOKENS);
    let words = bundle.header().shape.vocab_size;
    for (id, number) in memory.ids.iter_mut().zip(0..) {
        *id = 7919u32.wrapping_mul(number) % words;
    }
    let logits = forward(&bundle, tokens, tokens, memory)?;
    writeln!(out, "{tokens} tokens: {:08x}", logits_crc(logits))?;
    Ok(())
}

/// The logits of the first `tokens` ids.
fn forward<'m, const TOKENS: usize, const SCRATCH: usize>(
    bundle: &Bundle<'_>,
    tokens: usize,
    second: usize,
    memory: &'m mut Memory<TOKENS, SCRATCH>,
) -> Result<&'m [f32], Failed> {
    let header: &Header = bundle.header();
    let needed = scratch_bytes(header, tokens);
    let scratch = Scratch::carve(&mut memory.scratch, header, tokens);
    let mut scratch = scratch.ok_or(Failed::Memory { needed })?;
    let outputs = header.shape.outputs as usize;
    let logits = memory.logits.get_mut(..outputs);
    let reads_one = header.task.reads_first_row_only();
    let logits = logits.filter(|_| reads_one).ok_or(Failed::Outputs)?;
    let ids = &memory.ids[..tokens];
    let encoder = Encoder::new(bundle, Isa::best());
    let computed = encoder.forward(ids, second, &mut scratch, logits);
    computed.map_err(|_| Failed::UnknownPiece)?;
    Ok(logits)
}

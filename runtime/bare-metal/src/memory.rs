//! The one block of memory that answers are made in.

use berth_bundle::Bundle;
use berth_encoder::{Encoder, Scratch, scratch_bytes};
use berth_kernels::Isa;
use berth_task::MAX_LABELS;
use berth_wordpiece::{Encoding, Piece, Tokenizer};

use crate::error::Failed;

/// All that an answer needs beside the bundle and the stack: for inputs of at most `TOKENS` pieces, with
/// `SCRATCH` bytes to calculate in. `berth inspect` tells how many a bundle takes at its most tokens.
#[repr(C, align(64))]
pub struct Memory<const TOKENS: usize, const SCRATCH: usize> {
    scratch: [u8; SCRATCH],
    /// Twice as many as an input has: the tokenizer works in the second half.
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

    /// Puts the ids of a text's pieces where [`forward`](Self::forward) reads them; cut to the room that there is.
    pub(crate) fn encode(&mut self, bundle: &Bundle<'_>, text: &str) -> Result<Encoding, Failed> {
        let tokenizer = Tokenizer::new(bundle.tokenizer()).map_err(Failed::Tokenizer)?;
        let limit = TOKENS.min(bundle.header().shape.positions as usize);
        let pieces = self.pieces.as_flattened_mut();
        let encoding = tokenizer.encode(text, None, limit, pieces);
        let encoding = encoding.map_err(Failed::Encode)?;
        for (id, piece) in self.ids.iter_mut().zip(pieces).take(encoding.len) {
            *id = piece.id;
        }
        Ok(encoding)
    }

    /// Puts ids there that somebody else made; `None` where there is no room for so many.
    pub(crate) fn take(&mut self, ids: &[u32]) -> Option<()> {
        self.ids.get_mut(..ids.len())?.copy_from_slice(ids);
        Some(())
    }

    /// The logits of the first `tokens` ids, of which those from `second` on belong to a second text.
    pub(crate) fn forward(
        &mut self,
        bundle: &Bundle<'_>,
        tokens: usize,
        second: usize,
    ) -> Result<&[f32], Failed> {
        let header = bundle.header();
        let needed = scratch_bytes(header, tokens);
        let scratch = Scratch::carve(&mut self.scratch, header, tokens);
        let mut scratch = scratch.ok_or(Failed::Scratch {
            needed,
            there: SCRATCH,
        })?;
        let outputs = header.logits(tokens);
        let logits = self.logits.get_mut(..outputs);
        let logits = logits.ok_or(Failed::Outputs { outputs })?;
        let encoder = Encoder::new(bundle, Isa::best());
        let computed = encoder.forward(&self.ids[..tokens], second, &mut scratch, logits);
        computed.map_err(Failed::Forward)?;
        Ok(logits)
    }
}

impl<const TOKENS: usize, const SCRATCH: usize> Default for Memory<TOKENS, SCRATCH> {
    fn default() -> Self {
        Memory::new()
    }
}

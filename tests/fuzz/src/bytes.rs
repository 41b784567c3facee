//! Raw bytes as a bundle: opened, verified, used.
//!
//! An input is the file's bytes. What has to hold is what `examine` asserts.

use berth_bundle::{Bundle, OpenError, VerifyError};
use berth_encoder::{Encoder, Scratch, scratch_bytes};
use berth_kernels::Isa;
use berth_runtime::{Model, inspect};
use berth_wordpiece::{Piece, Tokenizer};

use crate::memory::Memory;

/// The most tokens that a damaged bundle is asked with.
const TOKENS: usize = 20;

/// How far a bundle is used.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Depth {
    /// Run the encoder, on this instruction set of the machine, counted from the fastest.
    pub(crate) encoder: Option<usize>,
    /// Hold every byte against its checksum.
    pub(crate) verify: bool,
    /// Open it as a model, describe it, make a session, ask.
    pub(crate) model: bool,
}

/// Opens the bytes as a bundle and uses it in every way.
pub fn run(data: &[u8]) {
    let memory = Memory::of(data, 0);
    let depth = Depth {
        encoder: Some(data.len() % 3),
        verify: true,
        model: true,
    };
    examine(&memory, "a Good film, gripping? [MASK]", depth);
}

/// Uses the bytes as a bundle. Whatever they are: no panic, errors of one line, answers of as many
/// numbers as the header says. Returns whether every byte is as it was written, where that is asked.
pub(crate) fn examine(file: &[u8], text: &str, depth: Depth) -> Option<bool> {
    if depth.model {
        ask(file, text);
    }
    let bundle = match Bundle::open(file) {
        Ok(bundle) => bundle,
        Err(error) => {
            assert_ne!(error, OpenError::Misaligned);
            one_line(&error.to_string());
            return Some(false);
        }
    };
    let (ids, second) = tokens(&bundle, text);
    if let Some(tier) = depth.encoder {
        forward(&bundle, &ids, second, tier);
    }
    depth.verify.then(|| match bundle.verify() {
        Ok(()) => true,
        Err(error) => {
            assert!(!matches!(error, VerifyError::Cut | VerifyError::Longer));
            one_line(&error.to_string());
            false
        }
    })
}

fn one_line(message: &str) {
    assert!(!message.is_empty() && !message.contains('\n'), "{message}");
}

/// The ids of a text by the bundle's tokenizer, if it is one; else its bytes as ids.
fn tokens(bundle: &Bundle<'_>, text: &str) -> (Vec<u32>, usize) {
    let shape = &bundle.header().shape;
    let limit = (shape.positions as usize).min(TOKENS);
    let raw: Vec<u32> = text.bytes().take(limit).map(u32::from).collect();
    let Ok(tokenizer) = Tokenizer::new(bundle.tokenizer()) else {
        return (raw, limit / 2);
    };
    let mut pieces = vec![Piece::default(); 2 * limit];
    let pair = bundle.header().task.takes_pair().then_some(text);
    let Ok(encoding) = tokenizer.encode(text, pair, limit, &mut pieces) else {
        return (raw, 0);
    };
    assert!(encoding.len <= limit && encoding.second <= encoding.len);
    for piece in &pieces[..encoding.len] {
        assert!(piece.start <= piece.end && piece.end as usize <= text.len());
        let _ = (
            tokenizer.piece_text(piece.id),
            tokenizer.begins_word(piece.id),
        );
    }
    let ids = pieces[..encoding.len].iter().map(|piece| piece.id);
    (ids.collect(), encoding.second)
}

/// The encoder by itself, in memory of the very size that it asks for.
fn forward(bundle: &Bundle<'_>, ids: &[u32], second: usize, tier: usize) {
    let header = bundle.header();
    let isa = Isa::available().nth(tier).unwrap_or(Isa::portable());
    let mut memory = vec![0xa5; scratch_bytes(header, ids.len())];
    let Some(mut scratch) = Scratch::carve(&mut memory, header, ids.len()) else {
        panic!("the scratch is smaller than it says");
    };
    let mut logits = vec![0.0; header.logits(ids.len())];
    let encoder = Encoder::new(bundle, isa);
    // An id that the damaged tokenizer made up is refused.
    let _ = encoder.forward(ids, second, &mut scratch, &mut logits);
}

/// All that a program does with a model.
fn ask(file: &[u8], text: &str) {
    let model = match Model::from_bytes(file) {
        Ok(model) => model,
        Err(error) => return one_line(&error.to_string()),
    };
    assert!(!inspect(&model).to_string().is_empty());
    let mut session = match model.session() {
        Ok(session) => session,
        Err(error) => return one_line(&error.to_string()),
    };
    let pair = model.header().task.takes_pair().then_some("the plot");
    if let Ok(logits) = session.logits(text, pair) {
        let outputs = model.header().shape.outputs as usize;
        assert!(!logits.values.is_empty() && logits.values.len().is_multiple_of(outputs));
    }
    let _ = session.classify(text).map(|answer| answer.best().score);
}

//! `berth-count`: the work that `count.py` counts on emulated ARM cores, as often as one likes.
//!
//! ```text
//! berth-count BUNDLE query TOKENS TIMES        a query of so many tokens
//! berth-count BUNDLE text TIMES < FILE         the tokenization of a text
//! ```
//!
//! What one of them costs is the difference between a run that does it more often and one that does it once:
//! opening the bundle and the first touch of its pages are in both. `BERTH_ISA` names a lower instruction set, as
//! for the other programs. What is printed is the same on every machine: a checksum of the logits, or
//! the number of pieces.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, Read};

use berth_bundle::{AlignedBytes, Bundle, logits_crc};
use berth_encoder::{Encoder, Scratch, scratch_bytes};
use berth_kernels::{Isa, Tier};
use berth_wordpiece::{Piece, Tokenizer};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [bundle, "query", tokens, times] => query(bundle, tokens.parse()?, times.parse()?),
        [bundle, "text", times] => text(bundle, times.parse()?),
        _ => Err("usage: berth-count BUNDLE query TOKENS TIMES | BUNDLE text TIMES".into()),
    }
}

/// The instruction set that `BERTH_ISA` names, or the best.
fn isa() -> Result<Isa, Box<dyn Error>> {
    match env::var("BERTH_ISA") {
        Ok(name) => {
            let tier: Tier = name.parse()?;
            Isa::with(tier).ok_or_else(|| format!("{tier}: not on this machine").into())
        }
        Err(_) => Ok(Isa::best()),
    }
}

/// Runs queries of ids that are scattered over the vocabulary.
fn query(path: &str, tokens: usize, times: usize) -> Result<(), Box<dyn Error>> {
    let bytes = AlignedBytes::copy_of(&fs::read(path)?);
    let bundle = Bundle::open(&bytes)?;
    let header = bundle.header();
    let words = header.shape.vocab_size;
    let ids: Vec<u32> = (0..tokens)
        .map(|i| 7919u32.wrapping_mul(i as u32) % words)
        .collect();
    let mut memory = vec![0; scratch_bytes(header, tokens)];
    let scratch = Scratch::carve(&mut memory, header, tokens);
    let mut scratch = scratch.ok_or("too many tokens")?;
    let mut logits = vec![0.0; header.logits(tokens)];
    let encoder = Encoder::new(&bundle, isa()?);
    for _ in 0..times {
        encoder.forward(&ids, tokens, &mut scratch, &mut logits)?;
    }
    println!("{tokens} tokens: {:08x}", logits_crc(&logits));
    Ok(())
}

/// Tokenizes standard input.
fn text(path: &str, times: usize) -> Result<(), Box<dyn Error>> {
    let bytes = AlignedBytes::copy_of(&fs::read(path)?);
    let bundle = Bundle::open(&bytes)?;
    let tokenizer = Tokenizer::new(bundle.tokenizer())?;
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let mut pieces = [Piece::default(); 1024];
    let mut len = 0;
    for _ in 0..times {
        len = tokenizer.encode(&text, None, 512, &mut pieces)?.len;
    }
    println!("{} bytes: {len} pieces", text.len());
    Ok(())
}

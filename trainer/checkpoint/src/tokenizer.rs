//! Tokenizer files to the tables that every stage tokenizes with.
//!
//! ```text
//! tokenizer.json ------------------\                  /-> characters   what becomes of each scalar value
//!                                   > source -> parts                                                    > tables
//! vocab.txt + tokenizer_config.json/                  \-> vocabulary   pieces, found by their hash
//! ```
//!
//! tokenizer_config.json, special_tokens_map.json and added_tokens.json have a word in what tokenizer.json says, too,
//! as they have in `transformers`.
//!
//! The tables are made by asking: the real normalizer and the real pre-tokenizer, from the crate
//! `tokenizers`, are run over all 1,112,064 scalar values, and what they answer is written down.
//! Whatever version of Unicode they know is then the device's too. A tokenizer that
//! [`berth_wordpiece`] could not follow exactly is refused here, by name.
//!
//! Truncation and padding inside tokenizer.json are ignored; how long an input may be is for the
//! model to say.

mod characters;
mod parts;
mod source;
mod vocabulary;

use std::io;
use std::path::{Path, PathBuf};

use berth_wordpiece::layout::{Header, SECTIONS, padded};
use tokenizers::Tokenizer;

use crate::error::CheckpointError;
use parts::Parts;

/// Why a folder's tokenizer can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The folder has no tokenizer.
    #[error("{}: neither tokenizer.json nor vocab.txt is there; copy them from where the model is from", dir.display())]
    Missing {
        /// The folder.
        dir: PathBuf,
    },
    /// A file can't be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The folder's files contradict one another.
    #[error(transparent)]
    Files(#[from] CheckpointError),
    /// A file isn't what its name says.
    #[error("{}: not a tokenizer file: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column.
        reason: String,
    },
    /// The tokenizer is of a kind that the device doesn't have.
    #[error("{}: the {part} is {found}; Berth reads BERT's tokenizers, where it is {wanted}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The part of the tokenizer that differs.
        part: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        wanted: &'static str,
    },
}

/// The tables for [`berth_wordpiece::Tokenizer`], from the tokenizer of the folder `dir`.
///
/// Takes about a second.
///
/// # Errors
/// When the folder has no tokenizer, its files cannot be read, are damaged or contradict one another,
/// or the tokenizer is none that the device has; each error names the file or the folder.
pub fn tables(dir: &Path) -> Result<Vec<u8>, TokenizerError> {
    let (tokenizer, path) = source::read(dir)?;
    tables_from(&tokenizer, &path)
}

/// The real tokenizer of the folder `dir`, with truncation and padding off.
///
/// It allocates and is slow; it is what the tables are made from and held against.
///
/// # Errors
/// When the folder has no tokenizer, or its files cannot be read, are damaged or contradict one another.
pub fn reference(dir: &Path) -> Result<Tokenizer, TokenizerError> {
    Ok(source::read(dir)?.0)
}

/// The tables of a tokenizer that is at hand. `path` is the file that errors name.
///
/// # Errors
/// [`TokenizerError::Unsupported`] when the tokenizer is none that the device has.
pub fn tables_from(tokenizer: &Tokenizer, path: &Path) -> Result<Vec<u8>, TokenizerError> {
    let refuse = |odd: Odd| {
        let Odd {
            part,
            found,
            wanted,
        } = odd;
        TokenizerError::Unsupported {
            path: path.to_owned(),
            part,
            found,
            wanted,
        }
    };
    let parts = Parts::of(tokenizer).map_err(refuse)?;
    let characters = characters::ask(parts.normalizer, &parts.pre_tokenizer).map_err(refuse)?;
    let vocabulary = vocabulary::build(&parts.vocabulary).map_err(refuse)?;
    let sections: [Vec<u8>; SECTIONS] = [
        characters.pages,
        characters.entries,
        characters.items,
        vocabulary.slots,
        vocabulary.records,
        vocabulary.samples,
        vocabulary::specials(&parts.specials),
    ];
    let header = Header {
        ids: vocabulary.ids,
        unk: parts.unk,
        cls: parts.cls,
        sep: parts.sep,
        pad: parts.pad,
        word_chars: parts.word_chars,
        piece_bytes: vocabulary.piece_bytes,
        probes: vocabulary.probes,
        lengths: std::array::from_fn(|index| sections[index].len() as u32),
    };
    let mut tables = Vec::with_capacity(header.total());
    tables.extend(header.to_bytes());
    for section in sections {
        let end = tables.len() + padded(section.len() as u32);
        tables.extend(section);
        tables.resize(end, 0);
    }
    Ok(tables)
}

/// How a tokenizer differs from those that the tables can hold.
struct Odd {
    part: &'static str,
    found: String,
    wanted: &'static str,
}

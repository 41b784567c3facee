//! A checkpoint's folder with one file of its own making: weights, the index of their parts, config.json,
//! the tokenizer's files.
//!
//! The first byte of an input names the file, the rest is its content. The other files are those of a small
//! whole checkpoint. What is asserted: the folder is read or refused, with one line that names a file of
//! it; what is read can be tokenized with. What the files take in memory is libFuzzer's to bound.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use berth_checkpoint::{Checkpoint, TokenizerFiles, tiny, tokenizer};
use berth_wordpiece::{Piece, Tokenizer};

/// The files that an input may replace.
const FILES: [&str; 7] = [
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "model.safetensors.index.json",
    "tokenizer_config.json",
    "vocab.txt",
    "training_args.json",
];

/// What the weights are called under an index.
const PART: &str = "part.safetensors";

/// How many inputs there are to one whose tokenizer tables are made too, which takes a second.
const TABLES: u32 = 256;

/// The files of a small whole checkpoint; of the index there is none.
fn whole() -> &'static [Option<Vec<u8>>] {
    static WHOLE: OnceLock<Vec<Option<Vec<u8>>>> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a folder");
        let model = dir.path().join("model");
        tiny::create(&model, 7, &["film", "good"]).expect("a small checkpoint");
        let read = |name: &&str| fs::read(model.join(name)).ok();
        FILES.iter().map(read).collect()
    })
}

/// Reads the folder with the file that the bytes tell.
pub fn run(bytes: &[u8]) {
    let Some((&file, content)) = bytes.split_first() else {
        return;
    };
    let file = usize::from(file) % FILES.len();
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, content: &[u8]| fs::write(dir.path().join(name), content);
    for (other, whole) in whole().iter().enumerate() {
        let Some(whole) = whole.as_deref().filter(|_| other != file) else {
            continue;
        };
        // An index counts where there is no single file.
        let part = other == 0 && FILES[file].ends_with(".index.json");
        let name = if part { PART } else { FILES[other] };
        write(name, whole).expect("a file in the folder");
    }
    write(FILES[file], content).expect("a file in the folder");
    let lot = content.iter().fold(7u32, |lot, &byte| {
        lot.wrapping_mul(0x0100_0193) ^ u32::from(byte)
    });
    if let Err(line) = read(dir.path(), (lot >> 8).is_multiple_of(TABLES)) {
        let named = dir.path().to_str().is_some_and(|dir| line.contains(dir));
        assert!(named && !line.contains('\n'), "{line:?}");
    }
}

/// Reads all that there is; the error as a line.
fn read(dir: &Path, tables: bool) -> Result<(), String> {
    let line = |error: &dyn std::fmt::Display| error.to_string();
    let model = Checkpoint::open(dir).map_err(|error| line(&error))?;
    for name in model.names() {
        model.tensor(name).map_err(|error| line(&error))?;
    }
    TokenizerFiles::read(dir).map_err(|error| line(&error))?;
    tokenizer::reference(dir).map_err(|error| line(&error))?;
    if tables {
        let tables = tokenizer::tables(dir).map_err(|error| line(&error))?;
        let tokenizer = Tokenizer::new(&tables).expect("tables as they were just made");
        let mut pieces = [Piece::default(); 32];
        let text = "A good film, naïve [MASK] 水";
        let encoding = tokenizer.encode(text, None, pieces.len(), &mut pieces);
        encoding.expect("room for the special tokens");
    }
    Ok(())
}

/// Every file of the small checkpoint, and an index of it.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let index = br#"{"metadata": {}, "weight_map": {"w": "part.safetensors"}}"#;
    let files = whole().iter().enumerate();
    let seed = |(number, content): (usize, &Option<Vec<u8>>)| {
        let content = content.as_deref().unwrap_or(index);
        [&[number as u8], content].concat()
    };
    files.map(seed).collect()
}

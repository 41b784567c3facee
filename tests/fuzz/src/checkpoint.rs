//! A checkpoint's folder with one file of its own making: weights, the index of their parts, config.json,
//! the tokenizer's files.
//!
//! The first byte of an input names the file, unless `BERTH_FUZZ_FILE` does; the rest is its content. The other
//! files are those of a small whole checkpoint. What is asserted: the folder is read or refused, with one line that names a file of
//! it; what is read can be tokenized with. What the files take in memory is libFuzzer's to bound.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use berth_checkpoint::save::{Existing, Folder, TensorRef};
use berth_checkpoint::{Checkpoint, Config, TokenizerFiles, names, tiny, tokenizer};
use berth_wordpiece::{Piece, Tokenizer};
use tempfile::TempDir;

/// The files that an input may replace.
const FILES: [&str; 9] = [
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "model.safetensors.index.json",
    "tokenizer_config.json",
    "vocab.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "training_args.json",
];

/// Names the one file that every input is the content of, whatever its first byte says.
const ONLY_VARIABLE: &str = "BERTH_FUZZ_FILE";

/// What the weights are called under an index.
const PART: &str = "part.safetensors";

/// How many inputs there are to one whose tokenizer tables are made too, which takes a second.
const TABLES: u32 = 1 << 14;

/// The pieces of the tokenizer, few, so that a change of its file seldom hits a word that means nothing.
const PIECES: [&str; 12] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##a", "good", "film", "##s", ".", "水",
];

/// The files of a small whole checkpoint; of the index there is none.
fn whole() -> &'static [Option<Vec<u8>>] {
    static WHOLE: OnceLock<Vec<Option<Vec<u8>>>> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a folder");
        let model = dir.path().join("model");
        create(&model).expect("a small checkpoint");
        let read = |name: &&str| fs::read(model.join(name)).ok();
        FILES.iter().map(read).collect()
    })
}

/// Writes a checkpoint of one layer, four wide: most of its weights' file is the header, so that few changes
/// of it are to numbers, of which any will do.
fn create(model: &Path) -> Result<(), Box<dyn Error>> {
    let template = tempfile::tempdir()?;
    tiny::create(template.path(), 7, &[])?;
    let config = Config {
        vocab_size: PIECES.len(),
        hidden_size: 4,
        num_hidden_layers: 1,
        num_attention_heads: 1,
        intermediate_size: 4,
        max_position_embeddings: 8,
        ..Config::read(template.path())?
    };
    let shapes = names::encoder(&config);
    let numbers = vec![0.5; 4 * PIECES.len()];
    let tensors = shapes.iter().map(|(name, shape)| TensorRef {
        name,
        shape,
        data: &numbers[..shape.iter().product()],
    });
    let tensors: Vec<TensorRef> = tensors.collect();
    let mut folder = Folder::create(model)?;
    folder.model(&config, &tensors)?;
    folder.tokenizer(&TokenizerFiles::wordpiece(&PIECES, true)?, 8)?;
    folder.commit(Existing::Refuse)?;
    Ok(())
}

/// The folder of the small checkpoint, which every input changes one file of.
struct Patient {
    dir: TempDir,
}

impl Patient {
    fn new() -> Self {
        let patient = Patient {
            dir: tempfile::tempdir().expect("a folder"),
        };
        for (name, content) in FILES.iter().zip(whole()) {
            if let Some(content) = content {
                patient.write(name, content);
            }
        }
        patient
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.dir.path().join(name), content).expect("a file in the folder");
    }

    /// Puts a file of other content into its place while something looks at the folder.
    fn with<T>(&self, file: usize, content: &[u8], look: impl FnOnce(&Path) -> T) -> T {
        let at = |name: &str| self.dir.path().join(name);
        // An index counts where there is no single file.
        let index = FILES[file].ends_with(".index.json");
        let rename =
            |from: &str, to: &str| fs::rename(at(from), at(to)).expect("a file by its name");
        if index {
            rename(FILES[0], PART);
        }
        self.write(FILES[file], content);
        let seen = look(self.dir.path());
        match &whole()[file] {
            Some(content) => self.write(FILES[file], content),
            None => fs::remove_file(at(FILES[file])).expect("the file that was there"),
        }
        if index {
            rename(PART, FILES[0]);
        }
        seen
    }
}

thread_local! {
    static PATIENT: Patient = Patient::new();
}

/// Reads the folder with the file that the bytes tell.
pub fn run(bytes: &[u8]) {
    static ONLY: OnceLock<Option<usize>> = OnceLock::new();
    let only = *ONLY.get_or_init(|| {
        let name = std::env::var(ONLY_VARIABLE).ok()?;
        let place = FILES.iter().position(|file| *file == name);
        Some(place.unwrap_or_else(|| panic!("{ONLY_VARIABLE}: {name} is none of {FILES:?}")))
    });
    let Some((&first, content)) = bytes.split_first() else {
        return;
    };
    let file = only.unwrap_or(usize::from(first) % FILES.len());
    let lot = content.iter().fold(7u32, |lot, &byte| {
        lot.wrapping_mul(0x0100_0193) ^ u32::from(byte)
    });
    let tables = (lot >> 8).is_multiple_of(TABLES);
    PATIENT.with(|patient| {
        patient.with(file, content, |dir| {
            if let Err(line) = read(dir, file, tables) {
                let named = dir.to_str().is_some_and(|dir| line.contains(dir));
                assert!(named && !line.contains('\n'), "{line:?}");
            }
        });
    });
}

/// Reads all that the file has a part in; the error as a line.
fn read(dir: &Path, file: usize, tables: bool) -> Result<(), String> {
    let line = |error: &dyn std::fmt::Display| error.to_string();
    if !["tokenizer.json", "vocab.txt"].contains(&FILES[file]) {
        let model = Checkpoint::open(dir).map_err(|error| line(&error))?;
        for name in model.names() {
            model.tensor(name).map_err(|error| line(&error))?;
        }
    }
    if FILES[file].contains("safetensors") {
        return Ok(());
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

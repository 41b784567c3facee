//! What can be wrong with a folder that is read, and with one that is written. Each message names
//! the file, what is wrong in it and, where there is one, the way out.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::Unsupported;

/// Why a folder could not be read as a BERT checkpoint.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// There is nothing, or a file, where the folder should be.
    #[error("{}: no such folder; a checkpoint is a folder with config.json and model.safetensors", .0.display())]
    NoFolder(PathBuf),
    /// A file that every checkpoint has is not there.
    #[error("{}: no {file}", dir.display())]
    NoFile {
        /// The checkpoint's folder.
        dir: PathBuf,
        /// What it should hold.
        file: &'static str,
    },
    /// The weights are a pickle, which is a program more than a file.
    #[error(
        "{}: only pytorch_model.bin, which is not read; convert it once, in that folder: {PICKLE_TO_SAFETENSORS}",
        .0.display()
    )]
    PickleOnly(PathBuf),
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A JSON file is larger than any that belongs to a model.
    #[error("{}: {bytes} bytes, more than the {limit} that are read", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The longest that is read.
        limit: u64,
    },
    /// A text file, mostly JSON, is not of the right form.
    #[error("{}:{line}: {}", path.display(), told(what))]
    Line {
        /// Which file.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
        /// What is wrong there.
        what: String,
    },
    /// A field of a JSON file is missing or has no possible value.
    #[error("{}: `{}` {}", path.display(), told(field), told(what))]
    Field {
        /// Which file.
        path: PathBuf,
        /// Which field.
        field: String,
        /// What is wrong with it.
        what: String,
    },
    /// The model is of another family.
    #[error("{}: `model_type` is {found:?}; only bert and distilbert are supported", path.display())]
    NotBert {
        /// The config.json.
        path: PathBuf,
        /// The family it names.
        found: String,
    },
    /// The model is a BERT of a kind that Berth does not compute.
    #[error("{}: {unsupported}", path.display())]
    Unsupported {
        /// The config.json.
        path: PathBuf,
        /// The field that asks for it.
        unsupported: Unsupported,
    },
    /// A weights file ends before its tensors do.
    #[error("{}: truncated: expected {expected} bytes, found {found}; copy or fetch it again", path.display())]
    Truncated {
        /// Which file.
        path: PathBuf,
        /// The least length that fits what the file says of itself.
        expected: u64,
        /// Its length.
        found: u64,
    },
    /// A weights file has no sensible header.
    #[error("{}: damaged, or no safetensors file: {}", path.display(), told(what))]
    Header {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The architecture asks for a tensor that the weights lack.
    #[error("{}: tensor `{}` is missing", path.display(), told(name))]
    MissingTensor {
        /// The weights file.
        path: PathBuf,
        /// Its canonical name.
        name: String,
    },
    /// A tensor does not fit config.json.
    #[error("{}: tensor `{}` has shape {found:?}; config.json asks for {expected:?}", path.display(), told(name))]
    Shape {
        /// The weights file.
        path: PathBuf,
        /// Its canonical name.
        name: String,
        /// The shape that follows from config.json.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A tensor's numbers are of a type that is not read.
    #[error("{}: tensor `{}` is {found}; F32, F16 and BF16 are read", path.display(), told(name))]
    Type {
        /// The weights file.
        path: PathBuf,
        /// Its canonical name.
        name: String,
        /// The type, as safetensors calls it.
        found: String,
    },
    /// Two tensors of the weights mean the same parameter.
    #[error("{}: two tensors are `{}`", path.display(), told(name))]
    Twice {
        /// The weights file with the second.
        path: PathBuf,
        /// Their canonical name.
        name: String,
    },
    /// The weights have more layers than config.json admits.
    #[error("{}: tensor `{}` is of a layer beyond the {layers} in config.json", path.display(), told(name))]
    ExtraLayer {
        /// The weights file.
        path: PathBuf,
        /// A tensor of that layer.
        name: String,
        /// `num_hidden_layers`.
        layers: usize,
    },
}

/// The most characters that an error tells of what a file says.
const TOLD: usize = 1_000;

/// What a file says, or what was said about it, as an error tells it.
fn told(text: &str) -> String {
    on_one_line(text, TOLD)
}

/// A text without control characters, each of which becomes U+FFFD, and cut where it has more than `most` characters.
pub fn on_one_line(text: &str, most: usize) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut line: String = text.chars().take(most).map(plain).collect();
    if text.chars().nth(most).is_some() {
        line.push('…');
    }
    line
}

/// Turns a pickle into what is read, heads included; run where the pickle lies.
const PICKLE_TO_SAFETENSORS: &str = "python3 -c \"import torch, safetensors.torch as s; \
     w = torch.load('pytorch_model.bin', map_location='cpu', weights_only=True); \
     s.save_file({k: v.contiguous().clone() for k, v in w.items()}, 'model.safetensors')\"";

impl CheckpointError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        CheckpointError::Io {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn field(path: &Path, field: &str, what: impl Into<String>) -> Self {
        let field = field.to_owned();
        CheckpointError::Field {
            path: path.to_owned(),
            field,
            what: what.into(),
        }
    }
}

/// Why a folder or a file could not be written. Nothing is left behind under its final name.
#[derive(Debug, Error)]
pub enum SaveError {
    /// The system refused: a full disk, missing rights.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder that was to be written, under its final name.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something is there already.
    #[error("{}: not empty, and was not to be replaced", .0.display())]
    Exists(PathBuf),
    /// A file of the folder was given a name that is none.
    #[error("{}: {name:?} is no name for a file in a folder", dir.display())]
    Name {
        /// The folder.
        dir: PathBuf,
        /// The name.
        name: String,
    },
    /// A tensor's shape and its numbers disagree.
    #[error("tensor `{name}`: shape {shape:?} does not hold {len} numbers")]
    Tensor {
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// How many numbers came with it.
        len: usize,
    },
}

impl SaveError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        SaveError::Io {
            path: path.to_owned(),
            source,
        }
    }
}

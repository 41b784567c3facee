//! Why a checkpoint can't be quantized.

use std::path::PathBuf;

use berth_bundle::{ShapeError, WriteError};
use berth_checkpoint::CheckpointError;
use berth_checkpoint::tokenizer::TokenizerError;
use berth_data::EvaluationError;
use berth_task::{LabelError, Task};
use berth_wordpiece::TableError;
use thiserror::Error;

use crate::onnx::ImportError;

/// Why no bundle was made of a checkpoint. Nothing has been written.
#[derive(Debug, Error)]
pub enum QuantizeError {
    /// A tensor is missing, or a file can't be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its tokenizer is none that a device runs.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Nothing says what the model answers.
    #[error(
        "{}: no training_args.json says what the model answers; give it with --task",
        dir.display()
    )]
    NoTask {
        /// The checkpoint's folder.
        dir: PathBuf,
    },
    /// The model was fine-tuned for something else.
    #[error(
        "{}: {head} does not answer {task}; say the task that it was fine-tuned for",
        dir.display()
    )]
    OtherHead {
        /// The checkpoint's folder.
        dir: PathBuf,
        /// The class of `transformers` that it is.
        head: String,
        /// What was asked of it.
        task: Task,
    },
    /// There is an encoder, and nothing on it that answers.
    #[error(
        "{}: the model has no head for its task; fine-tune it first, with berth finetune",
        dir.display()
    )]
    NoHead {
        /// The checkpoint's folder.
        dir: PathBuf,
    },
    /// A layer that was to stay in f32 is not there.
    #[error(
        "{}: there is no layer {layer} to stay in f32; the model has layers 0 to {}",
        config.display(), layers - 1
    )]
    NoLayer {
        /// The config.json.
        config: PathBuf,
        /// The one that was named.
        layer: usize,
        /// How many there are.
        layers: usize,
    },
    /// A model for regression with more outputs than the one number.
    #[error("{}: {outputs} labels for a model that answers with one number", config.display())]
    Regression {
        /// The config.json.
        config: PathBuf,
        /// Labels in it.
        outputs: usize,
    },
    /// A size that the kernels don't run.
    #[error("{}: {source}", config.display())]
    Shape {
        /// The config.json.
        config: PathBuf,
        /// Which one.
        source: ShapeError,
    },
    /// The labels don't fit into a bundle.
    #[error("{}: `id2label` has {source}", config.display())]
    Labels {
        /// The config.json.
        config: PathBuf,
        /// In what way.
        source: LabelError,
    },
    /// The bound on the tokens of an input is out of range.
    #[error(
        "{}: inputs can't be bounded to {tokens} tokens; the least is 3, and the model has \
         {positions} positions",
        dir.display()
    )]
    MaxTokens {
        /// The checkpoint's folder.
        dir: PathBuf,
        /// The bound.
        tokens: usize,
        /// `max_position_embeddings`.
        positions: usize,
    },
    /// The tokenizer knows more pieces than the model has embeddings for.
    #[error(
        "{}: the tokenizer has {pieces} pieces, and the model embeddings for {rows}: {piece:?} is the \
         first without one; take it out of the tokenizer's files, copy those that the model was trained \
         with, or resize the embeddings (resize_token_embeddings) and train again",
        dir.display()
    )]
    Vocabulary {
        /// The checkpoint's folder.
        dir: PathBuf,
        /// Ids that the tokenizer gives.
        pieces: u32,
        /// `vocab_size` of the model.
        rows: u32,
        /// The first piece that has no embedding.
        piece: String,
    },
    /// The tokenizer's tables are refused by their own reader.
    #[error("{}: {source}", dir.display())]
    Tables {
        /// The checkpoint's folder.
        dir: PathBuf,
        /// What it says.
        source: TableError,
    },
    /// A weight is infinite or not a number.
    #[error(
        "{}: tensor `{name}` holds {value} at {index:?}; take another model, or a checkpoint from \
         before its training went wrong",
        dir.display()
    )]
    NotFinite {
        /// The checkpoint's folder.
        dir: PathBuf,
        /// The tensor's canonical name.
        name: String,
        /// The first such weight.
        value: f32,
        /// Where it stands, by dimension.
        index: Vec<usize>,
    },
    /// An ONNX file has a bound that its format sets.
    #[error(
        "{}: as ONNX it would have {bytes} bytes, and such a file has less than 2 GiB",
        dir.display()
    )]
    OnnxTooLarge {
        /// The checkpoint's folder.
        dir: PathBuf,
        /// How large the file would be.
        bytes: usize,
    },
    /// An ONNX file did not become a model.
    #[error("{}: {source}", file.display())]
    Import {
        /// The file.
        file: PathBuf,
        /// Why.
        source: ImportError,
    },
    /// The runtime doesn't open the bundle that was put together.
    #[error("the new bundle does not open: {0}")]
    Open(#[from] berth_runtime::OpenError),
    /// The runtime doesn't answer with the bundle that was put together.
    #[error("the new bundle does not answer: {0}")]
    Query(#[from] berth_runtime::QueryError),
    /// What a bundle answers doesn't fit the file that it was asked about.
    #[error("{}: {source}", dir.display())]
    Answers {
        /// The checkpoint's folder.
        dir: PathBuf,
        /// In what way.
        source: EvaluationError,
    },
    /// The bundle can't be put together or written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

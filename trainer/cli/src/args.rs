//! What can be typed: the commands and their flags, under Hugging Face's names.
//!
//! Before clap sees them, flags are brought to one form ([`normalize`]): `--train-file` and
//! `--train_file` are the same, and a switch may stand bare or be followed by `true` or `false`, in any
//! capitals. A flag given twice: the last one wins.

mod data;
mod finetune;
mod form;
mod values;

pub use data::DataArgs;
pub use finetune::FinetuneArgs;
pub use form::{normalize, parse, switch_before, switches, truth, with_usual};

use berth_quantize::Gate;
use berth_task::{Aggregation, LongTexts, Task};
use berth_trainer::bench::Shape;
use berth_trainer::device::Device;
use clap::{Args, Parser, Subcommand};
use std::num::NonZero;
use std::path::PathBuf;
use values::{at_least_one, layer_number, points, share};

/// The base model that is fine-tuned when none is named (Apache-2.0, 22.7 M parameters).
pub const DEFAULT_MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";

/// Fine-tune BERT on a workstation, quantize it to int8, answer on a device, offline.
#[derive(Parser, Debug)]
#[command(
    name = "berth",
    version,
    args_override_self = true,
    propagate_version = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One variant for each command.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Get a base model by name, checksummed; prints its folder
    Fetch(FetchArgs),
    /// Tell what a file holds: labels, lengths, duplicates, what would be cut
    Data(DataFileArgs),
    /// Fine-tune every parameter of a BERT on your own file
    Finetune(Box<FinetuneArgs>),
    /// Measure a checkpoint, a bundle or an ONNX file on a labelled file
    Evaluate(EvaluateArgs),
    /// Let a checkpoint or a bundle answer every row of a file
    Predict(PredictArgs),
    /// Turn a checkpoint or an ONNX file into one int8 bundle, and say what int8 cost
    Quantize(QuantizeArgs),
    /// Write a checkpoint as ONNX, in f32 and quantized
    Export(ExportArgs),
    /// Ask a bundle; a bare name is looked for in `models/` and in the user's own folder
    Ask(AskArgs),
    /// Show ids, pieces and offsets of a text
    Tokenize(TokenizeArgs),
    /// Measure latency by length, load time and memory
    Bench(BenchArgs),
    /// Print what a bundle holds
    Inspect(InspectArgs),
    /// Tell what two bundles hold that is not alike; exit code 1 where something is not
    Diff(DiffArgs),
    /// Walk the whole road on a shipped sample
    Quickstart(QuickstartArgs),
}

/// What standard output gets.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct Stdout {
    /// One JSON object on stdout, nothing else there
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub json: bool,
}

/// `berth fetch`.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct FetchArgs {
    /// A name such as sentence-transformers/all-MiniLM-L6-v2
    pub name: String,
    /// Copy the files there as well
    #[arg(long)]
    pub output_dir: Option<PathBuf>,
    /// Copy them into an output folder that holds something else, over another model's
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub overwrite_output_dir: bool,
    #[command(flatten)]
    pub stdout: Stdout,
}

/// `berth data`.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct DataFileArgs {
    /// A labelled file
    pub file: PathBuf,
    #[command(flatten)]
    pub data: DataArgs,
    /// The model whose tokenizer reads it: a folder or a name; the default one if it was fetched before. A trained
    /// checkpoint's folder says task, columns and lengths too, where no task is named
    #[arg(long)]
    pub model_name_or_path: Option<String>,
    #[command(flatten)]
    pub stdout: Stdout,
}

/// `berth evaluate`.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct EvaluateArgs {
    /// A checkpoint's folder, a .berth file or an .onnx file
    pub model: PathBuf,
    /// For an .onnx file: the folder with its config.json and tokenizer; its own when not given
    #[arg(long)]
    pub tokenizer_name: Option<PathBuf>,
    /// Labelled file
    #[arg(long)]
    pub validation_file: Option<PathBuf>,
    /// Folder that holds the task's published files (dev.tsv), with --task_name
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub data: DataArgs,
    /// Rows of a batch
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub per_device_eval_batch_size: u32,
    /// Texts longer than --max_seq_length, where there is one answer for all: cut, or read by windows of that length
    /// whose answers are put together, as a device does beyond the model's positions; words to be tagged are cut
    #[arg(long, default_value_t = LongTexts::Cut)]
    pub long_texts: LongTexts,
    /// Measure on the first so many rows only
    #[arg(long, value_parser = at_least_one)]
    pub max_eval_samples: Option<usize>,
    /// Threads; every core when not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub threads: Option<u32>,
    /// Also write the metrics to eval_results.json there
    #[arg(long)]
    pub output_dir: Option<PathBuf>,
    #[command(flatten)]
    pub stdout: Stdout,
}

/// `berth predict`.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct PredictArgs {
    /// A checkpoint's folder or a .berth file
    pub model: PathBuf,
    /// The rows to answer; they need no labels
    #[arg(long)]
    pub test_file: PathBuf,
    /// Folder to write the predictions to
    #[arg(long)]
    pub output_dir: PathBuf,
    #[command(flatten)]
    pub data: DataArgs,
    /// Rows of a batch
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub per_device_eval_batch_size: u32,
    /// Texts longer than --max_seq_length, where there is one answer for all: cut, or read by windows of that length
    /// whose answers are put together, as a device does beyond the model's positions; words to be tagged are cut
    #[arg(long, default_value_t = LongTexts::Cut)]
    pub long_texts: LongTexts,
    /// Abstain from answers whose score is lower, from 0 to 1
    #[arg(long, value_parser = share::<f32>)]
    pub min_score: Option<f32>,
    /// Answer the first so many rows only
    #[arg(long, value_parser = at_least_one)]
    pub max_predict_samples: Option<usize>,
    /// Threads; every core when not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub threads: Option<u32>,
    #[command(flatten)]
    pub stdout: Stdout,
}

/// `berth quantize`.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct QuantizeArgs {
    /// A checkpoint's folder, or an .onnx file
    pub checkpoint: PathBuf,
    /// For an .onnx file: the folder with its config.json and tokenizer; its own when not given
    #[arg(long)]
    pub tokenizer_name: Option<PathBuf>,
    /// The bundle to write
    #[arg(long)]
    pub output: PathBuf,
    /// Labelled file on which f32 and int8 are compared
    #[arg(long)]
    pub validation_file: Option<PathBuf>,
    #[command(flatten)]
    pub data: DataArgs,
    /// Compare on the first so many rows only
    #[arg(long, value_parser = at_least_one)]
    pub max_eval_samples: Option<usize>,
    /// Where the report page goes; beside the bundle as NAME.report.html when not given
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// Layers that stay in f32, for what int8 hurts: `0,5`, or names such as `encoder.layer.0`
    #[arg(long, value_delimiter = ',', value_parser = layer_number)]
    pub f32_layers: Vec<usize>,
    #[command(flatten)]
    pub gate: GateArgs,
    /// Threads; every core when not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub threads: Option<u32>,
    #[command(flatten)]
    pub stdout: Stdout,
}

/// What a bundle must keep to be written; other bundles are tried first.
#[derive(Args, Debug, Default, Clone)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct GateArgs {
    /// Fail, and write no bundle, when the main metric drops by more points (of 100)
    #[arg(long, value_parser = points, allow_negative_numbers = true)]
    pub max_drop: Option<f64>,
    /// Fail, and write no bundle, when a smaller share of answers stays the same
    #[arg(long, value_parser = share::<f64>, allow_negative_numbers = true)]
    pub min_agreement: Option<f64>,
}

impl From<&GateArgs> for Gate {
    fn from(args: &GateArgs) -> Self {
        Gate {
            max_drop: args.max_drop,
            min_agreement: args.min_agreement,
        }
    }
}

/// `berth export`.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct ExportArgs {
    /// A checkpoint's folder
    pub checkpoint: PathBuf,
    /// Folder to write model.onnx, model_quantized.onnx, config and tokenizer to
    #[arg(long)]
    pub output_dir: PathBuf,
    /// What the head answers, for a checkpoint made elsewhere whose config.json does not say it
    #[arg(long)]
    pub task: Option<Task>,
    /// Write into an output folder that is not empty, over files of the same names
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub overwrite_output_dir: bool,
    #[command(flatten)]
    pub stdout: Stdout,
}

/// `berth ask`.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct AskArgs {
    /// A .berth file, or a bare name, which is looked for in `models/` and in the user's own folder
    pub bundle: PathBuf,
    /// The text; `@FILE` reads it from a file, and a text that begins with `@` is written `@@…`
    pub text: String,
    /// The second text, for tasks that take two; written as the first
    pub pair: Option<String>,
    /// Only the best so many labels, or a list of the best so many answers to a question, as many as the bundle keeps
    #[arg(long)]
    pub top_k: Option<NonZero<usize>>,
    /// Abstain where the score is lower, from 0 to 1
    #[arg(long, value_parser = share::<f32>)]
    pub min_score: Option<f32>,
    /// Texts longer than the model's input, where there is one answer for all: read by windows whose
    /// answers are put together, or cut
    #[arg(long, default_value_t = LongTexts::Windows)]
    pub long_texts: LongTexts,
    /// The rows of tags: none (a row a piece), first (a row a word), simple (a row an entity, the
    /// default for labels that begin with B- or I-)
    #[arg(long)]
    pub aggregation_strategy: Option<Aggregation>,
    /// The answer as berth-edge prints it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub json: bool,
}

/// `berth tokenize`.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct TokenizeArgs {
    /// A .berth file, or a bare name, which is looked for in `models/` and in the user's own folder
    pub bundle: PathBuf,
    /// The text; without it, every line of standard input
    pub text: Option<String>,
    /// The second text
    pub pair: Option<String>,
    /// Cut to so many pieces; never cut without it
    #[arg(long, alias = "max_length", value_parser = clap::value_parser!(u32).range(2..))]
    pub max_seq_length: Option<u32>,
    /// {"ids","tokens","offsets"}, a line for each text
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub json: bool,
}

/// `berth bench`.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct BenchArgs {
    /// A .berth file, or a bare name as berth ask takes it; none with --train
    pub bundle: Option<PathBuf>,
    /// Lengths in pieces; 16, 32, 64, 128, 256 and 384, as far as the model has positions, when not given
    #[arg(long, value_delimiter = ',', value_parser = at_least_one)]
    pub lengths: Vec<usize>,
    #[command(flatten)]
    pub train: TrainBenchArgs,
    /// Threads: of a training step with --train, else of each query
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub threads: u32,
    #[command(flatten)]
    pub stdout: Stdout,
}

/// `berth bench --train`.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct TrainBenchArgs {
    /// Time steps of fine-tuning, instead of a bundle's queries
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub train: bool,
    /// With --train, the base model: a folder or a name
    #[arg(long, default_value = DEFAULT_MODEL)]
    pub model_name_or_path: String,
    /// With --train, the batches: sequences x pieces of each
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "32x16,32x64,32x128,8x384"
    )]
    pub shapes: Vec<Shape>,
    /// With --train, steps of each shape that are timed
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: u32,
    /// With --train, where: cpu, or cuda:N, as berth finetune --device
    #[arg(long, default_value = "cpu")]
    pub device: Device,
    /// With --train, mixed precision, as berth finetune --bf16
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub bf16: bool,
}

/// `berth inspect`.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct InspectArgs {
    /// A .berth file, or a bare name, which is looked for in `models/` and in the user's own folder
    pub bundle: PathBuf,
    #[command(flatten)]
    pub stdout: Stdout,
}

/// `berth diff`.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct DiffArgs {
    /// A .berth file, or a bare name
    pub a: PathBuf,
    /// Another
    pub b: PathBuf,
    #[command(flatten)]
    pub stdout: Stdout,
}

/// `berth quickstart`.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct QuickstartArgs {
    /// Which application: text-classification, text-pair-classification, token-classification or question-answering
    #[arg(long, default_value = "text-classification")]
    pub task: Task,
    /// Folder for everything it makes
    #[arg(long, default_value = "berth-quickstart")]
    pub output_dir: PathBuf,
    /// A small random model instead of a real one: seconds, offline, and no good answers
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub tiny: bool,
    /// Threads; every core when not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub threads: Option<u32>,
}

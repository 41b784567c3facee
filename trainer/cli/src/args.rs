//! What can be typed: the commands and their flags, under Hugging Face's names.
//!
//! Before clap sees them, flags are brought to one form ([`normalize`]): `--train-file` and
//! `--train_file` are the same, and a switch may stand bare or be followed by `true` or `false`, in any
//! capitals. A flag given twice: the last one wins.

use crate::meant;
use berth_quantize::Gate;
use berth_task::{Aggregation, LongTexts, Task};
use berth_trainer::bench::Shape;
use berth_trainer::device::Device;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use std::ffi::{OsStr, OsString};
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

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

/// `berth fetch`.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct FetchArgs {
    /// A name such as sentence-transformers/all-MiniLM-L6-v2
    pub name: String,
    /// Copy the files there as well
    #[arg(long)]
    pub output_dir: Option<PathBuf>,
    /// One JSON object on stdout, nothing else there
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub json: bool,
}

/// `berth data`.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct DataFileArgs {
    /// A labelled file
    pub file: PathBuf,
    #[command(flatten)]
    pub data: DataArgs,
    /// The model whose tokenizer reads it: a folder or a name; the default one if it was fetched before
    #[arg(long)]
    pub model_name_or_path: Option<String>,
    /// One JSON object on stdout, nothing else there
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub json: bool,
}

/// How a data file is read; shared by the commands that read one.
#[derive(Args, Debug, Default, Clone)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct DataArgs {
    /// text-classification, text-pair-classification, text-pair-regression, token-classification,
    /// question-answering
    #[arg(long)]
    pub task: Option<Task>,
    /// A published data set, whose own files are read: mr, cola, sst2, rte, qnli, mnli, mrpc, sick, sick_r,
    /// stsb; any other file by its extension
    #[arg(long)]
    pub task_name: Option<String>,
    /// tsv, csv, json, jsonl, conll or conllu, where the file's name does not say it
    #[arg(long)]
    pub format: Option<String>,
    /// Column of the text
    #[arg(long)]
    pub text_column_name: Option<String>,
    /// Column of the second text
    #[arg(long)]
    pub text_pair_column_name: Option<String>,
    /// Column of the label
    #[arg(long)]
    pub label_column_name: Option<String>,
    /// Rows may have any number of labels, in one cell with this between them: '|'. Lists of JSON need no flag
    #[arg(long, allow_hyphen_values = true)]
    pub label_delimiter: Option<String>,
    /// New names for the labels, in their order: a,b
    #[arg(long, value_delimiter = ',')]
    pub label_names: Option<Vec<String>>,
    /// Longest input in pieces, the special ones included
    #[arg(long, alias = "max_length", value_parser = clap::value_parser!(u32).range(2..))]
    pub max_seq_length: Option<u32>,
    #[command(flatten)]
    pub spans: SpanArgs,
}

/// How passages are read and answers are chosen, for question-answering.
#[derive(Args, Debug, Default, Clone)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct SpanArgs {
    /// Questions: pieces that neighbouring windows of a passage share; 128 when not given
    #[arg(long)]
    pub doc_stride: Option<u32>,
    /// Questions: how many best starts, ends and answers are looked at; 20 when not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=berth_task::MAX_N_BEST as i64))]
    pub n_best_size: Option<u32>,
    /// Questions: the most pieces of an answer; 30 when not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_answer_length: Option<u32>,
    /// Questions: some have no answer in their passage
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub version_2_with_negative: Option<bool>,
    /// Questions: no answer where its score exceeds the best span's by more; fitted when not given
    #[arg(long, value_parser = finite::<f32>, allow_negative_numbers = true)]
    pub null_score_diff_threshold: Option<f32>,
}

impl SpanArgs {
    /// The flags that were given.
    pub fn given(&self) -> impl Iterator<Item = &'static str> {
        let flags = [
            ("--doc_stride", self.doc_stride.is_some()),
            ("--n_best_size", self.n_best_size.is_some()),
            ("--max_answer_length", self.max_answer_length.is_some()),
            (
                "--version_2_with_negative",
                self.version_2_with_negative.is_some(),
            ),
            (
                "--null_score_diff_threshold",
                self.null_score_diff_threshold.is_some(),
            ),
        ];
        flags
            .into_iter()
            .filter_map(|(flag, is_given)| is_given.then_some(flag))
    }
}

/// `berth finetune`.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct FinetuneArgs {
    /// Settings from a TOML or JSON file, flags' names as keys; a bare FILE does it too, and what is typed wins
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub data: DataArgs,
    /// Labelled file to learn from
    #[arg(long)]
    pub train_file: Option<PathBuf>,
    /// Labelled file to measure on
    #[arg(long)]
    pub validation_file: Option<PathBuf>,
    /// Folder that holds the files: those of --task_name (train.tsv, dev.tsv), or those that --train_file and
    /// --validation_file name
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Base model: a folder or a name
    #[arg(long, default_value = DEFAULT_MODEL)]
    pub model_name_or_path: String,
    /// Folder to write the checkpoint to
    #[arg(long)]
    pub output_dir: PathBuf,
    #[command(flatten)]
    pub switches: FinetuneSwitches,
    /// Learn from the first so many rows only
    #[arg(long, value_parser = at_least_one)]
    pub max_train_samples: Option<usize>,
    /// Measure on the first so many rows only
    #[arg(long, value_parser = at_least_one)]
    pub max_eval_samples: Option<usize>,
    /// A run for each of these seeds, in OUTPUT_DIR/seed-N, and what they came to together: 1,2,3
    #[arg(long, value_delimiter = ',', action = clap::ArgAction::Set)]
    pub seeds: Vec<u64>,
    /// Write what the runs are worth in f32 and in int8 to this file; the bundles stay in the output folder
    #[arg(long)]
    pub metrics_file: Option<PathBuf>,
    /// The bundles' gate, with --metrics_file
    #[command(flatten)]
    pub gate: GateArgs,
    /// cpu, or cuda:N for an NVIDIA GPU, in a program built with `--features cuda`
    #[arg(long, default_value = "cpu")]
    pub device: Device,
    /// Continue: `true` for the newest whole checkpoint of the output folder, or a checkpoint's folder
    #[arg(long, value_parser = truth_or_text)]
    pub resume_from_checkpoint: Option<String>,
    #[command(flatten)]
    pub recipe: RecipeArgs,
}

/// The switches of `berth finetune`.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct FinetuneSwitches {
    /// Replace what the output folder holds
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub overwrite_output_dir: bool,
    /// Accepted for habit's sake: training is what the command does
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true, action = clap::ArgAction::Set)]
    pub do_train: bool,
    /// Measure on the validation file at the end
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true, action = clap::ArgAction::Set)]
    pub do_eval: bool,
    /// Mixed precision: products of factors rounded to bf16, f32 weights; on CPUs with AVX512_BF16 and on GPUs
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub bf16: bool,
    /// One JSON object on stdout, nothing else there
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub json: bool,
}

/// When something happens during training.
#[derive(ValueEnum, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
#[value(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Never
    No,
    /// Every so many steps
    Steps,
    /// After each epoch
    Epoch,
}

/// The training recipe. The fields have the names of the trainer's own
/// [`Recipe`](berth_trainer::Recipe), which is made of them by name.
#[derive(Args, Serialize, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct RecipeArgs {
    /// Passes over the training file
    #[arg(long, default_value_t = 3.0, value_parser = finite::<f64>, allow_negative_numbers = true)]
    pub num_train_epochs: f64,
    /// Optimizer steps, instead of epochs
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub max_steps: i64,
    /// Rows of a batch
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub per_device_train_batch_size: u32,
    /// Rows of a batch when measuring
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub per_device_eval_batch_size: u32,
    /// Batches whose gradients make one step
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub gradient_accumulation_steps: u32,
    /// Peak learning rate
    #[arg(long, default_value_t = 5e-5, value_parser = finite::<f64>, allow_negative_numbers = true)]
    pub learning_rate: f64,
    /// linear, cosine, constant, constant_with_warmup or polynomial
    #[arg(long, default_value = "linear")]
    pub lr_scheduler_type: String,
    /// Steps of warm-up, or their share below 1
    #[arg(long, alias = "warmup_ratio", default_value_t = 0.1, value_parser = finite::<f64>, allow_negative_numbers = true)]
    pub warmup_steps: f64,
    /// Decay of weights, biases and LayerNorm excepted
    #[arg(long, default_value_t = 0.01, value_parser = finite::<f64>, allow_negative_numbers = true)]
    pub weight_decay: f64,
    /// Gradients are scaled down to this norm
    #[arg(long, default_value_t = 1.0, value_parser = finite::<f64>, allow_negative_numbers = true)]
    pub max_grad_norm: f64,
    /// Everything random follows from it
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// random, sequential or group_by_length
    #[arg(long, default_value = "random")]
    pub train_sampling_strategy: String,
    /// Steps between two lines of the log
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    pub logging_steps: u64,
    /// When to save
    #[arg(long, value_enum, default_value_t = Strategy::Epoch)]
    pub save_strategy: Strategy,
    /// Steps between two checkpoints, with --save_strategy steps
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    pub save_steps: u64,
    /// Checkpoints to keep; never the best nor the newest goes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub save_total_limit: u32,
    /// When to measure on the validation file
    #[arg(long, value_enum, default_value_t = Strategy::Epoch)]
    pub eval_strategy: Strategy,
    /// Steps between two measurements, with --eval_strategy steps; as --logging_steps when not given
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub eval_steps: u64,
    /// Make the best checkpoint the result, not the last
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub load_best_model_at_end: bool,
    /// What decides which checkpoint is best
    #[arg(long)]
    pub metric_for_best_model: Option<String>,
    /// End the run after so many evaluations in a row that did not better the best
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub early_stopping_patience: Option<u32>,
    /// By how much an evaluation must better the best
    #[arg(long, default_value_t = 0.0, value_parser = finite::<f64>, allow_negative_numbers = true)]
    pub early_stopping_threshold: f64,
    /// Weights of the classes in the loss: balanced, or a JSON file, {"label": weight} or a list
    #[arg(long)]
    #[serde(skip)]
    pub class_weights: Option<String>,
    /// The share of each target that all classes have in equal parts
    #[arg(long, default_value_t = 0.0, value_parser = finite::<f64>, allow_negative_numbers = true)]
    pub label_smoothing_factor: f64,
    /// Focal loss: how much less what is told well already weighs; 0 for not at all
    #[arg(long, default_value_t = 0.0, value_parser = finite::<f64>, allow_negative_numbers = true)]
    pub focal_gamma: f64,
    /// Each layer learns at this times the rate of the one above; the head at the full rate
    #[arg(long, default_value_t = 1.0, value_parser = finite::<f64>, allow_negative_numbers = true)]
    pub layerwise_lr_decay: f64,
    /// Threads, or 0 for every core. The result does not depend on it
    #[arg(long, default_value_t = 0)]
    pub threads: u32,
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
    /// whose answers are put together; a device does so beyond the model's positions
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
    /// One JSON object on stdout, nothing else there
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub json: bool,
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
    /// whose answers are put together; a device does so beyond the model's positions
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
    /// One JSON object on stdout, nothing else there
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub json: bool,
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
    /// One JSON object on stdout, nothing else there
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub json: bool,
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
    /// One JSON object on stdout, nothing else there
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub json: bool,
}

/// The number of an encoder layer, by itself or behind its name in a checkpoint.
fn layer_number(name: &str) -> Result<usize, String> {
    let known = ["bert.encoder.layer.", "encoder.layer.", "layer."];
    let number = known.iter().find_map(|known| name.strip_prefix(known));
    let number = number.unwrap_or(name).parse();
    number.map_err(|_| "layers are numbers from 0 on, or names such as `encoder.layer.0`".into())
}

/// A count of something.
fn at_least_one(value: &str) -> Result<usize, String> {
    let known = value.parse().ok().filter(|&count| count > 0);
    known.ok_or_else(|| "a whole number from 1 on".into())
}

/// A number that is neither infinite nor none at all.
fn finite<T: FromStr + Into<f64> + Copy>(value: &str) -> Result<T, String> {
    within(value, f64::MIN..=f64::MAX, "a finite number")
}

/// A share from 0 to 1.
fn share<T: FromStr + Into<f64> + Copy>(value: &str) -> Result<T, String> {
    within(value, 0.0..=1.0, "a number from 0 to 1")
}

/// A difference of two metrics, in points of 100.
fn points(value: &str) -> Result<f64, String> {
    within(
        value,
        -100.0..=100.0,
        "points of 100: a number from -100 to 100",
    )
}

/// A number in a range, which `expected` says in words.
fn within<T: FromStr + Into<f64> + Copy>(
    value: &str,
    range: RangeInclusive<f64>,
    expected: &str,
) -> Result<T, String> {
    let known = value.parse::<T>().ok();
    let known = known.filter(|&number| range.contains(&number.into()));
    known.ok_or_else(|| expected.into())
}

/// A text as it stands, but `true` and `false` in small letters.
fn truth_or_text(value: &str) -> Result<String, String> {
    Ok(truth(value).map_or_else(|| value.to_owned(), |truth| truth.to_string()))
}

/// `berth ask`.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct AskArgs {
    /// A .berth file, or a bare name, which is looked for in `models/` and in the user's own folder
    pub bundle: PathBuf,
    /// The text; `@FILE` reads it from a file
    pub text: String,
    /// The second text, for tasks that take two
    pub pair: Option<String>,
    /// Only the best so many labels, or a list of the best so many answers to a question
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
    /// One JSON object on stdout, nothing else there
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub json: bool,
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
    /// Threads: of a training step with --train, else of each query
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub threads: u32,
}

/// `berth inspect`.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct InspectArgs {
    /// A .berth file, or a bare name, which is looked for in `models/` and in the user's own folder
    pub bundle: PathBuf,
    /// One JSON object on stdout, nothing else there
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub json: bool,
}

/// `berth diff`.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct DiffArgs {
    /// A .berth file, or a bare name
    pub a: PathBuf,
    /// Another
    pub b: PathBuf,
    /// One JSON object on stdout, nothing else there
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub json: bool,
}

/// `berth quickstart`.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case", args_override_self = true)]
pub struct QuickstartArgs {
    /// Which application
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

/// Brings what was typed to the form that clap knows: `-` inside a flag's name becomes `_`, and a switch
/// followed by `true` or `false`, in any capitals, becomes `--switch=true`. What follows a bare `--` is left
/// alone.
pub fn normalize(typed: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let switches = switches();
    let is_switch = |name: &str| switches.iter().any(|switch| switch == name);
    let mut out: Vec<OsString> = Vec::new();
    let mut verbatim = false;
    for token in typed {
        let Some(text) = token.to_str().filter(|_| !verbatim) else {
            out.push(token);
            continue;
        };
        verbatim = text == "--";
        let after_switch = out
            .last()
            .and_then(|last| last.to_str()?.strip_prefix("--"))
            .is_some_and(is_switch);
        if let (true, Some(truth)) = (after_switch, truth(text)) {
            if let Some(last) = out.last_mut() {
                last.push(format!("={truth}"));
            }
        } else if let Some(flag) = text.strip_prefix("--").filter(|flag| !flag.is_empty()) {
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag, None),
            };
            let name = name.replace('-', "_");
            let one = match value.map(|value| (value, truth(value))) {
                None => format!("--{name}"),
                Some((_, Some(truth))) if is_switch(&name) => format!("--{name}={truth}"),
                Some((value, _)) => format!("--{name}={value}"),
            };
            out.push(one.into());
        } else {
            out.push(token);
        }
    }
    out
}

/// What a word says, in any capitals.
pub fn truth(word: &str) -> Option<bool> {
    word.to_ascii_lowercase().parse().ok()
}

/// The bare switch that a word stands behind.
pub fn switch_before<'t>(typed: &'t [OsString], word: &OsStr) -> Option<&'t str> {
    let switches = switches();
    typed.windows(2).find_map(|pair| {
        let flag = pair[0].to_str()?;
        let name = flag.strip_prefix("--")?;
        let found = pair[1] == *word && switches.iter().any(|switch| switch == name);
        found.then_some(flag)
    })
}

/// Reads what was typed, in the form of [`normalize`].
///
/// # Errors
/// As clap has them, beside an unknown flag with the one that was probably meant, or what there is in its
/// place.
pub fn parse(typed: Vec<OsString>) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(&typed).map_err(|error| meant::suggest(error, &typed))
}

/// The names of all flags that take no value or `true`/`false`.
pub fn switches() -> Vec<String> {
    let command = Cli::command();
    let mut names: Vec<String> = command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .filter(|arg| arg.is_require_equals_set())
        .filter_map(|arg| arg.get_long().map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        super::parse(normalize(line.split(' ').map(OsString::from)))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn dashes_and_underscores_are_alike_and_the_last_wins() {
        let cli = parse("berth finetune --train-file a.tsv --train_file=b-c.tsv --output-dir o --learning-rate 1e-5")
            .unwrap();
        let Command::Finetune(args) = cli.command else {
            panic!("not finetune")
        };
        assert_eq!(args.train_file, Some(PathBuf::from("b-c.tsv")));
        assert_eq!(args.recipe.learning_rate, 1e-5);
    }

    #[test]
    fn switches_stand_bare_or_with_a_word() {
        for (typed, expected) in [
            ("--do_eval", true),
            ("--do-eval false", false),
            ("--do_eval=true", true),
        ] {
            let cli = parse(&format!("berth finetune --output_dir o {typed} --seed 1")).unwrap();
            let Command::Finetune(args) = cli.command else {
                panic!("not finetune")
            };
            assert_eq!(args.switches.do_eval, expected, "{typed}");
        }
        for (typed, expected) in [
            ("--bf16 True", true),
            ("--bf16 --bf16 FALSE", false),
            ("--bf16=TRUE", true),
            ("--bf16=tRUE --bf16=False", false),
        ] {
            let cli = parse(&format!("berth finetune --output_dir o {typed} --seed 1")).unwrap();
            let Command::Finetune(args) = cli.command else {
                panic!("not finetune")
            };
            assert_eq!(args.switches.bf16, expected, "{typed}");
        }
        let cli = parse("berth evaluate m --json True --validation_file=True").unwrap();
        let Command::Evaluate(args) = cli.command else {
            panic!("not evaluate")
        };
        assert!(args.json);
        assert_eq!(args.validation_file, Some(PathBuf::from("True")));
        let cli = parse("berth finetune --output_dir o --resume_from_checkpoint True").unwrap();
        let Command::Finetune(args) = cli.command else {
            panic!("not finetune")
        };
        assert_eq!(args.resume_from_checkpoint.as_deref(), Some("true"));
        let cli = parse("berth ask --json m.berth true").unwrap();
        let Command::Ask(args) = cli.command else {
            panic!("not ask")
        };
        assert!(args.json && args.text == "true");
    }

    #[test]
    fn a_switch_takes_nothing_but_true_or_false() {
        for line in [
            "evaluate m --json maybe --validation_file x",
            "evaluate m --json=maybe",
            "finetune --output_dir o --bf16=1",
            "inspect m --json yes",
        ] {
            let error = parse(&format!("berth {line}")).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let text = error.to_string();
            assert!(
                text.contains("true or false") || text.contains("true, false"),
                "{text}"
            );
            assert!(text.contains("--json") || text.contains("--bf16"), "{text}");
        }
    }

    #[test]
    fn numbers_keep_to_their_ranges() {
        let quantize = |flag: &str| parse(&format!("berth quantize m --output o {flag}"));
        for flag in [
            "--max_drop -1",
            "--max_drop=-100",
            "--max_drop 100",
            "--min_agreement 0",
            "--min_agreement 1",
        ] {
            assert!(quantize(flag).is_ok(), "{flag}");
        }
        for (flag, range) in [
            ("--max_drop nan", "-100 to 100"),
            ("--max_drop inf", "-100 to 100"),
            ("--max_drop 200", "-100 to 100"),
            ("--max_drop -100.1", "-100 to 100"),
            ("--min_agreement nan", "0 to 1"),
            ("--min_agreement 99", "0 to 1"),
            ("--min_agreement -0.5", "0 to 1"),
            ("--max_eval_samples 0", "from 1 on"),
        ] {
            let error = quantize(flag).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(range), "{error}");
        }
        for flag in [
            "num_train_epochs",
            "learning_rate",
            "warmup_steps",
            "weight_decay",
            "max_grad_norm",
            "early_stopping_threshold",
            "label_smoothing_factor",
            "focal_gamma",
            "layerwise_lr_decay",
            "null_score_diff_threshold",
        ] {
            for value in ["nan", "inf", "x"] {
                let line = format!("berth finetune --output_dir o --{flag} {value}");
                let text = parse(&line).unwrap_err().to_string();
                assert!(text.contains("a finite number"), "{text}");
                assert!(text.contains(&format!("--{flag}")), "{text}");
            }
        }
        assert!(parse("berth bench m.berth --lengths 16,0").is_err());
    }

    #[test]
    fn what_follows_two_dashes_is_text() {
        let cli = parse("berth ask m.berth -- --so-so").unwrap();
        let Command::Ask(args) = cli.command else {
            panic!("not ask")
        };
        assert_eq!(args.text, "--so-so");
    }
}

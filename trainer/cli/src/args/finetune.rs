//! `berth finetune`: the run, its switches and its recipe.

use super::values::{at_least_one, finite, truth_or_text};
use super::{DEFAULT_MODEL, DataArgs, GateArgs};
use berth_trainer::device::Device;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;

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

//! `berth finetune`: the run, its switches and its recipe.

use super::values::{at_least_one, finite, steps, steps_or_none, truth_or_text};
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

/// What follows the warm-up.
#[derive(ValueEnum, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
#[value(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// In a straight line to 0
    Linear,
    /// Along half a cosine wave to 0
    Cosine,
    /// The same rate throughout, without a warm-up
    Constant,
    /// The same rate, after the warm-up
    ConstantWithWarmup,
    /// In a straight line to 1e-7
    Polynomial,
}

/// How rows are put in order.
#[derive(ValueEnum, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
#[value(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Shuffled anew for each epoch
    Random,
    /// As the file has them
    Sequential,
    /// Shuffled, with rows of like length together
    GroupByLength,
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
    /// What follows the warm-up
    #[arg(long, value_enum, default_value_t = Decay::Linear)]
    pub lr_scheduler_type: Decay,
    /// Steps of warm-up, or their share below 1
    #[arg(long, default_value_t = 0.1, value_parser = finite::<f64>, allow_negative_numbers = true)]
    pub warmup_steps: f64,
    /// The same, as earlier versions of transformers call it; with --warmup_steps too, the last wins
    #[arg(long, value_parser = finite::<f64>, allow_negative_numbers = true, overrides_with = "warmup_steps")]
    #[serde(skip)]
    pub warmup_ratio: Option<f64>,
    /// Decay of weights, biases and LayerNorm excepted
    #[arg(long, default_value_t = 0.01, value_parser = finite::<f64>, allow_negative_numbers = true)]
    pub weight_decay: f64,
    /// AdamW's beta1, from 0 to below 1
    #[arg(long, default_value_t = 0.9, value_parser = finite::<f64>, allow_negative_numbers = true)]
    pub adam_beta1: f64,
    /// AdamW's beta2, from 0 to below 1
    #[arg(long, default_value_t = 0.999, value_parser = finite::<f64>, allow_negative_numbers = true)]
    pub adam_beta2: f64,
    /// AdamW's epsilon, above 0
    #[arg(long, default_value_t = 1e-8, value_parser = finite::<f64>, allow_negative_numbers = true)]
    pub adam_epsilon: f64,
    /// Gradients are scaled down to this norm
    #[arg(long, default_value_t = 1.0, value_parser = finite::<f64>, allow_negative_numbers = true)]
    pub max_grad_norm: f64,
    /// Everything random follows from it
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// How rows are put in order
    #[arg(long, value_enum, default_value_t = Sampling::Random)]
    pub train_sampling_strategy: Sampling,
    /// Steps between two lines of the log
    #[arg(long, default_value_t = 50, value_parser = steps)]
    pub logging_steps: u64,
    /// When to save
    #[arg(long, value_enum, default_value_t = Strategy::Epoch)]
    pub save_strategy: Strategy,
    /// Steps between two checkpoints, with --save_strategy steps
    #[arg(long, default_value_t = 500, value_parser = steps)]
    pub save_steps: u64,
    /// Checkpoints to keep, or 0 for all; never the best nor the newest goes
    #[arg(long, default_value_t = 1)]
    pub save_total_limit: u32,
    /// When to measure on the validation file
    #[arg(long, value_enum, default_value_t = Strategy::Epoch)]
    pub eval_strategy: Strategy,
    /// Steps between two measurements, with --eval_strategy steps; as --logging_steps when not given
    #[arg(long, default_value_t = 0, hide_default_value = true, value_parser = steps_or_none)]
    pub eval_steps: u64,
    /// Make the best checkpoint the result, not the last
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub load_best_model_at_end: bool,
    /// What decides which checkpoint is best; eval_loss when not given
    #[arg(long)]
    pub metric_for_best_model: Option<String>,
    /// Whether more of --metric_for_best_model is better; when not given: it is, unless the name ends in loss
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub greater_is_better: Option<bool>,
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

impl RecipeArgs {
    /// How long the warm-up is, as the trainer has it: a count of steps, or, below 1, their share.
    pub fn warmup(&self) -> f64 {
        self.warmup_ratio.unwrap_or(self.warmup_steps)
    }
}

#[cfg(test)]
mod tests {
    use crate::args::{Cli, Command, FinetuneArgs, normalize, parse};
    use berth_trainer::Recipe;
    use clap::CommandFactory;
    use serde_json::Value;
    use std::ffi::OsString;

    fn finetune(flags: &str) -> Result<FinetuneArgs, String> {
        let line = format!("berth finetune --output_dir o {flags}");
        let typed = normalize(line.split(' ').map(OsString::from));
        let cli = parse(typed).map_err(|error| {
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        })?;
        match cli.command {
            Command::Finetune(args) => Ok(*args),
            _ => panic!("not finetune"),
        }
    }

    fn recipe(flags: &str) -> Recipe {
        let args = finetune(flags).unwrap();
        serde_json::from_value(serde_json::to_value(&args.recipe).unwrap()).unwrap()
    }

    #[test]
    fn every_setting_of_a_recipe_has_a_flag() {
        let cli = Cli::command();
        let command = cli.find_subcommand("finetune").unwrap();
        let flags: Vec<&str> = command
            .get_arguments()
            .filter_map(clap::Arg::get_long)
            .collect();
        let Value::Object(settings) = serde_json::to_value(Recipe::default()).unwrap() else {
            panic!("no object")
        };
        for setting in settings.keys() {
            assert!(flags.contains(&setting.as_str()), "{setting}");
        }
    }

    #[test]
    fn adams_constants_and_the_way_to_the_best_reach_the_recipe() {
        let (usual, own) = (recipe("--seed 1"), Recipe::default());
        let adam = |recipe: &Recipe| [recipe.adam_beta1, recipe.adam_beta2, recipe.adam_epsilon];
        assert_eq!(adam(&usual), adam(&own));
        assert_eq!(usual.greater_is_better, None);
        let given = recipe("--adam_beta1 0.8 --adam-beta2 0.98 --adam_epsilon 1e-6");
        assert_eq!(adam(&given), [0.8, 0.98, 1e-6]);
        for (flag, expected) in [
            ("--greater_is_better", true),
            ("--greater-is-better False", false),
        ] {
            assert_eq!(recipe(flag).greater_is_better, Some(expected), "{flag}");
        }
        for (flag, range) in [
            ("--adam_beta1 1", "adam_beta1 is 1, but must be at least 0"),
            ("--adam_beta2 -0.1", "adam_beta2 is -0.1, but must be at"),
            (
                "--adam_epsilon 0",
                "adam_epsilon is 0, but must be above 1e-45",
            ),
            ("--adam_epsilon 1e-50", "adam_epsilon is 0.0000000000000"),
        ] {
            let wrong = recipe(flag).check().unwrap_err().to_string();
            assert!(wrong.starts_with(range), "{wrong}");
        }
    }

    #[test]
    fn names_reach_the_recipe_and_others_are_told_with_their_flag() {
        for (flag, other, names) in [
            (
                "lr_scheduler_type",
                "cosine_with_restarts",
                &[
                    "linear",
                    "cosine",
                    "constant",
                    "constant_with_warmup",
                    "polynomial",
                ][..],
            ),
            (
                "train_sampling_strategy",
                "shuffled",
                &["random", "sequential", "group_by_length"],
            ),
        ] {
            for name in names {
                let json = serde_json::to_value(recipe(&format!("--{flag} {name}"))).unwrap();
                assert_eq!(json[flag], *name);
            }
            let told = finetune(&format!("--{flag} {other}")).unwrap_err();
            let wrong = format!("'{other}' for '--{flag} <");
            assert!(told.contains(&wrong), "{told}");
            let all = format!("[possible values: {}]", names.join(", "));
            assert!(told.contains(&all), "{told}");
        }
        let usual = recipe("--seed 1");
        let own = Recipe::default();
        assert_eq!(usual.lr_scheduler_type, own.lr_scheduler_type);
        assert_eq!(usual.train_sampling_strategy, own.train_sampling_strategy);
    }

    #[test]
    fn steps_are_counted_and_no_share_of_the_run() {
        for flag in ["eval_steps", "save_steps", "logging_steps"] {
            let json = serde_json::to_value(recipe(&format!("--{flag} 20"))).unwrap();
            assert_eq!(json[flag], 20, "{flag}");
            for value in ["0.5", "-1", "all"] {
                let told = finetune(&format!("--{flag}={value}")).unwrap_err();
                let wrong = format!(
                    "'{value}' for '--{flag} <{}>': a whole number of steps from 1 on; a share of the run is taken by \
                     --warmup_steps alone",
                    flag.to_uppercase()
                );
                assert!(told.contains(&wrong), "{told}");
            }
            // As when it is not given.
            let nothing = finetune(&format!("--{flag} 0"));
            assert_eq!(nothing.is_ok(), flag == "eval_steps", "{flag}");
        }
    }

    #[test]
    fn no_limit_keeps_every_checkpoint() {
        assert_eq!(recipe("--seed 1").save_total_limit, 1);
        assert_eq!(recipe("--save_total_limit 3").save_total_limit, 3);
        let all = recipe("--save_total_limit 0");
        assert_eq!(all.save_total_limit, 0);
        all.check().unwrap();
        assert!(finetune("--save_total_limit=-1").is_err());
    }

    #[test]
    fn of_the_two_flags_for_warm_up_the_last_wins() {
        for (flags, expected) in [
            ("--seed 1", 0.1),
            ("--warmup_ratio 0", 0.0),
            ("--warmup-ratio=0.06", 0.06),
            ("--warmup_ratio 10", 10.0),
            ("--warmup_steps 0.2", 0.2),
            ("--warmup_steps 7", 7.0),
            ("--warmup_steps 7 --warmup_ratio 0.2", 0.2),
            ("--warmup_ratio 0.2 --warmup_steps 7", 7.0),
            ("--warmup_ratio 0.2 --warmup_ratio 0.3", 0.3),
        ] {
            let args = finetune(flags).unwrap();
            assert_eq!(args.recipe.warmup(), expected, "{flags}");
        }
        for value in ["nan", "x"] {
            let told = finetune(&format!("--warmup_ratio {value}")).unwrap_err();
            assert!(told.contains("--warmup_ratio"), "{told}");
        }
    }
}

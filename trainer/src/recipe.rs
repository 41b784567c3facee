//! How a model is trained: the settings, named as in Hugging Face's `TrainingArguments`.

use crate::device::Device;
use crate::error::TrainError;
use crate::kernels::adamw::Betas;
use crate::kernels::gemm::{Bf16, Precision};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::batches::Sampling;
use crate::imbalance::ClassWeights;
use crate::schedule::{Decay, LAST_RATE};

/// When something is done during training; names as in `transformers`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Never.
    No,
    /// Every so many steps.
    Steps,
    /// After each epoch.
    Epoch,
}

/// The settings of a run. A step is an update of the parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recipe {
    /// Sequences in a batch.
    pub per_device_train_batch_size: usize,
    /// Sequences in a batch of an evaluation.
    pub per_device_eval_batch_size: usize,
    /// Batches of a step, whose loss is the mean over all of them together.
    pub gradient_accumulation_steps: usize,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// What follows the warm-up.
    pub lr_scheduler_type: Decay,
    /// Steps of the warm-up, or, below 1, their share of the run.
    pub warmup_steps: f64,
    /// Times that every example is seen; fractions count.
    pub num_train_epochs: f64,
    /// Steps of the run, if above 0: then epochs don't count.
    pub max_steps: i64,
    /// Pull towards zero, not on biases and layer norms.
    pub weight_decay: f64,
    /// AdamW's β₁.
    pub adam_beta1: f64,
    /// AdamW's β₂.
    pub adam_beta2: f64,
    /// AdamW's ε.
    pub adam_epsilon: f64,
    /// The gradients' norm is brought down to this; 0 for never.
    pub max_grad_norm: f64,
    /// Decides the order of the examples, dropout, and parameters that the base model lacks.
    pub seed: u64,
    /// How examples are put in order.
    pub train_sampling_strategy: Sampling,
    /// Steps between entries of the log.
    pub logging_steps: u64,
    /// When the model is evaluated, beside the end.
    pub eval_strategy: Strategy,
    /// Steps between evaluations; 0 for as many as between log entries.
    pub eval_steps: u64,
    /// When a checkpoint is saved.
    pub save_strategy: Strategy,
    /// Steps between checkpoints.
    pub save_steps: u64,
    /// Checkpoints to keep, the best and the newest in any case; 0 for all.
    pub save_total_limit: usize,
    /// Whether the best checkpoint becomes the result, not the last.
    pub load_best_model_at_end: bool,
    /// What decides which is best: `loss`, or a metric.
    pub metric_for_best_model: Option<String>,
    /// Whether more of it is better; without a value, it is unless the name ends in `loss`.
    pub greater_is_better: Option<bool>,
    /// The run ends after so many evaluations in a row that did not better the best.
    pub early_stopping_patience: Option<u32>,
    /// By how much an evaluation must better the best to count as better.
    pub early_stopping_threshold: f64,
    /// What the examples of each class weigh in the loss; all the same without it.
    pub class_weights: Option<ClassWeights>,
    /// The share of the target that all classes have in equal parts.
    pub label_smoothing_factor: f64,
    /// The focal loss's γ: how much less an example weighs that is already told well; 0 for not at all.
    pub focal_gamma: f64,
    /// Each layer learns at this times the rate of the one above it; the head at the full rate.
    pub layerwise_lr_decay: f64,
    /// Threads; 0 for as many as there are cores. The result does not depend on it.
    pub threads: usize,
    /// Mixed precision: the factors of the encoder's products are rounded to bf16, everything else is f32.
    pub bf16: bool,
    /// Where the model is trained.
    pub device: Device,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            per_device_train_batch_size: 32,
            per_device_eval_batch_size: 32,
            gradient_accumulation_steps: 1,
            learning_rate: 5e-5,
            lr_scheduler_type: Decay::Linear,
            warmup_steps: 0.1,
            num_train_epochs: 3.0,
            max_steps: -1,
            weight_decay: 0.01,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            max_grad_norm: 1.0,
            seed: 42,
            train_sampling_strategy: Sampling::Random,
            logging_steps: 50,
            eval_strategy: Strategy::No,
            eval_steps: 0,
            save_strategy: Strategy::Steps,
            save_steps: 500,
            save_total_limit: 0,
            load_best_model_at_end: false,
            metric_for_best_model: None,
            greater_is_better: None,
            early_stopping_patience: None,
            early_stopping_threshold: 0.0,
            class_weights: None,
            label_smoothing_factor: 0.0,
            focal_gamma: 0.0,
            layerwise_lr_decay: 1.0,
            threads: 0,
            bf16: false,
            device: Device::Cpu,
        }
    }
}

/// Settings that change nothing in what is learned.
const FREE: [&str; 7] = [
    "threads",
    "logging_steps",
    "save_strategy",
    "save_steps",
    "save_total_limit",
    "eval_steps",
    "per_device_eval_batch_size",
];

/// A setting that no run can have.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum RecipeError {
    /// A number outside its range.
    #[error("{name} is {value}, but must be {range}")]
    Range {
        /// Which setting.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
    /// The best checkpoint is asked for, but would not be known.
    #[error(
        "load_best_model_at_end needs eval_strategy and save_strategy to be both `steps`, with save_steps a multiple of \
         eval_steps, or both `epoch`"
    )]
    Best,
    /// Nothing tells when to stop early, or what to go back to.
    #[error(
        "early_stopping_patience needs load_best_model_at_end and an eval_strategy of `steps` or `epoch`: \
         it ends a run by the best evaluation so far"
    )]
    EarlyStopping,
    /// This processor has no bf16 products.
    #[error(
        "bf16 needs a processor with AVX512_BF16, which this one has not; leave it out to train in f32"
    )]
    NoBf16,
}

/// A number among the settings.
struct Number {
    name: &'static str,
    value: f64,
    /// What it may be.
    range: &'static str,
    /// Whether it is that.
    fits: bool,
}

impl Number {
    /// It may be anything where nothing heeds it.
    fn unless(self, is_free: bool) -> Self {
        let fits = self.fits || is_free;
        Self { fits, ..self }
    }
}

fn within(name: &'static str, value: f64, range: &'static str, is_in: fn(f64) -> bool) -> Number {
    Number {
        name,
        value,
        range,
        fits: is_in(value),
    }
}

fn count(name: &'static str, value: f64) -> Number {
    within(name, value, "1 or more", |x| x >= 1.0)
}

fn not_negative(name: &'static str, value: f64) -> Number {
    within(name, value, "0 or more", |x| x >= 0.0 && x.is_finite())
}

fn share(name: &'static str, value: f64) -> Number {
    within(name, value, "at least 0 and below 1", |x| {
        (0.0..1.0).contains(&x)
    })
}

impl Recipe {
    /// How the encoder's products round their factors.
    ///
    /// # Errors
    /// If bf16 is asked for where the processor has no instructions for it.
    pub fn precision(&self) -> Result<Precision, RecipeError> {
        match (self.bf16 && self.device == Device::Cpu, Bf16::detect()) {
            (false, _) => Ok(Precision::F32),
            (true, Some(bf16)) => Ok(Precision::Mixed(bf16)),
            (true, None) => Err(RecipeError::NoBf16),
        }
    }

    /// AdamW's β₁, β₂ and ε.
    pub fn betas(&self) -> Betas {
        Betas {
            first: self.adam_beta1,
            second: self.adam_beta2,
            eps: self.adam_epsilon,
        }
    }

    /// Checks every setting, and those that must fit together.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn check(&self) -> Result<(), RecipeError> {
        self.precision()?;
        let mut ranges = self.ranges().into_iter();
        if let Some(Number {
            name, value, range, ..
        }) = ranges.find(|number| !number.fits)
        {
            return Err(RecipeError::Range { name, value, range });
        }
        self.check_together()
    }

    /// What each number may be.
    fn ranges(&self) -> [Number; 18] {
        let rate = self.learning_rate;
        let patience = self.early_stopping_patience;
        let epochs = self.num_train_epochs;
        let saves_by_steps = self.save_strategy == Strategy::Steps;
        let is_polynomial = self.lr_scheduler_type == Decay::Polynomial;
        [
            count(
                "per_device_train_batch_size",
                self.per_device_train_batch_size as f64,
            ),
            count(
                "per_device_eval_batch_size",
                self.per_device_eval_batch_size as f64,
            ),
            count(
                "gradient_accumulation_steps",
                self.gradient_accumulation_steps as f64,
            ),
            not_negative("learning_rate", rate),
            not_negative("warmup_steps", self.warmup_steps),
            within(
                "num_train_epochs",
                epochs,
                "above 0 and below a million",
                |x| x > 0.0 && x < 1e6,
            )
            .unless(self.max_steps > 0),
            not_negative("weight_decay", self.weight_decay),
            share("adam_beta1", self.adam_beta1),
            share("adam_beta2", self.adam_beta2),
            // The optimizer computes in f32.
            within("adam_epsilon", self.adam_epsilon, "above 1e-45", |x| {
                x as f32 > 0.0 && (x as f32).is_finite()
            }),
            not_negative("max_grad_norm", self.max_grad_norm),
            count("save_steps", self.save_steps as f64).unless(!saves_by_steps),
            within(
                "learning_rate",
                rate,
                "above 1e-7, where lr_scheduler_type polynomial ends",
                |x| x > LAST_RATE,
            )
            .unless(!is_polynomial),
            count("early_stopping_patience", patience.map_or(0.0, f64::from))
                .unless(patience.is_none()),
            not_negative("early_stopping_threshold", self.early_stopping_threshold),
            share("label_smoothing_factor", self.label_smoothing_factor),
            not_negative("focal_gamma", self.focal_gamma),
            within(
                "layerwise_lr_decay",
                self.layerwise_lr_decay,
                "above 0 and at most 1",
                |x| x > 0.0 && x <= 1.0,
            ),
        ]
    }

    /// That the best checkpoint is known where it is asked for, and a run that may stop early has one.
    fn check_together(&self) -> Result<(), RecipeError> {
        let measured = self.load_best_model_at_end && self.eval_strategy != Strategy::No;
        if self.early_stopping_patience.is_some() && !measured {
            return Err(RecipeError::EarlyStopping);
        }
        let best = match (self.eval_strategy, self.save_strategy) {
            (Strategy::Steps, Strategy::Steps) => self
                .save_steps
                .is_multiple_of(self.steps_between_evaluations()),
            (evaluate, save) => evaluate == save && save != Strategy::No,
        };
        if self.load_best_model_at_end && !best {
            Err(RecipeError::Best)
        } else {
            Ok(())
        }
    }

    /// The settings that make another result than those of `other`, each with its value here and there. What says how
    /// long a run is counts among them; what no run heeds does not, nor another name for the same.
    pub fn differences(&self, other: &Self) -> Vec<(String, Value, Value)> {
        let others = other.deciding();
        let differs = |(name, own): (String, Value)| {
            // What only one of them heeds hangs on a setting that differs too.
            let other = others.get(&name).filter(|&other| *other != own)?.clone();
            Some((name, own, other))
        };
        self.deciding().into_iter().filter_map(differs).collect()
    }

    /// The settings that decide what a run comes to, as it heeds them.
    fn deciding(&self) -> Map<String, Value> {
        let mut all = match self.to_json() {
            Value::Object(all) => all,
            _ => Map::new(),
        };
        let by_best = self.load_best_model_at_end;
        let is_heeded = |name: &str| match name {
            "eval_strategy" | "metric_for_best_model" | "greater_is_better" => by_best,
            "early_stopping_threshold" => self.early_stopping_patience.is_some(),
            _ => !FREE.contains(&name),
        };
        all.retain(|name, _| is_heeded(name));
        let mut set = |name: &str, value: Value| all.insert(name.to_owned(), value);
        if by_best {
            set("metric_for_best_model", self.best_metric().into());
            set("greater_is_better", self.more_is_better().into());
        }
        if by_best && self.eval_strategy == Strategy::Steps {
            set("eval_steps", self.steps_between_evaluations().into());
        }
        all
    }

    /// The settings by name.
    pub(crate) fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("a recipe is made of numbers and names")
    }

    /// Steps between evaluations, at least 1.
    pub fn steps_between_evaluations(&self) -> u64 {
        if self.eval_steps > 0 {
            self.eval_steps
        } else {
            self.logging_steps.max(1)
        }
    }

    /// Steps of a run with so many steps an epoch.
    pub fn total_steps(&self, steps_per_epoch: u64) -> u64 {
        match u64::try_from(self.max_steps) {
            Ok(steps) if steps > 0 => steps,
            _ => (self.num_train_epochs * steps_per_epoch as f64).ceil() as u64,
        }
    }

    /// What decides which checkpoint is best, with `eval_` before its name.
    pub fn best_metric(&self) -> String {
        let name = self.metric_for_best_model.as_deref().unwrap_or("loss");
        if name.starts_with("eval_") {
            name.to_owned()
        } else {
            format!("eval_{name}")
        }
    }

    /// Its value among an evaluation's metrics.
    ///
    /// # Errors
    /// If it is none of them.
    pub(crate) fn best_among(&self, metrics: &[(String, f64)]) -> Result<f64, TrainError> {
        let name = self.best_metric();
        let found = metrics.iter().find(|(found, _)| *found == name);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let known = metrics.iter().map(|(known, _)| known.clone()).collect();
            TrainError::NoMetric { name, known }
        })
    }

    /// Whether `new` is better than `old`.
    pub fn is_better(&self, new: f64, old: f64) -> bool {
        if self.more_is_better() {
            new > old
        } else {
            new < old
        }
    }

    /// Whether more of what decides is better.
    pub(crate) fn more_is_better(&self) -> bool {
        let by_name = !self.best_metric().ends_with("loss");
        self.greater_is_better.unwrap_or(by_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_from_epochs_or_are_given() {
        let recipe = |epochs, max_steps| Recipe {
            num_train_epochs: epochs,
            max_steps,
            ..Recipe::default()
        };
        assert_eq!(recipe(3.0, -1).total_steps(268), 804);
        assert_eq!(recipe(0.5, -1).total_steps(3), 2);
        assert_eq!(recipe(3.0, 50).total_steps(268), 50);
    }

    #[test]
    fn wrong_settings_are_named() {
        let wrong = |change: fn(&mut Recipe)| {
            let mut recipe = Recipe::default();
            recipe.check().unwrap();
            change(&mut recipe);
            recipe.check().unwrap_err().to_string()
        };
        assert_eq!(
            wrong(|r| r.per_device_train_batch_size = 0),
            "per_device_train_batch_size is 0, but must be 1 or more"
        );
        assert_eq!(
            wrong(|r| r.learning_rate = f64::NAN),
            "learning_rate is NaN, but must be 0 or more"
        );
        assert_eq!(
            wrong(|r| r.adam_beta2 = 1.0),
            "adam_beta2 is 1, but must be at least 0 and below 1"
        );
        assert!(
            wrong(|r| r.load_best_model_at_end = true).starts_with("load_best_model_at_end needs")
        );
        assert!(
            wrong(|r| {
                r.learning_rate = 1e-8;
                r.lr_scheduler_type = Decay::Polynomial;
            })
            .ends_with("above 1e-7, where lr_scheduler_type polynomial ends")
        );
        assert_eq!(
            wrong(|r| r.layerwise_lr_decay = 1.5),
            "layerwise_lr_decay is 1.5, but must be above 0 and at most 1"
        );
        assert_eq!(
            wrong(|r| r.label_smoothing_factor = 1.0),
            "label_smoothing_factor is 1, but must be at least 0 and below 1"
        );
    }

    #[test]
    fn stopping_early_needs_evaluations_and_the_best() {
        let recipe = |best, eval_strategy| Recipe {
            early_stopping_patience: Some(2),
            load_best_model_at_end: best,
            eval_strategy,
            save_strategy: Strategy::Epoch,
            ..Recipe::default()
        };
        assert_eq!(recipe(true, Strategy::Epoch).check(), Ok(()));
        for (best, strategy) in [(false, Strategy::Epoch), (true, Strategy::No)] {
            let error = recipe(best, strategy).check();
            assert_eq!(error, Err(RecipeError::EarlyStopping));
        }
    }

    #[test]
    fn best_is_the_lowest_loss_or_the_highest_metric() {
        let recipe = |name: Option<&str>| Recipe {
            metric_for_best_model: name.map(str::to_owned),
            ..Recipe::default()
        };
        assert!(recipe(None).is_better(0.1, 0.2) && !recipe(None).is_better(0.2, 0.2));
        assert!(recipe(Some("accuracy")).is_better(0.3, 0.2));
        assert_eq!(recipe(Some("accuracy")).best_metric(), "eval_accuracy");
    }

    #[test]
    fn recipes_differ_in_what_makes_another_result() {
        let plain = Recipe::default();
        let best = Recipe {
            load_best_model_at_end: true,
            metric_for_best_model: Some("accuracy".into()),
            eval_strategy: Strategy::Steps,
            ..Recipe::default()
        };
        let differ = |recipe: &Recipe, change: fn(&mut Recipe)| {
            let mut other = recipe.clone();
            change(&mut other);
            let differences = recipe.differences(&other).into_iter();
            let text = |(name, own, other): (String, Value, Value)| format!("{name} {own} {other}");
            differences.map(text).collect::<Vec<_>>().join(", ")
        };
        let free: [fn(&mut Recipe); 5] = [
            |r| r.threads = 3,
            |r| r.eval_strategy = Strategy::Epoch,
            |r| r.metric_for_best_model = Some("f1".into()),
            |r| r.greater_is_better = Some(false),
            |r| r.early_stopping_threshold = 0.5,
        ];
        for change in free {
            assert_eq!(differ(&plain, change), "");
        }
        let same: [fn(&mut Recipe); 3] = [
            |r| r.metric_for_best_model = Some("eval_accuracy".into()),
            |r| r.greater_is_better = Some(true),
            |r| r.eval_steps = 50,
        ];
        for change in same {
            assert_eq!(differ(&best, change), "");
        }
        assert_eq!(differ(&plain, |r| r.seed = 7), "seed 42 7");
        assert_eq!(
            differ(&plain, |r| r.load_best_model_at_end = true),
            "load_best_model_at_end false true"
        );
        assert_eq!(
            differ(&best, |r| r.metric_for_best_model = None),
            "metric_for_best_model \"eval_accuracy\" \"eval_loss\", greater_is_better true false"
        );
        assert_eq!(
            differ(&best, |r| r.eval_strategy = Strategy::Epoch),
            "eval_strategy \"steps\" \"epoch\""
        );
        assert_eq!(differ(&best, |r| r.logging_steps = 10), "eval_steps 50 10");
    }

    #[test]
    fn json_has_hugging_faces_names_and_may_leave_any_out() {
        let json = serde_json::to_value(Recipe::default()).unwrap();
        assert_eq!(json["lr_scheduler_type"], "linear");
        assert_eq!(json["train_sampling_strategy"], "random");
        let read: Recipe =
            serde_json::from_str(r#"{"seed": 7, "save_strategy": "epoch"}"#).unwrap();
        assert_eq!(
            read,
            Recipe {
                seed: 7,
                save_strategy: Strategy::Epoch,
                ..Recipe::default()
            }
        );
    }
}

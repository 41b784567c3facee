//! What is asked of a run, and whether it can be done: all that is checked before the first step.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

use berth_checkpoint::save::Held;
use berth_checkpoint::{Checkpoint, DataFile, ProblemType, Provenance, TrainingArgs};
use berth_data::{Encoded, Evaluator, Target};
use berth_task::Task;
use serde::Deserialize;
use serde_json::Value;

use crate::batches::Plan;
use crate::check::{Limits, check_targets};
use crate::checkpoints::{self, Companions};
use crate::device::Device;
use crate::early_stopping;
use crate::error::TrainError;
use crate::imbalance::{self, Imbalance};
use crate::kernels::loss::Weighing;
use crate::memory::{self, Load, Sizes};
use crate::model::HeadKind;
use crate::recipe::Recipe;
use crate::results::ALL_RESULTS;
use crate::schedule::Schedule;
use crate::state::{self, TrainerState};

/// What is to be trained, on what, and where it goes.
pub struct Job<'a> {
    /// The model to start from; its tokenizer made the examples.
    pub base: &'a Checkpoint,
    /// What the head answers.
    pub task: Task,
    /// The labels in the order of the outputs; none for regression and questions.
    pub labels: &'a [String],
    /// Examples to learn from.
    pub train: &'a [Encoded],
    /// What to measure on, and how.
    pub dev: Option<Evaluator<'a>>,
    /// The settings.
    pub recipe: &'a Recipe,
    /// Where the result and the checkpoints go.
    pub output_dir: &'a Path,
    /// What the result remembers of its training. The recipe in it is filled in.
    pub training_args: TrainingArgs,
    /// From where.
    pub start: Start,
}

/// Where a run begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the base model, with an output folder that is empty or not there yet.
    Fresh,
    /// At the base model, whatever is in the output folder. Checkpoints in it are removed.
    Overwrite,
    /// At the newest checkpoint in the output folder.
    ResumeNewest,
    /// At this checkpoint: one in the output folder, or one elsewhere with an output folder that is empty or not there
    /// yet.
    ResumeFrom(PathBuf),
    /// At this checkpoint, whatever is in the output folder. Checkpoints in it are removed, but where it is one of them
    /// only those of later steps.
    OverwriteFrom(PathBuf),
}

/// Where a run begins, as found in the output folder.
pub(crate) enum Beginning {
    /// At the base model.
    Base,
    /// At a checkpoint of the same run.
    Saved(Box<Saved>),
    /// There is nothing left to do.
    Finished,
}

/// A checkpoint that a run goes on with.
pub(crate) struct Saved {
    pub checkpoint: Checkpoint,
    /// What the run had come to.
    pub state: TrainerState,
    /// Why newer checkpoints are passed over.
    pub damaged: Vec<TrainError>,
    /// Settings that were others until then.
    pub changed: Vec<Fact<'static>>,
}

/// What is told of something: what it is, what it was then, and what it is now.
pub(crate) type Fact<'a> = (&'a str, String, String);

/// What a folder that an earlier run has left is opened for.
enum Purpose {
    /// To tell its result.
    Tell,
    /// To go on from it.
    GoOn,
}

impl Start {
    /// Whether a run goes on, and what its output folder holds may be its own.
    pub(crate) fn resumes(&self) -> bool {
        matches!(self, Self::ResumeNewest | Self::ResumeFrom(_))
    }
}

impl Job<'_> {
    /// Checks settings and examples; returns the labels that the result's config.json gets: for regression the one
    /// that `transformers` writes.
    pub(crate) fn check(&self) -> Result<Vec<String>, TrainError> {
        self.recipe.check()?;
        self.recipe.device.check()?;
        self.weighing()?;
        let labels = match self.task {
            Task::TextPairRegression => vec!["LABEL_0".to_owned()],
            Task::QuestionAnswering => Vec::new(),
            _ => self.labels.to_vec(),
        };
        if self.train.is_empty() {
            return Err(TrainError::NoExamples);
        }
        let limits = Limits::of(&self.base.config);
        limits.check_inputs(self.train)?;
        check_targets(self.task, labels.len(), self.train)?;
        if let Some(dev) = self.dev {
            limits.check_inputs(dev.inputs)?;
            let asked = dev.inputs.iter().filter(|row| !self.is_only_measured(row));
            check_targets(self.task, labels.len(), asked)?;
        }
        Ok(labels)
    }

    /// What the classes weigh in the loss, where the recipe says anything of it.
    pub(crate) fn weighing(&self) -> Result<Option<Weighing>, Imbalance> {
        imbalance::weighing(self.recipe, self.task, self.labels, self.train)
    }

    /// That evaluations have the metric which is to tell the best model.
    ///
    /// # Errors
    /// With the metrics that they have.
    pub(crate) fn check_best_metric(&self, kind: HeadKind) -> Result<(), TrainError> {
        let Some(dev) = self.dev.filter(|_| self.recipe.load_best_model_at_end) else {
            return Ok(());
        };
        // What a model might say; not the same to all, where a correlation would be none.
        let logits =
            |(i, input): (usize, &Encoded)| vec![(i % 7) as f32; kind.logits(input.ids.len())];
        let logits: Vec<_> = dev.inputs.iter().enumerate().map(logits).collect();
        let mut known = dev.evaluate(&logits)?.entries();
        // As a correlation of constants: none is better than another.
        known.retain(|(_, value)| !value.is_nan());
        let timed = ["eval_runtime", "eval_samples_per_second"];
        known.extend(timed.map(|name| (name.to_owned(), 0.0)));
        self.recipe.best_among(&known).map(drop)
    }

    /// Whether there is memory for `total` steps over `plan`, where that can be told.
    ///
    /// # Errors
    /// With the batch size that there is memory for.
    pub(crate) fn check_memory(
        &self,
        plan: &Plan,
        total: u64,
        kind: HeadKind,
    ) -> Result<(), TrainError> {
        let recipe = self.recipe;
        // Another device has memory of its own, and says at a batch what it lacks.
        let there = memory::available().filter(|_| recipe.device == Device::Cpu);
        let Some(available) = there else {
            return Ok(());
        };
        let pieces: HashSet<u32> = self
            .train
            .iter()
            .flat_map(|row| &row.ids)
            .copied()
            .collect();
        let config = &self.base.config;
        // Positions and types are few.
        let rows = pieces.len() + config.max_position_embeddings + config.type_vocab_size;
        let threads = rayon::current_num_threads();
        let sizes = Sizes::new(config, kind, rows, threads, recipe.precision()?);
        let inputs = self.dev.map_or(&[][..], |dev| dev.inputs);
        let mut lengths: Vec<usize> = inputs.iter().map(|row| row.ids.len()).collect();
        lengths.sort_unstable_by_key(|&length| Reverse(length));
        let measuring = Load::of(lengths.into_iter().take(recipe.per_device_eval_batch_size));
        let epochs = total.div_ceil(plan.updates_per_epoch());
        Ok(memory::check(&sizes, plan, epochs, measuring, available)?)
    }

    /// Whether an answer to this input can be measured although the place of the right one, and so the loss, is not
    /// known.
    fn is_only_measured(&self, row: &Encoded) -> bool {
        self.task == Task::QuestionAnswering && row.target == Target::None
    }

    /// Which examples each update sees.
    pub(crate) fn plan(&self) -> Plan {
        let Recipe {
            train_sampling_strategy,
            seed,
            ..
        } = *self.recipe;
        let lengths = self.train.iter().map(|row| row.ids.len()).collect();
        let batch = self.recipe.per_device_train_batch_size;
        Plan::new(
            lengths,
            train_sampling_strategy,
            seed,
            batch,
            self.recipe.gradient_accumulation_steps,
        )
    }

    /// The state before the first step of a run of `total` steps.
    pub(crate) fn fresh_state(&self, total: u64, steps_per_epoch: u64) -> TrainerState {
        TrainerState {
            max_steps: total,
            num_train_epochs: total.div_ceil(steps_per_epoch),
            train_batch_size: self.recipe.per_device_train_batch_size,
            logging_steps: self.recipe.logging_steps,
            eval_steps: self.recipe.steps_between_evaluations(),
            save_steps: self.recipe.save_steps,
            train_samples: self.train.len(),
            is_local_process_zero: true,
            is_world_process_zero: true,
            ..TrainerState::default()
        }
    }

    /// What the folders of the run hold beside weights.
    pub(crate) fn companions(&self, labels: &[String]) -> Result<Companions, TrainError> {
        let mut config = self.base.config.with_head(self.task, labels);
        if self
            .train
            .iter()
            .any(|row| matches!(row.target, Target::Set(_)))
        {
            config.problem_type = Some(ProblemType::MultiLabelClassification);
        }
        Ok(Companions {
            config,
            tokenizer: self.base.tokenizer_files()?,
            max_length: self.base.max_length(),
            training_args: TrainingArgs {
                recipe: self.recipe.to_json(),
                ..self.training_args.clone()
            },
        })
    }

    /// Makes the output folder fit for a run of `total` steps and holds it, and finds where the run begins.
    pub(crate) fn prepare(
        &self,
        labels: &[String],
        total: u64,
    ) -> Result<(Beginning, Held), TrainError> {
        let dir = self.output_dir;
        let is_new = !dir.exists();
        let held = checkpoints::hold(dir)?;
        let beginning = self.beginning(labels, total)?;
        if !is_new {
            return Ok((beginning, held));
        }
        let held = checkpoints::hold(dir)?;
        // Another run may have been quicker, and have ended.
        match checkpoints::is_used(dir)? {
            true => Err(TrainError::InUse(dir.to_owned())),
            false => Ok((beginning, held)),
        }
    }

    /// Makes the folder that is held fit, and finds where the run begins.
    fn beginning(&self, labels: &[String], total: u64) -> Result<Beginning, TrainError> {
        let dir = self.output_dir;
        match &self.start {
            Start::Fresh if checkpoints::is_used(dir)? => {
                return Err(TrainError::OutputNotEmpty(dir.to_owned()));
            }
            Start::Overwrite => self.forget(None)?,
            _ => {}
        }
        checkpoints::tidy(dir)?;
        let asks_for_the_rest = match &self.start {
            // Nothing comes after the result itself.
            Start::OverwriteFrom(from) => {
                checkpoints::lies_in(from, dir) && checkpoints::lies_in(dir, from)
            }
            start => start.resumes(),
        };
        if asks_for_the_rest && self.has_finished(total)? {
            self.open_same_run(dir, labels, total, Purpose::Tell)?;
            return Ok(Beginning::Finished);
        }
        let is_elsewhere = |from: &Path| from.exists() && !checkpoints::lies_in(from, dir);
        let (checkpoint, damaged) = match &self.start {
            Start::Fresh | Start::Overwrite => {
                checkpoints::check_writable(dir)?;
                return Ok(Beginning::Base);
            }
            // What others have left there would be taken for this run's, and removed as such.
            Start::ResumeFrom(from) if is_elsewhere(from) && checkpoints::is_used(dir)? => {
                return Err(TrainError::InUsedFolder {
                    output_dir: dir.to_owned(),
                    checkpoint: from.clone(),
                });
            }
            Start::ResumeFrom(from) | Start::OverwriteFrom(from) => (from.clone(), Vec::new()),
            Start::ResumeNewest => match checkpoints::newest_whole(dir)? {
                (Some(checkpoint), damaged) => (checkpoint, damaged),
                (None, damaged) => {
                    let nothing = || TrainError::NothingToResume(dir.to_owned());
                    return Err(damaged.into_iter().next().unwrap_or_else(nothing));
                }
            },
        };
        let saved = Saved {
            damaged,
            ..self.open_same_run(&checkpoint, labels, total, Purpose::GoOn)?
        };
        if let Start::OverwriteFrom(from) = &self.start {
            // Before anything is removed.
            checkpoints::check_whole(from)?;
            self.best_of(&saved)?;
            self.forget(checkpoints::lies_in(from, dir).then_some(&saved))?;
        }
        checkpoints::check_writable(dir)?;
        Ok(Beginning::Saved(Box::new(saved)))
    }

    /// Removes what makes the output folder that of an earlier run, but for `kept`, where it lies there, and the
    /// checkpoints before it.
    ///
    /// # Errors
    /// If the model to start from would go with it; then nothing is removed.
    fn forget(&self, kept: Option<&Saved>) -> Result<(), TrainError> {
        let (dir, base) = (self.output_dir, &self.base.dir);
        let is_in = |path: &Path, step| checkpoints::lies_in(path, &checkpoints::path(dir, step));
        let mut steps = checkpoints::steps(dir)?;
        if let Some(Saved {
            checkpoint, state, ..
        }) = kept
        {
            steps.retain(|&step| step > state.global_step && !is_in(&checkpoint.dir, step));
        }
        if steps.iter().any(|&step| is_in(base, step)) {
            return Err(TrainError::BaseInTheWay(base.clone()));
        }
        checkpoints::forget(dir, &steps)
    }

    /// The checkpoint of the best evaluation before `saved`, where a run is to end with the best: in the output folder,
    /// or beside the checkpoint that the run goes on with.
    ///
    /// # Errors
    /// If it is in neither.
    pub(crate) fn best_of(&self, saved: &Saved) -> Result<Option<PathBuf>, TrainError> {
        let best = saved.state.best_global_step;
        let Some(step) = best.filter(|_| self.recipe.load_best_model_at_end) else {
            return Ok(None);
        };
        let resumed = &saved.checkpoint.dir;
        if step == saved.state.global_step {
            return Ok(Some(resumed.clone()));
        }
        let folder = checkpoints::path(self.output_dir, step);
        let beside = resumed.parent().map(|dir| checkpoints::path(dir, step));
        let places = [Some(folder.clone()), beside];
        let mut there = places.into_iter().flatten();
        let found = there.find(|folder| Checkpoint::open(folder).is_ok());
        let checkpoint = resumed.clone();
        let missing = || TrainError::BestMissing { checkpoint, folder };
        found.map(Some).ok_or_else(missing)
    }

    /// Whether the output folder has the result of a run of `total` steps, or of one that stopped early, with its
    /// figures.
    fn has_finished(&self, total: u64) -> Result<bool, TrainError> {
        let ended = |state: TrainerState| {
            state.global_step >= total || early_stopping::has_stopped(self.recipe, &state)
        };
        let dir = self.output_dir;
        let is_whole = Checkpoint::open(dir).is_ok() && dir.join(ALL_RESULTS).exists();
        Ok(is_whole && state::read(dir)?.is_some_and(ended))
    }

    /// Opens a checkpoint if it is of the same run: what decides its course must not have changed. To be gone on from,
    /// it may have had another learning rate and the like; to be told as the result, it may not. `total` is how many steps
    /// the run has now.
    fn open_same_run(
        &self,
        dir: &Path,
        labels: &[String],
        total: u64,
        purpose: Purpose,
    ) -> Result<Saved, TrainError> {
        let Some(state) = state::read(dir)? else {
            return Err(TrainError::NothingToResume(dir.to_owned()));
        };
        let checkpoint = Checkpoint::open(dir)?;
        // A setting that the file lacks is younger than it, and had its default.
        let recipe = checkpoint
            .training_args()
            .and_then(|args| Recipe::deserialize(&args.recipe).ok());
        let recipe = recipe.as_ref();
        let differences = recipe.map_or_else(Vec::new, |then| then.differences(self.recipe));
        let mut facts: Vec<Fact<'_>> =
            self.facts_of_any_run(&checkpoint, &state, recipe, labels)?;
        let mut measured_otherwise = None;
        let mut changed = Vec::new();
        match purpose {
            Purpose::Tell => {
                facts.extend(facts_of_a_result(&differences, total >= state.max_steps));
                measured_otherwise = self.measured_otherwise(dir, &checkpoint);
            }
            Purpose::GoOn => {
                facts.extend(self.facts_to_go_on(&checkpoint, &state, recipe));
                let measured = self.other_measuring(&checkpoint);
                match self.recipe.load_best_model_at_end {
                    // The best value so far may not be held against those on other rows.
                    true => facts.extend(measured),
                    false => changed.extend(measured),
                }
                changed.extend(self.other_course(&state, recipe, total));
            }
        }
        match first_other(dir, facts).or(measured_otherwise) {
            Some(error) => Err(error),
            None => Ok(Saved {
                checkpoint,
                state,
                damaged: Vec::new(),
                changed,
            }),
        }
    }

    /// What a run must share with what an earlier one has left, whatever it is opened for.
    fn facts_of_any_run(
        &self,
        checkpoint: &Checkpoint,
        state: &TrainerState,
        recipe: Option<&Recipe>,
        labels: &[String],
    ) -> Result<Vec<Fact<'static>>, TrainError> {
        let mut facts: Vec<Fact<'static>> = vec![
            (
                "the number of examples",
                state.train_samples.to_string(),
                self.train.len().to_string(),
            ),
            (
                "the list of labels",
                // A label may have a comma in it.
                Value::from(checkpoint.config.id2label.as_slice()).to_string(),
                Value::from(labels).to_string(),
            ),
        ];
        let origins = self.origins(checkpoint);
        let train = origins.and_then(|(then, now)| {
            let sha256 = |origin: &Provenance| Some(origin.train_file.as_ref()?.sha256.clone());
            sha256(then).zip(sha256(now))
        });
        facts.extend(train.map(|(then, now)| ("the training file's SHA-256", then, now)));
        facts.extend(self.inputs_of(checkpoint)?);
        facts.extend(origins.map(|(then, now)| {
            let [then, now] = [then, now].map(|origin| origin.base_model_sha256.clone());
            ("the base model's SHA-256", then, now)
        }));
        facts.extend(self.settings(&DECISIVE, recipe));
        Ok(facts)
    }

    /// What a run must share with its beginning to go on from there.
    fn facts_to_go_on(
        &self,
        checkpoint: &Checkpoint,
        state: &TrainerState,
        recipe: Option<&Recipe>,
    ) -> Vec<Fact<'static>> {
        let mut facts = self.settings(&LOSS, recipe);
        // One that began as a DistilBERT may have become a BERT, by an earlier version.
        let families = [checkpoint, self.base].map(|model| model.config.family.name().to_owned());
        let [before, after] = families;
        facts.push(("the model_type", before, after));
        // The best value so far would be held against those of another metric.
        if let Some(then) = recipe.filter(|_| state.best_metric.is_some()) {
            let [before, after] = [then, self.recipe].map(Recipe::best_metric);
            facts.push(("metric_for_best_model", before, after));
            let ways = [then, self.recipe].map(|recipe| recipe.more_is_better());
            let [before, after] = ways.map(|way| way.to_string());
            facts.push(("greater_is_better", before, after));
        }
        facts
    }

    /// What the checkpoint and what the run come from, where both are known.
    fn origins<'a>(
        &'a self,
        checkpoint: &'a Checkpoint,
    ) -> Option<(&'a Provenance, &'a Provenance)> {
        let then = checkpoint.training_args()?.provenance.as_ref()?;
        Some((then, self.training_args.provenance.as_ref()?))
    }

    /// Some settings in an earlier recipe, where one is known, and now.
    fn settings(&self, names: &[&'static str], then: Option<&Recipe>) -> Vec<Fact<'static>> {
        let then = then.map_or(Value::Null, Recipe::to_json);
        let now = self.recipe.to_json();
        let setting = |&name: &&'static str| (name, then[name].to_string(), now[name].to_string());
        names.iter().map(setting).collect()
    }

    /// That a result was measured on other rows than are given now.
    fn measured_otherwise(&self, dir: &Path, checkpoint: &Checkpoint) -> Option<TrainError> {
        let (then, now) = self.origins(checkpoint)?;
        let (then, now) = other_rows(then, now)?;
        Some(TrainError::MeasuredOtherwise {
            output_dir: dir.to_owned(),
            then: then.map_or_else(|| "no file".to_owned(), |then| rows_of(then, now)),
            now: then.map_or_else(|| rows_of(now, now), |then| rows_of(now, then)),
        })
    }

    /// Which flag of measuring was another until a checkpoint.
    fn other_measuring(&self, checkpoint: &Checkpoint) -> Option<Fact<'static>> {
        let (then, now) = self.origins(checkpoint)?;
        let (then, now) = other_rows(then, now)?;
        Some(measuring(then?, now))
    }

    /// The settings with which a run goes on from its beginning to another end, and were others there.
    fn other_course(
        &self,
        state: &TrainerState,
        recipe: Option<&Recipe>,
        total: u64,
    ) -> Vec<Fact<'static>> {
        let mut others = self.settings(&COURSE, recipe);
        others.retain(|(_, then, now)| then != now);
        others.extend(recipe.and_then(|then| self.other_length(then, state, total)));
        others
    }

    /// How long a run was to be and how long it is to be now, where its learning rate takes another course for it.
    fn other_length(
        &self,
        then: &Recipe,
        state: &TrainerState,
        total: u64,
    ) -> Option<Fact<'static>> {
        let now = self.recipe;
        let schedule = |total| {
            let (rate, decay) = (now.learning_rate, now.lr_scheduler_type);
            Schedule::new(rate, decay, now.warmup_steps, total)
        };
        let [before, after] = [state.max_steps, total].map(schedule);
        if (state.global_step..total).all(|step| before.at(step) == after.at(step)) {
            return None;
        }
        let by_epochs = [then, now].iter().all(|recipe| recipe.max_steps <= 0);
        Some(if by_epochs {
            let [then, now] = [then, now].map(|recipe| recipe.num_train_epochs.to_string());
            ("num_train_epochs", then, now)
        } else {
            ("max_steps", state.max_steps.to_string(), total.to_string())
        })
    }

    /// What makes the inputs and the network that reads them: in a checkpoint, and now.
    fn inputs_of(&self, checkpoint: &Checkpoint) -> Result<Vec<Fact<'static>>, TrainError> {
        let (then, now) = (&checkpoint.config, &self.base.config);
        let mut facts: Vec<_> = [
            ("vocab_size", then.vocab_size, now.vocab_size),
            ("hidden_size", then.hidden_size, now.hidden_size),
            (
                "num_hidden_layers",
                then.num_hidden_layers,
                now.num_hidden_layers,
            ),
            (
                "intermediate_size",
                then.intermediate_size,
                now.intermediate_size,
            ),
            (
                "num_attention_heads",
                then.num_attention_heads,
                now.num_attention_heads,
            ),
        ]
        .map(|(what, then, now)| (what, then.to_string(), now.to_string()))
        .into();
        if let Some(args) = checkpoint.training_args() {
            facts.push((
                "--max_seq_length",
                args.max_seq_length.to_string(),
                self.training_args.max_seq_length.to_string(),
            ));
        }
        let tokenizer = self.base.tokenizer_files()?;
        if !tokenizer.makes_the_same_pieces(&checkpoint.tokenizer_files()?) {
            let (then, now) = ("the checkpoint's", "that of another base model");
            facts.push(("the tokenizer", then.to_owned(), now.to_owned()));
        }
        Ok(facts)
    }
}

/// The settings that a resumed run must share with its beginning: with others, the same step would see other examples
/// or round otherwise.
const DECISIVE: [&str; 6] = [
    "bf16",
    "device",
    "seed",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "train_sampling_strategy",
];

/// Those that make another loss of it.
const LOSS: [&str; 3] = ["class_weights", "label_smoothing_factor", "focal_gamma"];

/// Those that it may go on with changed, though it will end elsewhere than it would have.
const COURSE: [&str; 9] = [
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "layerwise_lr_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "max_grad_norm",
];

/// Those that say how long it is.
const LENGTH: [&str; 2] = ["num_train_epochs", "max_steps"];

/// What a run must share with the one whose result is told: all in which their recipes differ, but for how long they
/// are where it `is_longer`.
fn facts_of_a_result(differences: &[(String, Value, Value)], is_longer: bool) -> Vec<Fact<'_>> {
    let may_differ = |name: &str| is_longer && LENGTH.contains(&name);
    let counting = differences.iter().filter(|(name, ..)| !may_differ(name));
    let facts =
        counting.map(|(name, then, now)| (name.as_str(), then.to_string(), now.to_string()));
    facts.collect()
}

/// The first fact in which a checkpoint is of another run.
fn first_other(checkpoint: &Path, facts: Vec<Fact<'_>>) -> Option<TrainError> {
    let other = facts.into_iter().find(|(_, then, now)| then != now);
    other.map(|(what, then, now)| TrainError::OtherRun {
        checkpoint: checkpoint.to_owned(),
        what: what.to_owned(),
        then,
        now,
    })
}

/// The rows that are to be measured on now, after those until then, where they are others. Where none are known now, no
/// others are asked for.
fn other_rows<'a>(
    then: &'a Provenance,
    now: &'a Provenance,
) -> Option<(Option<&'a DataFile>, &'a DataFile)> {
    let (then, now) = (then.validation_file.as_ref(), now.validation_file.as_ref()?);
    let is_same = |then: &DataFile| then.sha256 == now.sha256 && then.rows == now.rows;
    (!then.is_some_and(is_same)).then_some((then, now))
}

/// Which flag of measuring has another value.
fn measuring(then: &DataFile, now: &DataFile) -> Fact<'static> {
    let [before, after] = [then, now].map(|file| file.rows.to_string());
    match then.sha256 == now.sha256 {
        true => ("max_eval_samples", before, after),
        false => ("validation_file", named(then), named(now)),
    }
}

/// The rows of a file, told from those of another.
fn rows_of(file: &DataFile, other: &DataFile) -> String {
    let name = match file.sha256 == other.sha256 {
        true => file.name.clone(),
        false => named(file),
    };
    format!("{} rows of {name}", file.rows)
}

fn named(file: &DataFile) -> String {
    format!("{} (SHA-256 {})", file.name, file.sha256)
}

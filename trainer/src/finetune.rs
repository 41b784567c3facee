//! The training loop: from a base model and encoded examples to a fine-tuned checkpoint.
//!
//! ```text
//! for each step:  batches → loss → gradients, added up → norm, clip → AdamW → log → evaluate → save
//! ```
//!
//! A step's loss is the mean over all its batches together: whatever is learned from weighs the same in each of them,
//! however much of it each has.
//!
//! Everything that a step does follows from the seed, the step's number and the parameters: the order of the
//! examples, dropout, the sums. So a checkpoint needs the parameters, the moments and the step, and a run that goes on
//! from one ends with the very weights that an uninterrupted run has.
//!
//! Since nothing is padded, the softmax of a question's loss runs over the window's own tokens; `run_qa` of Hugging
//! Face's examples pads windows to `max_seq_length`, and its softmax runs over `[PAD]` too.

use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use berth_checkpoint::save::{Existing, Held};
use berth_checkpoint::{Checkpoint, Family};
use berth_data::Evaluator;
use serde_json::{Map, Value};

use crate::batches::{self, Batch, Plan};
use crate::checkpoints::{self, Companions};
use crate::early_stopping;
use crate::error::TrainError;
use crate::job::{Beginning, Fact, Job, Saved};
use crate::kernels::isa::Isa;
use crate::kernels::loss::Weighing;
use crate::model::{Bert, HeadKind, Missing, OldClassifier};
use crate::observer::{Control, Observer, StepInfo};
use crate::ops::loss::Targets;
use crate::optimizer::AdamW;
use crate::predict;
use crate::random;
use crate::readme::readme;
use crate::recipe::Strategy;
use crate::results::{ALL_RESULTS, EVAL_RESULTS, Results};
use crate::schedule::Schedule;
use crate::state::{STATE_FILE, TrainerState};

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The result is in the output folder.
    Finished(Results),
    /// The observer stopped it; the checkpoint has all of it.
    Interrupted {
        /// To resume from.
        checkpoint: PathBuf,
        /// Steps done.
        step: u64,
    },
    /// The run to be resumed had finished before. Nothing was changed.
    AlreadyFinished,
}

/// Trains.
///
/// # Errors
/// If the settings, the examples or the folders are not fit for it, the run diverges, or a file can't be written.
/// Checkpoints written until then stay.
pub fn finetune(job: &Job<'_>, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(job.recipe.threads)
        .build()?;
    pool.install(|| {
        let mut run = match Run::begin(job)? {
            Some(run) => run,
            None => return Ok(Outcome::AlreadyFinished),
        };
        for problem in &run.passed_over {
            observer.on_damaged(problem);
        }
        if let Some(became) = run.old_classifier {
            observer.on_old_classifier(&job.base.config.id2label, became);
        }
        if let Some(from) = &run.resumed {
            observer.on_resume(from, run.state.global_step);
        }
        for (setting, then, now) in &run.changed {
            observer.on_changed(setting, then, now);
        }
        match run.train(observer)? {
            Control::Continue => run.finish(observer),
            Control::Stop => Ok(run.interrupted()),
        }
    })
}

/// A run in progress.
struct Run<'a> {
    job: &'a Job<'a>,
    isa: Isa,
    companions: Companions,
    model: Bert,
    optimizer: AdamW,
    plan: Plan,
    schedule: Schedule,
    weighing: Option<Arc<Weighing>>,
    state: TrainerState,
    resumed: Option<PathBuf>,
    /// What became of the base's classifier, where it was not taken as it is.
    old_classifier: Option<OldClassifier>,
    /// Why checkpoints newer than that were not gone on with.
    passed_over: Vec<TrainError>,
    /// Settings that were others until then.
    changed: Vec<Fact<'static>>,
    started: Instant,
    /// The step that the run began or resumed at.
    first_step: u64,
    /// The newest checkpoint and its step.
    saved: Option<(u64, PathBuf)>,
    /// Whether that lacks its step's evaluation, in which the run was stopped.
    lacks_evaluation: bool,
    /// The checkpoint of the best evaluation so far.
    best: Option<PathBuf>,
    /// The output folder, until the result is in it.
    _held: Held,
}

/// What a run begins or goes on with.
struct Begun {
    model: Bert,
    optimizer: AdamW,
    state: TrainerState,
    resumed: Option<PathBuf>,
    old_classifier: Option<OldClassifier>,
    passed_over: Vec<TrainError>,
    changed: Vec<Fact<'static>>,
    best: Option<PathBuf>,
}

impl Begun {
    /// At the base model.
    fn from_base(job: &Job<'_>, kind: HeadKind, fresh: TrainerState) -> Result<Self, TrainError> {
        let (model, old_classifier) = Bert::begin(job.base, kind, job.labels, job.recipe.seed)?;
        check_base(job.base, &model)?;
        Ok(Self {
            optimizer: optimizer(job, &model),
            model,
            state: fresh,
            resumed: None,
            old_classifier,
            passed_over: Vec::new(),
            changed: Vec::new(),
            best: None,
        })
    }

    /// At a checkpoint of the same run.
    fn from_saved(
        job: &Job<'_>,
        kind: HeadKind,
        fresh: TrainerState,
        saved: Saved,
    ) -> Result<Self, TrainError> {
        let best = job.best_of(&saved)?;
        let Saved {
            checkpoint,
            state,
            damaged,
            changed,
        } = saved;
        let model = Bert::load(&checkpoint, kind, Missing::Refused)?;
        let mut optimizer = optimizer(job, &model);
        checkpoints::restore(&checkpoint.dir, state.global_step, &mut optimizer)?;
        Ok(Self {
            model,
            optimizer,
            state: continued(fresh, state),
            resumed: Some(checkpoint.dir),
            old_classifier: None,
            passed_over: damaged,
            changed,
            best,
        })
    }
}

/// The optimizer of a model that was just read.
fn optimizer(job: &Job<'_>, model: &Bert) -> AdamW {
    let recipe = job.recipe;
    // Whatever a checkpoint of the run is, it has no more token types than its base.
    if job.base.config.family == Family::DistilBert {
        model.fix_token_types();
    }
    let mut optimizer = AdamW::new(model.parameters(), recipe.betas(), recipe.weight_decay);
    let layers = job.base.config.num_hidden_layers;
    optimizer.slow_lower_layers(recipe.layerwise_lr_decay, layers);
    optimizer
}

impl<'a> Run<'a> {
    /// Checks the job, and reads the model and, where it was resumed, the state. None if nothing is left to do.
    fn begin(job: &'a Job<'a>) -> Result<Option<Self>, TrainError> {
        let recipe = job.recipe;
        let labels = job.check()?;
        let plan = job.plan();
        let total = recipe.total_steps(plan.updates_per_epoch());
        let fresh = job.fresh_state(total, plan.updates_per_epoch());
        let kind = HeadKind::of(job.task, labels.len());
        let check = || {
            job.check_best_metric(kind)?;
            job.check_memory(&plan, total, kind)
        };
        // Before a folder is touched; but a run that has finished needs neither.
        if !job.start.resumes() {
            check()?;
        }
        let (beginning, held) = job.prepare(&labels, total)?;
        let mut begun = match beginning {
            Beginning::Finished => return Ok(None),
            Beginning::Base => Begun::from_base(job, kind, fresh)?,
            Beginning::Saved(saved) => {
                check()?;
                Begun::from_saved(job, kind, fresh, *saved)?
            }
        };
        begun.model.train_in(recipe.precision()?);
        begun.model.move_to(recipe.device, recipe.bf16)?;
        if let Some(engine) = begun.model.engine() {
            begun.optimizer.move_to(engine.clone())?;
        }
        let first_step = begun.state.global_step;
        Ok(Some(Self {
            job,
            isa: Isa::best(),
            companions: job.companions(&labels)?,
            model: begun.model,
            optimizer: begun.optimizer,
            plan,
            schedule: Schedule::new(
                recipe.learning_rate,
                recipe.lr_scheduler_type,
                recipe.warmup_steps,
                total,
            ),
            weighing: job.weighing()?.map(Arc::new),
            first_step,
            saved: begun.resumed.clone().map(|dir| (first_step, dir)),
            lacks_evaluation: mem::take(&mut begun.state.evaluation_due),
            best: begun.best,
            state: begun.state,
            resumed: begun.resumed,
            old_classifier: begun.old_classifier,
            passed_over: begun.passed_over,
            changed: begun.changed,
            started: Instant::now(),
            _held: held,
        }))
    }

    /// Trains to the end, which may be an early one, or until the observer stops it; then a checkpoint is saved.
    fn train(&mut self, observer: &mut dyn Observer) -> Result<Control, TrainError> {
        if self.lacks_evaluation && self.evaluate_and_save(observer)? == Control::Stop {
            return Ok(Control::Stop);
        }
        let per_epoch = self.plan.updates_per_epoch();
        if !self.is_over() {
            observer.on_begin(self.state.global_step, self.state.max_steps);
        }
        while !self.is_over() {
            let epoch = self.state.global_step / per_epoch;
            let done = (self.state.global_step % per_epoch) as usize;
            let left = (self.state.max_steps - self.state.global_step) as usize;
            for batches in self.plan.epoch(epoch).iter().skip(done).take(left) {
                let info = self.step(batches)?;
                self.log(&info, observer);
                let evaluated = self.evaluate_and_save(observer)?;
                let control = observer.on_step(&info);
                if evaluated == Control::Stop {
                    return Ok(Control::Stop);
                }
                if self.is_over() {
                    break;
                }
                if control == Control::Stop {
                    self.save(observer)?;
                    return Ok(Control::Stop);
                }
            }
        }
        if self.state.global_step < self.state.max_steps {
            let evaluations = early_stopping::count(&self.state);
            observer.on_early_stop(self.state.global_step, evaluations);
        }
        Ok(Control::Continue)
    }

    fn is_over(&self) -> bool {
        self.state.global_step >= self.state.max_steps
            || early_stopping::has_stopped(self.job.recipe, &self.state)
    }

    /// One update of the parameters.
    fn step(&mut self, batches: &[Vec<usize>]) -> Result<StepInfo, TrainError> {
        let started = Instant::now();
        let step = self.state.global_step;
        let targets: Vec<Targets> = batches.iter().map(|rows| self.targets(rows)).collect();
        let weights = targets.iter().map(|t| t.weight(self.weighing.as_ref()));
        let whole: f64 = weights.sum();
        let (mut loss, mut tokens) = (0.0, 0);
        for (part, (rows, targets)) in batches.iter().zip(targets).enumerate() {
            let (share, part_tokens) = self.batch(part as u64, rows, targets, whole)?;
            loss += share;
            tokens += part_tokens;
        }
        let fault = |what| self.not_finite(what, batches);
        if !loss.is_finite() {
            return Err(fault("loss"));
        }
        if step == self.first_step {
            let missing = self.optimizer.without_gradient();
            if !missing.is_empty() {
                return Err(TrainError::NoGradient(
                    missing.into_iter().map(str::to_owned).collect(),
                ));
            }
        }
        let norm = self.optimizer.gradient_norm(self.isa)?;
        if !norm.is_finite() {
            return Err(fault("gradient"));
        }
        let limit = self.job.recipe.max_grad_norm;
        // As PyTorch clips: never up, and a hair below the limit.
        let clip = if limit > 0.0 {
            (limit / (norm + 1e-6)).min(1.0)
        } else {
            1.0
        };
        let learning_rate = self.schedule.at(step);
        self.optimizer.step(self.isa, learning_rate, clip)?;

        self.state.global_step = step + 1;
        self.state.epoch = self.epochs(step + 1);
        self.state.num_input_tokens_seen += tokens as u64;
        self.state.add_loss(loss);
        Ok(StepInfo {
            step: step + 1,
            total_steps: self.state.max_steps,
            epoch: self.state.epoch,
            loss,
            learning_rate,
            grad_norm: norm,
            tokens,
            tokens_per_second: tokens as f64 / started.elapsed().as_secs_f64(),
        })
    }

    /// Epochs after so many steps: by batches, as `transformers` counts, of which an epoch's last step may have fewer.
    fn epochs(&self, steps: u64) -> f64 {
        let per_epoch = self.plan.updates_per_epoch();
        let batches = self.job.train.len().div_ceil(self.plan.batch());
        let seen = steps % per_epoch * self.plan.accumulation() as u64;
        (steps / per_epoch) as f64 + seen as f64 / batches as f64
    }

    /// The targets of one batch.
    fn targets(&self, rows: &[usize]) -> Targets {
        let examples = rows.iter().map(|&row| &self.job.train[row]);
        batches::targets(examples).expect("labels were checked when the run began")
    }

    /// Adds the gradients of one batch of an update that weighs `whole`; returns its share of the update's mean loss and
    /// its tokens.
    fn batch(
        &self,
        part: u64,
        rows: &[usize],
        targets: Targets,
        whole: f64,
    ) -> Result<(f64, usize), TrainError> {
        let batch = Batch::new(rows.iter().map(|&row| &self.job.train[row]));
        let tokens = batch.tokens.len();
        let masks = random::key(&[
            self.job.recipe.seed,
            random::text_key("dropout"),
            self.state.global_step,
            part,
        ]);
        let weighing = self.weighing.as_ref();
        let share = self
            .model
            .learn_share(&batch, masks, targets, weighing, whole)?;
        Ok((share, tokens))
    }

    fn not_finite(&self, what: &'static str, batches: &[Vec<usize>]) -> TrainError {
        TrainError::NotFinite {
            what,
            step: self.state.global_step + 1,
            rows: batches.iter().flatten().map(|row| row + 1).collect(),
            last: self.saved.as_ref().map(|(_, dir)| dir.clone()),
        }
    }

    fn log(&mut self, info: &StepInfo, observer: &mut dyn Observer) {
        if self.job.recipe.logging_steps > 0
            && info.step.is_multiple_of(self.job.recipe.logging_steps)
        {
            let loss = self.state.take_logged_loss();
            let values = [
                ("loss", loss),
                ("grad_norm", info.grad_norm),
                ("learning_rate", info.learning_rate),
            ];
            self.state
                .log(values.map(|(name, value)| (name.to_owned(), value)));
            observer.on_log(info, loss);
        }
    }

    /// Whatever is due after a step. Where the evaluation is stopped, the step is saved without it.
    fn evaluate_and_save(&mut self, observer: &mut dyn Observer) -> Result<Control, TrainError> {
        let recipe = self.job.recipe;
        let step = self.state.global_step;
        // The last epoch may be cut short; it ends all the same.
        let ends_epoch =
            step.is_multiple_of(self.plan.updates_per_epoch()) || step == self.state.max_steps;
        let due = |strategy, every: u64| match strategy {
            Strategy::No => false,
            Strategy::Steps => step.is_multiple_of(every.max(1)),
            Strategy::Epoch => ends_epoch,
        };
        let mut best = false;
        // The last model may be the best one, wherever the run ends.
        let ends = self.is_over() && recipe.eval_strategy != Strategy::No;
        if (ends || due(recipe.eval_strategy, recipe.steps_between_evaluations()))
            && let Some(dev) = self.job.dev
        {
            let Some(Measured { metrics, .. }) = self.evaluate(dev, observer)? else {
                self.state.evaluation_due = true;
                self.save(observer)?;
                return Ok(Control::Stop);
            };
            self.state.log(metrics.clone());
            best = self.remember_best(&metrics)? && recipe.load_best_model_at_end;
            observer.on_evaluate(step, &metrics);
        }
        let last = self.is_over() && recipe.save_strategy != Strategy::No;
        // What is to be gone back to must be there, whether a checkpoint was due or not.
        let is_due = best || due(recipe.save_strategy, recipe.save_steps);
        if last || is_due || self.lacks_evaluation {
            self.save(observer)?;
        }
        Ok(Control::Continue)
    }

    /// Measures the model on the examples to measure on. None where the observer stops it.
    fn evaluate(
        &self,
        dev: Evaluator<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Option<Measured>, TrainError> {
        let started = Instant::now();
        let batch = self.job.recipe.per_device_eval_batch_size;
        let watch = |done, of| observer.on_evaluating(done, of);
        let Some(logits) = predict::logits(&self.model, dev.inputs, batch, watch)? else {
            return Ok(None);
        };
        let evaluation = dev.evaluate(&logits)?;
        let seconds = started.elapsed().as_secs_f64();
        let mut metrics = evaluation.entries();
        metrics.push(("eval_runtime".to_owned(), seconds));
        metrics.push((
            "eval_samples_per_second".to_owned(),
            evaluation.samples as f64 / seconds,
        ));
        Ok(Some(Measured {
            metrics,
            fitted: evaluation.fitted,
            logits,
        }))
    }

    /// Whether this evaluation is the best so far, which early stopping counts.
    fn remember_best(&mut self, metrics: &[(String, f64)]) -> Result<bool, TrainError> {
        let recipe = self.job.recipe;
        let value = match recipe.best_among(metrics) {
            Ok(value) => value,
            Err(_) if !recipe.load_best_model_at_end => return Ok(false),
            Err(error) => return Err(error),
        };
        early_stopping::count_evaluation(recipe, &mut self.state, value);
        let best = self.state.best_metric;
        let is_best = best.is_none_or(|best| recipe.is_better(value, best));
        if is_best {
            self.state.best_metric = Some(value);
            self.state.best_global_step = Some(self.state.global_step);
            // Until this step is saved, if it is.
            self.state.best_model_checkpoint = None;
            self.best = None;
        }
        Ok(is_best)
    }

    /// That the parameters are what a checkpoint may hold: the last update may have been too large for them.
    fn check_finite(&self) -> Result<(), TrainError> {
        match self.model.not_finite() {
            None => Ok(()),
            Some(name) => Err(TrainError::Overflow {
                name: name.to_owned(),
                step: self.state.global_step,
                last: self.saved.as_ref().map(|(_, dir)| dir.clone()),
            }),
        }
    }

    /// Saves a checkpoint, if this step has none yet, or one that lacks its evaluation.
    fn save(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let step = self.state.global_step;
        let folder = checkpoints::path(self.job.output_dir, step);
        let saved = self.saved.as_ref().filter(|(saved, _)| *saved == step);
        if saved.is_some() && !self.lacks_evaluation {
            return Ok(());
        }
        let has_rest = saved.is_some_and(|(_, dir)| checkpoints::lies_in(dir, &folder));
        if self.state.best_global_step == Some(step) {
            self.state.best_model_checkpoint = Some(folder.display().to_string());
            self.best = Some(folder.clone());
        }
        if has_rest {
            checkpoints::save_state(&folder, &self.companions, &self.state)?;
        } else {
            self.model.fetch()?;
            self.check_finite()?;
            self.optimizer.fetch()?;
            checkpoints::save(
                self.job.output_dir,
                &self.companions,
                &self.model,
                &self.optimizer,
                &self.state,
            )?;
        }
        self.lacks_evaluation = false;
        self.saved = Some((step, folder.clone()));
        checkpoints::rotate(
            self.job.output_dir,
            self.job.recipe.save_total_limit,
            step,
            self.state.best_global_step,
        )?;
        observer.on_save(&folder);
        Ok(())
    }

    /// How a run ends whose step was saved for another day.
    fn interrupted(self) -> Outcome {
        let (step, checkpoint) = self.saved.expect("a run that is stopped has a checkpoint");
        Outcome::Interrupted { checkpoint, step }
    }

    /// Writes the result: the best or the last model, its figures and the state. Where the evaluation is stopped, the
    /// last step is saved instead.
    fn finish(mut self, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        let train = self.train_results();
        if self.job.recipe.load_best_model_at_end
            && let Some(best) = &self.best
        {
            self.load_weights(best)?;
        }
        self.model.fetch()?;
        self.check_finite()?;
        let mut eval = Map::new();
        let (mut predictions, mut logits) = (Vec::new(), Vec::new());
        if let Some(dev) = self.job.dev {
            let Some(measured) = self.evaluate(dev, observer)? else {
                // It has been already where the best model has taken the last one's place.
                self.save(observer)?;
                return Ok(self.interrupted());
            };
            predictions = dev.predictions(&measured.logits)?;
            let metrics = measured.metrics.into_iter();
            eval.insert("epoch".into(), self.state.epoch.into());
            eval.extend(metrics.map(|(name, value)| (name, value.into())));
            eval.insert("eval_samples".into(), dev.samples().into());
            let fitted = measured.fitted.into_iter();
            let fitted = fitted.map(|(name, value)| (name.to_owned(), value.into()));
            self.companions.training_args.other.extend(fitted);
            logits = measured.logits;
        }
        self.state.log(numbers(&train));
        let results = Results {
            train,
            eval,
            logits,
        };
        let mut folder = self.companions.folder(self.job.output_dir, &self.model)?;
        folder.json(STATE_FILE, &self.state)?;
        folder.json("train_results.json", &results.train)?;
        if !results.eval.is_empty() {
            folder.json(EVAL_RESULTS, &results.eval)?;
        }
        folder.json(ALL_RESULTS, &results.all())?;
        for (name, content) in &predictions {
            folder.json(name, content)?;
        }
        let labels = &self.companions.config.id2label;
        folder.bytes(
            "README.md",
            readme(self.job, &self.companions.training_args, labels, &results).as_bytes(),
        )?;
        folder.commit(Existing::Merge)?;
        self.remove_old_results(&results, &predictions)?;
        Ok(Outcome::Finished(results))
    }

    /// Removes what an earlier run in this folder measured and this one has not.
    fn remove_old_results(
        &self,
        results: &Results,
        predictions: &[(&str, Value)],
    ) -> Result<(), TrainError> {
        let is_written = |name: &str| match name {
            EVAL_RESULTS => !results.eval.is_empty(),
            _ => predictions.iter().any(|(written, _)| *written == name),
        };
        let all = berth_data::MEASURED_FILES.into_iter().chain([EVAL_RESULTS]);
        for name in all.filter(|name| !is_written(name)) {
            let path = self.job.output_dir.join(name);
            if path.exists() {
                std::fs::remove_file(&path).map_err(|source| TrainError::Io { path, source })?;
            }
        }
        Ok(())
    }

    fn train_results(&self) -> Map<String, Value> {
        let seconds = self.started.elapsed().as_secs_f64();
        let steps = self.state.global_step - self.first_step;
        let epochs = self.epochs(self.state.global_step) - self.epochs(self.first_step);
        let samples = epochs * self.job.train.len() as f64;
        let mut results = Map::new();
        let mut set = |name: &str, value: Value| results.insert(name.to_owned(), value);
        set("epoch", self.state.epoch.into());
        set(
            "train_loss",
            (self.state.loss_sum / self.state.global_step.max(1) as f64).into(),
        );
        set("train_runtime", seconds.into());
        set("train_samples", self.job.train.len().into());
        set("train_samples_per_second", (samples / seconds).into());
        set("train_steps_per_second", (steps as f64 / seconds).into());
        results
    }

    fn load_weights(&self, dir: &Path) -> Result<(), TrainError> {
        let checkpoint = Checkpoint::open(dir)?;
        for parameter in self.model.parameters() {
            let tensor = checkpoint.tensor(parameter.name())?;
            parameter.update(|values| values.copy_from_slice(&tensor.data))?;
        }
        Ok(self.model.send()?)
    }
}

/// What the model says to the examples to measure on, and what that is worth.
struct Measured {
    metrics: Vec<(String, f64)>,
    /// Settings that were fitted to these examples.
    fitted: Vec<(&'static str, f64)>,
    logits: Vec<Vec<f32>>,
}

/// That all numbers of the model to start from are finite, once it is read.
fn check_base(base: &Checkpoint, model: &Bert) -> Result<(), TrainError> {
    match model.not_finite() {
        None => Ok(()),
        Some(name) => Err(TrainError::Damaged {
            path: base.dir.clone(),
            problem: format!(
                "tensor `{name}` holds what is no number; name another --model_name_or_path, such as a checkpoint \
                 from before its training went wrong"
            ),
        }),
    }
}

/// The old run's progress with the new run's settings.
fn continued(new: TrainerState, old: TrainerState) -> TrainerState {
    TrainerState {
        max_steps: new.max_steps,
        num_train_epochs: new.num_train_epochs,
        logging_steps: new.logging_steps,
        eval_steps: new.eval_steps,
        save_steps: new.save_steps,
        ..old
    }
}

/// The entries that are numbers, without the epoch, which every log entry has anyway.
fn numbers(map: &Map<String, Value>) -> Vec<(String, f64)> {
    map.iter()
        .filter(|(name, _)| *name != "epoch")
        .filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)))
        .collect()
}

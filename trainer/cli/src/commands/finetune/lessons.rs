//! What a run learns from: files read and encoded, the recipe checked, all before the first step. Runs that
//! differ in their seed alone share it.

use super::super::evaluate::{Files, LabelledFile, check_asked, measure, warn};
use super::{Progress, check_interrupt, record, report};
use crate::args::FinetuneArgs;
use crate::config::published;
use crate::error::Error;
use crate::model::{Model, open_checkpoint, with_tokenizer};
use crate::sources::Known;
use crate::{fetch, page, show};
use berth_checkpoint::save::write_json;
use berth_checkpoint::{Checkpoint, Provenance, TrainingArgs};
use berth_data::{
    DataError, Dataset, EncodeOptions, Encoded, cut_examples, encode_all, unasked_words,
};
use berth_trainer::imbalance::{ClassWeights, Computed};
use berth_trainer::{ALL_RESULTS, EVAL_RESULTS, Job, Outcome, Recipe, Start, TrainError, finetune};
use berth_wordpiece::{EncodeError, Tokenizer};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Everything of a run but its seed and its folder.
pub struct Lessons<'a> {
    args: &'a FinetuneArgs,
    /// Task and data set.
    pub known: Known,
    /// The settings.
    pub recipe: Recipe,
    /// The files to measure on.
    pub dev_files: Files,
    /// The longest input in pieces.
    pub limit: usize,
    base: Checkpoint,
    train: Rows,
    dev: Option<Rows>,
    provenance: Provenance,
}

/// A file's rows, and what they become.
struct Rows {
    data: Dataset,
    inputs: Vec<Encoded>,
}

impl<'a> Lessons<'a> {
    /// Checks, reads, encodes.
    ///
    /// # Errors
    /// At the first thing that is wrong; what a flag asks for is checked before anything is fetched. Or where Ctrl-C has
    /// asked to stop.
    pub fn read(args: &'a FinetuneArgs) -> Result<Self, Error> {
        let known = Known::new(&args.data, None)?;
        known.warn_of_idle_flags();
        let recipe = recipe(args, &known)?;
        let (train_file, dev_files) = files(args, &known)?;
        check_apart(args, &train_file, &dev_files)?;
        check_published(args)?;
        let train = read_train(&known, &train_file, args)?;
        check_interrupt()?;
        known.warn_of_unread(&train);
        let dev = dev_files.first.as_deref();
        let dev = dev
            .map(|file| read_dev(&known, file, &train, args))
            .transpose()?;
        check_interrupt()?;

        let folder = fetch::resolve(
            &args.model_name_or_path,
            &fetch::Options::from_environment(),
        )?;
        let base = open_checkpoint(&folder)?;
        let limit = limit(&known, base.config.max_position_embeddings);
        for dataset in [Some(&train), dev.as_ref()].into_iter().flatten() {
            known.check(dataset, limit)?;
        }
        let origin = origin(args, &train_file)?;
        let (train, dev) = encode_both(&folder, &known.encoding(limit), train, dev)?;
        let dev_data = dev.as_ref().map(|rows| &rows.data);
        let named = &args.model_name_or_path;
        let provenance = report::provenance(named, &base, &train.data, dev_data, origin)?;
        check_interrupt()?;
        Ok(Lessons {
            args,
            known,
            recipe,
            dev_files,
            limit,
            base,
            train,
            dev,
            provenance,
        })
    }

    /// How many rows are learned from.
    pub fn train_samples(&self) -> usize {
        self.train.data.examples.len()
    }

    /// What they become: more of them where texts are read by windows.
    pub fn inputs(&self) -> usize {
        self.train.inputs.len()
    }

    /// Trains with that seed, and leaves the report beside the model.
    ///
    /// # Errors
    /// As [`finetune()`], and where the report can't be written.
    pub fn train(&self, seed: u64, folder: &Path, start: Start) -> Result<Outcome, Error> {
        let recipe = Recipe {
            seed,
            ..self.recipe.clone()
        };
        let Rows { data, inputs } = &self.train;
        let dev = self.dev.as_ref();
        let job = Job {
            base: &self.base,
            task: self.known.task,
            labels: &data.labels,
            train: inputs,
            dev: dev.map(|rows| self.known.evaluator(&rows.data, &rows.inputs)),
            recipe: &recipe,
            output_dir: folder,
            training_args: TrainingArgs {
                provenance: Some(self.provenance.clone()),
                ..self.known.training_args(self.limit, data)
            },
            start,
        };
        let outcome = finetune(&job, &mut Progress::new()).map_err(|error| self.named(error))?;
        match &outcome {
            Outcome::Finished(results) => report::write_page(&job, results)?,
            // It was stopped over its page.
            Outcome::AlreadyFinished if !folder.join(page::FILE).exists() => {
                report::write_page_again(&job)?;
            }
            _ => {}
        }
        Ok(outcome)
    }

    /// An error of a run, with the file of class weights where it is about these.
    fn named(&self, error: TrainError) -> Error {
        let weights = self.args.recipe.class_weights.as_deref();
        let file = weights.filter(|&flag| flag != BALANCED);
        match (error, file) {
            (TrainError::Imbalance(error), Some(file)) => Error::Path {
                path: file.into(),
                what: error.to_string(),
            },
            (error, _) => error.into(),
        }
    }

    /// The figures of a run that had finished before; those on the second file are measured where it was stopped before
    /// it had them.
    ///
    /// # Errors
    /// As [`figures`] and [`measure_mismatched`](Self::measure_mismatched).
    pub fn all_figures(&self, folder: &Path) -> Result<Map<String, Value>, Error> {
        let mut all = figures(&folder.join(ALL_RESULTS))?;
        if !all.keys().any(|name| name.ends_with("_mm")) {
            self.measure_mismatched(folder, &mut all)?;
        }
        Ok(all)
    }

    /// Measures the result in `folder` on the second file of a data set that has one, and tells it with the rest
    /// in `results`, and in the folder's files.
    ///
    /// # Errors
    /// Where the file does not fit, or can't be read.
    pub fn measure_mismatched(
        &self,
        folder: &Path,
        results: &mut Map<String, Value>,
    ) -> Result<(), Error> {
        let Some(file) = &self.dev_files.second else {
            return Ok(());
        };
        let model = Model::open(folder)?;
        let most = self.args.max_eval_samples;
        let known = Known::new(&self.args.data, model.memory.clone())?;
        let rows = LabelledFile::read(&model, file, &known, most)?;
        let batch = self.recipe.per_device_eval_batch_size;
        let mut measured = measure(&model, &rows, batch)?;
        warn(&measured.unread.of_figures());
        // Training doesn't tell it of the first file either.
        measured.calibration_error = None;
        let measured = measured.report_mismatched();
        results.extend(measured.clone());
        for name in [EVAL_RESULTS, ALL_RESULTS] {
            let path = folder.join(name);
            let mut figures = figures(&path)?;
            figures.extend(measured.clone());
            write_json(path, &figures)?;
        }
        Ok(())
    }
}

/// The figures that a run has left in a file.
///
/// # Errors
/// When there are none.
pub fn figures(path: &Path) -> Result<Map<String, Value>, Error> {
    let text = std::fs::read(path).map_err(|source| Error::file(path, source))?;
    serde_json::from_slice(&text).map_err(|error| Error::Setting {
        path: path.to_owned(),
        line: error.line(),
        what: format!("no results of a run: {error}"),
    })
}

/// That nothing that is written down goes over a file that is read.
fn check_apart(args: &FinetuneArgs, train_file: &Path, dev_files: &Files) -> Result<(), Error> {
    let measured = [&dev_files.first, &dev_files.second];
    let measured = measured.into_iter().flatten().map(PathBuf::as_path);
    let data: Vec<&Path> = measured.chain([train_file]).collect();
    record::check_apart(args, &data)
}

/// Holds the data set's files against the recipe that names them.
fn check_published(args: &FinetuneArgs) -> Result<(), Error> {
    let Some((config, folder)) = args.config.as_deref().zip(args.data_dir.as_deref()) else {
        return Ok(());
    };
    let files = published::check(config, folder)?;
    if files > 0 {
        let (config, folder) = (config.display(), folder.display());
        show::note(format!(
            "{folder}: the {files} files that {config} was made for"
        ));
    }
    Ok(())
}

/// The trainer's recipe, from the flags of the same names.
fn recipe(args: &FinetuneArgs, known: &Known) -> Result<Recipe, Error> {
    args.device
        .check()
        .map_err(berth_trainer::TrainError::from)?;
    if !args.switches.do_train {
        let what = "--do_train false leaves nothing to do; berth evaluate measures a checkpoint";
        return Err(Error::Usage(what.into()));
    }
    let named = serde_json::to_value(&args.recipe);
    let mut recipe: Recipe = named
        .and_then(serde_json::from_value)
        .map_err(|error| Error::Usage(format!("the recipe: {error}")))?;
    recipe.warmup_steps = args.recipe.warmup();
    if let Some(count) = args.recipe.warmup_ratio.filter(|ratio| *ratio >= 1.0) {
        show::note(format!(
            "warning: --warmup_ratio {count} is a count of steps, as for --warmup_steps; a share is below 1"
        ));
    }
    recipe.bf16 = args.switches.bf16;
    recipe.device = args.device;
    let weights = args.recipe.class_weights.as_deref();
    recipe.class_weights = weights.map(class_weights).transpose()?;
    let named = args.data_dir.is_some() && known.task_name.is_some();
    let measured = args.validation_file.is_some() || named;
    if !measured || !args.switches.do_eval {
        recipe.eval_strategy = berth_trainer::recipe::Strategy::No;
        if args.recipe.load_best_model_at_end {
            let what = "--load_best_model_at_end needs a --validation_file to tell which is best";
            return Err(Error::Usage(what.into()));
        }
        if args.recipe.early_stopping_patience.is_some() {
            let what = "--early_stopping_patience needs a --validation_file to tell when to stop";
            return Err(Error::Usage(what.into()));
        }
        if args.recipe.metric_for_best_model.is_some() {
            let what = "--metric_for_best_model needs a --validation_file to be measured on";
            return Err(Error::Usage(what.into()));
        }
    }
    recipe
        .check()
        .map_err(|error| Error::Usage(error.to_string()))?;
    Ok(recipe)
}

/// The weights that are computed from how often a label stands in the training file.
const BALANCED: &str = "balanced";

/// [`BALANCED`], or what a JSON file says.
fn class_weights(flag: &str) -> Result<ClassWeights, Error> {
    if flag == BALANCED {
        return Ok(ClassWeights::Computed(Computed::Balanced));
    }
    let text = std::fs::read_to_string(flag).map_err(|source| Error::file(flag, source))?;
    let wrong = |line: usize, what: &str| Error::Setting {
        path: flag.into(),
        line,
        what: what.to_owned(),
    };
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| wrong(error.line(), &format!("no JSON: {error}")))?;
    serde_json::from_value(value).map_err(|_| {
        let what = "class weights are an object {\"label\": weight} or a list of weights in the labels' order";
        wrong(1, what)
    })
}

/// The file to learn from, and those to measure on.
fn files(args: &FinetuneArgs, known: &Known) -> Result<(PathBuf, Files), Error> {
    let folder = args.data_dir.as_deref();
    let given = |file: &Option<PathBuf>| file.as_deref().map(|file| in_folder(folder, file));
    let (train, dev) = (given(&args.train_file), given(&args.validation_file));
    let named = folder.zip(known.task_name);
    let dev_files = match args.switches.do_eval {
        // A folder that holds the file to learn from alone.
        true if train.is_some() && dev.is_none() && named.is_none() => Files::default(),
        true => Files::find(known.task_name, dev.as_deref(), folder)?,
        false => Files::default(),
    };
    match (train, named) {
        (Some(file), _) => Ok((file, dev_files)),
        (None, Some((folder, name))) => Ok((name.train_file(folder)?, dev_files)),
        (None, None) => Err(Error::Usage(
            "nothing to learn from: give --train_file, or --task_name with --data_dir".into(),
        )),
    }
}

/// The file that is meant: in the folder with the data, where one of that name is there, compressed or not.
fn in_folder(folder: Option<&Path>, file: &Path) -> PathBuf {
    let there = folder.and_then(|folder| published::place(folder, file));
    there.unwrap_or_else(|| file.to_owned())
}

fn read_train(known: &Known, file: &Path, args: &FinetuneArgs) -> Result<Dataset, Error> {
    let mut train = berth_data::read(&known.source(file)?)?;
    train
        .examples
        .truncate(args.max_train_samples.unwrap_or(usize::MAX));
    let misplaced = train.misplaced();
    train.examples.retain(|example| !example.is_misplaced());
    if misplaced > 0 && train.examples.is_empty() {
        let (path, questions) = (train.path, misplaced as u64);
        return Err(DataError::NothingPlaced { path, questions }.into());
    }
    if misplaced > 0 {
        show::note(format!(
            "{}: {misplaced} questions left out, whose answers are not where answer_start says",
            train.path.display()
        ));
    }
    if let [label] = &train.labels[..]
        && !train.multi_label
    {
        show::note(format!(
            "warning: {}: every row has the label {label:?}; there is nothing to tell apart",
            train.path.display()
        ));
    }
    Ok(train)
}

fn read_dev(
    known: &Known,
    file: &Path,
    train: &Dataset,
    args: &FinetuneArgs,
) -> Result<Dataset, Error> {
    let mut source = known.labelled(file, &train.labels, train.multi_label)?;
    source.spellings = train.spellings.clone();
    let mut dev = berth_data::read(&source)?;
    dev.examples
        .truncate(args.max_eval_samples.unwrap_or(usize::MAX));
    Ok(dev)
}

/// The longest input in pieces; where more is asked for than the model has positions, that is said.
fn limit(known: &Known, positions: usize) -> usize {
    let asked = known.max_seq_length(known.usual_length().min(positions));
    if asked > positions {
        show::note(format!(
            "warning: --max_seq_length {asked} is more than the model's {positions} positions; \
             {positions} is used"
        ));
    }
    asked.min(positions)
}

/// Where the data comes from, as the recipe says.
fn origin(args: &FinetuneArgs, train_file: &Path) -> Result<published::Origin, Error> {
    match &args.config {
        Some(config) => published::origin(
            config,
            args.train_file.as_deref(),
            args.data_dir.as_deref(),
            train_file,
        ),
        None => Ok(published::Origin::default()),
    }
}

/// The rows to learn from and those to measure on, with what they become by the tokenizer in `folder`.
fn encode_both(
    folder: &Path,
    options: &EncodeOptions,
    train: Dataset,
    dev: Option<Dataset>,
) -> Result<(Rows, Option<Rows>), Error> {
    with_tokenizer(folder, |tokenizer| {
        let rows = |data: Dataset| {
            let inputs = encode(tokenizer, options, &data).map_err(|error| Error::Path {
                path: folder.to_owned(),
                what: error.to_string(),
            })?;
            check_asked(&data, &inputs, options.limit)?;
            Ok::<_, Error>(Rows { data, inputs })
        };
        Ok((rows(train)?, dev.map(rows).transpose()?))
    })
}

fn encode(
    tokenizer: &Tokenizer<'_>,
    options: &EncodeOptions,
    data: &Dataset,
) -> Result<Vec<Encoded>, EncodeError> {
    let limit = options.limit;
    let encoded = encode_all(tokenizer, options, &data.examples)?;
    let (path, all) = (data.path.display(), data.examples.len());
    let unlabelled = match data.unlabelled {
        0 => String::new(),
        left_out => format!(", {left_out} without a label left out"),
    };
    let cut = match cut_examples(&encoded) {
        0 => String::new(),
        cut => format!(", {cut} cut to {limit} pieces"),
    };
    let words = match unasked_words(&data.examples, &encoded) {
        0 => String::new(),
        words => format!(", {words} words without a piece to learn from"),
    };
    show::note(format!("{path}: {all} rows{unlabelled}{cut}{words}"));
    Ok(encoded)
}

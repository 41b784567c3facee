//! A checkpoint, a bundle or an ONNX file, opened as something that scores examples: `evaluate`, `predict`,
//! `quantize` and `finetune` treat them alike.

use crate::error::Error;
use crate::names::bundle_path;
use crate::show;
use crate::sources::Memory;
use berth_checkpoint::config::CONFIG_FILE;
use berth_checkpoint::{Checkpoint, Config, ProblemType};
use berth_data::{EncodeOptions, Encoded, Example, encode_all, names_in_order};
use berth_quantize::onnx::{Run, Share, Tokens};
use berth_runtime::bulk::{Bulk, Input};
use berth_task::{Task, Temperature};
use berth_trainer::model::ModelError;
use berth_trainer::{Predictor, TrainError};
use berth_wordpiece::Tokenizer;
use std::fmt::Display;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Batches of a checkpoint's rows that are sorted by length together.
const BATCHES: usize = 8;

/// A model and what it remembers of its training.
pub struct Model {
    /// Where it was opened.
    pub path: PathBuf,
    /// How it was trained; none for a checkpoint made elsewhere.
    pub memory: Option<Memory>,
    /// The names of its outputs.
    pub labels: Vec<String>,
    /// What they are called in the model, where `--label_names` calls them otherwise.
    pub former: Option<Vec<String>>,
    /// Whether each label is decided by itself.
    pub multi_label: bool,
    /// The longest input that it takes.
    pub max_length: usize,
    kind: Kind,
}

/// Opens a checkpoint, and says aloud where its model is not computed to the letter.
///
/// # Errors
/// As [`Checkpoint::open`].
pub fn open_checkpoint(dir: &Path) -> Result<Checkpoint, Error> {
    let checkpoint = Checkpoint::open(dir)?;
    tell_of_approximations(&checkpoint);
    Ok(checkpoint)
}

/// Says where a checkpoint's model is not computed to the letter.
pub fn tell_of_approximations(checkpoint: &Checkpoint) {
    if let Some(act) = checkpoint.config.approximated_act() {
        show::note(format!(
            "warning: {}: {act:?}, GELU by tanh, is computed by the error function, which is \
             within 5e-4 of it",
            checkpoint.dir.join(CONFIG_FILE).display()
        ));
    }
}

/// Makes something with the tokenizer of a checkpoint's folder.
///
/// # Errors
/// When the tokenizer can't be read, and those of `make`.
pub fn with_tokenizer<T>(
    dir: &Path,
    make: impl FnOnce(&Tokenizer<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let tables = berth_checkpoint::tokenizer::tables(dir)?;
    let tokenizer = Tokenizer::new(&tables).map_err(|error| Error::Path {
        path: dir.to_owned(),
        what: error.to_string(),
    })?;
    make(&tokenizer)
}

enum Kind {
    Checkpoint(Arc<Checkpoint>),
    Bundle(berth_runtime::Model),
    /// A file that runs as it is, and the folder of its tokenizer.
    Onnx(Box<Mutex<Run>>, PathBuf),
}

impl Model {
    /// Opens a folder as a checkpoint, a file as a bundle.
    ///
    /// # Errors
    /// When it is neither, or damaged.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if path.is_dir() {
            return Ok(Self::of_checkpoint(Arc::new(open_checkpoint(path)?), path));
        }
        let path = bundle_path(path)?;
        Self::of_bundle(berth_runtime::Model::open_verified(&path)?, &path)
    }

    /// Opens an ONNX file to be run as it is; config.json and tokenizer are those of `dir`.
    ///
    /// # Errors
    /// When it is damaged or can't be run, or the folder lacks one of them.
    pub fn open_onnx(path: &Path, dir: &Path) -> Result<Self, Error> {
        let config = Config::read(dir)?;
        Ok(Model {
            path: path.to_owned(),
            memory: Memory::read(dir)?,
            multi_label: config.problem_type == Some(ProblemType::MultiLabelClassification),
            labels: config.id2label,
            former: None,
            max_length: config.max_position_embeddings,
            kind: Kind::Onnx(Box::new(Mutex::new(Run::open(path)?)), dir.to_owned()),
        })
    }

    /// Takes an open checkpoint; `path` is what people know it by.
    pub fn of_checkpoint(checkpoint: Arc<Checkpoint>, path: &Path) -> Self {
        Model {
            path: path.to_owned(),
            memory: Memory::of(&checkpoint),
            labels: checkpoint.config.id2label.clone(),
            former: None,
            multi_label: checkpoint.config.problem_type
                == Some(ProblemType::MultiLabelClassification),
            max_length: checkpoint.config.max_position_embeddings,
            kind: Kind::Checkpoint(checkpoint),
        }
    }

    /// The same model, whose labels have the names of `--label_names`: by name, where these are the labels' own in any
    /// order and case; else in the order of their ids.
    ///
    /// # Errors
    /// When there are more names or fewer than labels, or one is another label's.
    pub fn renamed(mut self, names: Option<&[String]>) -> Result<Self, Error> {
        let Some(names) = names else {
            return Ok(self);
        };
        if names.len() != self.labels.len() {
            let own = match &self.labels[..] {
                [] => "none".to_owned(),
                own => format!("{}: {}", own.len(), own.join(", ")),
            };
            let (given, path) = (names.len(), self.path.display());
            return Err(Error::Usage(format!(
                "--label_names gives {given} names, and the labels of {path} are {own}"
            )));
        }
        let ordered = names_in_order(&self.labels, names).map_err(|at| {
            let (label, name, path) = (&self.labels[at], &names[at], self.path.display());
            let own = self.labels.join(", ");
            Error::Usage(format!(
                "--label_names calls the label {label:?} {name:?}, which is another label's name; give the names \
                 that {path} has, in any order, or new ones in the order {own}"
            ))
        })?;
        self.former = Some(std::mem::replace(&mut self.labels, ordered));
        Ok(self)
    }

    /// Whether there are labels, each of its own, where the answers to a task are such.
    ///
    /// # Errors
    /// When there are none, as in a base model, or one stands twice.
    pub fn check_labels(&self, task: Task) -> Result<(), Error> {
        if !task.has_labels() {
            return Ok(());
        }
        if self.labels.is_empty() {
            return Err(self.wrong(&format!(
                "has no labels, and so no head for {task}; fine-tune it first, with berth finetune"
            )));
        }
        let repeated =
            (1..self.labels.len()).find(|&at| self.labels[..at].contains(&self.labels[at]));
        match repeated.map(|at| &self.labels[at]) {
            None => Ok(()),
            Some(name) => Err(self.wrong(&format!(
                "`id2label` has {name:?} twice; name its labels with --label_names"
            ))),
        }
    }

    /// What each kind of operator cost, for an ONNX file; nothing for others.
    pub fn shares(&self) -> Vec<Share> {
        match &self.kind {
            Kind::Onnx(run, _) => run.lock().unwrap_or_else(PoisonError::into_inner).shares(),
            Kind::Checkpoint(_) | Kind::Bundle(_) => Vec::new(),
        }
    }

    /// Takes a bundle that is still in memory; `path` is where it is going to be.
    ///
    /// # Errors
    /// When the runtime refuses it.
    pub fn of_bytes(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        Self::of_bundle(berth_runtime::Model::from_bytes(bytes)?, path)
    }

    fn of_bundle(model: berth_runtime::Model, path: &Path) -> Result<Self, Error> {
        Ok(Model {
            path: path.to_owned(),
            memory: memory(&model, path)?,
            labels: model.header().labels.iter().map(str::to_owned).collect(),
            former: None,
            multi_label: model.multi_label(),
            max_length: model.header().shape.positions as usize,
            kind: Kind::Bundle(model),
        })
    }

    /// What the scores of its answers are taken at: the temperature that a bundle carries.
    pub fn temperature(&self) -> Temperature {
        match &self.kind {
            Kind::Checkpoint(_) | Kind::Onnx(..) => Temperature::ONE,
            Kind::Bundle(model) => model.header().temperature(),
        }
    }

    /// The inputs that examples become with the model's own tokenizer.
    ///
    /// # Errors
    /// When the tokenizer can't be read, or the limit leaves a text no place.
    pub fn encode(
        &self,
        options: &EncodeOptions,
        examples: &[Example],
    ) -> Result<Vec<Encoded>, Error> {
        let options = EncodeOptions {
            limit: options.limit.min(self.max_length),
            ..*options
        };
        let encode = |tokenizer: &Tokenizer<'_>| {
            encode_all(tokenizer, &options, examples).map_err(|error| self.wrong(&error))
        };
        match &self.kind {
            Kind::Checkpoint(checkpoint) => with_tokenizer(&checkpoint.dir, encode),
            Kind::Onnx(_, dir) => with_tokenizer(dir, encode),
            Kind::Bundle(model) => encode(model.tokenizer()),
        }
    }

    /// The logits of every input, in their order. A checkpoint runs in batches of `batch` rows, a
    /// bundle as the device does, one input at a time on each core.
    ///
    /// # Errors
    /// When the model has no head for `task`.
    pub fn logits(
        &self,
        task: Task,
        inputs: &[Encoded],
        batch: usize,
    ) -> Result<Vec<Vec<f32>>, Error> {
        match &self.kind {
            Kind::Checkpoint(checkpoint) => {
                let predictor = Predictor::load(checkpoint, task);
                let predictor = predictor.map_err(|error| match error {
                    TrainError::Model(error @ ModelError::NoHead { .. }) => {
                        self.wrong(&error.to_string())
                    }
                    error => error.into(),
                })?;
                let bar = show::progress(inputs.len() as u64, "f32");
                let mut logits = Vec::with_capacity(inputs.len());
                for rows in inputs.chunks(batch * BATCHES) {
                    logits.extend(predictor.logits(rows, batch)?);
                    bar.inc(rows.len() as u64);
                }
                bar.finish_and_clear();
                Ok(logits)
            }
            Kind::Onnx(run, _) => self.as_it_is(run, inputs),
            Kind::Bundle(model) if model.header().task != task => {
                let what = format!("answers {}, not {task}", model.header().task);
                Err(self.wrong(&what))
            }
            Kind::Bundle(model) => self.in_bulk(model, inputs),
        }
    }

    /// Runs an ONNX file through tract, an input at a time on each core.
    fn as_it_is(&self, run: &Mutex<Run>, inputs: &[Encoded]) -> Result<Vec<Vec<f32>>, Error> {
        let tokens: Vec<Tokens> = inputs
            .iter()
            .map(|input| Tokens {
                ids: &input.ids,
                second: input.second,
            })
            .collect();
        let bar = show::progress(inputs.len() as u64, "onnx");
        let mut run = run.lock().unwrap_or_else(PoisonError::into_inner);
        let threads = rayon::current_num_threads();
        let logits = run.logits(&tokens, self.max_length, threads, &|| bar.inc(1));
        bar.finish_and_clear();
        Ok(logits?)
    }

    /// Runs every row by itself, as a device does, on as many threads as there are.
    fn in_bulk(
        &self,
        model: &berth_runtime::Model,
        rows: &[Encoded],
    ) -> Result<Vec<Vec<f32>>, Error> {
        let threads = rayon::current_num_threads().min(rows.len());
        let mut bulk = Bulk::new(
            model,
            NonZero::new(threads).unwrap_or(NonZero::<usize>::MIN),
        )?;
        let bar = show::progress(rows.len() as u64, "int8");
        let mut logits = Vec::with_capacity(rows.len());
        let inputs = rows.iter().map(|row| Input {
            ids: &row.ids,
            second: row.second,
        });
        let done = bulk.logits(inputs, |row| {
            bar.inc(1);
            logits.push(row);
        });
        bar.finish_and_clear();
        done.map_err(|error| self.wrong(&error))?;
        Ok(logits)
    }

    /// The error that names the model.
    pub fn wrong(&self, what: &dyn Display) -> Error {
        let (path, what) = (self.path.clone(), what.to_string());
        Error::Path { path, what }
    }
}

/// What a bundle remembers of its training.
fn memory(model: &berth_runtime::Model, path: &Path) -> Result<Option<Memory>, Error> {
    let file = path.to_owned();
    match model.bundle().training() {
        [] => Ok(None),
        json => match serde_json::from_slice(json) {
            Ok(args) => Ok(Some(Memory { args, file })),
            Err(error) => Err(Error::Path {
                path: file,
                what: format!("its training arguments are not readable: {error}"),
            }),
        },
    }
}

/// The folder of an ONNX file's config.json and tokenizer, where `path` is such a file: the one that was
/// given, else the file's own. None for anything else.
///
/// # Errors
/// When a folder was given for what needs none, or the file is not there, or nothing tells what it is.
pub fn onnx_folder(path: &Path, given: Option<&Path>) -> Result<Option<PathBuf>, Error> {
    if path.extension().is_none_or(|extension| extension != "onnx") {
        return match given {
            None => Ok(None),
            Some(_) => Err(Error::Usage(
                "--tokenizer_name goes with an .onnx file; others carry their tokenizer".into(),
            )),
        };
    }
    if !path.exists() {
        return Err(Error::Path {
            path: path.to_owned(),
            what: "no such file".into(),
        });
    }
    let own = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let own = own.unwrap_or(Path::new("."));
    if given.is_none() && !own.join(CONFIG_FILE).exists() {
        return Err(Error::Path {
            path: path.to_owned(),
            what: format!(
                "no {CONFIG_FILE} beside it; say --tokenizer_name DIR, where that and the tokenizer are"
            ),
        });
    }
    Ok(Some(given.unwrap_or(own).to_owned()))
}

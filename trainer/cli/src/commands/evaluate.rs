//! `berth evaluate`: the metrics of a checkpoint, a bundle or an ONNX file on a labelled file.

use super::{print, use_threads};
use crate::args::EvaluateArgs;
use crate::error::Error;
use crate::model::{Model, onnx_folder};
use crate::sources::Known;
use crate::{outputs, show};
use berth_checkpoint::save::write_json;
use berth_data::{
    Dataset, EncodeOptions, Encoded, Evaluation, EvaluationError, Evaluator, MEASURED_FILES,
    TaskName, cut_examples, expected_calibration_error, unasked_words,
};
use berth_quantize::onnx::Share;
use berth_task::{LongTexts, Task};
use berth_trainer::EVAL_RESULTS;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Evaluates and prints.
pub fn run(args: &EvaluateArgs) -> Result<(), Error> {
    use_threads(args.threads)?;
    let model = match onnx_folder(&args.model, args.tokenizer_name.as_deref())? {
        Some(dir) => Model::open_onnx(&args.model, &dir)?,
        None => Model::open(&args.model)?,
    };
    let model = model.renamed(args.data.label_names.as_deref())?;
    let known = Known::new(&args.data, model.memory.clone())?;
    known.warn_of_idle_flags();
    check_long_texts(known.task, args.long_texts)?;
    let files = Files::find(
        known.task_name,
        args.validation_file.as_deref(),
        args.data_dir.as_deref(),
    )?;
    let Some(path) = &files.first else {
        let what = "nothing to measure on: give --validation_file, or --task_name with --data_dir";
        return Err(Error::Usage(what.into()));
    };
    if let Some(folder) = &args.output_dir {
        files.check_apart(folder, known.task)?;
    }
    let read = |path: &Path| -> Result<LabelledFile, Error> {
        let file = LabelledFile::read(&model, path, &known, args.max_eval_samples)?;
        let long_texts = args.long_texts;
        Ok(LabelledFile { long_texts, ..file })
    };
    let (file, second) = (read(path)?, files.second.as_deref().map(read).transpose()?);
    if let Some(folder) = &args.output_dir {
        outputs::check_files(folder, &written(known.task))?;
    }
    let batch = args.per_device_eval_batch_size as usize;
    let measure = |file: &LabelledFile| -> Result<Measured, Error> {
        let measured = measure(&model, file, batch)?;
        warn(&measured.unread.of_figures());
        Ok(measured)
    };
    let measured = measure(&file)?;
    let second = second.as_ref().map(measure).transpose()?;
    let mut report = measured.report();
    report.extend(second.iter().flat_map(Measured::report_mismatched));
    let shares = model.shares();
    if !shares.is_empty() {
        let each = shares
            .iter()
            .map(|share| (share.op.clone(), share.share.into()));
        report.insert("operators".into(), Value::Object(each.collect()));
    }
    if let Some(folder) = &args.output_dir {
        write_json(folder.join(EVAL_RESULTS), &report)?;
        write_predictions(folder, &model, &file, &measured)?;
    }
    if args.stdout.json {
        print(Value::Object(report))
    } else {
        print(for_people(&measured))?;
        if !shares.is_empty() {
            print(operators(&shares))?;
        }
        second.iter().try_for_each(|second| {
            print(format!("on {}", files.second_name()))?;
            print(for_people(second))
        })
    }
}

/// The files to measure on.
#[derive(Default)]
pub struct Files {
    /// The one that figures are told of.
    pub first: Option<PathBuf>,
    /// The one that the data set has besides, in `--data_dir`.
    pub second: Option<PathBuf>,
}

impl Files {
    /// The file that is given, else those of the data set in a folder.
    ///
    /// # Errors
    /// When there is a folder and no data set is named, or its files are not there.
    pub fn find(
        name: Option<TaskName>,
        file: Option<&Path>,
        folder: Option<&Path>,
    ) -> Result<Self, Error> {
        match (file, folder, name) {
            (Some(file), _, _) => Ok(Files {
                first: Some(file.to_owned()),
                second: None,
            }),
            (None, Some(folder), Some(name)) => Ok(Files {
                first: Some(name.dev_file(folder)?),
                second: name.mismatched_file(folder)?,
            }),
            (None, Some(_), None) => Err(Error::Usage(
                "--data_dir goes with --task_name, which names its files".into(),
            )),
            (None, None, _) => Ok(Files::default()),
        }
    }

    /// Before anything is measured: that nothing is written to `folder` over a file that is read.
    ///
    /// # Errors
    /// If something is.
    fn check_apart(&self, folder: &Path, task: Task) -> Result<(), Error> {
        let read = self.first.iter().chain(&self.second);
        let read: Vec<&Path> = read.map(PathBuf::as_path).collect();
        let mut written = written(task).into_iter();
        written.try_for_each(|name| outputs::check_apart(&folder.join(name), &read))
    }

    fn second_name(&self) -> String {
        let path = self.second.as_ref();
        path.map_or_else(String::new, |path| path.display().to_string())
    }
}

/// The names of the files that may be written.
fn written(task: Task) -> Vec<&'static str> {
    let predictions: &'static [&'static str] = match task {
        Task::QuestionAnswering => &MEASURED_FILES,
        _ => &[],
    };
    predictions.iter().copied().chain([EVAL_RESULTS]).collect()
}

/// That windows are asked for only where there are any: inputs of words that are tagged are cut.
///
/// # Errors
/// When they are asked for.
pub fn check_long_texts(task: Task, long_texts: LongTexts) -> Result<(), Error> {
    match (task, long_texts) {
        (Task::TokenClassification, LongTexts::Windows) => Err(Error::Usage(format!(
            "--long_texts windows is for one answer to a whole text; in {task} a file's rows are cut at \
             --max_seq_length, which may be as long as the model's positions"
        ))),
        _ => Ok(()),
    }
}

/// Writes what the model said to each row, where the task has files for that.
fn write_predictions(
    folder: &Path,
    model: &Model,
    file: &LabelledFile,
    measured: &Measured,
) -> Result<(), Error> {
    let evaluator = file.evaluator(&measured.inputs);
    let predictions = evaluator.predictions(&measured.logits);
    let predictions = predictions.map_err(|error| Error::Path {
        path: model.path.clone(),
        what: error.to_string(),
    })?;
    for (name, content) in predictions {
        write_json(folder.join(name), &content)?;
    }
    Ok(())
}

/// A labelled file, read for a model.
pub struct LabelledFile {
    /// Task and data set.
    pub known: Known,
    /// The rows.
    pub dataset: Dataset,
    /// How many pieces an input has at most.
    pub limit: usize,
    /// What becomes of longer texts; cut, where nothing is said.
    pub long_texts: LongTexts,
}

impl LabelledFile {
    /// Reads the file by what is known of it from the flags and the model's memory, at most `most` rows of it.
    ///
    /// # Errors
    /// At the first line that is wrong, or where the model has no labels for the task.
    pub fn read(
        model: &Model,
        path: &Path,
        known: &Known,
        most: Option<usize>,
    ) -> Result<Self, Error> {
        model.check_labels(known.task)?;
        let own = model.former.as_ref().unwrap_or(&model.labels);
        let mut source = known.labelled(path, own, model.multi_label)?;
        source.label_names = model.former.as_ref().map(|_| model.labels.clone());
        let mut dataset = berth_data::read(&source)?;
        if dataset.unlabelled > 0 {
            let (path, left_out) = (path.display(), dataset.unlabelled);
            show::note(format!("{path}: {left_out} rows without a label left out"));
        }
        dataset.examples.truncate(most.unwrap_or(usize::MAX));
        let limit = known.limit(model.max_length)?;
        known.check(&dataset, limit)?;
        Ok(LabelledFile {
            known: known.clone(),
            dataset,
            limit,
            long_texts: LongTexts::Cut,
        })
    }

    /// How answers to `inputs`, which are made of the file's rows, are measured.
    pub fn evaluator<'a>(&'a self, inputs: &'a [Encoded]) -> Evaluator<'a> {
        self.known.evaluator(&self.dataset, inputs)
    }
}

/// What a model's answers to a file are worth, and how long they took.
pub struct Measured {
    /// The metrics.
    pub evaluation: Evaluation,
    /// The expected calibration error of the scores, at the bundle's temperature; none for numbers.
    pub calibration_error: Option<f64>,
    /// What the model read.
    pub inputs: Vec<Encoded>,
    /// The outputs for each input.
    pub logits: Vec<Vec<f32>>,
    /// What of the file it did not read.
    pub unread: Unread,
    /// Seconds for all rows.
    pub seconds: f64,
}

/// What of a file no model reads, since inputs have an end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unread {
    /// Texts that were cut to fit.
    pub texts: usize,
    /// Words that were cut off or have no piece.
    pub words: usize,
    /// How many texts there are.
    all_texts: usize,
    /// How many words that are tagged.
    all_words: usize,
    /// How many pieces an input has at most.
    limit: usize,
}

impl Unread {
    /// What of a file's rows is not in the inputs, of at most `limit` pieces, that they become.
    pub fn of(dataset: &Dataset, inputs: &[Encoded], limit: usize) -> Self {
        Unread {
            texts: cut_examples(inputs),
            words: unasked_words(&dataset.examples, inputs),
            all_texts: dataset.examples.len(),
            all_words: words(dataset),
            limit,
        }
    }

    /// A sentence on texts and one on words, where there are any; `so` is what comes of it for the words.
    fn sentences(&self, so: &str) -> Vec<String> {
        let mut told = Vec::new();
        if self.texts > 0 {
            let (texts, all, limit) = (self.texts, self.all_texts, self.limit);
            told.push(format!("{texts} of {all} texts were cut to {limit} pieces"));
        }
        if self.words > 0 {
            let (words, all) = (self.words, self.all_words);
            told.push(format!(
                "{words} of {all} words were cut off or have no piece, and {so}"
            ));
        }
        told
    }

    /// What is to be known of figures on the file.
    pub fn of_figures(&self) -> Vec<String> {
        self.sentences("are in no figure")
    }

    /// What is to be known of answers to the file.
    pub fn of_answers(&self) -> Vec<String> {
        self.sentences("get no tag")
    }
}

/// How many words a file asks about.
pub fn words(dataset: &Dataset) -> usize {
    dataset.examples.iter().map(|row| row.words.len()).sum()
}

/// Says sentences aloud that are to be known of what comes.
pub fn warn(sentences: &[String]) {
    for sentence in sentences {
        show::note(format!("warning: {sentence}"));
    }
}

/// Lets the model answer every row, and holds the answers against the labels.
///
/// # Errors
/// When the model does not fit the task or the labels.
pub fn measure(model: &Model, file: &LabelledFile, batch: usize) -> Result<Measured, Error> {
    let begun = Instant::now();
    let options = EncodeOptions {
        long_texts: file.long_texts,
        ..file.known.encoding(file.limit)
    };
    let inputs = model.encode(&options, &file.dataset.examples)?;
    check_asked(&file.dataset, &inputs, file.limit)?;
    let logits = model.logits(file.known.task, &inputs, batch)?;
    let seconds = begun.elapsed().as_secs_f64();
    let evaluator = file.evaluator(&inputs);
    let wrong = |error: EvaluationError| Error::Path {
        path: model.path.clone(),
        what: error.to_string(),
    };
    let evaluation = evaluator.evaluate(&logits).map_err(wrong)?;
    let judged = evaluator.judged(&logits, model.temperature());
    let judged = judged.map_err(wrong)?;
    let calibration_error = (!judged.is_empty()).then(|| expected_calibration_error(&judged));
    Ok(Measured {
        evaluation,
        calibration_error,
        unread: Unread::of(&file.dataset, &inputs, file.limit),
        inputs,
        logits,
        seconds,
    })
}

/// That of words which are asked about one has a piece in the inputs, of at most `limit` pieces, that they become.
///
/// # Errors
/// When none has: there is nothing to learn from the file, nor to measure.
pub fn check_asked(dataset: &Dataset, inputs: &[Encoded], limit: usize) -> Result<(), Error> {
    let words = words(dataset);
    match words > 0 && unasked_words(&dataset.examples, inputs) == words {
        false => Ok(()),
        true => Err(Error::Path {
            path: dataset.path.clone(),
            what: format!(
                "none of its {words} words has a piece among the first {limit} of its sentence; a longer \
                 --max_seq_length may help"
            ),
        }),
    }
}

impl Measured {
    /// The metrics under Hugging Face's names.
    pub fn report(&self) -> Map<String, Value> {
        let mut report: Map<String, Value> = self
            .evaluation
            .entries()
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect();
        if let Some(error) = self.calibration_error {
            report.insert("eval_calibration_error".into(), error.into());
        }
        let samples = self.evaluation.samples;
        report.insert("eval_samples".into(), samples.into());
        report.insert("eval_runtime".into(), self.seconds.into());
        report.insert(
            "eval_samples_per_second".into(),
            (samples as f64 / self.seconds).into(),
        );
        if self.unread.texts > 0 {
            report.insert("eval_truncated".into(), self.unread.texts.into());
        }
        if self.unread.words > 0 {
            report.insert("eval_words_left_out".into(), self.unread.words.into());
        }
        report
    }

    /// The same of a data set's second file, which `run_glue` tells with `_mm` behind the names.
    pub fn report_mismatched(&self) -> Map<String, Value> {
        let report = self.report().into_iter();
        report
            .map(|(name, value)| (format!("{name}_mm"), value))
            .collect()
    }
}

/// What each kind of operator cost.
fn operators(shares: &[Share]) -> String {
    let rows: Vec<Vec<String>> = shares
        .iter()
        .map(|share| {
            vec![
                share.op.clone(),
                show::percent(share.share),
                share.calls.to_string(),
            ]
        })
        .collect();
    show::table(&["operator", "time", "calls"], &rows).to_string()
}

fn for_people(measured: &Measured) -> String {
    let calibration = measured.calibration_error;
    let calibration = calibration.map(|error| ("eval_calibration_error".to_owned(), error));
    let rows: Vec<Vec<String>> = measured
        .evaluation
        .entries()
        .into_iter()
        .chain(calibration)
        .map(|(name, value)| vec![name, format!("{value:.4}")])
        .collect();
    let samples = measured.evaluation.samples;
    let rate = samples as f64 / measured.seconds;
    format!(
        "{}\n{samples} rows, {rate:.1} a second",
        show::table(&["metric", "value"], &rows)
    )
}

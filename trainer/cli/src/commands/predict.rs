//! `berth predict`: what a checkpoint or a bundle says to each row of a file, which needs no labels.
//!
//! The files are those of Hugging Face's example scripts, beside `predict_results.json` with what is
//! printed; `berth_data` decodes and writes them out.

use super::evaluate::{Unread, check_long_texts, warn, words};
use super::{print, use_threads};
use crate::args::PredictArgs;
use crate::error::Error;
use crate::model::Model;
use crate::sources::Known;
use crate::{outputs, show};
use berth_checkpoint::save::{write_file, write_json};
use berth_data::{
    Answer, Dataset, Decision, EncodeOptions, EvaluationError, Evaluator, predicted_files,
};
use berth_task::Task;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::time::Instant;

/// The file of the counts.
const RESULTS: &str = "predict_results.json";

/// Predicts, writes and prints.
pub fn run(args: &PredictArgs) -> Result<(), Error> {
    use_threads(args.threads)?;
    let model = Model::open(&args.model)?.renamed(args.data.label_names.as_deref())?;
    let predicted = predict(&model, args)?;
    let report = predicted.report(&model.labels);
    let files = write(args, &predicted.files, &report)?;
    if args.stdout.json {
        return print(Value::Object(report));
    }
    print(predicted.for_people(&model.labels))?;
    files.iter().try_for_each(|file| print(file.display()))
}

/// Names and contents of files.
type Files = Vec<(&'static str, String)>;

/// What a model said to a file.
struct Predicted {
    task: Task,
    answers: Vec<Decision>,
    files: Files,
    samples: usize,
    /// Rows that were cut to fit, and words that have no answer.
    unread: Unread,
    /// Answers that were not sure enough; none where no least score was asked for.
    abstained: Option<usize>,
    seconds: f64,
}

/// Reads the file and lets the model answer every row.
///
/// # Errors
/// At the first line that is wrong, or where the model does not fit the task, or where nothing can be written.
fn predict(model: &Model, args: &PredictArgs) -> Result<Predicted, Error> {
    let known = Known::new(&args.data, model.memory.clone())?;
    known.warn_of_idle_flags();
    check_long_texts(known.task, args.long_texts)?;
    check_min_score(args, model, known.task)?;
    model.check_labels(known.task)?;
    check_written(args, model, known.task)?;
    let dataset = read_rows(args, model, &known)?;
    let limit = known.limit(model.max_length)?;
    known.check(&dataset, limit)?;
    let names: Vec<&str> = written(known.task).collect();
    outputs::check_files(&args.output_dir, &names)?;

    let begun = Instant::now();
    let options = EncodeOptions {
        long_texts: args.long_texts,
        ..known.encoding(limit)
    };
    let inputs = model.encode(&options, &dataset.examples)?;
    let batch = args.per_device_eval_batch_size as usize;
    let logits = model.logits(known.task, &inputs, batch)?;
    let seconds = begun.elapsed().as_secs_f64();
    let evaluator = known.evaluator(&dataset, &inputs);
    let (answers, files) =
        answers(args, model, &evaluator, &logits).map_err(|error| model.wrong(&error))?;
    let mut unread = Unread::of(&dataset, &inputs, limit);
    unread.words = match known.task {
        Task::TokenClassification => words(&dataset).saturating_sub(answers.len()),
        _ => 0,
    };
    warn(&unread.of_answers());
    Ok(Predicted {
        task: known.task,
        samples: dataset.examples.len(),
        abstained: args.min_score.map(|_| {
            let abstained = answers.iter().filter(|row| row.answer == Answer::Abstained);
            abstained.count()
        }),
        answers,
        files,
        unread,
        seconds,
    })
}

/// That a least score is asked for only where each row has one answer with a score.
fn check_min_score(args: &PredictArgs, model: &Model, task: Task) -> Result<(), Error> {
    let what = match args.min_score {
        Some(_) if task == Task::TextPairRegression => {
            "--min_score needs scores, and the model answers with a number"
        }
        Some(_) if model.multi_label => {
            "--min_score is for one label of several, and the model gives each row any number"
        }
        _ => return Ok(()),
    };
    Err(Error::Usage(what.into()))
}

/// Before anything is answered: that no file is written over the one that is read, and that no label would part the
/// lines of what is written.
fn check_written(args: &PredictArgs, model: &Model, task: Task) -> Result<(), Error> {
    for name in written(task) {
        outputs::check_apart(&args.output_dir.join(name), &[&args.test_file])?;
    }
    let parts: fn(char) -> bool = match task {
        Task::TokenClassification => char::is_whitespace,
        // As JSON.
        _ if model.multi_label => return Ok(()),
        _ => |c| c == '\n' || c == '\r',
    };
    match model.labels.iter().find(|label| label.contains(parts)) {
        None => Ok(()),
        Some(label) => Err(model.wrong(&format!(
            "label {label:?} would be several in {}; name the labels with --label_names",
            predicted_files(task)[0]
        ))),
    }
}

/// The rows to be answered, with the labels that the model has for them.
fn read_rows(args: &PredictArgs, model: &Model, known: &Known) -> Result<Dataset, Error> {
    let mut dataset = berth_data::read(&known.unlabelled(&args.test_file)?)?;
    let most = args.max_predict_samples.unwrap_or(usize::MAX);
    dataset.examples.truncate(most);
    dataset.labels.clone_from(&model.labels);
    dataset.multi_label = model.multi_label;
    Ok(dataset)
}

/// What the logits say, no answer where it is not sure enough, and the files that tell it.
fn answers(
    args: &PredictArgs,
    model: &Model,
    evaluator: &Evaluator<'_>,
    logits: &[Vec<f32>],
) -> Result<(Vec<Decision>, Files), EvaluationError> {
    let min_score = args.min_score.unwrap_or(0.0);
    let answers = evaluator.answers(logits, model.temperature())?;
    let answers = answers.into_iter().map(|decision| Decision {
        answer: decision.answer.unless_below(min_score),
        ..decision
    });
    let answers: Vec<_> = answers.collect();
    let files = evaluator.files_of(logits, &answers)?;
    Ok((answers, files))
}

/// The names of the files that may be written.
fn written(task: Task) -> impl Iterator<Item = &'static str> {
    predicted_files(task).iter().copied().chain([RESULTS])
}

/// Writes each file whole or not at all; returns their paths.
fn write(
    args: &PredictArgs,
    files: &[(&'static str, String)],
    report: &Map<String, Value>,
) -> Result<Vec<PathBuf>, Error> {
    let mut written = Vec::new();
    for (name, content) in files {
        let path = args.output_dir.join(name);
        write_file(&path, content.as_bytes())?;
        written.push(path);
    }
    let path = args.output_dir.join(RESULTS);
    write_json(&path, report)?;
    written.push(path);
    Ok(written)
}

impl Predicted {
    /// The counts, under names like those of Hugging Face's reports.
    fn report(&self, labels: &[String]) -> Map<String, Value> {
        let mut report = Map::new();
        report.insert("predict_samples".into(), self.samples.into());
        report.insert("predict_runtime".into(), self.seconds.into());
        let rate = self.samples as f64 / self.seconds;
        report.insert("predict_samples_per_second".into(), rate.into());
        for (name, count) in [
            ("predict_truncated", self.unread.texts),
            ("predict_unanswered_words", self.unread.words),
        ] {
            if count > 0 {
                report.insert(name.into(), count.into());
            }
        }
        if let Some(abstained) = self.abstained {
            report.insert("predict_abstained".into(), abstained.into());
        }
        let counts = match self.task {
            Task::TextPairRegression => self.range().map(|range| ("predict_range", json!(range))),
            Task::QuestionAnswering => {
                let (with, without) = self.spans();
                let counts = json!({"answer": with, "none": without});
                Some(("predict_answers", counts))
            }
            _ => {
                let counts = labels.iter().cloned().zip(self.histogram(labels.len()));
                let counts = counts.map(|(label, count)| (label, count.into())).collect();
                Some(("predict_labels", Value::Object(counts)))
            }
        };
        report.extend(counts.map(|(name, value)| (name.to_owned(), value)));
        report
    }

    /// How often each label is predicted.
    fn histogram(&self, labels: usize) -> Vec<u64> {
        let mut counts = vec![0; labels];
        for decision in &self.answers {
            match &decision.answer {
                Answer::Class { label, .. } => counts[*label] += 1,
                Answer::Set { labels, .. } => labels.iter().for_each(|&label| counts[label] += 1),
                Answer::Value(_) | Answer::Span { .. } | Answer::Abstained => {}
            }
        }
        counts
    }

    /// The least and the greatest number.
    fn range(&self) -> Option<[f32; 2]> {
        let values = self.answers.iter().filter_map(|decision| {
            let Answer::Value(value) = decision.answer else {
                return None;
            };
            Some([value, value])
        });
        values.reduce(|[low, high], [value, _]| [low.min(value), high.max(value)])
    }

    /// How many questions have an answer, and how many none.
    fn spans(&self) -> (usize, usize) {
        let is_none =
            |row: &&Decision| matches!(&row.answer, Answer::Span { text, .. } if text.is_empty());
        let none = self.answers.iter().filter(is_none).count();
        let all = self.answers.len() - self.abstained.unwrap_or(0);
        (all - none, none)
    }

    fn for_people(&self, labels: &[String]) -> String {
        let rate = self.samples as f64 / self.seconds;
        let mut rows = format!("{} rows, {rate:.1} a second", self.samples);
        if let Some(abstained) = self.abstained {
            rows += &format!("; abstained from {abstained} answers");
        }
        let table = match self.task {
            Task::TextPairRegression => match self.range() {
                Some([low, high]) => format!("numbers from {low:.3} to {high:.3}"),
                None => return rows,
            },
            Task::QuestionAnswering => {
                let (with, without) = self.spans();
                format!("{with} answers, {without} questions without one")
            }
            _ => show::counts("prediction", labels, &self.histogram(labels.len())).to_string(),
        };
        format!("{table}\n{rows}")
    }
}

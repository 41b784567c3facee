//! `berth data`: what a labelled file holds, before anything is learnt from it.
//!
//! Lengths are in pieces of the tokenizer that is going to read the file. Where no model is named and
//! the default one was never fetched, they are in words, and nothing is said of what would be cut. Where no task is
//! named, a trained checkpoint's folder, named as the model, says what no flag does, as to `berth evaluate`; with one the
//! file is seen as `berth finetune` would see it.

use super::print;
use crate::args::{DEFAULT_MODEL, DataFileArgs};
use crate::error::Error;
use crate::model::with_tokenizer;
use crate::sources::{Known, Memory};
use crate::{fetch, show};
use berth_data::{Dataset, Example, Label, Lengths, cut_pieces, encode_all};
use berth_task::Task;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Reads, counts and prints.
pub fn run(args: &DataFileArgs) -> Result<(), Error> {
    let model = args.model_name_or_path.as_deref();
    let names_task = args.data.task.is_some() || args.data.task_name.is_some();
    let memory = match names_task {
        true => None,
        false => remembered(model)?,
    };
    let known = Known::new(&args.data, memory)?;
    known.warn_of_idle_flags();
    let dataset = berth_data::read(&known.source(&args.file)?)?;
    known.warn_of_unread(&dataset);
    let contents = Contents::of(&known, &dataset, model)?;
    match args.stdout.json {
        true => print(Value::Object(contents.report())),
        false => print(contents.for_people()),
    }
}

/// What the folder that is named as the model remembers of its training. Nothing is fetched for it, since a base
/// model's files say nothing of the kind.
fn remembered(model: Option<&str>) -> Result<Option<Memory>, Error> {
    match model.map(Path::new).filter(|path| path.is_dir()) {
        Some(folder) => Memory::read(folder),
        None => Ok(None),
    }
}

/// What a file holds.
struct Contents<'d> {
    task: Task,
    dataset: &'d Dataset,
    limit: usize,
    lengths: Option<Lengths>,
    /// What would be cut; none where lengths are in words.
    cut: Option<Cut>,
}

/// What is cut, or parted, when inputs have so many pieces at most.
struct Cut {
    /// Rows that lose something.
    rows: usize,
    /// Pieces that they lose together.
    pieces: usize,
    /// Inputs that the rows become: more than rows where passages are read by windows.
    inputs: usize,
}

impl<'d> Contents<'d> {
    fn of(known: &Known, dataset: &'d Dataset, model: Option<&str>) -> Result<Self, Error> {
        let limit = known.max_seq_length(known.usual_length());
        known.check_stride(limit)?;
        let mut contents = Contents {
            task: known.task,
            dataset,
            limit,
            lengths: None,
            cut: None,
        };
        let settings = fetch::Options::from_environment();
        let folder = match model {
            Some(name) => Some(fetch::resolve(name, &settings)?),
            None => fetch::cached_default(&settings),
        };
        let Some(folder) = folder else {
            contents.lengths = Lengths::in_words(&dataset.examples);
            return Ok(contents);
        };
        with_tokenizer(&folder, |tokenizer| {
            let inputs = encode_all(tokenizer, &known.encoding(limit), &dataset.examples);
            let inputs = inputs.map_err(|error| Error::Path {
                path: folder.clone(),
                what: error.to_string(),
            })?;
            let cut: Vec<usize> = cut_pieces(&inputs).collect();
            contents.lengths = Lengths::in_pieces(tokenizer, &dataset.examples);
            contents.cut = Some(Cut {
                rows: cut.len(),
                pieces: cut.iter().sum(),
                inputs: inputs.len(),
            });
            Ok(())
        })?;
        Ok(contents)
    }

    fn unit(&self) -> &'static str {
        match self.cut {
            Some(_) => "pieces",
            None => "words",
        }
    }

    /// How many questions have an answer where the file says, have one elsewhere, and have none.
    fn answers(&self) -> [usize; 3] {
        let none = |row: &&Example| matches!(&row.label, Label::Answers(all) if all.is_empty());
        let examples = &self.dataset.examples;
        let (none, misplaced) = (
            examples.iter().filter(none).count(),
            self.dataset.misplaced(),
        );
        [examples.len() - none - misplaced, misplaced, none]
    }

    fn report(&self) -> Map<String, Value> {
        let dataset = self.dataset;
        let duplicates = dataset.duplicates();
        let mut report = Map::new();
        let mut put = |name: &str, value: Value| drop(report.insert(name.into(), value));
        put("file", dataset.path.display().to_string().into());
        put("task", self.task.to_string().into());
        put("rows", dataset.rows().into());
        put("unlabelled", dataset.unlabelled.into());
        match self.task {
            Task::TextPairRegression => {
                let range = dataset.range().map(|(low, high)| [low, high]);
                put("range", json!(range));
            }
            Task::QuestionAnswering => {
                let [placed, misplaced, none] = self.answers();
                let counts = json!({"answer": placed, "misplaced": misplaced, "none": none});
                put("answers", counts);
            }
            _ => {
                let counts = dataset.labels.iter().cloned().zip(dataset.histogram());
                let counts = counts.map(|(label, count)| (label, count.into())).collect();
                put("labels", Value::Object(counts));
                if dataset.multi_label {
                    put("multi_label", true.into());
                }
            }
        }
        if let Some(Lengths { p50, p90, p99, max }) = self.lengths {
            let unit = self.unit();
            let lengths = json!({"unit": unit, "p50": p50, "p90": p90, "p99": p99, "max": max});
            put("lengths", lengths);
        }
        put("repeated", duplicates.repeated.into());
        put("contradicting", duplicates.contradicting.into());
        if let Some(cut) = &self.cut {
            put("max_seq_length", self.limit.into());
            put("cut_rows", cut.rows.into());
            put("cut_pieces", cut.pieces.into());
            put("inputs", cut.inputs.into());
        }
        report
    }

    fn for_people(&self) -> String {
        let dataset = self.dataset;
        let duplicates = dataset.duplicates();
        let mut lines = vec![format!("{} rows", dataset.rows())];
        if dataset.unlabelled > 0 {
            lines.push(format!("{} of them without a label", dataset.unlabelled));
        }
        match self.task {
            Task::TextPairRegression => {
                let range = dataset.range();
                lines.extend(range.map(|(low, high)| format!("numbers from {low} to {high}")));
            }
            Task::QuestionAnswering => {
                let [placed, misplaced, none] = self.answers();
                lines.push(format!(
                    "{placed} questions with an answer, {none} without one, {misplaced} whose \
                     answers are not where answer_start says"
                ));
            }
            _ => {
                let counts = dataset.histogram();
                if dataset.multi_label {
                    lines.push("any number of labels a row".to_owned());
                }
                lines.push(show::counts("label", &dataset.labels, &counts).to_string());
            }
        }
        if let Some(Lengths { p50, p90, p99, max }) = self.lengths {
            let heading = [self.unit(), "p50", "p90", "p99", "max"];
            let figures = [p50, p90, p99, max].map(|length| length.to_string());
            let row = std::iter::once("a row".to_owned()).chain(figures).collect();
            lines.push(show::table(&heading, &[row]).to_string());
        }
        lines.push(format!(
            "{} rows say again what an earlier one says, {} contradict it",
            duplicates.repeated, duplicates.contradicting
        ));
        lines.push(self.told_cut());
        lines.join("\n")
    }

    fn told_cut(&self) -> String {
        let limit = self.limit;
        match &self.cut {
            None => format!(
                "words, since {DEFAULT_MODEL} is not in the cache: name a tokenizer with \
                 --model_name_or_path, or get the default one with berth fetch, to see pieces and \
                 what is cut"
            ),
            Some(cut) => {
                let windows = match self.task {
                    Task::QuestionAnswering => format!("; {} windows", cut.inputs),
                    _ => String::new(),
                };
                format!(
                    "at --max_seq_length {limit} {} rows are cut, by {} pieces together{windows}",
                    cut.rows, cut.pieces
                )
            }
        }
    }
}

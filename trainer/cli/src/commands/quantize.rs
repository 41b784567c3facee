//! `berth quantize`: a checkpoint or an ONNX file to one bundle, and what int8 cost.
//!
//! The bundle is made in memory, and the answers that are compared come from those very bytes through
//! the runtime. Only when the gate, if there is one, has been passed is the file written.
//!
//! As a part of a longer command it looks between its steps whether Ctrl-C has asked it to stop, up to the moment
//! when the bundle gets its name. By itself it is ended by Ctrl-C at once, but not where that would leave the bundle
//! half-written.

use super::evaluate::{LabelledFile, Unread, measure, warn};
use super::{print, use_threads};
use crate::args::QuantizeArgs;
use crate::error::Error;
use crate::model::{Model, onnx_folder, open_checkpoint, tell_of_approximations};
use crate::sources::{Known, Memory};
use crate::{interrupt, outputs, page, show};
use berth_bundle::{Calibration, Writer};
use berth_checkpoint::save::{place, write_file};
use berth_checkpoint::weights::WEIGHTS_FILE;
use berth_checkpoint::{Checkpoint, hex, sha256};
use berth_data::{Answer, Decision, EvaluationError, Label};
use berth_quantize::{
    Changed, Comparison, Cost, Findings, Gate, Latency, Measured, Missed, Options, QuantizeError,
    Step, Trials,
};
use berth_runtime::measure;
use berth_task::{SpanRules, Task, Temperature};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many changed answers are listed for people.
const LISTED: usize = 10;

/// Rows of a batch when the checkpoint is measured.
const BATCH: usize = 32;

/// Lengths whose latency the report shows, where the model takes them.
const LENGTHS: [usize; 5] = [16, 64, 128, 256, 384];

/// Quantizes, compares, and prints. The report is printed whether or not the gate was passed.
pub fn run(args: &QuantizeArgs) -> Result<(), Error> {
    use_threads(args.threads)?;
    let subject = Subject::open(args)?;
    if let Some(known) = &subject.known {
        known.warn_of_idle_flags();
    }
    let done = subject.convert(args)?;
    if args.stdout.json {
        done.warn();
        print(berth_quantize::report(&done.findings()))?;
    } else {
        print(for_people(&done, &args.output))?;
    }
    if let Some(missed) = done.missed {
        return Err(missed.into());
    }
    match interrupt::asked() {
        false => Ok(()),
        true => Err(Error::Interrupted(format!(
            "stopped, and {} is written",
            args.output.display()
        ))),
    }
}

/// What came of it.
pub struct Converted {
    /// Size of the bundle in bytes.
    pub bytes: u64,
    /// The layers that stayed in f32.
    pub f32_layers: Vec<usize>,
    /// f32 beside int8, where there was a file to compare on.
    pub comparison: Option<Comparison>,
    /// The names of the labels.
    pub labels: Vec<String>,
    /// What each layer costs, where there was a file.
    cost: Option<Cost>,
    /// What a query takes, where there was a file.
    latency: Option<Latency>,
    /// What was tried to pass the gate.
    search: Vec<Step>,
    /// What was asked of it.
    gate: Gate,
    /// What the file is too small for, and what else is to be known of the figures.
    warnings: Vec<String>,
    /// What of the file no figure is about.
    unread: Unread,
    /// The bound that was missed, if one was; nothing has been written then.
    pub missed: Option<Missed>,
}

impl Converted {
    /// A bundle that nothing was compared with.
    fn of(writer: &Writer, bytes: u64) -> Self {
        let header = writer.header();
        Converted {
            bytes,
            f32_layers: header.f32_layers().collect(),
            comparison: None,
            labels: header.labels.iter().map(str::to_owned).collect(),
            cost: None,
            latency: None,
            search: Vec::new(),
            gate: Gate::default(),
            warnings: Vec::new(),
            unread: Unread::default(),
            missed: None,
        }
    }

    /// Says aloud what is to be known of the figures.
    pub fn warn(&self) {
        warn(&self.warnings);
    }

    fn findings(&self) -> Findings<'_> {
        Findings {
            comparison: self.comparison.as_ref(),
            cost: self.cost.as_ref(),
            latency: self.latency,
            search: &self.search,
            gate: self.gate,
            warnings: &self.warnings,
            truncated: self.unread.texts,
            left_out: self.unread.words,
            bytes: self.bytes,
            f32_layers: &self.f32_layers,
        }
    }
}

/// Quantizes the checkpoint and writes the bundle, if it passes the gate.
///
/// # Errors
/// Where the checkpoint or the file can't be read, or Ctrl-C has asked to stop.
pub fn convert(args: &QuantizeArgs) -> Result<Converted, Error> {
    Subject::open(args)?.convert(args)
}

/// What is to be quantized.
struct Subject {
    checkpoint: Arc<Checkpoint>,
    model: Model,
    /// What the flags and the model's memory say of what it answers, if they do; where there is a file to measure on,
    /// they do.
    known: Option<Known>,
}

impl Subject {
    /// Opens it, once what is asked for has been looked at.
    fn open(args: &QuantizeArgs) -> Result<Self, Error> {
        if args.validation_file.is_none() && !Gate::from(&args.gate).is_open() {
            let what = "--max_drop and --min_agreement need a --validation_file to be measured on";
            return Err(Error::Usage(what.into()));
        }
        check_outputs(args)?;
        interrupt::check(&args.output)?;
        let checkpoint = Arc::new(open(args)?);
        let model = Model::of_checkpoint(Arc::clone(&checkpoint), &args.checkpoint);
        let model = model.renamed(args.data.label_names.as_deref())?;
        let known = known(args, &checkpoint)?;
        Ok(Subject {
            checkpoint,
            model,
            known,
        })
    }

    /// How it is quantized.
    fn options(&self, args: &QuantizeArgs) -> Result<Options, Error> {
        let (model, known) = (&self.model, self.known.as_ref());
        Ok(Options {
            spans: known.and_then(spans),
            task: known.map(|known| known.task),
            label_names: model.former.as_ref().map(|_| model.labels.clone()),
            max_tokens: longest(args, &self.checkpoint, known)?,
            f32_layers: args.f32_layers.clone(),
            ..Options::default()
        })
    }

    /// Quantizes it and writes the bundle, if it passes the gate.
    fn convert(&self, args: &QuantizeArgs) -> Result<Converted, Error> {
        let gate = Gate::from(&args.gate);
        let options = self.options(args)?;
        let measured_on = args.validation_file.as_deref().zip(self.known.as_ref());
        let Some(measured_on) = measured_on else {
            let writer = berth_quantize::quantize(&self.checkpoint, &options)?;
            return written(args, &writer, None);
        };
        let mut compared = compare(args, measured_on, self, options, gate)?;
        let Measured {
            writer, comparison, ..
        } = &mut compared.measured;
        writer.set_metrics(comparison.metrics());
        let calibration = comparison.calibration.clone();
        writer
            .set_calibration(calibration)
            .map_err(QuantizeError::from)?;
        compared.warnings.extend(gate.doubts(comparison));
        let missed = gate.check(comparison).err();
        let done = match missed {
            None => {
                let page = compared.for_page(gate);
                written(args, &compared.measured.writer, Some(page))?
            }
            Some(_) => {
                let bytes = writer.to_bytes().map_err(QuantizeError::from)?;
                Converted::of(writer, bytes.len() as u64)
            }
        };
        let Compared {
            measured,
            warnings,
            unread,
            ..
        } = compared;
        let Measured {
            comparison,
            cost,
            latency,
            search,
            ..
        } = measured;
        Ok(Converted {
            comparison: Some(comparison),
            cost: Some(cost),
            latency: Some(latency),
            search,
            gate,
            warnings,
            unread,
            missed,
            ..done
        })
    }
}

/// The error of a part of a longer command: after Ctrl-C with the way to go on.
pub fn within(error: Error, way: &str) -> Error {
    match error {
        Error::Interrupted(what) => Error::Interrupted(format!("{what}; {way}")),
        error => error,
    }
}

/// That bundle and page are written over nothing but earlier ones.
fn check_outputs(args: &QuantizeArgs) -> Result<(), Error> {
    outputs::check(&args.output, outputs::Kind::Bundle, "--output")?;
    let page = page_path(args);
    outputs::check(&page, outputs::Kind::Page, "--report")?;
    match outputs::are_the_same(&args.output, &page) {
        true => Err(Error::Usage(
            "--output and --report name the same file".into(),
        )),
        false => Ok(()),
    }
}

/// Where the page goes: where it was asked for, else beside the bundle.
fn page_path(args: &QuantizeArgs) -> PathBuf {
    let beside = || args.output.with_extension(page::FILE);
    args.report.clone().unwrap_or_else(beside)
}

/// Writes the bundle, and the page about it. At no moment does a bundle stand beside the page of another, and what was
/// there stays until the new bundle has reached the disk.
fn written(
    args: &QuantizeArgs,
    writer: &Writer,
    compared: Option<page::Compared<'_>>,
) -> Result<Converted, Error> {
    interrupt::listen();
    interrupt::check(&args.output)?;
    let page = page_path(args);
    // A link stays one: the file behind it goes, and comes again.
    let page = place(&page).map_err(|source| Error::file(&page, source))?;
    let staged = writer.stage(&args.output).map_err(QuantizeError::from)?;
    interrupt::check(&args.output)?;
    outputs::remove(&page)?;
    let bytes = staged.commit().map_err(QuantizeError::from)?;
    let done = Converted::of(writer, bytes);
    write_page(args, &page, bytes, &done.f32_layers, compared)?;
    Ok(done)
}

/// Opens what is to be quantized.
fn open(args: &QuantizeArgs) -> Result<Checkpoint, Error> {
    let path = &args.checkpoint;
    match onnx_folder(path, args.tokenizer_name.as_deref())? {
        Some(dir) => {
            let checkpoint = berth_quantize::onnx::open(path, &dir)?;
            tell_of_approximations(&checkpoint);
            Ok(checkpoint)
        }
        None => open_checkpoint(path),
    }
}

/// Writes the report of a quantization to `file`.
fn write_page(
    args: &QuantizeArgs,
    file: &Path,
    bytes: u64,
    f32_layers: &[usize],
    compared: Option<page::Compared<'_>>,
) -> Result<(), Error> {
    let options = measure::Options {
        lengths: lengths(&args.output)?,
        brief: true,
        ..Default::default()
    };
    let weights = match args.checkpoint.is_file() {
        true => args.checkpoint.clone(),
        false => args.checkpoint.join(WEIGHTS_FILE),
    };
    let digest = sha256(&args.output).map_err(|source| Error::file(&args.output, source))?;
    let text = page::quantized(&page::Quantized {
        name: &show::name(&args.output),
        bytes,
        sha256: &hex(&digest),
        f32_bytes: std::fs::metadata(&weights).map_or(0, |file| file.len()),
        f32_layers,
        latency: &measure::measure(&args.output, &options)?,
        compared,
    })?;
    Ok(write_file(file, text.as_bytes())?)
}

/// The lengths to be timed that the bundle takes.
fn lengths(bundle: &Path) -> Result<Vec<usize>, Error> {
    let positions = berth_runtime::Model::open(bundle)?.positions();
    Ok(LENGTHS
        .into_iter()
        .filter(|length| *length <= positions)
        .collect())
}

/// f32 and int8 on one file.
struct Compared {
    measured: Measured,
    rows: LabelledFile,
    /// What the file is called.
    file: String,
    /// What of it no figure is about.
    unread: Unread,
    /// What is to be known of the figures.
    warnings: Vec<String>,
    /// What each said.
    f32: Vec<Decision>,
    int8: Vec<Decision>,
}

impl Compared {
    fn for_page(&self, gate: Gate) -> page::Compared<'_> {
        let answered = |decisions| page::Answered::of(&self.rows.evaluator(&[]), decisions);
        page::Compared {
            file: &self.file,
            comparison: &self.measured.comparison,
            cost: &self.measured.cost,
            search: &self.measured.search,
            gate,
            warnings: &self.warnings,
            f32: answered(&self.f32),
            int8: answered(&self.int8),
        }
    }
}

/// What the flags and the model's memory say of what it answers, if they do.
///
/// # Errors
/// When they contradict each other, or say nothing and there is a file to measure on.
fn known(args: &QuantizeArgs, checkpoint: &Checkpoint) -> Result<Option<Known>, Error> {
    let remembered = Memory::of(checkpoint);
    let flags = &args.data;
    let is_named = flags.task.is_some() || flags.task_name.is_some() || remembered.is_some();
    if !is_named && args.validation_file.is_none() {
        return Ok(None);
    }
    Known::new(flags, remembered).map(Some)
}

/// The longest input of the bundle, if anything says what it answers: what it is measured with, and reads windows of.
fn longest(
    args: &QuantizeArgs,
    checkpoint: &Checkpoint,
    known: Option<&Known>,
) -> Result<Option<usize>, Error> {
    let longest = match (args.data.max_seq_length, known) {
        (Some(flag), _) => Some(flag as usize),
        (None, Some(known)) => Some(known.limit(checkpoint.max_length())?),
        (None, None) => None,
    };
    if let (Some(longest), Some(known)) = (longest, known) {
        known.check_stride(longest)?;
    }
    Ok(longest)
}

/// How the bundle is to choose spans, if that is its task. A threshold that is not settled is 0, unless there is a file
/// to fit it to.
fn spans(known: &Known) -> Option<SpanRules> {
    if known.task != Task::QuestionAnswering {
        return None;
    }
    let scoring = known.spans();
    let mut rules = scoring.rules;
    if scoring.fit_threshold {
        rules.null_score_diff_threshold = Some(0.0);
    }
    Some(rules)
}

/// Lets the checkpoint and the bundle answer the same rows; and other bundles, where the gate asks for it.
fn compare(
    args: &QuantizeArgs,
    (file, known): (&Path, &Known),
    Subject {
        checkpoint, model, ..
    }: &Subject,
    mut options: Options,
    gate: Gate,
) -> Result<Compared, Error> {
    let mut rows = LabelledFile::read(model, file, known, args.max_eval_samples)?;
    let f32 = measure(model, &rows, BATCH)?;
    // The bundle answers by the threshold that it is measured with.
    if let Some((_, threshold)) = f32.evaluation.fitted.first() {
        rows.known.settle_threshold(*threshold as f32);
        options.spans = Some(rows.known.spans().rules);
    }
    let evaluator = rows.evaluator(&f32.inputs);
    let trials = Trials {
        checkpoint,
        evaluator,
        f32_logits: &f32.logits,
        gate,
        threads: rayon::current_num_threads(),
    };
    let measured = trials.run(&options, |bundle| {
        interrupt::check(&args.output)?;
        let bundle = Model::of_bytes(bundle, &args.output)?;
        bundle.logits(rows.known.task, &f32.inputs, BATCH)
    })?;
    let decisions = |logits: &[Vec<f32>], temperature| {
        let decisions = evaluator.decisions_at(logits, temperature);
        decisions.map_err(|error: EvaluationError| Error::Path {
            path: args.checkpoint.clone(),
            what: error.to_string(),
        })
    };
    let fitted = measured.comparison.calibration.as_ref();
    let fitted = fitted.map(Calibration::temperature);
    let unread = f32.unread;
    let (f32, int8) = (
        decisions(&f32.logits, Temperature::ONE)?,
        decisions(&measured.logits, fitted.unwrap_or_default())?,
    );
    let mut warnings = Vec::new();
    if checkpoint
        .names()
        .any(|name| checkpoint.steps(name).is_some())
    {
        warnings.push(EIGHT_BITS.to_owned());
    }
    warnings.extend(unread.of_figures());
    Ok(Compared {
        measured,
        rows,
        file: show::name(file),
        unread,
        warnings,
        f32,
        int8,
    })
}

/// What f32 is of a file whose weights are whole steps of int8 already.
const EIGHT_BITS: &str = "the weights came in eight bits, so f32 stands for these weights in f32 arithmetic, not for \
                          the model that they were made of";

fn for_people(done: &Converted, output: &Path) -> String {
    let size = show::size(done.bytes);
    let output = output.display();
    let Some(comparison) = &done.comparison else {
        return format!("{output}: {size}; give --validation_file to see what int8 cost");
    };
    let mut parts = Vec::new();
    if !done.search.is_empty() {
        parts.push(search_table(&done.search));
    }
    parts.push(comparison_table(comparison));
    parts.extend(done.cost.as_ref().map(layer_table));
    parts.push(changed(comparison, &done.labels));
    parts.extend(comparison.calibration.as_ref().map(calibration_table));
    let warnings = done.warnings.iter();
    parts.extend(warnings.map(|warning| format!("warning: {warning}")));
    if let Some(Latency { tokens, p50_ms, .. }) = done.latency {
        parts.push(format!(
            "a query of {tokens} tokens takes {p50_ms:.2} ms here"
        ));
    }
    parts.push(match done.missed {
        None => format!("{output}: {size}"),
        Some(_) => format!("{output}: not written; it would have {size}"),
    });
    parts.join("\n")
}

/// What was tried to pass the gate: what each change bought, and what it cost in time.
fn search_table(search: &[Step]) -> String {
    let rows: Vec<Vec<String>> = search
        .iter()
        .map(|step| page::search::cells(step).into())
        .collect();
    let table = show::table(&page::search::HEADING, &rows);
    let sizes = page::search::SIZES;
    format!("the gate was missed, and this was tried ({sizes}):\n{table}")
}

/// Where int8 loses it.
fn layer_table(cost: &Cost) -> String {
    let layers = cost.layers.iter();
    let rows: Vec<Vec<String>> = layers
        .map(|layer| page::layers::cells(layer).into())
        .collect();
    format!(
        "{}\nembeddings and head alone leave {} of the error; measured on {} tokens",
        show::table(&page::layers::HEADING, &rows),
        show::percent(cost.rest),
        cost.tokens,
    )
}

/// Metrics side by side, and the agreement.
pub fn comparison_table(comparison: &Comparison) -> String {
    let both = comparison
        .f32
        .entries()
        .into_iter()
        .zip(comparison.int8.entries());
    let rows: Vec<Vec<String>> = both
        .map(|((name, f32), (_, int8))| {
            vec![
                name,
                format!("{f32:.4}"),
                format!("{int8:.4}"),
                page::facts::difference(f32, int8),
            ]
        })
        .collect();
    let (low, high) = comparison.agreement_interval();
    let [least, most] = comparison.drop_interval;
    let caution = comparison.caution();
    let caution = caution.map_or_else(String::new, |caution| format!("; {caution}"));
    format!(
        "{}\nint8 costs {} points of {} (95 % interval {least:.2} to {most:.2}){caution}\n\
         agreement {} of {} answers, {} (95 % interval {} to {})",
        show::table(&["metric", "f32", "int8", "difference"], &rows),
        show::points(comparison.drop()),
        comparison.main_metric,
        comparison.same,
        comparison.asked,
        show::percent(comparison.agreement()),
        show::percent(low),
        show::percent(high),
    )
}

/// The temperature, what it did, and what abstaining buys.
pub fn calibration_table(calibration: &Calibration) -> String {
    let rows: Vec<Vec<String>> = page::calibration::abstaining(calibration)
        .map(Vec::from)
        .collect();
    let table = show::table(&page::calibration::ABSTAINING, &rows);
    format!("{}\n{table}", page::calibration::found(calibration))
}

/// The answers that changed, a line each.
fn changed(comparison: &Comparison, labels: &[String]) -> String {
    let all = comparison.changed.len();
    let mut lines = vec![match all {
        0 => return "no answer changed".into(),
        1 => "1 answer changed:".into(),
        all => format!("{all} answers changed:"),
    }];
    lines.extend(
        comparison
            .changed
            .iter()
            .take(LISTED)
            .map(|row| changed_line(row, labels)),
    );
    if all > LISTED {
        lines.push(format!(
            "  … and {} more; --json has them all",
            all - LISTED
        ));
    }
    lines.join("\n")
}

fn changed_line(row: &Changed, labels: &[String]) -> String {
    let name = |index: usize| {
        labels
            .get(index)
            .map_or("?".into(), |name| show::line(name))
    };
    let names = |labels: &mut dyn Iterator<Item = usize>| {
        let names: Vec<String> = labels.map(name).collect();
        format!("[{}]", names.join(", "))
    };
    let answer = |answer: &Answer| match answer {
        Answer::Class { label, probability } => format!("{} {probability:.3}", name(*label)),
        Answer::Set { labels, .. } => names(&mut labels.iter().copied()),
        Answer::Value(value) => format!("{value:.3}"),
        Answer::Span { text, .. } => format!("{:?}", show::excerpt(text, 40)),
        Answer::Abstained => "none".to_owned(),
    };
    let gold = match &row.gold {
        Label::Class(label) => name(*label as usize),
        Label::Set(labels) => names(&mut labels.iter().map(|&label| label as usize)),
        Label::Value(value) => value.to_string(),
        Label::Answers(answers) => answers.first().map_or("no answer".to_owned(), |answer| {
            show::excerpt(&answer.text, 40)
        }),
        Label::Tags(_) | Label::None => "unknown".to_owned(),
    };
    let text = show::excerpt(&row.text, 60);
    format!(
        "  line {}: {} → {} (right: {gold})  {text}",
        row.line,
        answer(&row.f32),
        answer(&row.int8)
    )
}

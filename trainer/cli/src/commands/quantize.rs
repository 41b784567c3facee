//! `berth quantize`: a checkpoint or an ONNX file to one bundle, and what int8 cost.
//!
//! The bundle is made in memory, and the answers that are compared come from those very bytes through
//! the runtime. Only when the gate, if there is one, has been passed is the file written.

use super::evaluate::{LabelledFile, measure};
use super::{print, use_threads};
use crate::args::QuantizeArgs;
use crate::error::Error;
use crate::model::{Model, onnx_folder};
use crate::sources::Known;
use crate::{page, show};
use berth_checkpoint::Checkpoint;
use berth_checkpoint::save::write_file;
use berth_data::{Answer, Decision, EvaluationError, Label};
use berth_quantize::{Changed, Comparison, Gate, Options};
use berth_runtime::measure;
use berth_task::{SpanRules, Task};
use std::path::Path;

/// How many changed answers are listed for people.
const LISTED: usize = 10;

/// Rows of a batch when the checkpoint is measured.
const BATCH: usize = 32;

/// Lengths whose latency the report shows, where the model takes them.
const LENGTHS: [usize; 5] = [16, 64, 128, 256, 384];

/// Quantizes, compares, and prints.
pub fn run(args: &QuantizeArgs) -> Result<(), Error> {
    use_threads(args.threads);
    let done = convert(args)?;
    if args.json {
        return print(berth_quantize::report(
            done.comparison.as_ref(),
            done.bytes,
            &done.f32_layers,
        ));
    }
    print(for_people(&done, &args.output))
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
}

/// Quantizes the checkpoint and writes the bundle, if it passes the gate.
///
/// # Errors
/// Where the checkpoint or the file can't be read, or the gate was missed; nothing is written then.
pub fn convert(args: &QuantizeArgs) -> Result<Converted, Error> {
    let gate = Gate {
        max_drop: args.max_drop,
        min_agreement: args.min_agreement,
    };
    if args.validation_file.is_none() && !gate.is_open() {
        let what = "--max_drop and --min_agreement need a --validation_file to be measured on";
        return Err(Error::Usage(what.into()));
    }
    let checkpoint = open(args)?;
    let options = Options {
        spans: spans(args, &checkpoint)?,
        task: args.data.task,
        max_tokens: args.data.max_seq_length.map(|length| length as usize),
        name: None,
        f32_layers: args.f32_layers.clone(),
    };
    let mut writer = berth_quantize::quantize(&checkpoint, &options)?;
    let labels = writer.header().labels.iter().map(str::to_owned).collect();
    let compared = match &args.validation_file {
        Some(file) => Some(compare(args, file, &writer)?),
        None => None,
    };
    if let Some(compared) = &compared {
        gate.check(&compared.comparison)?;
        writer.set_metrics(compared.comparison.metrics());
    }
    let bytes = writer
        .write(&args.output)
        .map_err(berth_quantize::QuantizeError::from)?;
    let f32_layers: Vec<usize> = writer.header().f32_layers().collect();
    write_page(args, bytes, &f32_layers, compared.as_ref())?;
    Ok(Converted {
        bytes,
        f32_layers,
        comparison: compared.map(|compared| compared.comparison),
        labels,
    })
}

/// Opens what is to be quantized.
fn open(args: &QuantizeArgs) -> Result<Checkpoint, Error> {
    let path = &args.checkpoint;
    match onnx_folder(path, args.tokenizer_name.as_deref())? {
        Some(dir) => Ok(berth_quantize::onnx::open(path, &dir)?),
        None => Ok(Checkpoint::open(path)?),
    }
}

/// Writes the report of a quantization: where it was asked for, else beside the bundle.
fn write_page(
    args: &QuantizeArgs,
    bytes: u64,
    f32_layers: &[usize],
    compared: Option<&Compared>,
) -> Result<(), Error> {
    let options = measure::Options {
        lengths: lengths(&args.output)?,
        brief: true,
        ..Default::default()
    };
    let weights = match args.checkpoint.is_file() {
        true => args.checkpoint.clone(),
        false => args.checkpoint.join("model.safetensors"),
    };
    let text = page::quantized(&page::Quantized {
        name: &show::name(&args.output),
        bytes,
        f32_bytes: std::fs::metadata(&weights).map_or(0, |file| file.len()),
        f32_layers,
        latency: &measure::measure(&args.output, &options)?,
        compared: compared.map(Compared::for_page),
    })?;
    let path = args.report.clone();
    let path = path.unwrap_or_else(|| args.output.with_extension(page::FILE));
    Ok(write_file(path, text.as_bytes())?)
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
    comparison: Comparison,
    rows: LabelledFile,
    /// What each said.
    f32: Vec<Decision>,
    int8: Vec<Decision>,
}

impl Compared {
    fn for_page(&self) -> page::Compared<'_> {
        let answered = |decisions| page::Answered::of(&self.rows.evaluator(&[]), decisions);
        page::Compared {
            comparison: &self.comparison,
            f32: answered(&self.f32),
            int8: answered(&self.int8),
        }
    }
}

/// How the bundle is to choose spans, if that is its task. A threshold that is not settled is 0.
fn spans(args: &QuantizeArgs, checkpoint: &Checkpoint) -> Result<Option<SpanRules>, Error> {
    let remembered = checkpoint.training_args().cloned();
    let task = args.data.task.or(remembered.as_ref().map(|args| args.task));
    if task != Some(Task::QuestionAnswering) {
        return Ok(None);
    }
    let scoring = Known::new(&args.data, remembered)?.spans();
    let mut rules = scoring.rules;
    if scoring.fit_threshold {
        rules.null_score_diff_threshold = Some(0.0);
    }
    Ok(Some(rules))
}

/// Lets the checkpoint and the bundle answer the same rows.
fn compare(
    args: &QuantizeArgs,
    file: &Path,
    writer: &berth_bundle::Writer,
) -> Result<Compared, Error> {
    let checkpoint = Model::of_checkpoint(open(args)?, &args.checkpoint);
    let rows = LabelledFile::read(&checkpoint, file, &args.data, args.max_eval_samples)?;
    let bytes = writer
        .to_bytes()
        .map_err(berth_quantize::QuantizeError::from)?;
    let bundle = Model::of_bytes(&bytes, &args.output)?;
    let f32 = measure(&checkpoint, &rows, BATCH)?;
    let int8 = measure(&bundle, &rows, BATCH)?;
    let wrong = |error: EvaluationError| Error::Model {
        path: args.checkpoint.clone(),
        what: error.to_string(),
    };
    let evaluator = rows.evaluator(&f32.inputs);
    let comparison = Comparison::new(&evaluator, &f32.logits, &int8.logits).map_err(wrong)?;
    let (f32, int8) = (
        evaluator.decisions(&f32.logits).map_err(wrong)?,
        evaluator.decisions(&int8.logits).map_err(wrong)?,
    );
    Ok(Compared {
        comparison,
        rows,
        f32,
        int8,
    })
}

fn for_people(done: &Converted, output: &Path) -> String {
    let written = format!("{}: {}", output.display(), show::size(done.bytes));
    match &done.comparison {
        Some(comparison) => {
            format!(
                "{}\n{}\n{written}",
                comparison_table(comparison),
                changed(comparison, &done.labels)
            )
        }
        None => format!("{written}; give --validation_file to see what int8 cost"),
    }
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
                format!("{:+.4}", int8 - f32),
            ]
        })
        .collect();
    let (low, high) = comparison.agreement_interval();
    format!(
        "{}\nagreement {} of {} answers, {} (95 % interval {} to {})",
        show::table(&["metric", "f32", "int8", "difference"], &rows),
        comparison.same,
        comparison.asked,
        show::percent(comparison.agreement()),
        show::percent(low),
        show::percent(high),
    )
}

/// The answers that changed, a line each.
fn changed(comparison: &Comparison, labels: &[String]) -> String {
    let all = comparison.changed.len();
    if all == 0 {
        return "no answer changed".into();
    }
    let mut lines = vec![format!("{all} answers changed:")];
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
    let name = |index: usize| labels.get(index).map_or("?", String::as_str);
    let names = |labels: &mut dyn Iterator<Item = usize>| {
        let names: Vec<&str> = labels.map(name).collect();
        format!("[{}]", names.join(", "))
    };
    let answer = |answer: &Answer| match answer {
        Answer::Class { label, probability } => format!("{} {probability:.3}", name(*label)),
        Answer::Set { labels, .. } => names(&mut labels.iter().copied()),
        Answer::Value(value) => format!("{value:.3}"),
        Answer::Span { text, .. } => format!("{:?}", show::excerpt(text, 40)),
    };
    let gold = match &row.gold {
        Label::Class(label) => name(*label as usize).to_owned(),
        Label::Set(labels) => names(&mut labels.iter().map(|&label| label as usize)),
        Label::Value(value) => value.to_string(),
        Label::Answers(answers) => answers
            .first()
            .map_or("no answer", |answer| &answer.text)
            .to_owned(),
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

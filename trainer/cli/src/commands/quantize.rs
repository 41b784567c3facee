//! `berth quantize`: a checkpoint to one bundle, and what int8 cost.
//!
//! The bundle is made in memory, and the answers that are compared come from those very bytes through
//! the runtime. Only when the gate, if there is one, has been passed is the file written.

use super::evaluate::{LabelledFile, measure};
use super::{print, use_threads};
use crate::args::QuantizeArgs;
use crate::error::Error;
use crate::model::Model;
use crate::show;
use crate::sources::Known;
use berth_bundle::{Calibration, Threshold};
use berth_checkpoint::Checkpoint;
use berth_data::{Answer, Label};
use berth_quantize::{Changed, Comparison, Gate, Options};
use berth_task::{SpanRules, Task};
use std::path::Path;

/// How many changed answers are listed for people.
const LISTED: usize = 10;

/// Rows of a batch when the checkpoint is measured.
const BATCH: usize = 32;

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
    let checkpoint = Checkpoint::open(&args.checkpoint)?;
    let options = Options {
        spans: spans(args, &checkpoint)?,
        task: args.data.task,
        max_tokens: args.data.max_seq_length.map(|length| length as usize),
        name: None,
        f32_layers: args.f32_layers.clone(),
    };
    let mut writer = berth_quantize::quantize(&checkpoint, &options)?;
    let labels = writer.header().labels.iter().map(str::to_owned).collect();
    let comparison = match &args.validation_file {
        Some(file) => Some(compare(args, file, &writer)?),
        None => None,
    };
    if let Some(comparison) = &comparison {
        gate.check(comparison)?;
        writer.set_metrics(comparison.metrics());
        writer
            .set_calibration(comparison.calibration.clone())
            .map_err(berth_quantize::QuantizeError::from)?;
    }
    let bytes = writer
        .write(&args.output)
        .map_err(berth_quantize::QuantizeError::from)?;
    Ok(Converted {
        bytes,
        f32_layers: writer.header().f32_layers().collect(),
        comparison,
        labels,
    })
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
) -> Result<Comparison, Error> {
    let checkpoint = Model::open(&args.checkpoint)?;
    let rows = LabelledFile::read(&checkpoint, file, &args.data, args.max_eval_samples)?;
    let bytes = writer
        .to_bytes()
        .map_err(berth_quantize::QuantizeError::from)?;
    let bundle = Model::of_bytes(&bytes, &args.output)?;
    let f32 = measure(&checkpoint, &rows, BATCH)?;
    let int8 = measure(&bundle, &rows, BATCH)?;
    let comparison = Comparison::new(&rows.evaluator(&f32.inputs), &f32.logits, &int8.logits);
    comparison.map_err(|error| Error::Model {
        path: args.checkpoint.clone(),
        what: error.to_string(),
    })
}

fn for_people(done: &Converted, output: &Path) -> String {
    let written = format!("{}: {}", output.display(), show::size(done.bytes));
    match &done.comparison {
        Some(comparison) => {
            let mut parts = vec![
                comparison_table(comparison),
                changed(comparison, &done.labels),
            ];
            parts.extend(comparison.calibration.as_ref().map(calibration_table));
            parts.push(written);
            parts.join("\n")
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

/// The temperature, what it did, and what abstaining buys.
pub fn calibration_table(calibration: &Calibration) -> String {
    let Calibration {
        temperature,
        answers,
        error_before: before,
        error_after: after,
        error_held_out: held_out,
        ..
    } = *calibration;
    let found = if temperature == 1.0 {
        format!(
            "scores are as the model gives them, calibration error {before:.4}: \
             no temperature did good on rows that it was not fitted on"
        )
    } else {
        format!(
            "scores at temperature {temperature}, calibration error {before:.4} → {after:.4} on the \
             {answers} answers that it was fitted on, \
             {held_out:.4} where each half has the other's temperature"
        )
    };
    let row = |threshold: &Threshold| {
        let precision = threshold.precision().map_or("–".into(), show::percent);
        vec![
            threshold.min_score.to_string(),
            show::percent(threshold.coverage(answers)),
            precision,
        ]
    };
    let rows: Vec<_> = calibration.thresholds.iter().map(row).collect();
    let table = show::table(&["--min_score", "answered", "of these right"], &rows);
    format!("{found}\n{table}")
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
        Answer::Abstained => "none".to_owned(),
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

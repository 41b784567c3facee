//! Headlines and plain figures.

use super::frame::{Section, Tile, table};
use super::text::shown;
use super::{Compared, Training};
use crate::show::{percent, points};
use berth_checkpoint::{DataFile, Provenance, TrainingArgs};
use berth_quantize::{Comparison, Gate};
use berth_task::Task;
use maud::{Markup, html};
use serde_json::{Map, Value};

/// What a fine-tuning came to, in a few tiles.
pub fn headline(run: &Training<'_>) -> Vec<Tile> {
    let figure = |name: &str| run.results.get(name).and_then(Value::as_f64);
    let mut tiles = Vec::new();
    for name in main_figures(run.args.task) {
        if let Some(value) = figure(name) {
            tiles.push(Tile::new(name.trim_start_matches("eval_"), in_short(value)));
        }
    }
    let rows = figure("eval_samples").map(|rows| format!("measured on {rows} rows"));
    if let Some(loss) = figure("eval_loss") {
        tiles.push(Tile::new("loss", in_short(loss)).note(rows.unwrap_or_default()));
    }
    if let Some(rows) = figure("train_samples") {
        let epochs = match run.state.epoch {
            1.0 => "inputs, one epoch".to_owned(),
            some => format!("inputs, {} epochs", in_short(some)),
        };
        tiles.push(Tile::new("learned from", format!("{rows}")).note(epochs));
    }
    if let Some(seconds) = figure("train_runtime") {
        tiles.push(Tile::new("training took", duration(seconds)));
    }
    tiles
}

/// The figures of the headline, where a run has them.
fn main_figures(task: Task) -> &'static [&'static str] {
    match task {
        Task::QuestionAnswering => &["eval_f1", "eval_exact_match"],
        Task::TextPairRegression => &["eval_spearmanr", "eval_pearson"],
        _ => &["eval_accuracy", "eval_f1", "eval_matthews_correlation"],
    }
}

/// What was asked of the bundle, whether it was met, and what is to be known of the figures.
pub fn gate(compared: &Compared<'_>) -> Markup {
    let Gate {
        max_drop,
        min_agreement,
    } = compared.gate;
    let asked = [("--max_drop", max_drop), ("--min_agreement", min_agreement)];
    let asked = asked.into_iter();
    let asked = asked.filter_map(|(flag, bound)| Some(format!("{flag} {}", bound?)));
    let asked: Vec<String> = asked.collect();
    let verdict = match compared.gate.check(compared.comparison) {
        Ok(()) => "met",
        Err(_) => "missed",
    };
    html! {
        @if !asked.is_empty() { p { "Asked for: " (asked.join(", ")) "; " b { (verdict) } "." } }
        @for warning in compared.warnings { p.warning { "Warning: " (warning) "." } }
    }
}

/// What int8 cost, in a few tiles.
pub fn cost(comparison: &Comparison) -> Vec<Tile> {
    let name = comparison.main_metric;
    let of = |value: Option<f64>| value.map_or("–".to_owned(), in_short);
    let (low, high) = comparison.agreement_interval();
    let [least, most] = comparison.drop_interval;
    let caution = comparison.caution();
    let caution = caution.map_or_else(String::new, |caution| format!("; {caution}"));
    vec![
        Tile::new(name, of(comparison.int8.get(name)))
            .note(format!("{} in f32", of(comparison.f32.get(name)))),
        Tile::new("points lost", points(comparison.drop())).note(format!(
            "of {name}; 95 % interval {least:.2} to {most:.2}{caution}"
        )),
        Tile::new("answers that stay", percent(comparison.agreement())).note(format!(
            "{} of {}; 95 % interval {} to {}",
            comparison.same,
            comparison.asked,
            percent(low),
            percent(high)
        )),
    ]
}

/// How a figure of int8 differs from that of f32; what rounds to nothing has no sign.
pub fn difference(f32: f64, int8: f64) -> String {
    let text = format!("{:+.4}", int8 - f32);
    match text.as_str() {
        "+0.0000" | "-0.0000" => "0.0000".to_owned(),
        _ => text,
    }
}

/// Every metric in f32 and int8.
pub fn both(comparison: &Comparison) -> Section {
    let both = comparison
        .f32
        .entries()
        .into_iter()
        .zip(comparison.int8.entries());
    let rows = both.map(|((name, f32), (_, int8))| {
        let figures = [in_short(f32), in_short(int8), difference(f32, int8)];
        let figures = figures.map(|figure| html! { (figure) });
        let name = name.trim_start_matches("eval_");
        [html! { (name) }].into_iter().chain(figures).collect()
    });
    Section {
        id: "figures",
        heading: "Figures",
        body: table(
            &["metric", "f32", "int8", "difference"],
            &rows.collect::<Vec<_>>(),
        ),
    }
}

/// Every figure of a run.
pub fn figures(results: &Map<String, Value>) -> Section {
    let rows = results.iter().map(|(name, value)| {
        let value = match value.as_f64() {
            Some(number) => in_short(number),
            None => value.to_string(),
        };
        vec![html! { (name) }, html! { (value) }]
    });
    Section {
        id: "figures",
        heading: "Figures",
        body: table(&["figure", "value"], &rows.collect::<Vec<_>>()),
    }
}

/// What a model was made of.
pub fn origin(from: &Provenance) -> Section {
    let file = |what: &str, file: &DataFile| {
        vec![
            html! { (what) },
            shown(&file.name),
            html! { (file.rows) },
            html! { code { (file.sha256) } },
        ]
    };
    let mut rows = vec![vec![
        html! { "base model" },
        shown(&from.base_model),
        html! {},
        html! { code { (from.base_model_sha256) } },
    ]];
    rows.extend(
        from.train_file
            .as_ref()
            .map(|one| file("learned from", one)),
    );
    rows.extend(
        from.validation_file
            .as_ref()
            .map(|one| file("measured on", one)),
    );
    Section {
        id: "origin",
        heading: "What it was made of",
        body: table(&["", "name", "rows", "SHA-256"], &rows),
    }
}

/// The settings of a run.
pub fn recipe(args: &TrainingArgs) -> Option<Section> {
    let settings = args.recipe.as_object()?.iter();
    let settings = settings.filter(|(_, value)| !value.is_null());
    let length = ("max_seq_length".to_owned(), args.max_seq_length.to_string());
    let rows = settings.map(|(name, value)| (name.clone(), value.to_string()));
    let rows = [length].into_iter().chain(rows);
    let rows: Vec<_> = rows
        .map(|(name, value)| vec![html! { (name) }, shown(&value)])
        .collect();
    Some(Section {
        id: "recipe",
        heading: "Recipe",
        body: html! { details { summary { "All settings" } (table(&["setting", "value"], &rows)) } },
    })
}

/// A number with as many digits as are worth reading.
fn in_short(value: f64) -> String {
    match (value.fract() == 0.0, value.abs() >= 10.0) {
        (true, _) => format!("{value}"),
        (false, true) => format!("{value:.2}"),
        (false, false) => format!("{value:.4}"),
    }
}

fn duration(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
    }
}

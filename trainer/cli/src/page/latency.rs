//! How long a query takes by its length.

use super::chart::{Chart, Series};
use super::frame::{Section, table};
use super::text::shown;
use crate::error::Error;
use berth_runtime::measure::{Latency, Report};
use maud::{Markup, html};

/// A chart and its numbers.
///
/// # Errors
/// When the chart can't be drawn.
pub fn section(report: &Report) -> Result<Section, Error> {
    let line = |name: &str, of: fn(&Latency) -> f64| {
        let points = report
            .lengths
            .iter()
            .map(|(tokens, one)| (*tokens as f64, of(one)));
        Series::line(name, points.collect())
    };
    let longest = report
        .lengths
        .iter()
        .map(|(tokens, _)| *tokens as f64)
        .fold(0.0, f64::max);
    let slowest = report
        .lengths
        .iter()
        .map(|(_, one)| one.p90_ms)
        .fold(0.0, f64::max);
    let chart = Chart {
        caption: "Milliseconds a query",
        x: "tokens",
        x_counts: false,
        x_range: Some((0.0, 1.05 * longest.max(1.0))),
        y_range: Some((0.0, 1.1 * slowest.max(1e-3))),
        series: &[
            line("median", |one| one.p50_ms),
            line("90 of 100", |one| one.p90_ms),
        ],
    };
    let threads = match report.threads {
        1 => "one thread".to_owned(),
        some => format!("{some} threads"),
    };
    Ok(Section {
        id: "latency",
        heading: "Latency",
        body: html! {
            p { "Measured where the model was quantized, on " (shown(&report.cpu)) " (" (report.isa) "), " (threads)
                ", by a few queries of each length: a first impression. " code { "berth bench" } " takes longer, and "
                code { "berth-edge --bench" } " measures the device." }
            div.charts { (chart.draw()?) (numbers(report)) }
        },
    })
}

fn numbers(report: &Report) -> Markup {
    let rows = report.lengths.iter().map(|(tokens, one)| {
        let times = [one.p50_ms, one.p90_ms, one.min_ms];
        let times = times.map(|ms| html! { (format!("{ms:.2}")) });
        [html! { (tokens) }].into_iter().chain(times).collect()
    });
    let heading = ["tokens", "median, ms", "90 of 100", "least"];
    table(&heading, &rows.collect::<Vec<_>>())
}

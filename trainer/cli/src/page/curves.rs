//! The course of a run: its losses, and the metrics at each evaluation.

use super::chart::{Chart, Look, Series};
use super::frame::Section;
use crate::error::Error;
use berth_trainer::state::TrainerState;
use maud::html;
use serde_json::{Map, Value};

/// Of evaluations, what is no figure of the answers.
const ASIDE: [&str; 4] = [
    "eval_loss",
    "eval_runtime",
    "eval_samples",
    "eval_samples_per_second",
];

/// Figures that fit into one chart.
const MOST: usize = 5;

/// Losses and metrics over epochs.
///
/// # Errors
/// When a chart can't be drawn.
pub fn section(state: &TrainerState) -> Result<Section, Error> {
    let x_range = Some((0.0, state.epoch.max(1e-3)));
    let losses = Chart {
        caption: "Loss",
        x: "epochs",
        x_counts: false,
        x_range,
        y_range: None,
        series: &losses(state),
    };
    let metrics = metrics(state);
    let metrics = match metrics.is_empty() {
        true => None,
        false => Some(
            Chart {
                caption: "Metrics of the file that was measured on",
                x: "epochs",
                x_counts: false,
                x_range,
                y_range: None,
                series: &metrics,
            }
            .draw()?,
        ),
    };
    Ok(Section {
        id: "course",
        heading: "The course of the run",
        body: html! {
            div.charts {
                (losses.draw()?)
                @if let Some(metrics) = metrics { (metrics) }
            }
        },
    })
}

fn losses(state: &TrainerState) -> Vec<Series> {
    let per_epoch = state.global_step as f64 / state.epoch.max(f64::MIN_POSITIVE);
    let steps = state.loss_curve.points();
    let steps = steps.map(|(step, loss)| (step as f64 / per_epoch, loss));
    let measured = points(state, "eval_loss");
    let mut series = vec![Series::line("in training", steps.collect())];
    if !measured.is_empty() {
        let look = match measured.len() {
            1 => Look::Dots,
            _ => Look::Line,
        };
        series.push(Series {
            look,
            ..Series::line("measured", measured)
        });
    }
    series
}

/// A line for each metric that evaluations have.
fn metrics(state: &TrainerState) -> Vec<Series> {
    let first = state
        .log_history
        .iter()
        .find(|entry| entry.keys().any(|name| name.starts_with("eval_")));
    let names = first.into_iter().flat_map(Map::keys);
    let names = names.filter(|name| name.starts_with("eval_") && !ASIDE.contains(&name.as_str()));
    // Counts and thresholds have other scales.
    let names = names.filter(|name| !name.ends_with("_total") && !name.ends_with("_thresh"));
    let short = |name: &str| name.trim_start_matches("eval_").to_owned();
    names
        .take(MOST)
        .map(|name| Series::line(short(name), points(state, name)))
        .collect()
}

/// A figure of the log over epochs.
fn points(state: &TrainerState, name: &str) -> Vec<(f64, f64)> {
    let point = |entry: &Map<String, Value>| {
        Some((entry.get("epoch")?.as_f64()?, entry.get(name)?.as_f64()?))
    };
    state.log_history.iter().filter_map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_a_line_where_there_is_no_loss_of_them() {
        let mut state = TrainerState::default();
        state.log([("loss".into(), 0.5)]);
        state.log([("eval_f1".into(), 50.0), ("eval_runtime".into(), 0.25)]);
        assert_eq!(metrics(&state).len(), 1);
    }
}

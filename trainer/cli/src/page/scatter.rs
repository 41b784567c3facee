//! Numbers beside the right ones.

use super::answered::Answered;
use super::chart::{Chart, Look, Series};
use super::frame::Section;
use crate::error::Error;
use berth_data::{Answer, Decision, Label};
use maud::html;

/// At most so many dots, which is as many as can be told apart; more are thinned out evenly.
const MOST: usize = 2_000;

/// A dot for each row; nothing where answers are no numbers.
///
/// # Errors
/// When the chart can't be drawn.
pub fn section(answered: &Answered<'_>) -> Result<Option<Section>, Error> {
    let pair = |decision: &Decision| match (&decision.answer, &decision.gold) {
        (Answer::Value(value), Label::Value(gold)) => Some((f64::from(*gold), f64::from(*value))),
        _ => None,
    };
    let pairs: Vec<(f64, f64)> = answered.decisions.iter().filter_map(pair).collect();
    if pairs.is_empty() {
        return Ok(None);
    }
    let every = pairs.len().div_ceil(MOST);
    let ends = pairs.iter().map(|(gold, _)| *gold);
    let (low, high) = (
        ends.clone().fold(f64::INFINITY, f64::min),
        ends.fold(f64::NEG_INFINITY, f64::max),
    );
    let dots = Series {
        look: Look::Dots,
        ..Series::line("answers", pairs.into_iter().step_by(every).collect())
    };
    let right = Series {
        look: Look::Aid,
        ..Series::line("", vec![(low, low), (high, high)])
    };
    let chart = Chart {
        caption: "Each answer over the right number",
        x: "right",
        x_counts: false,
        x_range: None,
        y_range: None,
        series: &[dots, right],
    };
    Ok(Some(Section {
        id: "numbers",
        heading: "Numbers",
        body: html! { div.charts { (chart.draw()?) } },
    }))
}

//! Whether the model is right as often as it says.

use super::answered::Answered;
use super::chart::{Chart, Look, Series};
use super::frame::{Section, table};
use crate::error::Error;
use crate::show::percent;
use berth_bundle::Calibration;
use berth_data::metrics::Reliability;
use maud::{Markup, html};

/// What links call it.
pub const ID: &str = "confidence";

/// One model's; nothing where answers have no probability.
///
/// # Errors
/// When the chart can't be drawn.
pub fn section(answered: &Answered<'_>) -> Result<Option<Section>, Error> {
    of(&[("answers", answered)], None)
}

/// Those of the checkpoint and of the bundle, and the temperature that the bundle has.
///
/// # Errors
/// When the chart can't be drawn.
pub fn beside(
    f32: &Answered<'_>,
    int8: &Answered<'_>,
    fitted: Option<&Calibration>,
) -> Result<Option<Section>, Error> {
    of(&[("f32", f32), ("int8", int8)], fitted)
}

/// What the temperature did.
pub fn found(calibration: &Calibration) -> String {
    let Calibration {
        temperature,
        answers,
        error_before: before,
        error_after: after,
        error_held_out: held_out,
        ..
    } = *calibration;
    if temperature == 1.0 {
        return format!(
            "scores are as the model gives them, calibration error {before:.4}: \
             no temperature did good on rows that it was not fitted on"
        );
    }
    format!(
        "scores at temperature {temperature}, calibration error {before:.4} → {after:.4} on the \
         {answers} answers that it was fitted on, \
         {held_out:.4} where each half has the other's temperature"
    )
}

/// The columns of what abstaining buys.
pub const ABSTAINING: [&str; 3] = ["--min_score", "answered", "of these right"];

/// What abstaining buys, by rising score.
pub fn abstaining(calibration: &Calibration) -> impl Iterator<Item = [String; 3]> {
    calibration.thresholds.iter().map(|threshold| {
        let precision = threshold.precision().map_or("–".into(), percent);
        [
            threshold.min_score.to_string(),
            percent(threshold.coverage(calibration.answers)),
            precision,
        ]
    })
}

fn fitting(calibration: &Calibration) -> Markup {
    let rows = abstaining(calibration).map(|row| row.map(|cell| html! { (cell) }).into());
    html! {
        p { "In the bundle: " (found(calibration)) "." }
        h3 { "What abstaining buys" }
        (table(&ABSTAINING, &rows.collect::<Vec<_>>()))
    }
}

fn of(
    models: &[(&str, &Answered<'_>)],
    fitted: Option<&Calibration>,
) -> Result<Option<Section>, Error> {
    let measured = models
        .iter()
        .map(|(name, answered)| (*name, Reliability::of(answered.probabilities())));
    let measured: Vec<(&str, Reliability)> = measured.collect();
    if measured.iter().all(|(_, one)| one.bins().next().is_none()) {
        return Ok(None);
    }
    let mut series: Vec<Series> = measured.iter().map(|(name, one)| line(name, one)).collect();
    series.push(Series {
        look: Look::Aid,
        ..Series::line("", vec![(0.0, 0.0), (1.0, 1.0)])
    });
    let chart = Chart {
        caption: "Share of right answers by probability; on the diagonal a probability means what it says",
        x: "probability",
        x_counts: false,
        x_range: Some((0.0, 1.0)),
        y_range: Some((0.0, 1.02)),
        series: &series,
    };
    let body = html! {
        @for (name, one) in &measured {
            p { "Expected calibration error of " (name) ": " b { (format!("{:.4}", one.error())) }
                ", over 15 bins of equal width." }
        }
        div.charts { (chart.draw()?) }
        @if let Some(fitted) = fitted { (fitting(fitted)) }
        @for (name, one) in &measured { details { summary { "The bins of " (name) } (bins(one)) } }
    };
    Ok(Some(Section {
        id: ID,
        heading: "Confidence",
        body,
    }))
}

fn line(name: &str, reliability: &Reliability) -> Series {
    let points = reliability
        .bins()
        .map(|bin| (bin.probability(), bin.accuracy()));
    Series::line(name, points.collect())
}

fn bins(reliability: &Reliability) -> Markup {
    let rows = reliability.bins().map(|bin| {
        vec![
            html! { (format!("{:.3}", bin.probability())) },
            html! { (format!("{:.3}", bin.accuracy())) },
            html! { (bin.answers()) },
        ]
    });
    let heading = ["mean probability", "share right", "answers"];
    table(&heading, &rows.collect::<Vec<_>>())
}

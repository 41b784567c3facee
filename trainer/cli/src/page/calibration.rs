//! Whether the model is right as often as it says.

use super::chart::{Chart, Look, Series};
use super::frame::{Section, table};
use super::judged::Judged;
use crate::error::Error;
use berth_data::Calibration;
use maud::{Markup, html};

/// What links call it.
pub const ID: &str = "confidence";

/// One model's; nothing where answers have no probability.
///
/// # Errors
/// When the chart can't be drawn.
pub fn section(judged: &Judged<'_>) -> Result<Option<Section>, Error> {
    of(&[("answers", judged)])
}

/// Those of the checkpoint and of the bundle.
///
/// # Errors
/// When the chart can't be drawn.
pub fn beside(f32: &Judged<'_>, int8: &Judged<'_>) -> Result<Option<Section>, Error> {
    of(&[("f32", f32), ("int8", int8)])
}

fn of(models: &[(&str, &Judged<'_>)]) -> Result<Option<Section>, Error> {
    let measured = models
        .iter()
        .map(|(name, judged)| (*name, Calibration::of(judged.probabilities())));
    let measured: Vec<(&str, Calibration)> = measured.collect();
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
        @for (name, one) in &measured { details { summary { "The bins of " (name) } (bins(one)) } }
    };
    Ok(Some(Section {
        id: ID,
        heading: "Confidence",
        body,
    }))
}

fn line(name: &str, calibration: &Calibration) -> Series {
    let points = calibration
        .bins()
        .map(|bin| (bin.probability(), bin.accuracy()));
    Series::line(name, points.collect())
}

fn bins(calibration: &Calibration) -> Markup {
    let rows = calibration.bins().map(|bin| {
        vec![
            html! { (format!("{:.3}", bin.probability())) },
            html! { (format!("{:.3}", bin.accuracy())) },
            html! { (bin.answers()) },
        ]
    });
    let heading = ["mean probability", "share right", "answers"];
    table(&heading, &rows.collect::<Vec<_>>())
}

//! Where int8 loses what it loses, layer by layer.

use super::chart::{Chart, Series};
use super::frame::{Section, table};
use crate::error::Error;
use crate::show::percent;
use berth_quantize::{Cost, LayerCost};
use maud::{Markup, html};

/// A chart and its numbers.
///
/// # Errors
/// When the chart can't be drawn.
pub fn section(cost: &Cost) -> Result<Section, Error> {
    let line = |name: &str, of: fn(&LayerCost) -> f64| {
        let points = cost
            .layers
            .iter()
            .map(|layer| (layer.layer as f64, of(layer)));
        Series::line(name, points.collect())
    };
    let chart = Chart {
        caption: "Signal to noise of each layer's output, in decibels",
        x: "layer",
        x_counts: true,
        x_range: Some((0.0, cost.layers.len().saturating_sub(1).max(1) as f64)),
        y_range: None,
        series: &[
            line("its own noise", |layer| layer.own_snr_db),
            line("with that of the layers before", |layer| layer.snr_db),
        ],
    };
    Ok(Section {
        id: "layers",
        heading: "Where int8 loses it",
        body: html! {
            p { "Measured on " (cost.tokens) " tokens of " (cost.inputs) " inputs. Embeddings and head alone leave "
                (percent(cost.rest)) " of the squared error of the logits." }
            div.charts { (chart.draw()?) (numbers(cost)) }
        },
    })
}

fn numbers(cost: &Cost) -> Markup {
    let rows = cost.layers.iter();
    let rows = rows.map(|layer| cells(layer).map(|cell| html! { (cell) }).into());
    table(&HEADING, &rows.collect::<Vec<_>>())
}

/// The columns of the numbers, which a terminal shows too.
pub const HEADING: [&str; 4] = [
    "layer",
    "signal to noise",
    "with those before",
    "of the error",
];

/// What int8 costs in a layer.
pub fn cells(layer: &LayerCost) -> [String; 4] {
    [
        layer.layer.to_string(),
        decibels(layer.own_snr_db),
        decibels(layer.snr_db),
        percent(layer.explains),
    ]
}

/// A ratio for people; a layer in f32 has no noise of its own.
fn decibels(snr: f64) -> String {
    match snr.is_finite() {
        true => format!("{snr:.1} dB"),
        false => "exact".to_owned(),
    }
}

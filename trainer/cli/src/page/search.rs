//! What was tried to pass the gate.

use super::frame::{Section, table};
use crate::show::{percent, points, size};
use berth_quantize::Step;
use maud::html;

/// The log of the search; nothing where the bundle passed as it came.
pub fn section(search: &[Step]) -> Option<Section> {
    if search.is_empty() {
        return None;
    }
    let rows = search
        .iter()
        .map(|step| cells(step).map(|cell| html! { (cell) }).into());
    Some(Section {
        id: "search",
        heading: "What was tried to pass the gate",
        body: html! {
            p {
                "Each on top of what was kept before; the time is that of a query where the model was quantized, "
                (SIZES) "."
            }
            (table(&HEADING, &rows.collect::<Vec<_>>()))
        },
    })
}

/// What the sizes are of.
pub const SIZES: &str = "sizes are without self-test and card";

/// The columns, which a terminal shows too.
pub const HEADING: [&str; 7] = [
    "tried",
    "logit error",
    "points lost",
    "agreement",
    "ms",
    "size",
    "kept",
];

/// What was changed, what it bought, and what it cost.
pub fn cells(step: &Step) -> [String; 7] {
    [
        step.change.to_string(),
        format!("{:.5}", step.error),
        points(step.drop),
        percent(step.agreement),
        format!("{:.2}", step.latency.p50_ms),
        size(step.bytes),
        if step.kept { "yes" } else { "no" }.to_owned(),
    ]
}

//! Reports to read: one HTML file for each fine-tuning and each quantization.
//!
//! ```text
//!  Training, Quantized ──► sections ──► frame ──► text of one file
//!   state, figures,         curves, confusion, calibration, mistakes,
//!   decisions on a file     changed, layers, search, latency, facts
//! ```
//!
//! 1. **One file, nothing else.** Style and charts are inside; there is no script, and nothing is fetched.
//!    Colours follow the reader's dark or light, widths the window's.
//! 2. **Data in, text out.** Nothing here reads a file or runs a model; what a page says was measured
//!    before.
//! 3. **Texts are foreign.** Whatever comes from a file goes through [`text`]: escaped, without control
//!    characters, its direction kept to itself.
//!
//! Charts are drawn by plotters in stand-in colours, which the style sheet maps to the reader's.

mod answered;
pub mod calibration;
mod changed;
mod chart;
mod confusion;
mod curves;
pub mod facts;
mod frame;
mod latency;
pub mod layers;
mod mistakes;
mod passages;
mod scatter;
pub mod search;
mod tags;
mod text;

#[cfg(test)]
mod tests;

use crate::error::Error;
use berth_checkpoint::TrainingArgs;
use berth_quantize::{Comparison, Cost, Gate, Step};
use berth_runtime::measure;
use berth_trainer::state::TrainerState;
use frame::{Section, Tile};
use maud::html;
use serde_json::{Map, Value};

pub use answered::Answered;

/// The file's name in a checkpoint.
pub const FILE: &str = "report.html";

/// What the page of a fine-tuning tells.
pub struct Training<'a> {
    /// The model's name.
    pub name: &'a str,
    /// Task, lengths, recipe, and what it was made of.
    pub args: &'a TrainingArgs,
    /// The course of the run.
    pub state: &'a TrainerState,
    /// The figures that it ended with.
    pub results: &'a Map<String, Value>,
    /// What the model says to the file that it was measured on.
    pub answered: Option<Answered<'a>>,
}

/// What the page of a quantization tells.
pub struct Quantized<'a> {
    /// The bundle's name.
    pub name: &'a str,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: &'a str,
    /// The size of the checkpoint's weights.
    pub f32_bytes: u64,
    /// The layers that stayed in f32.
    pub f32_layers: &'a [usize],
    /// How long queries take here.
    pub latency: &'a measure::Report,
    /// What int8 cost, where there was a file to compare on.
    pub compared: Option<Compared<'a>>,
}

/// f32 and int8 on one file.
#[derive(Copy, Clone)]
pub struct Compared<'a> {
    /// The file's name.
    pub file: &'a str,
    /// Their figures, and the answers that changed.
    pub comparison: &'a Comparison,
    /// What each layer costs.
    pub cost: &'a Cost,
    /// What was tried to pass a gate.
    pub search: &'a [Step],
    /// What was asked of the bundle.
    pub gate: Gate,
    /// What is to be known of the figures.
    pub warnings: &'a [String],
    /// What the checkpoint says.
    pub f32: Answered<'a>,
    /// What the bundle says.
    pub int8: Answered<'a>,
}

/// The page of a fine-tuning.
///
/// # Errors
/// When a chart can't be drawn.
pub fn training(run: &Training<'_>) -> Result<String, Error> {
    let mut sections = vec![curves::section(run.state)?];
    if let Some(answered) = &run.answered {
        sections.extend(of_answers(answered)?);
    }
    sections.push(facts::figures(run.results));
    sections.extend(run.args.provenance.as_ref().map(facts::origin));
    sections.extend(facts::recipe(run.args));
    let task = run.args.task;
    let base = run.args.provenance.as_ref();
    let base = base.map_or("A base model", |from| &from.base_model);
    let lead = html! { p { (text::shown(base)) ", every parameter fine-tuned for " (task) "." } };
    let title = format!("{}: fine-tuning", run.name);
    Ok(frame::page(&title, &lead, &facts::headline(run), &sections))
}

/// The page of a quantization.
///
/// # Errors
/// When a chart can't be drawn.
pub fn quantized(made: &Quantized<'_>) -> Result<String, Error> {
    let mut sections = Vec::new();
    let mut tiles = Vec::new();
    if let Some(compared) = &made.compared {
        tiles.extend(facts::cost(compared.comparison));
        sections.push(facts::both(compared.comparison));
        sections.push(changed::section(compared));
        sections.extend(search::section(compared.search));
        sections.push(layers::section(compared.cost)?);
        let fitted = compared.comparison.calibration.as_ref();
        sections.extend(calibration::beside(&compared.f32, &compared.int8, fitted)?);
        let own = of_answers(&compared.int8)?;
        // Its calibration stands beside that of f32 already.
        sections.extend(own.into_iter().filter(|one| one.id != calibration::ID));
    }
    sections.push(latency::section(made.latency)?);
    tiles.push(
        Tile::new("bundle", crate::show::size(made.bytes)).note(format!(
            "the checkpoint's weights are {}",
            crate::show::size(made.f32_bytes)
        )),
    );
    let layers = match made.f32_layers {
        [] => "Every layer is int8.".to_owned(),
        some => format!("Layers {some:?} stayed in f32."),
    };
    let compared = made.compared.as_ref();
    let lead = html! {
        p {
            (layers)
            @if let Some(compared) = compared {
                " The figures of int8 were measured through the runtime that serves it, on "
                (text::shown(compared.file)) "."
            }
        }
        p { "SHA-256 of the bundle: " code { (made.sha256) } }
        @if let Some(compared) = compared { (facts::gate(compared)) }
    };
    let title = format!("{}: quantization", made.name);
    Ok(frame::page(&title, &lead, &tiles, &sections))
}

/// What answers to a labelled file show, in the order of use.
fn of_answers(answered: &Answered<'_>) -> Result<Vec<Section>, Error> {
    let mut sections = Vec::new();
    sections.extend(confusion::section(answered));
    sections.extend(scatter::section(answered)?);
    sections.extend(mistakes::section(answered));
    sections.extend(tags::section(answered));
    sections.extend(passages::section(answered));
    sections.extend(calibration::section(answered)?);
    Ok(sections)
}

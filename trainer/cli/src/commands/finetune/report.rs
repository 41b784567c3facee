//! What a finished run tells beside the model: what it was made of, and the report page.

use super::lessons::figures;
use crate::config::published::Origin;
use crate::error::Error;
use crate::{fetch, page, show};
use berth_checkpoint::save::write_file;
use berth_checkpoint::{Checkpoint, DataFile, Provenance, hex};
use berth_data::Dataset;
use berth_trainer::{ALL_RESULTS, Job, Predictor, Results, state};
use serde_json::Map;

/// What the model is made of; `origin` tells of the data.
///
/// # Errors
/// When a file can't be read any more.
pub fn provenance(
    named: &str,
    base: &Checkpoint,
    train: &Dataset,
    dev: Option<&Dataset>,
    origin: Origin,
) -> Result<Provenance, Error> {
    let weights = hex(&base.sha256()?);
    let (base_model, license) =
        fetch::known_as(named, &weights).unwrap_or_else(|| (show::name(&base.dir), None));
    Ok(Provenance {
        base_model,
        base_model_sha256: weights,
        base_model_license: license.map(str::to_owned),
        train_file: file(train)?,
        validation_file: dev.map(file).transpose()?.flatten(),
        data_home: origin.home,
        data_licence: origin.licence,
    })
}

/// A data file with its checksum; nothing for a pipe, which can't be read again.
fn file(data: &Dataset) -> Result<Option<DataFile>, Error> {
    if !data.path.is_file() {
        return Ok(None);
    }
    let sha256 = berth_checkpoint::sha256(&data.path);
    let sha256 = sha256.map_err(|source| Error::file(&data.path, source))?;
    Ok(Some(DataFile {
        name: show::name(&data.path),
        sha256: hex(&sha256),
        rows: data.examples.len() as u64,
    }))
}

/// Writes the report of a finished run into its folder.
///
/// # Errors
/// When the folder is not what the run left, or can't be written to.
pub fn write_page(job: &Job<'_>, results: &Results) -> Result<(), Error> {
    let made = Checkpoint::open(job.output_dir)?;
    let wrong = |what: String| Error::Path {
        path: job.output_dir.to_owned(),
        what,
    };
    let state = state::read(job.output_dir)?
        .ok_or_else(|| wrong(format!("has no {}", state::STATE_FILE)))?;
    let decisions = job.dev.map(|dev| dev.decisions(&results.logits));
    let decisions = decisions
        .transpose()
        .map_err(|error| wrong(error.to_string()))?;
    let answered = job.dev.zip(decisions.as_deref());
    let text = page::training(&page::Training {
        name: &show::name(job.output_dir),
        args: made.training_args().unwrap_or(&job.training_args),
        state: &state,
        results: &results.all(),
        answered: answered.map(|(dev, decisions)| page::Answered::of(&dev, decisions)),
    })?;
    Ok(write_file(
        job.output_dir.join(page::FILE),
        text.as_bytes(),
    )?)
}

/// Writes it for a run that was stopped after its result: from the figures that it has left, and from what its model
/// says anew.
///
/// # Errors
/// As [`write_page`], and when there are no figures.
pub fn write_page_again(job: &Job<'_>) -> Result<(), Error> {
    let made = Checkpoint::open(job.output_dir)?;
    let batch = job.recipe.per_device_eval_batch_size;
    let logits = match job.dev {
        Some(dev) => Predictor::load(&made, job.task)?.logits(dev.inputs, batch)?,
        None => Vec::new(),
    };
    let mut train = figures(&job.output_dir.join(ALL_RESULTS))?;
    // Those on a second file come after the page.
    train.retain(|name, _| !name.ends_with("_mm"));
    let results = Results {
        train,
        eval: Map::new(),
        logits,
    };
    write_page(job, &results)
}

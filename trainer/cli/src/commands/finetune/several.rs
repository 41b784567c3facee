//! `berth finetune --seeds 1,2,3`: a run for each seed in a folder of its own, and what they came to together.
//!
//! A run that has finished is not run again: stopped and gone on with, the runs end as they would have without a
//! break.

use super::lessons::Lessons;
use super::{figures_of, start};
use crate::args::FinetuneArgs;
use crate::error::Error;
use crate::{outputs, seeds, show};
use berth_checkpoint::save::write_json;
use berth_trainer::{ALL_RESULTS, Start, TrainError, hold, tidy};
use serde_json::{Map, Value};
use std::fs;
use std::path::{Path, PathBuf};

/// Trains with each seed; returns the figures of all, as the output folder's file has them too.
///
/// # Errors
/// At the first run that fails, those before it stay; or where other runs write into the folder.
pub fn train(args: &FinetuneArgs, lessons: &Lessons<'_>) -> Result<Map<String, Value>, Error> {
    let output = &args.output_dir;
    fs::create_dir_all(output).map_err(|source| Error::file(output, source))?;
    let _held = hold(output)?;
    let mut runs = Vec::new();
    for (seed, folder) in folders(args) {
        show::note(format!("seed {seed}: {}", folder.display()));
        runs.push(train_one(args, lessons, seed, &folder)?);
    }
    let mut all = Map::from_iter([("seeds".to_owned(), Value::from(args.seeds.clone()))]);
    all.extend(seeds::summary(&runs));
    // What a run that was killed over the file left of it.
    tidy(output)?;
    write_json(output.join(ALL_RESULTS), &all)?;
    Ok(all)
}

/// The seeds, and the folders of their runs.
pub fn folders(args: &FinetuneArgs) -> Vec<(u64, PathBuf)> {
    let folder = |&seed: &u64| (seed, args.output_dir.join(format!("seed-{seed}")));
    args.seeds.iter().map(folder).collect()
}

/// Whether seeds and output folder are fit for it, before anything is read. Figures of earlier runs that are to be
/// replaced are taken away, so that they can't be taken for those of the new ones.
///
/// # Errors
/// When a seed stands twice, the folder holds something or is held, or there is nothing to go on with.
pub fn prepare(args: &FinetuneArgs) -> Result<(), Error> {
    let mut sorted = args.seeds.clone();
    sorted.sort_unstable();
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::Usage(format!("--seeds has {} twice", twice[0])));
    }
    let output = &args.output_dir;
    let _held = hold(output)?;
    match start(args) {
        Start::Fresh if outputs::is_used(output)? => {
            Err(TrainError::OutputNotEmpty(output.clone()).into())
        }
        Start::Fresh => Ok(()),
        Start::Overwrite => outputs::remove(&output.join(ALL_RESULTS)),
        Start::ResumeNewest if folders(args).iter().any(|(_, folder)| folder.is_dir()) => Ok(()),
        Start::ResumeNewest => Err(TrainError::NothingToResume(output.clone()).into()),
        Start::ResumeFrom(_) | Start::OverwriteFrom(_) => Err(Error::Usage(
            "--seeds has a run for each seed: say --resume_from_checkpoint true".into(),
        )),
    }
}

/// The figures of one run, also where it had finished before.
fn train_one(
    args: &FinetuneArgs,
    lessons: &Lessons<'_>,
    seed: u64,
    folder: &Path,
) -> Result<Map<String, Value>, Error> {
    let outcome = match lessons.train(seed, folder, start(args)) {
        // Its turn had not come when the runs were stopped, or it had no checkpoint yet.
        Err(Error::Train(TrainError::NothingToResume(_))) => {
            lessons.train(seed, folder, Start::Overwrite)
        }
        outcome => outcome,
    };
    figures_of(args, lessons, folder, outcome?, "")
}

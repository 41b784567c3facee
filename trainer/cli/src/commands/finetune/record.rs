//! `berth finetune --metrics_file FILE`: what the runs are worth in f32 and, through the runtime, in int8.
//!
//! Each run's checkpoint is quantized into a bundle in the output folder, and both answer the rows of the validation
//! file. Finished runs that were only gone on with (`--resume_from_checkpoint true`) are measured as well, after a look
//! at whether they were trained as is said now. The file holds nothing that hangs on the hour or the machine's speed:
//!
//! ```text
//! recipe, task, model_name_or_path, train_samples, validation_file, validation_sha256, eval_samples, metric, seeds
//! f32, int8      each metric's mean, NAME_std, NAME_each
//! agreement      the share of answers that int8 leaves as they were, likewise
//! answers        for each seed: how many are the same, of how many
//! bundles        for each seed: bytes and SHA-256, the layers in f32, and the SHA-256 of the weights that it was made of
//! berth          the version
//! ```

use super::lessons::Lessons;
use super::several;
use crate::args::{DataArgs, FinetuneArgs, QuantizeArgs, with_usual};
use crate::commands::quantize::{Converted, comparison_table, convert, within};
use crate::config::published::content_sha256;
use crate::error::Error;
use crate::{interrupt, outputs, page, seeds, show};
use berth_checkpoint::save::write_json;
use berth_checkpoint::{Checkpoint, hex, sha256};
use berth_data::Evaluation;
use berth_quantize::{Comparison, Gate};
use berth_trainer::recipe::Recipe;
use berth_trainer::state::{self, STATE_FILE};
use comfy_table::Table;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// How a command goes on that was stopped after its runs had finished.
const WAY: &str = "go on with the same command and --resume_from_checkpoint true";

/// Whether there is something to measure on where a file of metrics is asked for, and such a file where a gate is. A
/// recipe may ask for a gate in case; then it is said that there is none.
///
/// # Errors
/// When there is not.
pub fn check(args: &FinetuneArgs) -> Result<(), Error> {
    let measured = args.validation_file.is_some() || args.data_dir.is_some();
    let asked = args.metrics_file.is_some();
    let gate = !Gate::from(&args.gate).is_open();
    if let Some(path) = &args.metrics_file {
        outputs::check(path, outputs::Kind::Json, "--metrics_file")?;
    }
    let what = if asked && !(measured && args.switches.do_eval) {
        "--metrics_file needs a --validation_file, or --data_dir, to measure on"
    } else if gate && !asked {
        let what = "--max_drop and --min_agreement are for the bundles that --metrics_file makes";
        if args.config.is_some() {
            show::note(format!("{what}: none is asked for, so there is no gate"));
            return Ok(());
        }
        what
    } else {
        return Ok(());
    };
    Err(Error::Usage(what.into()))
}

/// That the file of metrics is none of those that the runs are made from; `data` are the files to learn from and to
/// measure on.
///
/// # Errors
/// When it is one of them.
pub fn check_apart(args: &FinetuneArgs, data: &[&Path]) -> Result<(), Error> {
    let Some(metrics) = &args.metrics_file else {
        return Ok(());
    };
    let weights = args.recipe.class_weights.as_deref().map(Path::new);
    let settings = args.config.as_deref().into_iter().chain(weights);
    let read: Vec<&Path> = data.iter().copied().chain(settings).collect();
    outputs::check_apart(metrics, &read)
}

/// Measures the finished runs and writes the file that `--metrics_file` names; the table for people. None where no
/// file is asked for.
///
/// # Errors
/// When a run was trained otherwise than is said, something can't be read or written, or Ctrl-C has asked to stop.
pub fn write(args: &FinetuneArgs, lessons: &Lessons<'_>) -> Result<Option<Table>, Error> {
    let Some(path) = &args.metrics_file else {
        return Ok(None);
    };
    let Some(file) = &lessons.dev_files.first else {
        let what = "--metrics_file finds no validation file to measure on";
        return Err(Error::Usage(what.into()));
    };
    let runs = runs(args);
    let measure = |run: &Run| measure(args, lessons, file, run);
    let measured: Vec<Measured> = runs.iter().map(measure).collect::<Result<_, _>>()?;
    let seeds: Vec<u64> = runs.iter().map(|run| run.seed).collect();
    let report = report(args, lessons, file, &seeds, &measured)?;
    interrupt::check(path).map_err(|error| within(error, WAY))?;
    write_json(path, &report)?;
    show::note(format!("{}: written", path.display()));
    Ok(Some(table(&report)))
}

/// A finished run.
struct Run {
    seed: u64,
    folder: PathBuf,
    bundle: PathBuf,
}

fn runs(args: &FinetuneArgs) -> Vec<Run> {
    if args.seeds.is_empty() {
        return vec![Run {
            seed: args.recipe.seed,
            folder: args.output_dir.clone(),
            bundle: args.output_dir.join("model.berth"),
        }];
    }
    let run = |(seed, folder): (u64, PathBuf)| Run {
        seed,
        bundle: folder.with_extension("berth"),
        folder,
    };
    several::folders(args).into_iter().map(run).collect()
}

/// What a run is worth.
struct Measured {
    comparison: Comparison,
    bytes: u64,
    f32_layers: Vec<usize>,
    bundle_sha256: String,
    weights_sha256: String,
}

/// Quantizes a run's checkpoint, and lets both answer the file.
fn measure(
    args: &FinetuneArgs,
    lessons: &Lessons<'_>,
    file: &Path,
    run: &Run,
) -> Result<Measured, Error> {
    let checkpoint = Checkpoint::open(&run.folder)?;
    check_run(lessons, run.seed, &checkpoint)?;
    show::note(format!("{}: f32 and int8", run.folder.display()));
    let mut typed = ["berth".into(), run.folder.clone().into()].to_vec();
    typed.extend([OsString::from("--output"), run.bundle.clone().into()]);
    typed.extend([OsString::from("--validation_file"), file.into()]);
    let quantize = QuantizeArgs {
        data: DataArgs {
            // The checkpoint knows, also where the model has fewer positions than were asked for.
            max_seq_length: None,
            ..args.data.clone()
        },
        max_eval_samples: args.max_eval_samples,
        gate: args.gate.clone(),
        ..with_usual(typed)?
    };
    // One of an earlier run is none of these weights, nor is the page about it.
    outputs::remove(&run.bundle)?;
    outputs::remove(&run.bundle.with_extension(page::FILE))?;
    let converted = convert(&quantize).map_err(|error| within(error, WAY))?;
    converted.warn();
    let Converted {
        bytes,
        f32_layers,
        comparison,
        missed,
        ..
    } = converted;
    if let Some(missed) = missed {
        if let Some(comparison) = &comparison {
            show::note(comparison_table(comparison));
        }
        return Err(missed.into());
    }
    let comparison = comparison.ok_or_else(|| Error::Path {
        path: run.folder.clone(),
        what: "was not measured".into(),
    })?;
    let bundle = sha256(&run.bundle).map_err(|source| Error::file(&run.bundle, source))?;
    Ok(Measured {
        comparison,
        bytes,
        f32_layers,
        bundle_sha256: hex(&bundle),
        weights_sha256: hex(&checkpoint.sha256()?),
    })
}

/// Whether a checkpoint was trained as is said now.
fn check_run(lessons: &Lessons<'_>, seed: u64, checkpoint: &Checkpoint) -> Result<(), Error> {
    let path = &checkpoint.dir;
    let other = |what: &str, then: &dyn std::fmt::Display, now: &dyn std::fmt::Display| {
        Err(Error::Path {
            path: path.clone(),
            what: format!(
                "was trained with {what} {then}, and not {now}; it is no run of these settings"
            ),
        })
    };
    let training = checkpoint.training_args();
    // A setting that the file lacks is younger than it, and had its default.
    let then = training.and_then(|training| Recipe::deserialize(&training.recipe).ok());
    let Some((training, then)) = training.zip(then) else {
        let what = "does not remember how it was trained".to_owned();
        return Err(Error::Path {
            path: path.clone(),
            what,
        });
    };
    if training.task != lessons.known.task {
        return other("--task", &training.task, &lessons.known.task);
    }
    if training.max_seq_length != lessons.limit {
        return other("--max_seq_length", &training.max_seq_length, &lessons.limit);
    }
    let now = Recipe {
        seed,
        ..lessons.recipe.clone()
    };
    if let Some((name, then, now)) = then.differences(&now).first() {
        return other(&format!("--{name}"), then, now);
    }
    let (then, now) = (inputs_of(path)?, lessons.inputs());
    match then == now {
        true => Ok(()),
        false => other("inputs:", &then, &now),
    }
}

/// How many inputs a run has learned from, as its folder says.
fn inputs_of(folder: &Path) -> Result<usize, Error> {
    match state::read(folder)? {
        Some(state) => Ok(state.train_samples),
        None => Err(Error::Path {
            path: folder.to_owned(),
            what: format!("has no {STATE_FILE}"),
        }),
    }
}

fn report(
    args: &FinetuneArgs,
    lessons: &Lessons<'_>,
    file: &Path,
    seeds: &[u64],
    measured: &[Measured],
) -> Result<Value, Error> {
    let name = |path: &Path| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let figures = |of: fn(&Comparison) -> &Evaluation| {
        let figures = |run: &Measured| {
            let entries = of(&run.comparison).entries().into_iter();
            entries.map(|(name, value)| (name, value.into())).collect()
        };
        seeds::summary(&measured.iter().map(figures).collect::<Vec<_>>())
    };
    let agreement = |run: &Measured| {
        Map::from_iter([("agreement".to_owned(), run.comparison.agreement().into())])
    };
    let bundle = |run: &Measured| {
        json!({
            "bytes": run.bytes,
            "f32_layers": run.f32_layers,
            "sha256": run.bundle_sha256,
            "weights_sha256": run.weights_sha256,
        })
    };
    let first = measured.first().map(|run| &run.comparison);
    let mut report = json!({
        "recipe": args.config.as_deref().and_then(name),
        "task": lessons.known.task,
        "model_name_or_path": args.model_name_or_path,
        "train_samples": lessons.train_samples(),
        "validation_file": name(file),
        "validation_sha256": content_sha256(file)?,
        "eval_samples": first.map(|comparison| comparison.f32.samples),
        "metric": first.map(|comparison| format!("eval_{}", comparison.main_metric)),
        "seeds": seeds,
        "f32": figures(|comparison| &comparison.f32),
        "int8": figures(|comparison| &comparison.int8),
    });
    let more = seeds::summary(&measured.iter().map(agreement).collect::<Vec<_>>());
    if let Some(report) = report.as_object_mut() {
        report.extend(more);
        let same = |run: &Measured| json!([run.comparison.same, run.comparison.asked]);
        report.insert("answers".into(), measured.iter().map(same).collect());
        report.insert("bundles".into(), measured.iter().map(bundle).collect());
        report.insert("berth".into(), env!("CARGO_PKG_VERSION").into());
    }
    Ok(report)
}

/// f32 and int8 side by side, for people.
fn table(report: &Value) -> Table {
    let rows_of = |key: &str| report[key].as_object().map(seeds::rows).unwrap_or_default();
    let pairs = rows_of("f32").into_iter().zip(rows_of("int8"));
    let mut rows: Vec<Vec<String>> = pairs
        .map(|(f32, int8)| vec![f32[0].clone(), f32[1].clone(), int8[1].clone()])
        .collect();
    let all = report.as_object().map(seeds::rows).unwrap_or_default();
    rows.extend(
        all.into_iter()
            .map(|row| vec![row[0].clone(), String::new(), row[1].clone()]),
    );
    show::table(&["metric", "f32", "int8"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_run_whose_state_is_damaged_or_missing_is_not_taken_for_one_of_these_settings() {
        let dir = tempfile::tempdir().unwrap();
        let missing = inputs_of(dir.path()).unwrap_err().to_string();
        assert!(missing.ends_with("has no trainer_state.json"), "{missing}");
        let state = dir.path().join(STATE_FILE);
        fs::write(&state, "{\"train_samples\": 3").unwrap();
        let damaged = inputs_of(dir.path()).unwrap_err().to_string();
        assert!(damaged.contains(STATE_FILE), "{damaged}");
        fs::write(&state, "{\"train_samples\": 32}").unwrap();
        assert_eq!(inputs_of(dir.path()).unwrap(), 32);
    }
}

//! The `checkpoint-<step>` folders of a run: writing, finding and removing them.
//!
//! A checkpoint is a Hugging Face folder with two files more, `trainer_state.json` and `optimizer.safetensors`. It
//! appears under its name when every file is on the disk, so a folder of that name is a whole checkpoint, whatever
//! happened to the machine.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use berth_checkpoint::save::{Existing, Folder, Held, TensorRef, is_leftover};
use berth_checkpoint::weights::TensorFile;
use berth_checkpoint::{Checkpoint, Config, TokenizerFiles, TrainingArgs};

use crate::error::TrainError;
use crate::model::Bert;
use crate::optimizer::AdamW;
use crate::state::{self, STATE_FILE, TrainerState};

/// The optimizer's moments.
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// What a checkpoint's name begins with.
const PREFIX: &str = "checkpoint-";

/// What the model's folder holds beside the weights; the same in every checkpoint of a run.
pub(crate) struct Companions {
    pub config: Config,
    pub tokenizer: TokenizerFiles,
    pub max_length: usize,
    pub training_args: TrainingArgs,
}

impl Companions {
    /// Begins a folder with the model in it.
    pub fn folder(&self, target: &Path, model: &Bert) -> Result<Folder, TrainError> {
        let mut folder = Folder::create(target)?;
        let values: Vec<_> = model
            .parameters()
            .iter()
            .map(|parameter| parameter.values())
            .collect();
        let tensor = |(parameter, data)| -> TensorRef<'_> {
            let parameter: &crate::ops::Parameter = parameter;
            TensorRef {
                name: parameter.name(),
                shape: parameter.shape(),
                data,
            }
        };
        let tensors: Vec<TensorRef<'_>> = model
            .parameters()
            .iter()
            .zip(&values)
            .map(|(parameter, values)| tensor((parameter, &values[..])))
            .collect();
        folder.model(&self.config, &tensors)?;
        folder.tokenizer(&self.tokenizer, self.max_length)?;
        folder.training_args(&self.training_args)?;
        Ok(folder)
    }
}

/// Writes the checkpoint of `state.global_step` and returns its folder.
pub(crate) fn save(
    output_dir: &Path,
    companions: &Companions,
    model: &Bert,
    optimizer: &AdamW,
    state: &TrainerState,
) -> Result<PathBuf, TrainError> {
    let mut folder = companions.folder(&path(output_dir, state.global_step), model)?;
    folder.tensors_in_parts(OPTIMIZER_FILE, optimizer.moments())?;
    folder.json(STATE_FILE, state)?;
    Ok(folder.commit(Existing::Replace)?)
}

/// Writes the state anew in a checkpoint that has the step's weights and moments, and the settings, which may have
/// changed since. At no moment is it without a state.
pub(crate) fn save_state(
    checkpoint: &Path,
    companions: &Companions,
    state: &TrainerState,
) -> Result<(), TrainError> {
    let mut folder = Folder::create(checkpoint)?;
    folder.training_args(&companions.training_args)?;
    folder.json(STATE_FILE, state)?;
    folder.commit(Existing::Merge)?;
    Ok(())
}

/// The folder of a step's checkpoint.
pub(crate) fn path(output_dir: &Path, step: u64) -> PathBuf {
    output_dir.join(format!("{PREFIX}{step}"))
}

/// The steps that `output_dir` has checkpoints of, in ascending order.
pub(crate) fn steps(output_dir: &Path) -> Result<Vec<u64>, TrainError> {
    let mut steps = Vec::new();
    for name in names(output_dir)? {
        if let Some(step) = name.strip_prefix(PREFIX).and_then(|step| step.parse().ok())
            && path(output_dir, step).join(STATE_FILE).exists()
        {
            steps.push(step);
        }
    }
    steps.sort_unstable();
    Ok(steps)
}

/// The newest checkpoint that is whole, and why newer ones are not. None where there is no whole one.
///
/// # Errors
/// If the folder can't be read.
pub(crate) fn newest_whole(
    output_dir: &Path,
) -> Result<(Option<PathBuf>, Vec<TrainError>), TrainError> {
    let mut damaged = Vec::new();
    for step in steps(output_dir)?.into_iter().rev() {
        let folder = path(output_dir, step);
        match check_whole(&folder) {
            Ok(()) => return Ok((Some(folder), damaged)),
            Err(error) => damaged.push(error),
        }
    }
    Ok((None, damaged))
}

/// That a checkpoint has every file that a run goes on with, each as long as it says.
pub(crate) fn check_whole(folder: &Path) -> Result<(), TrainError> {
    let missing = |name: &str| TrainError::Damaged {
        path: folder.join(name),
        problem: "is not there".to_owned(),
    };
    let checkpoint = Checkpoint::open(folder)?;
    checkpoint.tokenizer_files()?;
    if checkpoint.training_args().is_none() {
        return Err(missing("training_args.json"));
    }
    TensorFile::open(folder.join(OPTIMIZER_FILE))?;
    state::read(folder)?.map_or_else(|| Err(missing(STATE_FILE)), |_| Ok(()))
}

/// Holds a run's folder, so that no other run writes there until it is dropped.
///
/// # Errors
/// If another run holds it.
pub fn hold(output_dir: &Path) -> Result<Held, TrainError> {
    let in_use = || TrainError::InUse(output_dir.to_owned());
    berth_checkpoint::save::hold(output_dir).ok_or_else(in_use)
}

/// Whether something lies in a folder, or is it, by whatever way either is named.
pub(crate) fn lies_in(path: &Path, dir: &Path) -> bool {
    let place = |path: &Path| path.canonicalize().ok();
    let places = place(path).zip(place(dir));
    places.is_some_and(|(path, dir)| path.starts_with(dir))
}

/// That files can be made in a run's folder, which is made where it is missing. The result is staged in it too.
pub(crate) fn check_writable(output_dir: &Path) -> Result<(), TrainError> {
    let made = || {
        if !output_dir.exists() {
            fs::create_dir_all(output_dir)?;
        }
        berth_checkpoint::save::try_in(output_dir)
    };
    // Told without the name of the file that was tried.
    made().map_err(|error| TrainError::Io {
        path: output_dir.to_owned(),
        source: error.kind().into(),
    })
}

/// Brings the optimizer to where it was when `folder` was written, after `steps` updates.
pub(crate) fn restore(folder: &Path, steps: u64, optimizer: &mut AdamW) -> Result<(), TrainError> {
    let path = folder.join(OPTIMIZER_FILE);
    let mut file = TensorFile::open(&path)?;
    optimizer.restore(steps, |name, len| {
        let numbers = file.tensor(name)?.data;
        if numbers.len() == len {
            Ok(numbers)
        } else {
            Err(TrainError::Damaged {
                path: path.clone(),
                problem: format!("`{name}` has {} numbers, not {len}", numbers.len()),
            })
        }
    })
}

/// Removes checkpoints until `limit` are left (0: no limit), but never the one just saved, nor `best`: first those of
/// later steps, from which the run was gone back, then the oldest.
pub(crate) fn rotate(
    output_dir: &Path,
    limit: usize,
    saved: u64,
    best: Option<u64>,
) -> Result<(), TrainError> {
    let mut steps = steps(output_dir)?;
    if limit == 0 || steps.len() <= limit {
        return Ok(());
    }
    let surplus = steps.len() - limit;
    steps.sort_by_key(|&step| (step <= saved, step));
    for step in steps
        .into_iter()
        .filter(|&step| step != saved && Some(step) != best)
        .take(surplus)
    {
        remove(output_dir, step)?;
    }
    Ok(())
}

/// Removes a checkpoint; whatever happens on the way, no half of it is left under its name.
pub(crate) fn remove(output_dir: &Path, step: u64) -> Result<(), TrainError> {
    let path = path(output_dir, step);
    let aside = output_dir.join(format!(".{PREFIX}{step}.removed.partial"));
    let remove = || {
        fs::rename(&path, &aside)?;
        fs::remove_dir_all(&aside)
    };
    remove().map_err(|source| TrainError::Io {
        path: path.clone(),
        source,
    })
}

/// Removes an old run's state and its checkpoints of some steps, so that nobody takes it for the new one. Its result
/// stays until the new one is written.
pub(crate) fn forget(output_dir: &Path, steps: &[u64]) -> Result<(), TrainError> {
    let path = output_dir.join(STATE_FILE);
    if path.exists() {
        fs::remove_file(&path).map_err(|source| TrainError::Io { path, source })?;
    }
    steps.iter().try_for_each(|&step| remove(output_dir, step))
}

/// Removes what an interrupted run may have left: hidden files and folders in `output_dir` and its checkpoints, and
/// hidden folders of `output_dir` itself beside it.
///
/// # Errors
/// When one of them can't be removed.
pub fn tidy(output_dir: &Path) -> Result<(), TrainError> {
    let absolute = std::path::absolute(output_dir).unwrap_or_else(|_| output_dir.to_owned());
    if let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) {
        let own = format!(".{}.", name.to_string_lossy());
        // A folder whose name goes on behind a dot is another run's.
        let beside = remove_partial(parent, |name| {
            name.strip_prefix(&own)
                .and_then(|rest| rest.strip_suffix(".partial"))
                .is_some_and(|rest| !rest.contains('.'))
        });
        match beside {
            // Nor has a run left anything where it may not look.
            Err(TrainError::Io { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {}
            beside => beside?,
        }
    }
    for step in steps(&absolute)? {
        remove_partial(&path(&absolute, step), is_leftover)?;
    }
    remove_partial(&absolute, is_leftover)
}

/// Removes the half-written files and folders of `dir` that are `ours` by their name.
fn remove_partial(dir: &Path, ours: impl Fn(&str) -> bool) -> Result<(), TrainError> {
    for name in names(dir)? {
        if ours(&name) {
            let path = dir.join(name);
            let removed = match path.is_dir() {
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            };
            removed.map_err(|source| TrainError::Io { path, source })?;
        }
    }
    Ok(())
}

/// Whether a folder holds anything but what an interrupted run has left half-written.
pub(crate) fn is_used(dir: &Path) -> Result<bool, TrainError> {
    berth_checkpoint::save::is_used(dir).map_err(|source| TrainError::Io {
        path: dir.to_owned(),
        source,
    })
}

/// The names in a folder; none if there is no such folder.
fn names(dir: &Path) -> Result<Vec<String>, TrainError> {
    let list = || match fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    list().map_err(|source| TrainError::Io {
        path: dir.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(steps: &[u64]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for step in steps {
            fs::create_dir(path(dir.path(), *step)).unwrap();
            fs::write(path(dir.path(), *step).join(STATE_FILE), "{}").unwrap();
        }
        dir
    }

    fn left_after(saved: u64, limit: usize, best: Option<u64>) -> Vec<u64> {
        let dir = folder_with(&[5, 10, 15, 100]);
        rotate(dir.path(), limit, saved, best).unwrap();
        steps(dir.path()).unwrap()
    }

    #[test]
    fn the_oldest_go_but_neither_the_best_nor_the_newest() {
        let left = |limit, best| left_after(100, limit, best);
        assert_eq!(left(0, None), [5, 10, 15, 100]);
        assert_eq!(left(2, None), [15, 100]);
        assert_eq!(left(2, Some(5)), [5, 100]);
        assert_eq!(left(1, Some(10)), [10, 100]);
        assert_eq!(left(1, Some(100)), [100]);
    }

    #[test]
    fn after_going_back_the_later_ones_go_first() {
        assert_eq!(left_after(10, 1, Some(5)), [5, 10]);
        assert_eq!(left_after(10, 1, Some(100)), [10, 100]);
        assert_eq!(left_after(10, 3, None), [5, 10, 100]);
        assert_eq!(left_after(10, 0, None), [5, 10, 15, 100]);
    }

    #[test]
    fn what_lies_in_a_folder_is_known_by_any_name() {
        let dir = folder_with(&[5]);
        let inside = path(dir.path(), 5);
        assert!(lies_in(&inside, dir.path()) && lies_in(dir.path(), dir.path()));
        assert!(lies_in(&inside.join("..").join("checkpoint-5"), &inside));
        assert!(!lies_in(dir.path(), &inside));
        assert!(!lies_in(&path(dir.path(), 6), dir.path()), "is not there");
    }

    #[test]
    fn what_is_not_a_checkpoint_is_not_found_nor_touched() {
        let dir = folder_with(&[3]);
        for name in ["checkpoint-7", "checkpoint-x", "other"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert_eq!(steps(dir.path()).unwrap(), [3]);
        rotate(dir.path(), 1, 3, None).unwrap();
        assert_eq!(names(dir.path()).unwrap().len(), 4);
        assert!(steps(&dir.path().join("nowhere")).unwrap().is_empty());
    }

    #[test]
    fn leftovers_of_an_interrupted_save_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("out");
        for name in [
            "out/.checkpoint-5.ab12.partial",
            ".out.cd34.partial",
            "out/checkpoint-5",
            ".outer.partial",
            ".out.5.gh78.partial",
            "out/.replaced.ef56.partial",
            "out/.berth.ij90.partial",
            "out/checkpoint-5/.berth.kl12.partial",
        ] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        fs::write(output.join("checkpoint-5").join(STATE_FILE), "{}").unwrap();
        for name in [".berth.ab12.partial", ".berth-ab12.partial"] {
            fs::write(output.join(name), "half").unwrap();
        }
        tidy(&output).unwrap();
        assert_eq!(names(&output).unwrap(), ["checkpoint-5"]);
        let checkpoint = output.join("checkpoint-5");
        assert_eq!(names(&checkpoint).unwrap(), [STATE_FILE]);
        let mut beside = names(dir.path()).unwrap();
        beside.sort();
        assert_eq!(beside, [".out.5.gh78.partial", ".outer.partial", "out"]);
    }
}

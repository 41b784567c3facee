//! `berth fetch`: a base model by name; prints its folder, or JSON that says what is in it too.

use super::print;
use crate::args::FetchArgs;
use crate::error::Error;
use crate::{fetch, outputs};
use berth_checkpoint::config::CONFIG_FILE;
use berth_checkpoint::save::{Existing, Folder};
use berth_checkpoint::sha256;
use berth_checkpoint::training_args::TRAINING_ARGS_FILE;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;

/// Gets the model, and copies it where `--output_dir` says.
pub fn run(args: &FetchArgs) -> Result<(), Error> {
    let found = fetch::resolve(&args.name, &fetch::Options::from_environment())?;
    let files = files(&found)?;
    let folder = args.output_dir.as_ref().unwrap_or(&found);
    if let Some(target) = &args.output_dir {
        copy(&found, &files, target, args.overwrite_output_dir)?;
    }
    if !args.stdout.json {
        return print(folder.display());
    }
    let sizes = files
        .iter()
        .map(|(name, bytes)| (name.to_string_lossy().into_owned(), json!(bytes)));
    print(json!({
        "name": args.name,
        "path": folder.to_string_lossy(),
        "files": sizes.collect::<Map<String, Value>>(),
    }))
}

/// Copies a folder's files into another one, all or none. A folder that holds something else is written into only when
/// that is asked for.
fn copy(
    from: &Path,
    files: &BTreeMap<OsString, u64>,
    target: &Path,
    overwrite: bool,
) -> Result<(), Error> {
    if is_copy(target, from, files)? {
        return Ok(());
    }
    let is_used = outputs::is_used(target)?;
    if is_used && !overwrite {
        let what = "not empty, and not a copy of this model; name another --output_dir, or write into it by \
                    --overwrite_output_dir";
        return Err(Error::Path {
            path: target.to_owned(),
            what: what.into(),
        });
    }
    let _held = berth_trainer::hold(target)?;
    berth_trainer::tidy(target)?;
    let mut folder = Folder::create(target)?;
    for name in files.keys() {
        let path = from.join(name);
        let Some(name) = name.to_str() else {
            let what = "a name that is not UTF-8; give the file another".into();
            return Err(Error::Path { path, what });
        };
        folder.copy(name, &path)?;
    }
    if is_used {
        // What this model lacks of another's would be read as its own.
        let own = fetch::FILES.iter().chain([&TRAINING_ARGS_FILE]);
        // Without config.json first, no folder is a checkpoint until the new one comes.
        let gone = |name: &&&str| **name == CONFIG_FILE || !files.contains_key(OsStr::new(**name));
        for name in own.filter(gone) {
            outputs::remove(&target.join(name))?;
        }
    }
    folder.commit(match overwrite {
        true => Existing::Merge,
        false => Existing::Refuse,
    })?;
    Ok(())
}

/// Whether a folder has these files of another one, byte for byte.
fn is_copy(folder: &Path, of: &Path, files: &BTreeMap<OsString, u64>) -> Result<bool, Error> {
    let hash = |path: &Path| sha256(path).map_err(|source| Error::file(path, source));
    for (name, bytes) in files {
        let [copy, file] = [folder, of].map(|folder| folder.join(name));
        let is_as_long =
            fs::metadata(&copy).is_ok_and(|there| there.is_file() && there.len() == *bytes);
        if !is_as_long || hash(&copy)? != hash(&file)? {
            return Ok(false);
        }
    }
    Ok(folder.is_dir())
}

/// The files of a folder by name, and how many bytes each has.
fn files(folder: &Path) -> Result<BTreeMap<OsString, u64>, Error> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(|source| Error::file(folder, source))? {
        let path = entry.map_err(|source| Error::file(folder, source))?.path();
        // Links are followed: the cache has nothing else.
        let (Some(name), Ok(there)) = (path.file_name(), fs::metadata(&path)) else {
            continue;
        };
        if there.is_file() {
            files.insert(name.to_owned(), there.len());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path, texts: &[(&str, &str)]) {
        fs::create_dir_all(folder).unwrap();
        for (name, text) in texts {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    /// What a folder holds, by name, hidden files too.
    fn held(folder: &Path) -> Vec<(String, String)> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let mut held: Vec<(String, String)> = entries
            .map(|entry| {
                let text = fs::read_to_string(entry.path()).unwrap();
                (entry.file_name().into_string().unwrap(), text)
            })
            .collect();
        held.sort();
        held
    }

    #[test]
    fn a_copy_comes_whole_and_over_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let [base, target] = ["base", "deep/target"].map(|name| dir.path().join(name));
        let model = [
            (CONFIG_FILE, "base"),
            ("model.safetensors", "base weights"),
            ("vocab.txt", "[PAD]"),
        ];
        written(&base, &model);
        let copy = |overwrite| copy(&base, &files(&base).unwrap(), &target, overwrite);
        copy(false).unwrap();
        assert_eq!(held(&target), held(&base));

        fs::write(target.join("notes.txt"), "mine").unwrap();
        let before = held(&target);
        copy(false).expect("it is there already");
        assert_eq!(held(&target), before);

        let trained = [
            (CONFIG_FILE, "mine"),
            ("model.safetensors", "mine weights"),
            ("tokenizer.json", "mine"),
            (TRAINING_ARGS_FILE, "mine"),
        ];
        written(&target, &trained);
        let before = held(&target);
        let refused = copy(false).unwrap_err().to_string();
        assert!(
            refused.starts_with(&target.display().to_string()),
            "{refused}"
        );
        assert!(refused.ends_with(" by --overwrite_output_dir"), "{refused}");
        assert_eq!(held(&target), before);

        copy(true).unwrap();
        let mut expected = held(&base);
        expected.insert(2, ("notes.txt".into(), "mine".into()));
        assert_eq!(held(&target), expected);
    }

    #[test]
    fn what_a_killed_copy_left_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let [base, target] = ["base", "target"].map(|name| dir.path().join(name));
        written(&base, &[(CONFIG_FILE, "base")]);
        written(&target.join(".berth.a1.partial"), &[(CONFIG_FILE, "ba")]);
        copy(&base, &files(&base).unwrap(), &target, false).unwrap();
        assert_eq!(held(&target), held(&base));
    }
}

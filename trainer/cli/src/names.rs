//! Bundles by name: `berth ask sentiment` instead of a path.
//!
//! A name is looked for in these folders, one after the other:
//!
//! 1. `models` where the command runs,
//! 2. `models` of the checkout that the program was built in, and `share/berth/models` beside the folder
//!    that it is installed in,
//! 3. the user's own: `berth/models` in `XDG_DATA_HOME`, or in `~/.local/share` where that is not set.
//!
//! In each, `NAME.berth` counts, then `NAME/NAME.berth`, then the one bundle that lies in `NAME/`.

use crate::error::Error;
use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// The ending of a bundle's file name.
const SUFFIX: &str = "berth";

/// The file that was typed: the path itself, or the bundle of that name.
///
/// # Errors
/// When there is no such file; of a name, saying where it was looked for and which names there are.
pub fn bundle_path(typed: &Path) -> Result<PathBuf, Error> {
    find(typed, &folders())
}

fn find(typed: &Path, folders: &[PathBuf]) -> Result<PathBuf, Error> {
    if typed.is_file() {
        return Ok(typed.to_owned());
    }
    let wrong = |what: String| Error::Path {
        path: typed.to_owned(),
        what,
    };
    let Some(name) = name_of(typed) else {
        let what = match typed.is_dir() {
            true => "is a folder, not a bundle; make one of a checkpoint with berth quantize",
            false => "no such file",
        };
        return Err(wrong(what.into()));
    };
    let found = folders.iter().find_map(|folder| named(folder, name));
    found.ok_or_else(|| {
        match typed.is_dir() {
        true => wrong(
            "is a folder, and no bundle has that name; make one of a checkpoint with berth quantize"
                .into(),
        ),
        false => wrong(unknown(folders)),
    }
    })
}

/// The name that was typed, if it is one and not a path.
fn name_of(typed: &Path) -> Option<&OsStr> {
    let is_file = typed.extension().is_some_and(|ending| ending == SUFFIX);
    let alone = typed.components().count() == 1;
    typed.file_name().filter(|_| alone && !is_file)
}

/// Says where was looked, and what there is.
fn unknown(folders: &[PathBuf]) -> String {
    let places: Vec<_> = folders
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    let mut all = BTreeMap::new();
    for folder in folders {
        for (name, path) in names(folder) {
            all.entry(name).or_insert(path);
        }
    }
    let known: Vec<_> = all
        .iter()
        .map(|(name, path)| format!("{name} ({})", path.display()))
        .collect();
    let places = places.join(", ");
    match known.is_empty() {
        true => format!("no such file, and no bundle by any name in {places}"),
        false => format!(
            "no such file, and no bundle of that name in {places}; there is {}",
            known.join(", ")
        ),
    }
}

/// The bundle of a name in a folder.
fn named(folder: &Path, name: &OsStr) -> Option<PathBuf> {
    let mut file = name.to_owned();
    file.push(".");
    file.push(SUFFIX);
    let own = folder.join(name);
    let files = [folder.join(&file), own.join(&file)];
    files
        .into_iter()
        .find(|path| path.is_file())
        .or_else(|| only_bundle(&own))
}

/// The bundle in a folder, if there is just one.
fn only_bundle(folder: &Path) -> Option<PathBuf> {
    let mut bundles = entries(folder)
        .into_iter()
        .filter(|path| path.is_file() && path.extension().is_some_and(|ending| ending == SUFFIX));
    let first = bundles.next()?;
    bundles.next().is_none().then_some(first)
}

/// Every name that is found in a folder, and its bundle.
fn names(folder: &Path) -> Vec<(String, PathBuf)> {
    let named = |path: PathBuf| {
        let name = path.file_stem().filter(|_| path.is_file());
        let name = name.or_else(|| path.file_name())?.to_owned();
        let found = named(folder, &name)?;
        Some((name.to_string_lossy().into_owned(), found))
    };
    entries(folder).into_iter().filter_map(named).collect()
}

/// What lies in a folder, in order; nothing where it can't be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = read.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Where names are looked for.
fn folders() -> Vec<PathBuf> {
    let program = env::current_exe().ok();
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let mut folders = vec![PathBuf::from("models")];
    folders.extend(program.as_deref().and_then(beside));
    folders.extend(users_own(variable("XDG_DATA_HOME"), variable("HOME")));
    folders
}

/// The folder that belongs to a program: the checkout's, or the one that was installed with it.
fn beside(program: &Path) -> Option<PathBuf> {
    let is_checkout = |folder: &&Path| folder.join("Cargo.toml").is_file();
    let checkout = program.ancestors().skip(1).find(is_checkout);
    let installed = || Some(program.parent()?.parent()?.join("share/berth"));
    let folder = checkout.map(Path::to_owned).or_else(installed)?;
    let models = folder.join("models");
    models.is_dir().then_some(models)
}

/// The user's own folder, as the XDG Base Directory Specification places data; a relative path there
/// counts as none.
fn users_own(
    data: Option<impl Into<PathBuf>>,
    home: Option<impl Into<PathBuf>>,
) -> Option<PathBuf> {
    let data = data
        .map(Into::into)
        .filter(|path: &PathBuf| path.is_absolute());
    let usual = || home.map(|home| home.into().join(".local/share"));
    Some(data.or_else(usual)?.join("berth/models"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two folders, the second of which has some bundles.
    fn two_folders() -> (tempfile::TempDir, [PathBuf; 2]) {
        let root = tempfile::tempdir().unwrap();
        let folders = ["first", "second"].map(|name| root.path().join(name));
        for path in [
            "second/flat.berth",
            "second/deep/deep.berth",
            "second/deep/other.berth",
            "second/only/model-7.berth",
            "second/many/a.berth",
            "second/many/b.berth",
            "second/none/train.tsv",
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        (root, folders)
    }

    #[test]
    fn a_name_is_a_file_or_a_folder_with_one() {
        let (root, folders) = two_folders();
        let found = |name: &str| {
            let found = find(Path::new(name), &folders).ok()?;
            let inside = found.strip_prefix(root.path()).unwrap();
            Some(inside.display().to_string())
        };
        assert_eq!(found("flat").as_deref(), Some("second/flat.berth"));
        assert_eq!(found("deep").as_deref(), Some("second/deep/deep.berth"));
        assert_eq!(found("only").as_deref(), Some("second/only/model-7.berth"));
        for none in ["many", "none", "nothing", "flat.berth", "second/flat", ".."] {
            assert_eq!(found(none), None, "{none}");
        }
        fs::create_dir(&folders[0]).unwrap();
        fs::write(folders[0].join("deep.berth"), "").unwrap();
        assert_eq!(found("deep").as_deref(), Some("first/deep.berth"));
        let path = folders[1].join("many/a.berth");
        assert_eq!(find(&path, &folders).unwrap(), path);
    }

    #[test]
    fn an_unknown_name_hears_which_there_are() {
        let (_root, folders) = two_folders();
        let said = |name: &str, folders: &[PathBuf]| {
            find(Path::new(name), folders).unwrap_err().to_string()
        };
        let error = said("sentimant", &folders);
        assert!(
            error.starts_with("sentimant: no such file, and no bundle"),
            "{error}"
        );
        for known in ["deep (", "flat (", "only (", "model-7.berth)", "first, "] {
            assert!(error.contains(known), "{known}: {error}");
        }
        assert!(
            !error.contains("many (") && !error.contains("none ("),
            "{error}"
        );
        let error = said("sentimant", &folders[..1]);
        assert!(error.contains("no bundle by any name"), "{error}");
        let folder = folders[1].join("many");
        let error = said(folder.to_str().unwrap(), &folders);
        assert!(error.contains("is a folder"), "{error}");
        assert!(said("x/y", &folders).ends_with("no such file"));
    }

    #[test]
    fn a_program_has_the_models_of_its_checkout_or_those_installed_with_it() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for folder in [
            "checkout/models",
            "checkout/target/debug",
            "usr/bin",
            "usr/share/berth/models",
        ] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(at("checkout/Cargo.toml"), "").unwrap();
        let program = at("checkout/target/debug/berth");
        assert_eq!(beside(&program), Some(at("checkout/models")));
        assert_eq!(
            beside(&at("usr/bin/berth")),
            Some(at("usr/share/berth/models"))
        );
        assert_eq!(beside(&at("elsewhere/bin/berth")), None);
    }

    #[test]
    fn the_users_own_folder_is_where_xdg_says() {
        let own = |data: Option<&str>, home: Option<&str>| users_own(data, home);
        let path = |path: &str| Some(PathBuf::from(path));
        assert_eq!(own(Some("/d"), Some("/h")), path("/d/berth/models"));
        let usual = path("/h/.local/share/berth/models");
        assert_eq!(own(None, Some("/h")), usual);
        assert_eq!(own(Some("relative"), Some("/h")), usual);
        assert_eq!(own(None, None), None);
    }
}

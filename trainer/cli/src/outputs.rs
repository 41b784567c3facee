//! Before a command works for long: that what it is going to write is written over nothing else. A file may be replaced
//! by a newer one of its kind; what a command reads, or another program made, may not.

use crate::error::Error;
use berth_bundle::MAGIC;
use berth_checkpoint::save;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What is going to be written.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A bundle.
    Bundle,
    /// A page of a report.
    Page,
    /// JSON.
    Json,
}

impl Kind {
    fn begins(self, bytes: &[u8]) -> bool {
        match self {
            Kind::Bundle => bytes.starts_with(&MAGIC),
            Kind::Page => bytes.to_ascii_lowercase().starts_with(b"<!doctype html"),
            Kind::Json => bytes.trim_ascii_start().starts_with(b"{"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Bundle => "no bundle",
            Kind::Page => "no page of a report",
            Kind::Json => "no JSON object",
        }
    }
}

/// That a file can be written there, over nothing but an earlier one of its kind. `flag` names another place.
///
/// # Errors
/// If it can't.
pub fn check(path: &Path, kind: Kind, flag: &str) -> Result<(), Error> {
    let wrong = |what: String| {
        Err(Error::Path {
            path: path.to_owned(),
            what: format!("{what}; name another {flag}"),
        })
    };
    let there = match fs::metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return check_place(path),
        Err(error) => return Err(Error::file(path, error)),
    };
    if !there.is_file() {
        return wrong("is no regular file".into());
    }
    let mut first = Vec::new();
    let read = File::open(path).and_then(|file| file.take(64).read_to_end(&mut first));
    read.map_err(|error| Error::file(path, error))?;
    match first.is_empty() || kind.begins(&first) {
        true => check_place(path),
        false => wrong(format!(
            "is there already, and is {}, so it is not replaced",
            kind.name()
        )),
    }
}

/// Whether an output folder holds anything but what a killed command has left of something half-written.
///
/// # Errors
/// If it can't be read, or is a link that leads nowhere, behind which no folder is made.
pub fn is_used(folder: &Path) -> Result<bool, Error> {
    save::is_used(folder).map_err(|source| Error::file(folder, source))
}

/// That a new file can be made where one of this name is written.
fn check_place(path: &Path) -> Result<(), Error> {
    let place = save::place(path).map_err(|error| Error::file(path, error))?;
    check_folder(&place)
}

/// That a new file can be made beside this one. What the system says of it is told in its own words.
fn check_folder(path: &Path) -> Result<(), Error> {
    let folder = save::folder_of(path);
    let Err(error) = save::try_in(folder) else {
        return Ok(());
    };
    if let Err(source) = fs::metadata(folder)
        && source.kind() == io::ErrorKind::NotFound
    {
        return Err(Error::Path {
            path: folder.to_owned(),
            what: format!("{source}; make the folder first"),
        });
    }
    Err(Error::file(path, error))
}

/// That a command does not write over a file that it reads.
///
/// # Errors
/// If it does.
pub fn check_apart(written: &Path, read: &[&Path]) -> Result<(), Error> {
    let place = |path: &Path| path.canonicalize().ok();
    let Some(written) = place(written) else {
        return Ok(());
    };
    let is_written = |path: &&&Path| place(path).is_some_and(|path| path == written);
    match read.iter().find(is_written) {
        None => Ok(()),
        Some(path) => Err(Error::Path {
            path: path.to_path_buf(),
            what: "is read, and would be written over; let the output go elsewhere".into(),
        }),
    }
}

/// Removes a file, where there is one.
///
/// # Errors
/// If it can't be removed.
pub fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file(path, error)),
        _ => Ok(()),
    }
}

/// Whether both name the same file, which need not be there yet.
pub fn are_the_same(one: &Path, other: &Path) -> bool {
    let beside = |path: &Path| -> Option<PathBuf> {
        let path = std::path::absolute(path).ok()?;
        Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?))
    };
    let place = |path: &Path| {
        let there = path.canonicalize().ok();
        there.or_else(|| beside(&save::place(path).ok()?))
    };
    place(one).is_some_and(|one| Some(one) == place(other))
}

/// That files of these names can be written to a folder, which is made where it is not there.
///
/// # Errors
/// If they can't.
pub fn check_files(folder: &Path, names: &[&str]) -> Result<(), Error> {
    let wrong = |path: &Path, what: &str| Error::Path {
        path: path.to_owned(),
        what: format!("{what}; name another --output_dir"),
    };
    fs::create_dir_all(folder).map_err(|source| match fs::symlink_metadata(folder) {
        Ok(_) => wrong(folder, "is there already, and is no folder"),
        Err(_) => Error::file(folder, source),
    })?;
    names.iter().try_for_each(|name| {
        let path = folder.join(name);
        match fs::metadata(&path) {
            Ok(there) if !there.is_file() => Err(wrong(&path, "is no regular file")),
            _ => check_place(&path),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_earlier_file_of_the_kind_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a.berth"), b"\x89BERTH\r\nand more").unwrap();
        fs::write(at("page.html"), "<!DOCTYPE html><html>").unwrap();
        fs::write(at("m.json"), " {\"a\": 1}").unwrap();
        fs::write(at("empty"), "").unwrap();
        fs::write(at("data.csv"), "text,label\n").unwrap();
        let kinds = [Kind::Bundle, Kind::Page, Kind::Json];
        for (name, wanted) in [
            ("a.berth", [true, false, false]),
            ("page.html", [false, true, false]),
            ("m.json", [false, false, true]),
            ("empty", [true; 3]),
            ("new", [true; 3]),
            ("data.csv", [false; 3]),
            (".", [false; 3]),
            ("none/new", [false; 3]),
        ] {
            let found = kinds.map(|kind| check(&at(name), kind, "--output").is_ok());
            assert_eq!(found, wanted, "{name}");
        }
        let error = check(&at("data.csv"), Kind::Bundle, "--output").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{}: is there already, and is no bundle, so it is not replaced; name another --output",
                at("data.csv").display()
            )
        );
        let error = check(&at("none/new"), Kind::Bundle, "--output").unwrap_err();
        let said = error.to_string();
        let folder = at("none").display().to_string();
        assert!(said.starts_with(&folder), "{said}");
        assert!(said.ends_with("; make the folder first"), "{said}");
        #[cfg(unix)]
        assert!(
            said.contains("none: No such file or directory (os error 2);"),
            "{said}"
        );
        #[cfg(unix)]
        assert!(check(Path::new("/dev/null"), Kind::Bundle, "--output").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_nowhere_is_a_name_for_a_file_and_none_for_a_folder() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (name, to) in [("a", "new"), ("b", "none/new"), ("ring", "ring")] {
            symlink(to, at(name)).unwrap();
        }
        check(&at("a"), Kind::Bundle, "--output").unwrap();
        assert!(are_the_same(&at("a"), &at("new")));
        assert!(check(&at("ring"), Kind::Bundle, "--output").is_err());
        let said = check(&at("b"), Kind::Bundle, "--output").unwrap_err();
        let folder = at("none").display().to_string();
        assert!(said.to_string().starts_with(&folder), "{said}");
        assert_eq!(
            is_used(&at("a")).unwrap_err().to_string(),
            format!(
                "{}: a link that leads nowhere; remove it, or name another --output_dir",
                at("a").display()
            )
        );
        symlink(dir.path(), at("here")).unwrap();
        assert!(is_used(&at("here")).unwrap());
        assert!(!is_used(&at("none")).unwrap());
    }

    #[test]
    fn a_file_that_is_read_is_found_under_any_name() {
        let dir = tempfile::tempdir().unwrap();
        let (file, other) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&file, "x").unwrap();
        let around = dir.path().join("../").join(dir.path().file_name().unwrap());
        assert!(check_apart(&around.join("a"), &[&other, &file]).is_err());
        assert!(check_apart(&other, &[&file]).is_ok());
        assert!(are_the_same(&around.join("b"), &other));
        assert!(!are_the_same(&file, &other));
    }

    #[test]
    fn a_folder_that_takes_no_files_is_found_before_there_are_any() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let found = |folder: &str| check_files(&at(folder), &["a.txt", "b.json"]);
        found("new/inner").unwrap();
        fs::write(at("new/inner/a.txt"), "old").unwrap();
        found("new/inner").unwrap();
        let names: Vec<_> = fs::read_dir(at("new/inner")).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
        let refused = |folder: &str, path: &str, what: &str| {
            let error = found(folder).unwrap_err().to_string();
            let said = format!("{}: {what}; name another --output_dir", at(path).display());
            assert_eq!(error, said);
        };
        let no_folder = "is there already, and is no folder";
        refused("new/inner/a.txt", "new/inner/a.txt", no_folder);
        fs::create_dir(at("new/b.json")).unwrap();
        refused("new", "new/b.json", "is no regular file");
        assert!(found("new/inner/a.txt/more").is_err());
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(at("nowhere"), at("link")).unwrap();
            refused("link", "link", no_folder);
        }
    }
}

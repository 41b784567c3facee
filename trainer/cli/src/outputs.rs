//! Before a command works for long: that what it is going to write is written over nothing else. A file may be replaced
//! by a newer one of its kind; what a command reads, or another program made, may not.

use crate::error::Error;
use berth_bundle::MAGIC;
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
        Err(Error::Model {
            path: path.to_owned(),
            what: format!("{what}; name another {flag}"),
        })
    };
    let there = match fs::metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return check_folder(path),
        Err(error) => return Err(Error::file(path, error)),
    };
    if !there.is_file() {
        return wrong("is no regular file".into());
    }
    let mut first = Vec::new();
    let read = File::open(path).and_then(|file| file.take(64).read_to_end(&mut first));
    read.map_err(|error| Error::file(path, error))?;
    match first.is_empty() || kind.begins(&first) {
        true => check_folder(path),
        false => wrong(format!(
            "is there already, and is {}, so it is not replaced",
            kind.name()
        )),
    }
}

/// That a new file can be made beside this one. What the system says of it is told in its own words.
fn check_folder(path: &Path) -> Result<(), Error> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let made = tempfile::Builder::new()
        .prefix(".berth.")
        .tempfile_in(folder);
    let Err(error) = made else {
        return Ok(());
    };
    if let Err(source) = fs::metadata(folder)
        && source.kind() == io::ErrorKind::NotFound
    {
        return Err(Error::Model {
            path: folder.to_owned(),
            what: format!("{source}; make the folder first"),
        });
    }
    // The name behind it is one that nobody gave.
    let said = error.to_string();
    let words = said.split(" at path ").next().unwrap_or(&said);
    Err(Error::file(path, io::Error::new(error.kind(), words)))
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
        Some(path) => Err(Error::Model {
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
    let place = |path: &Path| path.canonicalize().ok().or_else(|| beside(path));
    place(one).is_some_and(|one| Some(one) == place(other))
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
}

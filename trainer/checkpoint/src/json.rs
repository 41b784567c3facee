//! JSON files of a model's folder: read as objects whose fields are taken out one by one, with
//! errors that name the file and the line or the field.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::CheckpointError;

/// The longest JSON file that is read. The longest tokenizer.json of a BERT has some 10 MB.
const LIMIT: u64 = 64 << 20;

/// Reads a file that must be there.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, CheckpointError> {
    parse(path, &bytes(path)?)
}

/// Reads a file that may be missing.
pub(crate) fn read_if_there<T: DeserializeOwned>(
    path: &Path,
) -> Result<Option<T>, CheckpointError> {
    if path.exists() {
        read(path).map(Some)
    } else {
        Ok(None)
    }
}

/// A file's bytes, if they are no more than [`LIMIT`].
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, CheckpointError> {
    let io = |source| CheckpointError::io(path, source);
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut bytes = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(io)?;
    let bytes_read = bytes.len() as u64;
    if bytes_read > LIMIT {
        let bytes = length.max(bytes_read);
        return Err(CheckpointError::TooLarge {
            path: path.to_owned(),
            bytes,
            limit: LIMIT,
        });
    }
    Ok(bytes)
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, CheckpointError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let message = error.to_string();
        let what = message.rsplit_once(" at line ").map(|(what, _)| what);
        CheckpointError::Line {
            path: path.to_owned(),
            line: error.line().max(1),
            what: what.unwrap_or(&message).to_owned(),
        }
    })
}

/// An object's fields, to be taken out with a check.
pub(crate) struct Fields<'a> {
    pub path: PathBuf,
    pub map: &'a Map<String, Value>,
}

impl Fields<'_> {
    /// The value of a field; JSON's null counts as absent.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    /// A whole number from `least` to `most`, or `default` where the field is absent.
    ///
    /// # Errors
    /// When it is anything else, or absent without a default.
    pub fn count(
        &self,
        field: &str,
        [least, most]: [usize; 2],
        default: Option<usize>,
    ) -> Result<usize, CheckpointError> {
        let Some(value) = self.get(field) else {
            return default.ok_or_else(|| self.wrong(field, "is missing"));
        };
        let count = value.as_u64().and_then(|n| usize::try_from(n).ok());
        count.filter(|n| (least..=most).contains(n)).ok_or_else(|| {
            self.wrong(
                field,
                format!("must be a whole number from {least} to {most}, not {value}"),
            )
        })
    }

    /// A number from `least` up to, but without, `below`, or `default` where the field is absent.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn number(
        &self,
        field: &str,
        [least, below]: [f64; 2],
        default: f64,
    ) -> Result<f64, CheckpointError> {
        let Some(value) = self.get(field) else {
            return Ok(default);
        };
        value
            .as_f64()
            .filter(|n| (least..below).contains(n))
            .ok_or_else(|| {
                self.wrong(
                    field,
                    format!("must be a number from {least} to less than {below}, not {value}"),
                )
            })
    }

    /// A string.
    ///
    /// # Errors
    /// When the field has another type.
    pub fn text(&self, field: &str) -> Result<Option<&str>, CheckpointError> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        match value.as_str() {
            Some(text) => Ok(Some(text)),
            None => Err(self.wrong(field, format!("must be a string, not {value}"))),
        }
    }

    /// An error about a field.
    pub fn wrong(&self, field: &str, what: impl Into<String>) -> CheckpointError {
        CheckpointError::field(&self.path, field, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_may_speak_of_lines_itself() {
        for (json, expected) in [
            (
                "\n\"stop at line 3\"",
                "f.json:2: invalid type: string \"stop at line 3\", expected a boolean",
            ),
            ("x", "f.json:1: expected value"),
        ] {
            let error = parse::<bool>(Path::new("f.json"), json.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}

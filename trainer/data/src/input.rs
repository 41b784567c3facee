//! A file's bytes to text: gzip undone, UTF-8 checked, the byte order mark taken off.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::error::{DataError, Place};

/// The two bytes that every gzip file begins with. The second one can't stand there in UTF-8.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A whole file as text, knowing its name for error messages.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) path: PathBuf,
    pub(crate) body: String,
}

impl Text {
    /// Reads the file at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, DataError> {
        Text::of(path, read_bytes(path)?)
    }

    /// Takes `bytes` for the file at `path`.
    #[cfg(test)]
    pub(crate) fn decode(path: &Path, bytes: Vec<u8>) -> Result<Self, DataError> {
        Text::of(path, unpacked(path, bytes)?)
    }

    /// Takes `bytes` for what the file at `path` holds.
    fn of(path: &Path, bytes: Vec<u8>) -> Result<Self, DataError> {
        let mut body = String::from_utf8(bytes).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line_start = valid
                .iter()
                .rposition(|&b| b == b'\n')
                .map_or(0, |at| at + 1);
            DataError::Utf8 {
                place: Place::new(path, 1 + newlines(valid)),
                byte: (valid.len() - line_start + 1) as u64,
            }
        })?;
        if body.starts_with('\u{feff}') {
            body.drain(..'\u{feff}'.len_utf8());
        }
        let path = path.to_owned();
        Ok(Text { path, body })
    }

    /// Line `line` of this file.
    pub(crate) fn place(&self, line: u64) -> Place {
        Place::new(&self.path, line)
    }
}

/// What the file at `path` holds, gzip undone.
///
/// # Errors
/// When it can't be read, or the compressed data is damaged.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, DataError> {
    let io = |source| DataError::Io {
        path: path.to_owned(),
        source,
    };
    unpacked(path, fs::read(path).map_err(io)?)
}

fn unpacked(path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, DataError> {
    match bytes.starts_with(&GZIP_MAGIC) {
        true => gunzip(path, &bytes),
        false => Ok(bytes),
    }
}

/// How many line feeds there are.
pub(crate) fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&b| b == b'\n').count() as u64
}

fn gunzip(path: &Path, bytes: &[u8]) -> Result<Vec<u8>, DataError> {
    let mut plain = Vec::new();
    let gzip = |source| DataError::Gzip {
        path: path.to_owned(),
        source,
    };
    MultiGzDecoder::new(bytes)
        .read_to_end(&mut plain)
        .map_err(gzip)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn decode(bytes: &[u8]) -> Result<String, String> {
        let text = Text::decode(Path::new("f"), bytes.to_vec());
        text.map(|text| text.body)
            .map_err(|error| error.to_string())
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_byte_order_mark_goes_and_only_at_the_start() {
        assert_eq!(decode("\u{feff}a\u{feff}".as_bytes()).unwrap(), "a\u{feff}");
        assert_eq!(decode(b"").unwrap(), "");
    }

    #[test]
    fn gzip_is_known_by_its_bytes_in_one_part_or_several() {
        let mut two = gzip(b"one\n");
        two.extend(gzip("\u{feff}two".as_bytes()));
        assert_eq!(decode(&two).unwrap(), "one\n\u{feff}two");
    }

    #[test]
    fn cut_gzip_is_refused_at_every_length() {
        let whole = gzip(b"text\tlabel\nfine\t1\n");
        for cut in 2..whole.len() {
            let error = decode(&whole[..cut]).unwrap_err();
            assert!(error.starts_with("f: damaged gzip data"), "{cut}: {error}");
        }
    }

    #[test]
    fn a_byte_that_is_not_utf_8_is_named_by_line_and_byte() {
        let error = decode(b"good\n\xc3\xa4 \xff").unwrap_err();
        assert_eq!(
            error,
            "f:2: not UTF-8 at byte 4 of the line; save the file as UTF-8"
        );
        let utf_16 = decode(b"\xff\xfea\0").unwrap_err();
        assert!(utf_16.starts_with("f:1: not UTF-8 at byte 1 "), "{utf_16}");
    }
}

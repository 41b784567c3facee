//! Comma-separated values with quotes, as RFC 4180 has them.
//!
//! The rules are those of the `csv` crate, which the tests hold this against, but for one thing:
//! where that crate guesses, this is an error with its line. A quote that never closes would
//! swallow the rest of the file into one cell, and text behind a closing quote nearly always means
//! that a quote of the text was not doubled, so that rows have run together.

use std::borrow::Cow;

use super::Row;
use crate::error::DataError;
use crate::input::{Text, newlines};

/// The rows of `text`. Blank lines are none, and an empty text in the only column is `""`; a quote inside an unquoted
/// cell is text.
pub(crate) fn rows(text: &Text) -> impl Iterator<Item = Result<Row<'_>, DataError>> {
    Rows {
        text,
        at: 0,
        line: 1,
    }
}

struct Rows<'t> {
    text: &'t Text,
    /// The byte where the next cell begins, and its line.
    at: usize,
    line: u64,
}

/// What stands behind a cell.
enum End {
    Cell,
    Row,
}

impl<'t> Iterator for Rows<'t> {
    type Item = Result<Row<'t>, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.take_line_end() {}
        if self.rest().is_empty() {
            return None;
        }
        let row = self.row();
        if row.is_err() {
            self.at = self.text.body.len();
        }
        Some(row)
    }
}

impl<'t> Rows<'t> {
    fn rest(&self) -> &'t str {
        &self.text.body[self.at..]
    }

    fn row(&mut self) -> Result<Row<'t>, DataError> {
        let line = self.line;
        let mut cells = Vec::new();
        loop {
            let (cell, end) = match self.rest().starts_with('"') {
                true => self.quoted()?,
                false => self.plain(),
            };
            cells.push(cell);
            if let End::Row = end {
                return Ok(Row { line, cells });
            }
        }
    }

    /// A cell that goes on to the next comma or line end.
    fn plain(&mut self) -> (Cow<'t, str>, End) {
        let rest = self.rest();
        let length = rest.find([',', '\n']).unwrap_or(rest.len());
        self.at += length;
        let cell = &rest[..length];
        if self.take(",") {
            return (cell.into(), End::Cell);
        }
        self.take_line_end();
        (cell.strip_suffix('\r').unwrap_or(cell).into(), End::Row)
    }

    /// A cell in quotes, where two of them stand for one.
    fn quoted(&mut self) -> Result<(Cow<'t, str>, End), DataError> {
        let inside = &self.rest()[1..];
        let Some(length) = closing_quote(inside) else {
            let place = self.text.place(self.line);
            return Err(DataError::OpenQuote { place });
        };
        let cell = &inside[..length];
        self.at += length + 2;
        self.line += newlines(cell.as_bytes());
        let end = if self.take(",") {
            End::Cell
        } else if self.rest().is_empty() || self.take_line_end() {
            End::Row
        } else {
            let place = self.text.place(self.line);
            let behind = self.rest().chars().next().unwrap_or_default();
            return Err(DataError::TextBehindQuote { place, behind });
        };
        let doubled = cell.contains('"');
        let cell = if doubled {
            cell.replace("\"\"", "\"").into()
        } else {
            cell.into()
        };
        Ok((cell, end))
    }

    /// Steps over a line end, if one is next.
    fn take_line_end(&mut self) -> bool {
        let taken = self.take("\n") || self.take("\r\n");
        self.line += u64::from(taken);
        taken
    }

    /// Steps over `token`, if it is next.
    fn take(&mut self, token: &str) -> bool {
        let taken = self.rest().starts_with(token);
        self.at += if taken { token.len() } else { 0 };
        taken
    }
}

/// Where the first quote stands that is not one of a doubled pair.
fn closing_quote(inside: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        at += inside[at..].find('"')?;
        if !inside[at + 1..].starts_with('"') {
            return Some(at);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    type Cells = Vec<(u64, Vec<String>)>;

    fn read(text: &str) -> Result<Cells, String> {
        let text = Text::decode(Path::new("f.csv"), text.into()).unwrap();
        let owned = |row: Row| {
            (
                row.line,
                row.cells.into_iter().map(Cow::into_owned).collect(),
            )
        };
        let rows = rows(&text).map(|row| row.map(owned));
        rows.collect::<Result<_, _>>()
            .map_err(|error| error.to_string())
    }

    fn cells(rows: &[(u64, &[&str])]) -> Cells {
        let owned = |cells: &[&str]| cells.iter().map(|cell| cell.to_string()).collect();
        rows.iter()
            .map(|(line, cells)| (*line, owned(cells)))
            .collect()
    }

    #[test]
    fn quotes_commas_and_line_ends_inside_cells() {
        let text = "a,b\r\n\r\n\"x, \"\"y\"\"\nz\",\n\"\",say \"hi\"\n,\n\"end\"";
        let expected = cells(&[
            (1, &["a", "b"]),
            (3, &["x, \"y\"\nz", ""]),
            (5, &["", "say \"hi\""]),
            (6, &["", ""]),
            (7, &["end"]),
        ]);
        assert_eq!(read(text).unwrap(), expected);
        assert_eq!(read("\n\r\n").unwrap(), []);
    }

    #[test]
    fn a_quote_that_never_closes_is_named_by_the_line_it_opens_on() {
        for text in [
            "a,b\n\"x\ny\",\"open\nmore\nand more",
            "a,b\n\"x\ny\",\"open\"\"",
        ] {
            let error = read(text).unwrap_err();
            assert!(
                error.starts_with("f.csv:3: the quote that opens here"),
                "{error}"
            );
        }
    }

    #[test]
    fn text_behind_a_closing_quote_is_an_error() {
        let error = read("a\n\"one\ntwo\" three\n").unwrap_err();
        assert!(
            error.starts_with("f.csv:3: text behind a closing quote"),
            "{error}"
        );
    }

    /// Every text of up to eight characters over an alphabet that has all that matters.
    #[test]
    fn what_is_accepted_is_read_as_the_csv_crate_reads_it() {
        let alphabet = ['a', ',', '"', '\n'];
        let mut accepted = 0;
        for length in 0..=8 {
            for code in 0..alphabet.len().pow(length) {
                let letter = |place| alphabet[code / alphabet.len().pow(place) % alphabet.len()];
                let text: String = (0..length).map(letter).collect();
                let Ok(found) = read(&text) else { continue };
                let found: Vec<_> = found.into_iter().map(|(_, cells)| cells).collect();
                assert_eq!(found, by_the_csv_crate(&text), "{text:?}");
                accepted += 1;
            }
        }
        assert!(accepted > 20_000, "{accepted}");
    }

    fn by_the_csv_crate(text: &str) -> Vec<Vec<String>> {
        let mut builder = ::csv::ReaderBuilder::new();
        let mut reader = builder
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        let row = |row: ::csv::StringRecord| row.iter().map(str::to_owned).collect();
        reader
            .records()
            .map(|record| row(record.unwrap()))
            .collect()
    }
}

//! JSON objects, either one after another (a line each, as JSONL has it) or in one array.
//!
//! Which of the two it is shows in the first character, so both extensions are read alike.

use serde::de::IgnoredAny;
use serde_json::error::Category;
use serde_json::{Deserializer, Map, Value};

use crate::error::DataError;
use crate::input::{Text, newlines};

/// An object, and the line that it begins on. Its keys keep the file's order.
pub(crate) struct Object {
    pub(crate) line: u64,
    pub(crate) fields: Map<String, Value>,
}

/// The objects of `text`.
pub(crate) fn objects(text: &Text) -> impl Iterator<Item = Result<Object, DataError>> {
    let mut objects = Objects {
        text,
        at: 0,
        line: 1,
        part: Part::Stream,
    };
    objects.skip_space();
    if objects.rest().starts_with('[') {
        objects.advance(1);
        objects.part = Part::ArrayStart;
    }
    objects
}

struct Objects<'t> {
    text: &'t Text,
    /// The byte up to which the text is read, and its line.
    at: usize,
    line: u64,
    part: Part,
}

/// Where the reader stands.
#[derive(Copy, Clone, PartialEq)]
enum Part {
    /// Between objects that follow one another.
    Stream,
    /// Behind the bracket that opens an array.
    ArrayStart,
    /// Behind an element of the array.
    ArrayRest,
    /// At the end, or behind an error.
    Done,
}

impl Iterator for Objects<'_> {
    type Item = Result<Object, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.object().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.part = Part::Done;
        }
        next
    }
}

impl<'t> Objects<'t> {
    fn rest(&self) -> &'t str {
        &self.text.body[self.at..]
    }

    /// The next object; `None` behind the last one.
    fn object(&mut self) -> Result<Option<Object>, DataError> {
        self.skip_space();
        match (self.part, self.rest().chars().next()) {
            (Part::Done, _) | (Part::Stream, None) => Ok(None),
            (Part::Stream, _) => self.parse().map(Some),
            (Part::ArrayStart | Part::ArrayRest, Some(']')) => self.end_of_array(),
            (Part::ArrayStart, _) => self.parse_element(),
            (Part::ArrayRest, Some(',')) => {
                self.advance(1);
                self.skip_space();
                self.parse_element()
            }
            (Part::ArrayRest, Some(_)) => Err(self.broken("expected `,` or `]`")),
            (Part::ArrayRest, None) => Err(self.broken("the array has no end")),
        }
    }

    fn parse_element(&mut self) -> Result<Option<Object>, DataError> {
        self.part = Part::ArrayRest;
        self.parse().map(Some)
    }

    fn end_of_array(&mut self) -> Result<Option<Object>, DataError> {
        self.advance(1);
        self.skip_space();
        match self.rest().is_empty() {
            true => Ok(None),
            false => Err(self.broken("text behind the array")),
        }
    }

    /// Reads the object that begins here.
    fn parse(&mut self) -> Result<Object, DataError> {
        let line = self.line;
        let mut values = Deserializer::from_str(self.rest()).into_iter::<Map<String, Value>>();
        match values.next() {
            Some(Ok(fields)) => {
                self.advance(values.byte_offset());
                Ok(Object { line, fields })
            }
            Some(Err(error)) if error.classify() == Category::Data => {
                let place = self.text.place(line);
                Err(DataError::NotAnObject { place })
            }
            Some(Err(error)) => Err(refused(self.text, self.at, &error)),
            None => Err(self.broken("the array has no end")),
        }
    }

    fn broken(&self, reason: &str) -> DataError {
        DataError::Json {
            place: self.text.place(self.line),
            column: column(self.text, self.at),
            reason: reason.to_owned(),
        }
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        let text = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        self.advance(rest.len() - text.len());
    }

    fn advance(&mut self, bytes: usize) {
        self.line += newlines(&self.rest().as_bytes()[..bytes]);
        self.at += bytes;
    }
}

/// The parser's error, whose place counts from the byte `from`.
pub(crate) fn refused(text: &Text, from: usize, error: &serde_json::Error) -> DataError {
    let lines_below = (error.line() as u64).saturating_sub(1);
    let before = match lines_below {
        0 => column(text, from) - 1,
        _ => 0,
    };
    let line = 1 + newlines(&text.body.as_bytes()[..from]);
    DataError::Json {
        place: text.place(line + lines_below),
        column: before + error.column(),
        reason: reason(error),
    }
}

/// How many bytes `at` is into its line, counted from 1.
pub(crate) fn column(text: &Text, at: usize) -> usize {
    let before = &text.body[..at];
    at - before.rfind('\n').map_or(0, |at| at + 1) + 1
}

/// What the parser says, without the place.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map(|(reason, _)| reason);
    reason.unwrap_or(&text).to_owned()
}

/// The first line that is no JSON by itself, of a text with a row on each. A parser that reads on over the
/// line's end would name a later one. `None` where objects before it take several lines.
pub(crate) fn broken_line(text: &Text) -> Option<DataError> {
    if text.body.trim_start().starts_with('[') {
        return None;
    }
    let whole = objects(text).map_while(Result::ok).last();
    let read = whole.map_or(0, |object| object.line);
    let mut lines = (1..).zip(text.body.lines());
    let broken = lines.find_map(|(number, line)| {
        let line = Some(line).filter(|line| !line.trim().is_empty())?;
        let error = serde_json::from_str::<IgnoredAny>(line).err()?;
        Some((number, error))
    });
    let (number, error) = broken.filter(|(number, _)| *number > read)?;
    Some(DataError::Json {
        place: text.place(number),
        column: error.column(),
        reason: reason(&error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn read(text: &str) -> Result<Vec<(u64, String)>, String> {
        let text = Text::decode(Path::new("f.json"), text.into()).unwrap();
        let shown = |object: Object| (object.line, Value::Object(object.fields).to_string());
        let objects = objects(&text).map(|object| object.map(shown));
        objects
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_stream_and_an_array_of_objects_are_read_alike() {
        let expected = [(2, r#"{"b":1,"a":"x"}"#), (4, "{}"), (5, r#"{"c":null}"#)];
        let expected = expected.map(|(line, object)| (line, object.to_owned()));
        let stream = "\n{\"b\": 1,\r\n\"a\": \"x\"}\n{}\n{\"c\": null}";
        assert_eq!(read(stream).unwrap(), expected);
        let array = "[\n{\"b\": 1,\r\n\"a\": \"x\"},\n{},\n{\"c\": null}\n] \n";
        assert_eq!(read(array).unwrap(), expected);
        for empty in ["", "\n \n", "[]", " [ \n ] "] {
            assert_eq!(read(empty).unwrap(), [], "{empty:?}");
        }
    }

    #[test]
    fn broken_json_is_named_by_line_and_column() {
        for (text, expected) in [
            (
                "{}\n {\"a\": 1",
                "f.json:2: not valid JSON at column 8: EOF while parsing an object",
            ),
            (
                "{}\n {\"a\": x}",
                "f.json:2: not valid JSON at column 8: expected value",
            ),
            (
                "{}\n {\"a\":\n\n x}",
                "f.json:4: not valid JSON at column 2: expected value",
            ),
            (
                "{}\n}",
                "f.json:2: not valid JSON at column 1: expected value",
            ),
            (
                "[{}\n {}]",
                "f.json:2: not valid JSON at column 2: expected `,` or `]`",
            ),
            (
                "[{},\n{}",
                "f.json:2: not valid JSON at column 3: the array has no end",
            ),
            (
                "[{},\n",
                "f.json:2: not valid JSON at column 1: the array has no end",
            ),
            (
                "[",
                "f.json:1: not valid JSON at column 2: the array has no end",
            ),
            (
                "[{}]\n{}",
                "f.json:2: not valid JSON at column 1: text behind the array",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_row_that_is_no_object_is_refused() {
        for text in ["{}\n[1]", "[{},\n7]", "{}\n\"text\"", "{}\nnull"] {
            let error = read(text).unwrap_err();
            assert!(
                error.starts_with("f.json:2: a row is a JSON object"),
                "{text:?}: {error}"
            );
        }
    }

    #[test]
    fn nesting_without_end_is_an_error_and_no_overflow() {
        let error = read(&format!("{{\"a\": {}", "[".repeat(1_000_000))).unwrap_err();
        assert!(error.contains("recursion limit"), "{error}");
    }
}

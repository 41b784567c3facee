//! Parts of a JSON text that know where they stand, for files whose rows lie deep in others.
//!
//! The text is read once as JSON, which finds whatever is wrong with it. What comes after that
//! walks over text that is known to be right, and needs no more than the brackets and the strings.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Deserializer;
use serde_json::error::Category;

use super::json::{column, refused};
use crate::error::{DataError, Place, Spot};
use crate::input::{Text, newlines};

/// A value, and the text that it stands in.
#[derive(Copy, Clone)]
pub(crate) struct Part<'t> {
    text: &'t Text,
    /// Its first byte.
    pub(crate) start: usize,
    end: usize,
}

/// The members of an object; of two with the same name, the last.
pub(crate) type Members<'t> = BTreeMap<String, Part<'t>>;

/// The values of a text, one after another.
pub(crate) fn values(text: &Text) -> Result<Vec<Part<'_>>, DataError> {
    let mut values = Vec::new();
    let mut stream = Deserializer::from_str(&text.body).into_iter::<IgnoredAny>();
    let mut start = 0;
    while let Some(value) = stream.next() {
        value.map_err(|error| refused(text, 0, &error))?;
        let end = stream.byte_offset();
        let mut walk = Walk {
            text: &text.body[..end],
            at: start,
        };
        walk.space();
        values.push(Part {
            text,
            start: walk.at,
            end,
        });
        start = end;
    }
    Ok(values)
}

impl<'t> Part<'t> {
    /// The members, if this is an object.
    pub(crate) fn members(self) -> Result<Members<'t>, DataError> {
        let mut walk = self.walk();
        let mut members = Members::new();
        if !walk.take(b'{') {
            return Err(self.wrong("a row", "an object"));
        }
        while !walk.take(b'}') {
            let key = self.part(&mut walk);
            walk.take(b':');
            members.insert(key.read("a name", "a text")?, self.part(&mut walk));
            walk.take(b',');
        }
        Ok(members)
    }

    /// The elements of the array that this member is.
    pub(crate) fn elements(self, name: &str) -> Result<Vec<Part<'t>>, DataError> {
        let mut walk = self.walk();
        let mut elements = Vec::new();
        if !walk.take(b'[') {
            return Err(self.wrong(name, "an array"));
        }
        while !walk.take(b']') {
            elements.push(self.part(&mut walk));
            walk.take(b',');
        }
        Ok(elements)
    }

    /// Whether this is an array.
    pub(crate) fn is_array(self) -> bool {
        self.walk().take(b'[')
    }

    /// What this member is, as a type of its own.
    pub(crate) fn read<T: Deserialize<'t>>(
        self,
        name: &str,
        expected: &'static str,
    ) -> Result<T, DataError> {
        let body: &'t str = &self.text.body[self.start..self.end];
        serde_json::from_str(body).map_err(|error| match error.classify() {
            Category::Data => self.wrong(name, expected),
            _ => refused(self.text, self.start, &error),
        })
    }

    /// The line and the column that this begins on.
    pub(crate) fn place(self) -> Place {
        let before = &self.text.body.as_bytes()[..self.start];
        Place {
            spot: Some(Box::new(Spot::Column(column(self.text, self.start)))),
            ..self.text.place(1 + newlines(before))
        }
    }

    fn wrong(self, name: &str, expected: &'static str) -> DataError {
        DataError::WrongMember {
            place: self.place(),
            name: name.to_owned(),
            expected,
        }
    }

    fn walk(self) -> Walk<'t> {
        Walk {
            text: &self.text.body[..self.end],
            at: self.start,
        }
    }

    /// The value that `walk` stands before.
    fn part(self, walk: &mut Walk<'t>) -> Self {
        walk.space();
        let start = walk.at;
        walk.value();
        Part {
            start,
            end: walk.at,
            ..self
        }
    }
}

/// A place in a text that is known to be JSON.
struct Walk<'t> {
    text: &'t str,
    at: usize,
}

impl Walk<'_> {
    fn here(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.here() {
            self.at += 1;
        }
    }

    /// Goes past `byte` if it comes next; or past the end of a text that was not JSON after all.
    fn take(&mut self, byte: u8) -> bool {
        self.space();
        let taken = self.here().is_none_or(|here| here == byte);
        self.at += usize::from(taken && self.at < self.text.len());
        taken
    }

    /// Goes past a value: to the bracket that closes it, or to the end of a string or a word.
    fn value(&mut self) {
        let mut depth = 0usize;
        while let Some(byte) = self.here() {
            match byte {
                b'"' => self.string(),
                b'{' | b'[' => depth += 1,
                b'}' | b']' | b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 && matches!(byte, b'"' | b'}' | b']') {
                return;
            }
        }
    }

    /// From the quote that opens a string to the one that closes it.
    fn string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.here() {
            match byte {
                b'"' => return,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::path::Path;

    fn text(body: &str) -> Text {
        Text::decode(Path::new("f.json"), body.into()).unwrap()
    }

    /// The value put together again from its parts.
    fn rebuilt(part: Part<'_>) -> Value {
        if part.is_array() {
            part.elements("")
                .unwrap()
                .into_iter()
                .map(rebuilt)
                .collect()
        } else if let Ok(members) = part.members() {
            members
                .into_iter()
                .map(|(name, part)| (name, rebuilt(part)))
                .collect()
        } else {
            part.read("", "").unwrap()
        }
    }

    #[test]
    fn parts_make_up_the_whole() {
        for body in [
            r#"{"a":[1,-2.5e3,[],{}],"b\"\\":{"c":"]}\"","d":null},"e":true}"#,
            " [ \n{ \"a\" : [ ] , \"b\" : \"\\\\\" } , \"x\" ,\t7 ] ",
            "\"{[\"",
            "false",
            "[[[[]],{}]]",
        ] {
            let text = text(body);
            let [value] = values(&text).unwrap()[..] else {
                panic!("{body}")
            };
            assert_eq!(
                rebuilt(value),
                serde_json::from_str::<Value>(body).unwrap(),
                "{body}"
            );
        }
    }

    #[test]
    fn values_and_members_know_their_line() {
        let text = text("{}\r\n\n {\"a\":\n  [1,\n2]}\n");
        let values = values(&text).unwrap();
        let line = |part: Part<'_>| part.place().line;
        assert_eq!(
            values.iter().map(|value| line(*value)).collect::<Vec<_>>(),
            [1, 3]
        );
        let members = values[1].members().unwrap();
        let elements = members["a"].elements("a").unwrap();
        assert_eq!(
            (line(members["a"]), line(elements[0]), line(elements[1])),
            (4, 4, 5)
        );
    }

    #[test]
    fn what_is_no_json_is_named_by_line_and_column() {
        for (body, expected) in [
            (
                "{}\n {\"a\": x}",
                "f.json:2: not valid JSON at column 8: expected value",
            ),
            (
                "[1,\n",
                "f.json:2: not valid JSON at column 0: EOF while parsing a value",
            ),
        ] {
            let error = values(&text(body)).map(|_| ()).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        let text = text("{\n\"a\": \"\\ud800\"}");
        let members = values(&text).unwrap()[0].members().unwrap();
        let error = members["a"]
            .read::<String>("a", "a text")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("f.json:2: not valid JSON at column"),
            "{error}"
        );
    }

    #[test]
    fn nesting_without_end_is_an_error_and_no_overflow() {
        let text = text(&"[".repeat(1_000_000));
        assert!(values(&text).is_err());
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(!rebuilt(values(&self::text(&deep)).unwrap()[0]).is_null());
    }
}

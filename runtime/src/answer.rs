//! A line in, a line of JSON out: what `berth-edge` prints, and what `berth ask --json` prints.
//!
//! A line that begins with `{` is JSON, `{"text":…}` or `{"text":…,"text_pair":…}`, other members
//! passed over; for tagging also `{"tokens":[…]}`, words that are taken as given and joined by one
//! space. Any other line is the text itself; where the model takes two, they stand on both
//! sides of the line's first tab. The answers:
//!
//! | task | answer |
//! |---|---|
//! | text classification, text-pair classification | `[{"label":…,"score":…},…]`, all labels or the `top_k` best, best first |
//! | text-pair regression | `{"score":…}`, in the labels' units |
//! | text tagging | `[{"entity":…,"score":…,"index":…,"word":…,"start":…,"end":…,…},…]`, a row a word or, with `aggregation_strategy` `none`, a row a piece; with `simple` rows of entities with `entity_group` and no index |
//! | a line that has no answer | `{"error":…}` |
//!
//! `start` and `end` count code points; beside them stand `start_byte`, `end_byte`, `start_utf16` and
//! `end_utf16`. A word of `tokens` in which the model sees nothing, such as an empty one, has no row.
//!
//! Where the text had to be cut, each object of the answer has a member `"truncated"` more, with the
//! number of word pieces that the model did not see. (A list has no place of its own for it.)
//! Scores are written with the fewest digits that read back as the same number.

use std::fmt::{self, Write};
use std::num::NonZero;
use std::str;

use berth_task::{Aggregation, Task};

use crate::error::QueryError;
use crate::json::{self, JsonError, Words};
use crate::lines::{Line, MAX_LINE_BYTES};
use crate::session::{Classification, Session};
use crate::tags::{Tag, Tags};

/// The most words of a text that comes split.
pub const MAX_WORDS: usize = 1 << 16;

/// What answers look like, and how lines are read.
#[derive(Copy, Clone, Default, Debug)]
pub struct Options {
    /// Write that many labels at most.
    pub top_k: Option<NonZero<usize>>,
    /// The rows of tags; else those that are usual for the model's labels.
    pub aggregation_strategy: Option<Aggregation>,
    /// Take every line as plain text, also one that begins with `{`.
    pub plain_text: bool,
}

/// A session that answers in JSON. After [`new`](Self::new) it allocates nothing; only the answer to a
/// text to be tagged that is longer than the model's positions may take more memory than was laid by.
pub struct Answerer {
    session: Session,
    options: Options,
    json: String,
    /// Where the words of a text that came split end.
    ends: Vec<u32>,
}

/// What is to be printed, and what people may want to be told besides.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Answer<'a> {
    /// One value of JSON without a line break.
    pub json: &'a str,
    /// How many word pieces of the text were cut off, 0 as a rule.
    pub truncated: usize,
    /// The line had no answer, and `json` says why.
    pub failed: bool,
}

impl Answerer {
    /// Answers with `session`.
    ///
    /// # Errors
    /// [`QueryError::Task`] when the model's task is none of those in the [table](self).
    pub fn new(session: Session, options: Options) -> Result<Self, QueryError> {
        let header = session.model().header();
        let tagging = header.task == Task::TokenClassification;
        if !header.task.reads_first_row_only() && !tagging {
            return Err(QueryError::Task(header.task));
        }
        // A byte of a label takes up to six in JSON (`\u0001`), and 96 are more than the rest of its
        // object; an error says less than 512.
        let row = |label: &str| 6 * label.len() + 96;
        let rows: usize = match tagging {
            // Of eight numbers and their names; a word is seldom longer than that again.
            true => {
                let longest = header.labels.iter().map(row).max().unwrap_or_default();
                session.model().positions() * (longest + 512)
            }
            false => header.labels.iter().map(row).sum(),
        };
        Ok(Answerer {
            session,
            options,
            json: String::with_capacity(rows + 512),
            ends: Vec::with_capacity(if tagging { MAX_WORDS } else { 0 }),
        })
    }

    /// Answers one line of input. Never fails: what is wrong with the line is its answer.
    pub fn line(&mut self, line: Line<'_>) -> Answer<'_> {
        let task = self.session.model().header().task;
        let plain = self.options.plain_text;
        let truncated = match task {
            Task::TokenClassification => read_words(line, plain, &mut self.ends)
                .and_then(|words| Ok(self.write_tags(words).map(|()| 0)?)),
            task => read(line, task.takes_pair(), plain)
                .and_then(|(text, pair)| Ok(self.write_answer(text, pair)?)),
        };
        let failed = truncated.is_err();
        if let Err(error) = truncated {
            self.json.clear();
            // Writing to a string does not fail.
            let _ = write_error(&mut self.json, error);
        }
        Answer {
            json: &self.json,
            truncated: truncated.unwrap_or(0),
            failed,
        }
    }

    /// Answers a text, or two where the model takes two.
    ///
    /// # Errors
    /// As [`Session::logits`].
    pub fn ask(&mut self, text: &str, pair: Option<&str>) -> Result<Answer<'_>, QueryError> {
        let tagging = self.session.model().header().task == Task::TokenClassification;
        let truncated = match (tagging, pair) {
            (true, None) => self.write_tags(Words::Plain(text)).map(|()| 0)?,
            (true, Some(_)) => return Err(QueryError::PairUnwanted),
            (false, pair) => self.write_answer(text, pair)?,
        };
        Ok(Answer {
            json: &self.json,
            truncated,
            failed: false,
        })
    }

    /// Leaves the tags of a text in `self.json`.
    fn write_tags(&mut self, words: Words<'_>) -> Result<(), QueryError> {
        self.json.clear();
        let labels = self.session.model().header().labels.iter();
        let usual = Aggregation::usual(labels);
        let aggregation = self.options.aggregation_strategy.unwrap_or(usual);
        let (text, ends) = match words {
            Words::Plain(text) => (text, None),
            Words::Split(text) => (text, Some(&self.ends[..])),
        };
        let tags = self.session.tag_with(text, ends, aggregation)?;
        write_tags(&mut self.json, tags, aggregation)
    }

    /// Leaves the answer in `self.json` and gives the number of pieces that were cut.
    fn write_answer(&mut self, text: &str, pair: Option<&str>) -> Result<usize, QueryError> {
        self.json.clear();
        let truncated;
        let written = if self.session.model().header().task == Task::TextPairRegression {
            let logits = self.session.logits(text, pair)?;
            truncated = logits.truncated;
            write_object(&mut self.json, None, logits.values[0], truncated)
        } else {
            let classification = self.session.classify_either(text, pair)?;
            truncated = classification.truncated;
            let rows = self.options.top_k.map_or(usize::MAX, NonZero::get);
            write_rows(&mut self.json, &classification, rows)
        };
        debug_assert!(written.is_ok(), "writing to a string does not fail");
        Ok(truncated)
    }
}

fn write_rows(out: &mut String, answer: &Classification<'_>, rows: usize) -> fmt::Result {
    out.write_char('[')?;
    for (i, row) in answer.iter().take(rows).enumerate() {
        if i > 0 {
            out.write_char(',')?;
        }
        write_object(out, Some(row.label), row.score, answer.truncated)?;
    }
    out.write_char(']')
}

fn write_tags(
    out: &mut String,
    tags: Tags<'_>,
    aggregation: Aggregation,
) -> Result<(), QueryError> {
    out.push('[');
    for (i, tag) in tags.enumerate() {
        let tag = tag?;
        if i > 0 {
            out.push(',');
        }
        let written = write_tag(out, &tag, aggregation);
        debug_assert!(written.is_ok(), "writing to a string does not fail");
    }
    out.push(']');
    Ok(())
}

fn write_tag(out: &mut String, tag: &Tag<'_>, aggregation: Aggregation) -> fmt::Result {
    let entity = aggregation == Aggregation::Simple;
    out.write_str(if entity {
        "{\"entity_group\":"
    } else {
        "{\"entity\":"
    })?;
    json::write_string(out, tag.label)?;
    out.write_str(",\"score\":")?;
    json::write_number(out, tag.score)?;
    if !entity {
        write!(out, ",\"index\":{}", tag.index)?;
    }
    out.write_str(",\"word\":")?;
    json::write_string(out, tag.word)?;
    let (start, end) = (tag.start, tag.end);
    for (name, from, to) in [
        ("", start.char, end.char),
        ("_byte", start.byte, end.byte),
        ("_utf16", start.utf16, end.utf16),
    ] {
        write!(out, ",\"start{name}\":{from},\"end{name}\":{to}")?;
    }
    out.write_char('}')
}

fn write_object(
    out: &mut String,
    label: Option<&str>,
    score: f32,
    truncated: usize,
) -> fmt::Result {
    out.write_char('{')?;
    if let Some(label) = label {
        out.write_str("\"label\":")?;
        json::write_string(out, label)?;
        out.write_char(',')?;
    }
    out.write_str("\"score\":")?;
    json::write_number(out, score)?;
    if truncated > 0 {
        write!(out, ",\"truncated\":{truncated}")?;
    }
    out.write_char('}')
}

fn write_error(out: &mut String, error: LineError) -> fmt::Result {
    // A text of fixed size on the way, since the message may hold quotes.
    let mut message = heapless::String::<256>::new();
    let _ = write!(message, "{error}");
    out.write_str("{\"error\":")?;
    json::write_string(out, &message)?;
    out.write_char('}')
}

/// Takes a line apart into the text and, where the task has one, its pair.
fn read(line: Line<'_>, pair: bool, plain: bool) -> Result<(&str, Option<&str>), LineError> {
    let Line::Whole(line) = line else {
        return Err(LineError::TooLong);
    };
    if !plain && line.first() == Some(&b'{') {
        let [text, second] = json::strings(line, ["text", "text_pair"])?;
        let text = text.ok_or(LineError::Missing("text"))?;
        if pair && second.is_none() {
            return Err(LineError::Missing("text_pair"));
        }
        return Ok((text, second));
    }
    let line = str::from_utf8(line).map_err(|error| JsonError::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    if !pair {
        return Ok((line, None));
    }
    let (text, second) = line.split_once('\t').ok_or(LineError::NoTab)?;
    Ok((text, Some(second)))
}

/// Takes a line that is to be tagged.
fn read_words<'l>(
    line: Line<'l>,
    plain: bool,
    ends: &mut Vec<u32>,
) -> Result<Words<'l>, LineError> {
    let Line::Whole(line) = line else {
        return Err(LineError::TooLong);
    };
    if !plain && line.first() == Some(&b'{') {
        return json::words(line, ends)?.ok_or(LineError::Missing("text"));
    }
    read(Line::Whole(line), false, true).map(|(text, _)| Words::Plain(text))
}

/// Why a line has no answer.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
enum LineError {
    TooLong,
    Json(JsonError),
    Missing(&'static str),
    NoTab,
    Query(QueryError),
}

impl From<JsonError> for LineError {
    fn from(error: JsonError) -> Self {
        LineError::Json(error)
    }
}

impl From<QueryError> for LineError {
    fn from(error: QueryError) -> Self {
        LineError::Query(error)
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineError::TooLong => write!(f, "a line of more than {MAX_LINE_BYTES} bytes"),
            LineError::Json(error) => error.fmt(f),
            LineError::Missing(key) => write!(f, "\"{key}\" is missing"),
            LineError::NoTab => {
                f.write_str("two texts with a tab between them expected, no tab found")
            }
            LineError::Query(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(line: &str, pair: bool) -> Result<(String, Option<String>), LineError> {
        let mut line = line.as_bytes().to_vec();
        let (text, pair) = read(Line::Whole(&mut line), pair, false)?;
        Ok((text.to_owned(), pair.map(str::to_owned)))
    }

    fn two(text: &str, pair: &str) -> Result<(String, Option<String>), LineError> {
        Ok((text.into(), Some(pair.into())))
    }

    #[test]
    fn plain_lines_are_taken_as_they_are() {
        assert_eq!(parts(" a\tb ", false), Ok((" a\tb ".into(), None)));
        assert_eq!(parts("", false), Ok(("".into(), None)));
        assert_eq!(
            parts(" {\"text\":1}", false),
            Ok((" {\"text\":1}".into(), None))
        );
        assert_eq!(parts("a\tb\tc", true), two("a", "b\tc"));
        assert_eq!(parts("\t", true), two("", ""));
        assert_eq!(parts("a b", true), Err(LineError::NoTab));
    }

    #[test]
    fn json_lines_bring_their_texts_by_name() {
        assert_eq!(
            parts(r#"{"text":"a","label":1}"#, false),
            Ok(("a".into(), None))
        );
        assert_eq!(
            parts(r#"{"text_pair":"b","text":"a"}"#, true),
            two("a", "b")
        );
        assert_eq!(
            parts(r#"{"text":"a"}"#, true),
            Err(LineError::Missing("text_pair"))
        );
        assert_eq!(
            parts(r#"{"text_pair":"a"}"#, true),
            Err(LineError::Missing("text"))
        );
        assert_eq!(parts("{}", false), Err(LineError::Missing("text")));
        assert!(matches!(parts("{not json", false), Err(LineError::Json(_))));
    }

    #[test]
    fn every_line_can_be_taken_as_plain_text() {
        let mut line = *b"{\"text\":\"a\"}";
        let read = read(Line::Whole(&mut line), false, true);
        assert_eq!(read, Ok(("{\"text\":\"a\"}", None)));
    }

    #[test]
    fn bytes_that_are_no_text_are_named() {
        let mut line = *b"ab\xc3\x28";
        let error = read(Line::Whole(&mut line), false, false).unwrap_err();
        assert_eq!(error.to_string(), "not UTF-8 from byte 2 on");
        assert_eq!(read(Line::TooLong, false, false), Err(LineError::TooLong));
    }

    #[test]
    fn an_error_is_an_object_of_json() {
        let mut out = String::new();
        write_error(&mut out, LineError::Missing("text")).unwrap();
        assert_eq!(out, r#"{"error":"\"text\" is missing"}"#);
    }

    #[test]
    fn objects_carry_what_was_cut_only_where_something_was() {
        let written = |label, truncated| {
            let mut out = String::new();
            write_object(&mut out, label, 0.25, truncated).unwrap();
            out
        };
        assert_eq!(written(Some("a\"b"), 0), r#"{"label":"a\"b","score":0.25}"#);
        assert_eq!(written(None, 0), r#"{"score":0.25}"#);
        assert_eq!(written(None, 7), r#"{"score":0.25,"truncated":7}"#);
    }
}

//! Questions on passages, in the shapes that SQuAD has in the wild.
//!
//! | shape | |
//! |---|---|
//! | as published, versions 1.1 and 2.0 | `{"data":[{"paragraphs":[{"context":…,"qas":[{"id":…,"question":…,"answers":[{"text":…,"answer_start":…}]}]}]}]}` |
//! | flat, as `datasets` has it | `{"id":…,"question":…,"context":…,"answers":{"text":[…],"answer_start":[…]}}`: one after another, in an array, or in one that `data` holds |
//!
//! `answer_start` counts code points. What a person's answer is stays as it is written; where it
//! stands is believed only if the passage has it there ([`GoldAnswer::start`]). No answers at all,
//! as version 2.0 has them beside `is_impossible`, means that the passage doesn't answer the
//! question.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Deserializer;
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::dataset::{Dataset, Example, GoldAnswer, Label};
use crate::error::{DataError, Place};
use crate::input::{Text, newlines};
use crate::source::Source;

/// The members of an object, read when they are asked for.
type Members<'t> = BTreeMap<String, &'t RawValue>;

/// Reads every question of a file.
pub(crate) fn read(source: &Source, text: &Text) -> Result<Dataset, DataError> {
    let mut reader = Reader {
        text,
        names: Names::of(source),
        counted: (0, 1),
        examples: Vec::new(),
    };
    for row in reader.rows()? {
        reader.row(row)?;
    }
    let examples = reader.examples;
    if examples.is_empty() {
        return Err(DataError::NoRows {
            place: text.place(1),
            unlabelled: 0,
        });
    }
    check_ids(text, &examples)?;
    Ok(Dataset {
        path: source.path.clone(),
        examples,
        labels: Vec::new(),
        spellings: Vec::new(),
        unlabelled: 0,
    })
}

/// What the members are called.
struct Names<'s> {
    question: &'s str,
    passage: &'s str,
    /// None where answers are not read.
    answers: Option<&'s str>,
}

impl<'s> Names<'s> {
    fn of(source: &'s Source) -> Self {
        fn or<'n>(asked: &'n Option<String>, usual: &'static str) -> &'n str {
            asked.as_deref().unwrap_or(usual)
        }
        let columns = &source.columns;
        Names {
            question: or(&columns.text, "question"),
            passage: or(&columns.text_pair, "context"),
            answers: source.labelled.then(|| or(&columns.label, "answers")),
        }
    }
}

struct Reader<'t> {
    text: &'t Text,
    names: Names<'t>,
    /// A byte of the text and the line that it is on, for counting on from there.
    counted: (usize, u64),
    examples: Vec<Example>,
}

impl<'t> Reader<'t> {
    /// The rows of the file, whatever is around them.
    fn rows(&self) -> Result<Vec<&'t RawValue>, DataError> {
        let body: &'t str = &self.text.body;
        if body.trim_start().starts_with('[') {
            return serde_json::from_str(body).map_err(|error| self.refused(0, &error));
        }
        let mut rows = Vec::new();
        for row in Deserializer::from_str(body).into_iter::<&'t RawValue>() {
            let row = row.map_err(|error| self.refused(0, &error))?;
            rows.push(row);
        }
        if let [only] = rows[..] {
            let members = self.members(only)?;
            if let Some(data) = members.get("data").filter(|_| !members.contains_key(self.names.question)) {
                return self.value(data, "data", "an array");
            }
        }
        Ok(rows)
    }

    /// An article with its paragraphs, or a question by itself.
    fn row(&mut self, row: &'t RawValue) -> Result<(), DataError> {
        let members = self.members(row)?;
        let Some(paragraphs) = members.get("paragraphs") else {
            let passage = self.string(row, &members, self.names.passage)?;
            return self.question(row, &members, &passage);
        };
        for paragraph in self.value::<Vec<&RawValue>>(paragraphs, "paragraphs", "an array")? {
            let members = self.members(paragraph)?;
            let passage = self.string(paragraph, &members, self.names.passage)?;
            let questions = self.member(paragraph, &members, "qas")?;
            for question in self.value::<Vec<&RawValue>>(questions, "qas", "an array")? {
                let members = self.members(question)?;
                self.question(question, &members, &passage)?;
            }
        }
        Ok(())
    }

    fn question(
        &mut self,
        row: &RawValue,
        members: &Members<'t>,
        passage: &str,
    ) -> Result<(), DataError> {
        let question = self.string(row, members, self.names.question)?;
        let label = match self.names.answers {
            None => Label::None,
            Some(name) => {
                let answers = self.member(row, members, name)?;
                let answers: Answers = self.value(answers, name, Answers::EXPECTED)?;
                Label::Answers(answers.found_in(passage, || self.place(row))?)
            }
        };
        let id = members.get("id").map(|id| self.value(id, "id", "a text or a number"));
        let id = id.transpose()?.map(|id| match id {
            Id::Text(text) => text,
            Id::Number(number) => number.to_string(),
        });
        let line = self.line(row);
        let id = id.unwrap_or_else(|| self.examples.len().to_string());
        self.examples.push(Example {
            id: Some(id),
            text: question,
            pair: Some(passage.to_owned()),
            label,
            line,
            ..Example::default()
        });
        Ok(())
    }

    fn members(&self, object: &'t RawValue) -> Result<Members<'t>, DataError> {
        self.value(object, "a row", "an object")
    }

    fn member(
        &self,
        object: &RawValue,
        members: &Members<'t>,
        name: &str,
    ) -> Result<&'t RawValue, DataError> {
        members.get(name).copied().ok_or_else(|| DataError::MissingMember {
            place: self.place(object),
            name: name.to_owned(),
            found: members.keys().cloned().collect(),
        })
    }

    fn string(
        &self,
        object: &RawValue,
        members: &Members<'t>,
        name: &str,
    ) -> Result<String, DataError> {
        self.value(self.member(object, members, name)?, name, "a text")
    }

    /// Reads a part of the text, which is JSON as was seen before, as something of its own.
    fn value<T: Deserialize<'t>>(
        &self,
        raw: &'t RawValue,
        name: &str,
        expected: &'static str,
    ) -> Result<T, DataError> {
        serde_json::from_str(raw.get()).map_err(|error| match error.classify() {
            Category::Data => DataError::WrongMember {
                place: self.place(raw),
                name: name.to_owned(),
                expected,
            },
            _ => self.refused(self.offset(raw), &error),
        })
    }

    /// The parser's error, whose place counts from the byte `from`.
    fn refused(&self, from: usize, error: &serde_json::Error) -> DataError {
        let before = &self.text.body[..from];
        let lines_below = (error.line() as u64).saturating_sub(1);
        let column = match lines_below {
            0 => from - before.rfind('\n').map_or(0, |at| at + 1),
            _ => 0,
        };
        let text = error.to_string();
        let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
        DataError::Json {
            place: self.text.place(1 + newlines(before.as_bytes()) + lines_below),
            column: column + error.column(),
            reason: reason.to_owned(),
        }
    }

    /// The byte of the text that `raw` begins at.
    fn offset(&self, raw: &RawValue) -> usize {
        raw.get().as_ptr() as usize - self.text.body.as_ptr() as usize
    }

    fn place(&self, raw: &RawValue) -> Place {
        let before = &self.text.body.as_bytes()[..self.offset(raw)];
        self.text.place(1 + newlines(before))
    }

    /// The line that `raw` begins on; quick where rows are asked about in their order.
    fn line(&mut self, raw: &RawValue) -> u64 {
        let offset = self.offset(raw);
        let (byte, line) = self.counted;
        let between = self.text.body.as_bytes().get(byte..offset).unwrap_or_default();
        self.counted = (offset.max(byte), line + newlines(between));
        self.counted.1
    }
}

/// What names a question.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(serde_json::Number),
}

/// The answers of a question, in either shape. `null` is none.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answers {
    Rows(Vec<Row>),
    Columns { text: Vec<String>, answer_start: Vec<i64> },
    None(()),
}

#[derive(Deserialize)]
struct Row {
    text: String,
    answer_start: i64,
}

impl Answers {
    const EXPECTED: &str = "a list of {\"text\": …, \"answer_start\": …}, whole numbers counting code points";

    /// The answers with the bytes of `passage` that they begin at, where they do.
    fn found_in(
        self,
        passage: &str,
        place: impl Fn() -> Place,
    ) -> Result<Vec<GoldAnswer>, DataError> {
        let found = |(text, start): (String, i64)| {
            let start = byte_of(passage, start).filter(|&byte| {
                !text.is_empty() && passage[byte..].starts_with(text.as_str())
            });
            GoldAnswer { text, start }
        };
        match self {
            Answers::Rows(rows) => {
                Ok(rows.into_iter().map(|row| found((row.text, row.answer_start))).collect())
            }
            Answers::Columns { text, answer_start } if text.len() == answer_start.len() => {
                Ok(text.into_iter().zip(answer_start).map(found).collect())
            }
            Answers::Columns { text, answer_start } => Err(DataError::AnswerCount {
                place: place(),
                texts: text.len(),
                starts: answer_start.len(),
            }),
            Answers::None(()) => Ok(Vec::new()),
        }
    }
}

/// The byte that code point number `start` of `text` begins at.
fn byte_of(text: &str, start: i64) -> Option<usize> {
    let start = usize::try_from(start).ok()?;
    text.char_indices().nth(start).map(|(byte, _)| byte)
}

/// Predictions are written by id: none may stand for two questions.
fn check_ids(text: &Text, examples: &[Example]) -> Result<(), DataError> {
    let mut lines = HashMap::with_capacity(examples.len());
    for example in examples {
        match lines.entry(example.id.as_deref().unwrap_or_default()) {
            Entry::Vacant(entry) => {
                entry.insert(example.line);
            }
            Entry::Occupied(entry) => {
                return Err(DataError::RepeatedId {
                    place: text.place(example.line),
                    id: entry.key().to_string(),
                    first: *entry.get(),
                });
            }
        }
    }
    Ok(())
}

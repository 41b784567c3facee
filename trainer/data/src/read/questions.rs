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
use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use crate::dataset::{Dataset, Example, GoldAnswer, Label};
use crate::error::{DataError, Place};
use crate::format::parts::{self, Members, Part};
use crate::input::{Text, newlines};
use crate::source::Source;

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
    let mut examples = reader.examples;
    number(&mut examples);
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
        multi_label: false,
        unlabelled: 0,
        unread: None,
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
    fn rows(&self) -> Result<Vec<Part<'t>>, DataError> {
        let values = parts::values(self.text)?;
        let [only] = values[..] else {
            return Ok(values);
        };
        if only.is_array() {
            return only.elements("the file");
        }
        let members = only.members()?;
        match members.get("data") {
            Some(data) if !members.contains_key(self.names.question) => data.elements("data"),
            _ => Ok(values),
        }
    }

    /// An article with its paragraphs, or a question by itself.
    fn row(&mut self, row: Part<'t>) -> Result<(), DataError> {
        let members = row.members()?;
        let Some(paragraphs) = members.get("paragraphs") else {
            return self.question(row, &members, None);
        };
        for paragraph in paragraphs.elements("paragraphs")? {
            let members = paragraph.members()?;
            let passage = string(paragraph, &members, self.names.passage)?;
            for question in member(paragraph, &members, "qas")?.elements("qas")? {
                self.question(question, &question.members()?, Some(&passage))?;
            }
        }
        Ok(())
    }

    /// A question on `passage`, or on its own where that is none.
    fn question(
        &mut self,
        row: Part<'t>,
        members: &Members<'t>,
        passage: Option<&str>,
    ) -> Result<(), DataError> {
        let id = members
            .get("id")
            .map(|id| id.read("id", "a text or a number"));
        let id = id.transpose()?.map(|id| match id {
            Id::Text(text) => text,
            Id::Number(number) => number.to_string(),
        });
        let example = self.example(row, members, passage);
        let example = example.map_err(|error| match &id {
            Some(id) => error.of_question(id),
            None => error,
        })?;
        let line = self.line(row);
        self.examples.push(Example {
            id,
            line,
            ..example
        });
        Ok(())
    }

    fn example(
        &self,
        row: Part<'t>,
        members: &Members<'t>,
        passage: Option<&str>,
    ) -> Result<Example, DataError> {
        let passage = match passage {
            Some(passage) => passage.to_owned(),
            None => string(row, members, self.names.passage)?,
        };
        let label = match self.names.answers {
            None => Label::None,
            Some(name) => {
                let answers = member(row, members, name)?;
                let read: Answers = answers.read(name, Answers::EXPECTED)?;
                Label::Answers(read.found_in(&passage, || answers.place())?)
            }
        };
        Ok(Example {
            text: string(row, members, self.names.question)?,
            pair: Some(passage),
            label,
            ..Example::default()
        })
    }

    /// The line that a row begins on; quick where rows are asked about in their order.
    fn line(&mut self, row: Part<'t>) -> u64 {
        let (byte, line) = self.counted;
        let between = self.text.body.as_bytes().get(byte..row.start);
        let line = line + newlines(between.unwrap_or_default());
        self.counted = (row.start.max(byte), line);
        line
    }
}

fn member<'t>(object: Part<'t>, members: &Members<'t>, name: &str) -> Result<Part<'t>, DataError> {
    members
        .get(name)
        .copied()
        .ok_or_else(|| DataError::MissingMember {
            place: object.place(),
            name: name.to_owned(),
            found: members.keys().cloned().collect(),
        })
}

fn string<'t>(object: Part<'t>, members: &Members<'t>, name: &str) -> Result<String, DataError> {
    member(object, members, name)?.read(name, "a text")
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
    Columns {
        text: Vec<String>,
        answer_start: Vec<i64>,
    },
    None(()),
}

#[derive(Deserialize)]
struct Row {
    text: String,
    answer_start: i64,
}

impl Answers {
    const EXPECTED: &str =
        "a list of {\"text\": …, \"answer_start\": …}, whole numbers counting code points";

    /// The answers with the bytes of `passage` that they begin at, where they do.
    fn found_in(
        self,
        passage: &str,
        place: impl Fn() -> Place,
    ) -> Result<Vec<GoldAnswer>, DataError> {
        let found = |(text, start): (String, i64)| {
            let start = byte_of(passage, start)
                .filter(|&byte| !text.is_empty() && passage[byte..].starts_with(text.as_str()));
            GoldAnswer { text, start }
        };
        match self {
            Answers::Rows(rows) => Ok(rows
                .into_iter()
                .map(|row| found((row.text, row.answer_start)))
                .collect()),
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

/// Questions without an id are known by their number from 0 on; where another one has that for its id, with
/// `#` before it.
fn number(examples: &mut [Example]) {
    let mut taken: HashSet<String> = examples.iter().filter_map(|row| row.id.clone()).collect();
    for (number, row) in examples.iter_mut().enumerate() {
        if row.id.is_none() {
            let mut id = number.to_string();
            while !taken.insert(id.clone()) {
                id.insert(0, '#');
            }
            row.id = Some(id);
        }
    }
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

#[cfg(test)]
mod tests;

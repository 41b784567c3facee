//! A line in, a line of JSON out: what `berth-edge` prints, and what `berth ask --json` prints.
//!
//! A line that begins with `{` is JSON, other members passed over:
//!
//! | task | members |
//! |---|---|
//! | text classification | `{"text":…}` |
//! | text-pair classification and regression | `{"text":…,"text_pair":…}` |
//! | text tagging | `{"text":…}`, or `{"tokens":[…]}`: words that are taken as given and joined by one space |
//! | question answering | `{"question":…,"context":…}` |
//!
//! Any other line is the text itself; where the model takes two, they stand on both sides of the
//! line's first tab. Where a passage was given beforehand ([`Answerer::set_passage`]), plain lines are
//! questions on it. The answers:
//!
//! | task | answer |
//! |---|---|
//! | text classification, text-pair classification | `[{"label":…,"score":…},…]`, all labels or the `top_k` best, best first; where any number of labels may go, each score stands for itself |
//! | text-pair regression | `{"score":…}`, in the labels' units |
//! | text tagging | `[{"entity":…,"score":…,"index":…,"word":…,"start":…,"end":…,…},…]`, a row a word or, with `aggregation_strategy` `none`, a row a piece; with `simple` rows of entities with `entity_group` and no index |
//! | question answering | `{"answer":…,"score":…,"start":…,"end":…,…}`; with `top_k` a list of them, best first; no answer: `""` and 0 for all places |
//! | a line that has no answer | `{"error":…}` |
//!
//! `start` and `end` count code points; beside them stand `start_byte`, `end_byte`, `start_utf16` and
//! `end_utf16`. A word of `tokens` in which the model sees nothing, such as an empty one, has no row.
//!
//! Each object of an answer may have members more. (A list has no place of its own for them.)
//!
//! | member | where |
//! |---|---|
//! | `"truncated":n` | n word pieces of the text were cut, and the model did not see them |
//! | `"windows":n` | one answer stands for the whole text, which is longer than the model's input and was read by n windows |
//! | `"abstained":true` | the score is below the least that was asked for ([`Answerer::set_min_score`]): that of the best label or of the first answer, or of this row of tags |
//!
//! Scores are written with the fewest digits that read back as the same number.

mod spans;
mod tags;

use std::fmt::{self, Write};
use std::num::NonZero;
use std::str;

use berth_task::{Aggregation, LongTexts, MAX_N_BEST, SpanRules, Task};

use crate::error::{OpenError, QueryError};
use crate::json::{self, JsonError, Words};
use crate::lines::{Line, MAX_LINE_BYTES};
use crate::place::Place;
use crate::session::{Classification, Session};

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
    /// What becomes of texts that are longer than the model's input, where the answer is one for all.
    pub long_texts: LongTexts,
}

impl Options {
    /// The flags of those that are given which change no answer to this task.
    pub fn without_effect(&self, task: Task) -> impl Iterator<Item = &'static str> {
        let is_list = !matches!(task, Task::TokenClassification | Task::TextPairRegression);
        let idle = [
            ("--top_k", self.top_k.is_some() && !is_list),
            (
                "--aggregation_strategy",
                self.aggregation_strategy.is_some() && task != Task::TokenClassification,
            ),
            (
                "--long_texts cut",
                self.long_texts == LongTexts::Cut && !task.reads_first_row_only(),
            ),
        ];
        idle.into_iter()
            .filter_map(|(flag, is_idle)| is_idle.then_some(flag))
    }

    /// What is to be told where `top_k` asks for more answers to a question than a bundle with these rules keeps.
    pub fn more_than_kept(&self, rules: Option<SpanRules>) -> Option<String> {
        let (asked, rules) = (self.top_k?.get(), rules?);
        let kept = rules.n_best_size as usize;
        // That there is no answer is an entry of its own.
        let entries = kept + usize::from(rules.null_score_diff_threshold.is_some());
        (asked > entries).then(|| {
            format!(
                "--top_k {asked} is more than the bundle's n_best_size, {kept}, and no more answers are kept; \
                 `berth quantize --n_best_size` sets it, up to {MAX_N_BEST}"
            )
        })
    }
}

/// A session that answers in JSON. After [`new`](Self::new) it allocates nothing, unless one answer
/// to a question takes more than a mebibyte to write, or a text to be tagged is longer than the
/// model's positions and its rows take more than was laid by. Where there is no memory for them then,
/// the line has an error for its answer, and the next line is answered as ever.
pub struct Answerer {
    session: Session,
    options: Options,
    /// What plain lines are questions on.
    passage: Option<String>,
    /// Answers with a lower score are marked.
    min_score: Option<f32>,
    json: Output,
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
    /// When there is not so much memory as is laid by for answers.
    pub fn new(mut session: Session, options: Options) -> Result<Self, OpenError> {
        let header = session.model().header();
        // A byte of a label takes up to six in JSON (`\u0001`), and 160 are more than the rest of its
        // object; an error says less than 512.
        let row = |label: &str| 6 * label.len() + 160;
        let rows: usize = match header.task {
            // Of eight numbers and their names; a word is seldom longer than that again.
            Task::TokenClassification => {
                let longest = header.labels.iter().map(row).max().unwrap_or_default();
                session.model().positions() * (longest + 512)
            }
            Task::QuestionAnswering => spans::capacity(options.top_k),
            _ => header.labels.iter().map(row).sum::<usize>() + row(""),
        };
        let words = match header.task {
            Task::TokenClassification => MAX_WORDS,
            _ => 0,
        };
        session.set_long_texts(options.long_texts);
        let lacking = |bytes| OpenError::Memory {
            origin: session.model().origin().clone(),
            bytes,
        };
        let (mut json, mut ends) = (String::new(), Vec::new());
        let bytes = rows + 512;
        let room = json.try_reserve_exact(bytes);
        room.map_err(|_| lacking(bytes))?;
        let room = ends.try_reserve_exact(words);
        room.map_err(|_| lacking(words * size_of::<u32>()))?;
        Ok(Answerer {
            passage: None,
            min_score: None,
            json: Output(json),
            ends,
            session,
            options,
        })
    }

    /// Takes plain lines for questions on `passage` from now on. JSON lines may bring their own.
    ///
    /// # Errors
    /// [`QueryError::Task`] when the model doesn't answer questions.
    pub fn set_passage(&mut self, passage: String) -> Result<(), QueryError> {
        if !self.session.answers_questions() {
            return Err(QueryError::Task(self.session.model().header().task));
        }
        self.passage = Some(passage);
        Ok(())
    }

    /// Abstains from now on from answers whose score is lower. They are written all the same, and marked.
    ///
    /// # Errors
    /// [`QueryError::Unscored`] when the model answers with a number, which has no score;
    /// [`QueryError::NoScore`] when `min_score` is not a number from 0 to 1.
    pub fn set_min_score(&mut self, min_score: f32) -> Result<(), QueryError> {
        if self.session.model().header().task == Task::TextPairRegression {
            return Err(QueryError::Unscored);
        }
        if !(0.0..=1.0).contains(&min_score) {
            return Err(QueryError::NoScore);
        }
        self.min_score = Some(min_score);
        Ok(())
    }

    /// Answers one line of input. Never fails: what is wrong with the line is its answer.
    pub fn line(&mut self, line: Line<'_>) -> Answer<'_> {
        let task = self.session.model().header().task;
        let plain = self.options.plain_text;
        let truncated = if task == Task::TokenClassification {
            read_words(line, plain, &mut self.ends)
                .and_then(|words| Ok(self.write_tags(words).map(|()| 0)?))
        } else {
            let passage = self.passage.take();
            let wanted = Wanted::of(task, passage.as_deref());
            let truncated = read(line, wanted, plain)
                .and_then(|(text, pair)| Ok(self.write_answer(text, pair)?));
            self.passage = passage;
            truncated
        };
        let failed = truncated.is_err();
        if let Err(error) = truncated {
            self.json.0.clear();
            // There is room for every error.
            let _ = write_error(&mut self.json, error);
        }
        Answer {
            json: &self.json.0,
            truncated: truncated.unwrap_or(0),
            failed,
        }
    }

    /// Answers a text, or two where the model takes two: a question and its passage.
    ///
    /// # Errors
    /// As [`Session::logits`], and [`QueryError::Memory`] when there is no memory to write the answer to.
    pub fn ask(&mut self, text: &str, pair: Option<&str>) -> Result<Answer<'_>, QueryError> {
        let tagging = self.session.model().header().task == Task::TokenClassification;
        let truncated = match (tagging, pair) {
            (true, None) => self.write_tags(Words::Plain(text)).map(|()| 0)?,
            (true, Some(_)) => return Err(QueryError::PairUnwanted),
            (false, pair) => self.write_answer(text, pair)?,
        };
        Ok(Answer {
            json: &self.json.0,
            truncated,
            failed: false,
        })
    }

    /// Leaves the tags of a text in `self.json`.
    fn write_tags(&mut self, words: Words<'_>) -> Result<(), QueryError> {
        self.json.0.clear();
        let labels = self.session.model().header().labels.iter();
        let usual = Aggregation::usual(labels);
        let aggregation = self.options.aggregation_strategy.unwrap_or(usual);
        let (text, ends) = match words {
            Words::Plain(text) => (text, None),
            Words::Split(text) => (text, Some(&self.ends[..])),
        };
        let tags = self.session.tag_with(text, ends, aggregation)?;
        tags::write(&mut self.json, tags, aggregation, self.min_score)
    }

    /// Leaves the answer in `self.json` and gives the number of pieces that were cut.
    fn write_answer(&mut self, text: &str, pair: Option<&str>) -> Result<usize, QueryError> {
        self.json.0.clear();
        let min_score = self.min_score;
        let abstained = |score: f32| min_score.is_some_and(|least| score < least);
        let mut notes = Notes::default();
        let written = if self.session.answers_questions() {
            let pair = pair.ok_or(QueryError::PairMissing)?;
            let answers = self.session.answer(text, pair)?;
            notes.truncated = answers.truncated;
            notes.abstained = abstained(answers.best().score);
            spans::write(&mut self.json, &answers, self.options.top_k, notes)
        } else if self.session.model().header().task == Task::TextPairRegression {
            let logits = self.session.logits(text, pair)?;
            (notes.truncated, notes.windows) = (logits.truncated, logits.windows);
            write_object(&mut self.json, None, logits.values[0], notes)
        } else {
            let answer = self.session.classify_either(text, pair)?;
            (notes.truncated, notes.windows) = (answer.truncated, answer.windows);
            notes.abstained = abstained(answer.best().score);
            let rows = self.options.top_k.map_or(usize::MAX, NonZero::get);
            write_rows(&mut self.json, &answer, rows, notes)
        };
        written.map_err(no_room)?;
        Ok(notes.truncated)
    }
}

/// The text of an answer. It grows where there is memory for that, else writing fails.
struct Output(String);

impl Write for Output {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.0.try_reserve(part.len()).map_err(|_| fmt::Error)?;
        self.0.push_str(part);
        Ok(())
    }
}

/// What it means that an [`Output`] was not written to: nothing else fails there.
fn no_room(_: fmt::Error) -> QueryError {
    QueryError::Memory
}

/// What is said beside an answer, in each of its objects.
#[derive(Copy, Clone, Default)]
struct Notes {
    truncated: usize,
    windows: usize,
    abstained: bool,
}

impl Notes {
    /// The members, each behind a comma.
    fn write(self, out: &mut impl Write) -> fmt::Result {
        if self.truncated > 0 {
            write!(out, ",\"truncated\":{}", self.truncated)?;
        }
        if self.windows > 1 {
            write!(out, ",\"windows\":{}", self.windows)?;
        }
        if self.abstained {
            out.write_str(",\"abstained\":true")?;
        }
        Ok(())
    }
}

fn write_rows(
    out: &mut impl Write,
    answer: &Classification<'_>,
    rows: usize,
    notes: Notes,
) -> fmt::Result {
    out.write_char('[')?;
    for (i, row) in answer.iter().take(rows).enumerate() {
        if i > 0 {
            out.write_char(',')?;
        }
        write_object(out, Some(row.label), row.score, notes)?;
    }
    out.write_char(']')
}

/// The numbers of a place, each behind a comma.
fn write_place(out: &mut impl Write, place: &Place) -> fmt::Result {
    for (name, value) in [
        ("start", place.start),
        ("end", place.end),
        ("start_byte", place.start_byte),
        ("end_byte", place.end_byte),
        ("start_utf16", place.start_utf16),
        ("end_utf16", place.end_utf16),
    ] {
        write!(out, ",\"{name}\":{value}")?;
    }
    Ok(())
}

fn write_object(
    out: &mut impl Write,
    label: Option<&str>,
    score: f32,
    notes: Notes,
) -> fmt::Result {
    out.write_char('{')?;
    if let Some(label) = label {
        out.write_str("\"label\":")?;
        json::write_string(out, label)?;
        out.write_char(',')?;
    }
    out.write_str("\"score\":")?;
    json::write_number(out, score)?;
    notes.write(out)?;
    out.write_char('}')
}

fn write_error(out: &mut impl Write, error: LineError) -> fmt::Result {
    // A text of fixed size on the way, since the message may hold quotes.
    let mut message = heapless::String::<256>::new();
    let _ = write!(message, "{error}");
    out.write_str("{\"error\":")?;
    json::write_string(out, &message)?;
    out.write_char('}')
}

/// What a line has to bring.
#[derive(Copy, Clone)]
enum Wanted<'p> {
    One,
    Two,
    /// A question, and a passage where none is given.
    Question(Option<&'p str>),
}

impl<'p> Wanted<'p> {
    fn of(task: Task, passage: Option<&'p str>) -> Self {
        match (task, task.takes_pair()) {
            (Task::QuestionAnswering, _) => Wanted::Question(passage),
            (_, true) => Wanted::Two,
            (_, false) => Wanted::One,
        }
    }

    /// What the two texts are called in JSON.
    fn names(self) -> [&'static str; 2] {
        match self {
            Wanted::One | Wanted::Two => ["text", "text_pair"],
            Wanted::Question(_) => ["question", "context"],
        }
    }

    /// The second text where the line has none.
    fn given(self) -> Option<&'p str> {
        match self {
            Wanted::Question(passage) => passage,
            Wanted::One | Wanted::Two => None,
        }
    }
}

/// Takes a line apart into the text and, where the task has one, its pair.
fn read<'l>(
    line: Line<'l>,
    wanted: Wanted<'l>,
    plain: bool,
) -> Result<(&'l str, Option<&'l str>), LineError> {
    let Line::Whole(line) = line else {
        return Err(LineError::TooLong);
    };
    if !plain && line.first() == Some(&b'{') {
        let names = wanted.names();
        let [text, second] = json::strings(line, names)?;
        let text = text.ok_or(LineError::Missing(names[0]))?;
        let second = second.or(wanted.given());
        return match (wanted, second) {
            (Wanted::Two | Wanted::Question(_), None) => Err(LineError::Missing(names[1])),
            _ => Ok((text, second)),
        };
    }
    let line = str::from_utf8(line).map_err(|error| JsonError::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    match wanted {
        Wanted::One => Ok((line, None)),
        Wanted::Question(Some(passage)) => Ok((line, Some(passage))),
        Wanted::Two | Wanted::Question(None) => {
            let (text, second) = line.split_once('\t').ok_or(LineError::NoTab)?;
            Ok((text, Some(second)))
        }
    }
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
    read(Line::Whole(line), Wanted::One, true).map(|(text, _)| Words::Plain(text))
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
        parts_of(line, if pair { Wanted::Two } else { Wanted::One })
    }

    fn parts_of(line: &str, wanted: Wanted<'_>) -> Result<(String, Option<String>), LineError> {
        let mut line = line.as_bytes().to_vec();
        let (text, pair) = read(Line::Whole(&mut line), wanted, false)?;
        Ok((text.to_owned(), pair.map(str::to_owned)))
    }

    #[test]
    fn questions_bring_their_passage_or_find_one() {
        let (none, given) = (Wanted::Question(None), Wanted::Question(Some("given")));
        assert_eq!(parts_of("q\tp", none), two("q", "p"));
        assert_eq!(parts_of("q", none), Err(LineError::NoTab));
        assert_eq!(parts_of("q\tp", given), two("q\tp", "given"));
        let line = r#"{"context":"p","question":"q"}"#;
        assert_eq!(parts_of(line, none), two("q", "p"));
        assert_eq!(parts_of(line, given), two("q", "p"));
        assert_eq!(parts_of(r#"{"question":"q"}"#, given), two("q", "given"));
        for (line, missing) in [
            (r#"{"question":"q"}"#, "context"),
            (r#"{"text":"q"}"#, "question"),
        ] {
            assert_eq!(parts_of(line, none), Err(LineError::Missing(missing)));
        }
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
        let read = read(Line::Whole(&mut line), Wanted::One, true);
        assert_eq!(read, Ok(("{\"text\":\"a\"}", None)));
    }

    #[test]
    fn bytes_that_are_no_text_are_named() {
        let mut line = *b"ab\xc3\x28";
        let error = read(Line::Whole(&mut line), Wanted::One, false).unwrap_err();
        assert_eq!(error.to_string(), "not UTF-8 from byte 2 on");
        assert_eq!(
            read(Line::TooLong, Wanted::One, false),
            Err(LineError::TooLong)
        );
    }

    #[test]
    fn more_answers_than_are_kept_are_told() {
        let told = |top_k, rules| {
            let top_k = NonZero::new(top_k);
            Options {
                top_k,
                ..Options::default()
            }
            .more_than_kept(rules)
        };
        let rules = SpanRules {
            n_best_size: 3,
            ..SpanRules::default()
        };
        let with_none = SpanRules {
            null_score_diff_threshold: Some(0.0),
            ..rules
        };
        for (top_k, rules, expected) in [
            (0, Some(rules), false),
            (3, Some(rules), false),
            (4, Some(rules), true),
            (4, Some(with_none), false),
            (5, Some(with_none), true),
            (1000, None, false),
        ] {
            let told = told(top_k, rules);
            assert_eq!(told.is_some(), expected, "{told:?}");
            assert!(told.is_none_or(|told| told.contains("n_best_size, 3,")));
        }
    }

    #[test]
    fn flags_that_change_no_answer_are_named() {
        let options = Options {
            top_k: NonZero::new(2),
            aggregation_strategy: Some(Aggregation::First),
            long_texts: LongTexts::Cut,
            ..Options::default()
        };
        for (task, idle) in [
            (Task::TextClassification, &["--aggregation_strategy"][..]),
            (
                Task::TextPairRegression,
                &["--top_k", "--aggregation_strategy"],
            ),
            (Task::TokenClassification, &["--top_k", "--long_texts cut"]),
            (
                Task::QuestionAnswering,
                &["--aggregation_strategy", "--long_texts cut"],
            ),
        ] {
            let named: Vec<_> = options.without_effect(task).collect();
            assert_eq!(named, idle, "{task}");
            assert_eq!(Options::default().without_effect(task).count(), 0, "{task}");
        }
    }

    #[test]
    fn an_error_is_an_object_of_json() {
        let mut out = String::new();
        write_error(&mut out, LineError::Missing("text")).unwrap();
        assert_eq!(out, r#"{"error":"\"text\" is missing"}"#);
    }

    #[test]
    fn objects_carry_what_is_to_be_said_and_nothing_else() {
        let written = |label, truncated, windows, abstained| {
            let mut out = String::new();
            let notes = Notes {
                truncated,
                windows,
                abstained,
            };
            write_object(&mut out, label, 0.25, notes).unwrap();
            out
        };
        let plain = written(Some("a\"b"), 0, 1, false);
        assert_eq!(plain, r#"{"label":"a\"b","score":0.25}"#);
        assert_eq!(written(None, 0, 0, false), r#"{"score":0.25}"#);
        let all = r#"{"score":0.25,"truncated":7,"windows":2,"abstained":true}"#;
        assert_eq!(written(None, 7, 2, true), all);
    }
}

//! `berth ask`: one answer, with bars or in its sentence for people, or as `berth-edge` prints it.

use super::{print, utf8};
use crate::args::AskArgs;
use crate::error::Error;
use crate::names::bundle_path;
use crate::show;
use berth_runtime::answer::{Answerer, Options};
use berth_runtime::lines::without_mark;
use berth_runtime::{Answers, Classification, Model, QueryError, Session, SpanAnswer};
use berth_task::{Aggregation, Task};
use console::{Alignment, measure_text_width, pad_str};
use std::borrow::Cow;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal};
use std::num::NonZero;
use std::path::Path;

/// How many labels people are shown where they say nothing.
const LABELS: usize = 10;

/// Opens the bundle and answers.
pub fn run(args: &AskArgs) -> Result<(), Error> {
    let path = bundle_path(&args.bundle)?;
    ask(args, &path).map_err(|error| match error {
        Error::Query(source) => Error::Asked { path, source },
        error => error,
    })
}

fn ask(args: &AskArgs, path: &Path) -> Result<(), Error> {
    let text = text_of(&args.text)?;
    let pair = args.pair.as_deref().map(text_of).transpose()?;
    let mut session = Model::open_verified(path)?.session()?;
    let options = Options {
        top_k: args.top_k,
        aggregation_strategy: args.aggregation_strategy,
        long_texts: args.long_texts,
        ..Options::default()
    };
    let task = session.model().header().task;
    for flag in options.without_effect(task) {
        show::note(format!("warning: {flag} changes no answer of {task}"));
    }
    if let Some(told) = options.more_than_kept(session.model().header().spans) {
        show::note(format!("warning: {told}"));
    }
    if !args.json {
        session.set_long_texts(args.long_texts);
        let wanted = Wanted {
            most: args.top_k,
            min_score: args.min_score,
            aggregation: args.aggregation_strategy,
        };
        return print(shown(&mut session, &text, pair.as_deref(), wanted)?);
    }
    let mut answerer = Answerer::new(session, options)?;
    if let Some(min_score) = args.min_score {
        answerer.set_min_score(min_score)?;
    }
    let answer = answerer.ask(&text, pair.as_deref())?;
    warn_of_cut(answer.truncated);
    print(answer.json)
}

/// What people want to see of an answer.
#[derive(Copy, Clone, Default)]
struct Wanted {
    /// Labels, or answers to a question, at most.
    most: Option<NonZero<usize>>,
    /// What is below is no answer.
    min_score: Option<f32>,
    /// The rows of tags.
    aggregation: Option<Aggregation>,
}

impl Wanted {
    /// Why a best score is no answer, if it is none.
    fn abstained(&self, best: f32) -> Option<String> {
        let least = self.min_score.filter(|&least| best < least)?;
        let [best, least] = [best, least].map(|score| 100.0 * score);
        Some(format!(
            "no answer: {best:.2} % is less than the {least} % that were asked for"
        ))
    }
}

/// The answer as lines of labels with bars or of words with tags, marked in its sentence, or as a number.
pub fn for_people(
    session: &mut Session,
    text: &str,
    pair: Option<&str>,
    most: Option<usize>,
) -> Result<String, Error> {
    let wanted = Wanted {
        most: most.and_then(NonZero::new),
        ..Wanted::default()
    };
    shown(session, text, pair, wanted)
}

fn shown(
    session: &mut Session,
    text: &str,
    pair: Option<&str>,
    wanted: Wanted,
) -> Result<String, Error> {
    match (session.model().header().task, pair) {
        (Task::TokenClassification, None) => tags(session, text, wanted),
        (Task::TokenClassification, Some(_)) => Err(QueryError::PairUnwanted.into()),
        (Task::TextPairRegression, _) if wanted.min_score.is_some() => {
            Err(QueryError::Unscored.into())
        }
        (Task::TextPairRegression, _) => {
            let logits = session.logits(text, pair)?;
            warn_of_cut(logits.truncated);
            Ok(format!(
                "{:.3}{}",
                logits.values[0],
                by_windows(logits.windows)
            ))
        }
        (Task::QuestionAnswering, _) => {
            let passage = pair.ok_or(QueryError::PairMissing)?;
            let answers = session.answer(text, passage)?;
            warn_of_cut(answers.truncated);
            let most = wanted.most.map_or(1, NonZero::get);
            let abstained = wanted.abstained(answers.best().score);
            Ok(lines(abstained, marked(passage, &answers, most)))
        }
        (Task::TextClassification | Task::TextPairClassification, _) => {
            let answer = match pair {
                Some(pair) => session.classify_pair(text, pair)?,
                None => session.classify(text)?,
            };
            warn_of_cut(answer.truncated);
            Ok(lines(
                wanted.abstained(answer.best().score),
                bars(&answer, wanted),
            ))
        }
    }
}

/// Labels with their bars, a line each.
fn bars(answer: &Classification<'_>, wanted: Wanted) -> String {
    let most = wanted.most.map_or(LABELS, NonZero::get);
    let rows: Vec<(String, f32)> = answer
        .iter()
        .take(most)
        .map(|row| (show::line(row.label), row.score))
        .collect();
    let widths = rows.iter().map(|(label, _)| measure_text_width(label));
    let width = widths.max().unwrap_or(0);
    let lines = rows.iter().map(|(label, score)| {
        let (bar, percent) = (show::bar(*score, 24), 100.0 * *score);
        format!("{}  {bar} {percent:>6.2} %", padded(label, width))
    });
    lines.collect::<Vec<_>>().join("\n") + &by_windows(answer.windows)
}

/// Words or entities with their tags, a line each.
fn tags(session: &mut Session, text: &str, wanted: Wanted) -> Result<String, Error> {
    let usual = Aggregation::usual(session.model().header().labels.iter());
    let tags = session.tag_with(text, None, wanted.aggregation.unwrap_or(usual))?;
    let rows: Vec<_> = tags.collect::<Result<_, _>>()?;
    if rows.is_empty() {
        return Ok("nothing is tagged".into());
    }
    let cells: Vec<[String; 2]> = rows
        .iter()
        .map(|row| [show::excerpt(row.word, 40), show::line(row.label)])
        .collect();
    let width = |column: usize| {
        let widths = cells.iter().map(|row| measure_text_width(&row[column]));
        widths.max().unwrap_or(0)
    };
    let [word, label] = [0, 1].map(width);
    let lines = cells.iter().zip(&rows).map(|([text, name], row)| {
        let percent = 100.0 * row.score;
        let unsure = match wanted.abstained(row.score) {
            Some(_) => "  not sure enough",
            None => "",
        };
        let (text, name) = (padded(text, word), padded(name, label));
        format!("{text}  {name}  {percent:>6.2} %{unsure}")
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// What was found below the reason why it is no answer.
fn lines(abstained: Option<String>, found: String) -> String {
    match abstained {
        Some(reason) => format!("{reason}\n{found}"),
        None => found,
    }
}

/// Says that a text was too long for one input, where it was.
fn by_windows(windows: usize) -> String {
    match windows {
        0 | 1 => String::new(),
        _ => format!("\nthe text is longer than the model's input: read by {windows} windows"),
    }
}

/// A text with blanks behind it, so that it takes so many places of a terminal's line.
fn padded(text: &str, width: usize) -> Cow<'_, str> {
    pad_str(text, width, Alignment::Left, None)
}

/// What stands around an answer in its sentence: bold, where the terminal takes that and the environment doesn't ask
/// for plain text.
fn marks(is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> [&'static str; 2] {
    let is_plain = variable("NO_COLOR").is_some_and(|value| !value.is_empty())
        || variable("TERM").is_some_and(|term| term == "dumb");
    match is_terminal && !is_plain {
        true => ["\x1b[1m", "\x1b[0m"],
        false => ["[", "]"],
    }
}

/// Each answer in its sentence, marked, and its score.
fn marked(passage: &str, answers: &Answers<'_, '_>, most: usize) -> String {
    let marks = marks(io::stdout().is_terminal(), |name| env::var_os(name));
    let line = |answer: SpanAnswer<'_>| {
        let score = 100.0 * answer.score;
        match answer.text {
            "" => format!("no answer in the passage  {score:.2} %"),
            _ => {
                let bytes = answer.place.start_byte..answer.place.end_byte;
                format!("{}  {score:.2} %", show::in_sentence(passage, bytes, marks))
            }
        }
    };
    answers
        .iter()
        .take(most)
        .map(line)
        .collect::<Vec<_>>()
        .join("\n")
}

/// How a text is typed that would be taken for a file's name.
const ESCAPED: &str = "a text that begins with `@` is written `@@…`";

/// A text as typed, with one `@` for two at its beginning, or the content of the file behind a single one, a byte order
/// mark passed over.
fn text_of(typed: &str) -> Result<String, Error> {
    match typed.strip_prefix('@') {
        Some("") => Err(Error::Usage(format!(
            "`@` stands before the name of a file to be read, and there is none behind it; {ESCAPED}"
        ))),
        Some(text) if text.starts_with('@') => Ok(text.to_owned()),
        Some(path) => {
            let bytes = fs::read(path).map_err(|source| {
                let what = format!("{source}; {ESCAPED}");
                Error::file(path, io::Error::new(source.kind(), what))
            })?;
            utf8(Path::new(path), 1, bytes).map(without_mark)
        }
        None => Ok(typed.to_owned()),
    }
}

fn warn_of_cut(pieces: usize) {
    if pieces > 0 {
        show::note(format!(
            "warning: the text is longer than the model's input; {pieces} pieces were not read"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_bold_where_nothing_asks_for_plain_text() {
        let bold = ["\x1b[1m", "\x1b[0m"];
        for (is_terminal, name, value, expected) in [
            (true, "TERM", "xterm", bold),
            (true, "NO_COLOR", "", bold),
            (true, "NO_COLOR", "1", ["[", "]"]),
            (true, "TERM", "dumb", ["[", "]"]),
            (false, "TERM", "xterm", ["[", "]"]),
        ] {
            let variable = |asked: &str| (asked == name).then(|| OsString::from(value));
            assert_eq!(marks(is_terminal, variable), expected, "{name}={value}");
        }
    }

    #[test]
    fn labels_are_aligned_by_the_places_they_take() {
        assert_eq!(padded("ab", 4), "ab  ");
        assert_eq!(padded("日本", 6), "日本  ");
        assert_eq!(padded("abc", 2), "abc");
    }

    #[test]
    fn a_text_begins_with_anything_and_a_file_is_named_behind_an_at() {
        for (typed, text) in [
            ("", ""),
            ("a @b", "a @b"),
            ("@@", "@"),
            ("@@b likes it", "@b likes it"),
            ("@@@", "@@"),
        ] {
            assert_eq!(text_of(typed).expect("a text"), text);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.txt");
        fs::write(&path, "@@ of a file\n").expect("a file");
        let read = text_of(&format!("@{}", path.display()));
        assert_eq!(read.expect("a text"), "@@ of a file\n");
        fs::write(&path, "\u{feff}a \u{feff}\n").expect("a file");
        let read = text_of(&format!("@{}", path.display()));
        assert_eq!(read.expect("a text"), "a \u{feff}\n");
        let said = text_of("@nowhere likes it").unwrap_err().to_string();
        assert!(said.starts_with("nowhere likes it: "), "{said}");
        assert!(said.ends_with(ESCAPED) && !said.contains('\n'), "{said}");
    }
}

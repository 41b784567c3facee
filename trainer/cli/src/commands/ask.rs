//! `berth ask`: one answer, with bars or in its sentence for people, or as `berth-edge` prints it.

use super::print;
use crate::args::AskArgs;
use crate::error::Error;
use crate::model::bundle_path;
use crate::show;
use berth_runtime::answer::{Answerer, Options};
use berth_runtime::{Answers, Model, QueryError, Session, SpanAnswer};
use berth_task::Task;
use std::fs;
use std::io::{self, IsTerminal};
use std::num::NonZero;

/// Opens the bundle and answers.
pub fn run(args: &AskArgs) -> Result<(), Error> {
    let path = bundle_path(&args.bundle)?;
    let text = text_of(&args.text)?;
    let pair = args.pair.as_deref().map(text_of).transpose()?;
    let mut session = Model::open_verified(&path)?.session()?;
    if args.json {
        let options = Options {
            top_k: args.top_k.and_then(NonZero::new),
            ..Options::default()
        };
        let mut answerer = Answerer::new(session, options)?;
        let answer = answerer.ask(&text, pair.as_deref())?;
        warn_of_cut(answer.truncated);
        return print(answer.json);
    }
    let shown = for_people(&mut session, &text, pair.as_deref(), args.top_k)?;
    print(shown)
}

/// The answer as lines of labels with bars, or as a number.
pub fn for_people(
    session: &mut Session,
    text: &str,
    pair: Option<&str>,
    most: Option<usize>,
) -> Result<String, Error> {
    if session.model().header().task == Task::TextPairRegression {
        let logits = session.logits(text, pair)?;
        warn_of_cut(logits.truncated);
        return Ok(format!("{:.3}", logits.values[0]));
    }
    if session.model().header().task == Task::QuestionAnswering {
        let passage = pair.ok_or(QueryError::PairMissing)?;
        let answers = session.answer(text, passage)?;
        warn_of_cut(answers.truncated);
        return Ok(marked(passage, &answers, most.unwrap_or(1)));
    }
    let answer = match pair {
        Some(pair) => session.classify_pair(text, pair)?,
        None => session.classify(text)?,
    };
    warn_of_cut(answer.truncated);
    let rows: Vec<_> = answer.iter().take(most.unwrap_or(10)).collect();
    let width = rows
        .iter()
        .map(|row| row.label.chars().count())
        .max()
        .unwrap_or(0);
    let lines = rows.iter().map(|row| {
        let bar = show::bar(row.score, 24);
        format!("{:<width$}  {bar} {:>6.2} %", row.label, 100.0 * row.score)
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// Each answer in its sentence, marked, and its score.
fn marked(passage: &str, answers: &Answers<'_>, most: usize) -> String {
    let marks = match io::stdout().is_terminal() {
        true => ["\x1b[1m", "\x1b[0m"],
        false => ["[", "]"],
    };
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

/// A text as typed, or the content of the file behind an `@`.
fn text_of(typed: &str) -> Result<String, Error> {
    match typed.strip_prefix('@') {
        Some(path) => fs::read_to_string(path).map_err(|source| Error::file(path, source)),
        None => Ok(typed.to_owned()),
    }
}

fn warn_of_cut(pieces: usize) {
    if pieces > 0 {
        eprintln!(
            "warning: the text is longer than the model's input; the last {pieces} pieces were not read"
        );
    }
}

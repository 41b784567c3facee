//! `berth ask`: one answer, with bars or in its sentence for people, or as `berth-edge` prints it.

use super::print;
use crate::args::AskArgs;
use crate::error::Error;
use crate::model::bundle_path;
use crate::show;
use berth_runtime::answer::{Answerer, Options};
use berth_runtime::{Answers, Model, QueryError, Session, SpanAnswer};
use berth_task::{Aggregation, Task};
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
            aggregation_strategy: args.aggregation_strategy,
            ..Options::default()
        };
        let mut answerer = Answerer::new(session, options);
        let answer = answerer.ask(&text, pair.as_deref())?;
        warn_of_cut(answer.truncated);
        return print(answer.json);
    }
    if session.model().header().task == Task::TokenClassification {
        if pair.is_some() {
            return Err(QueryError::PairUnwanted.into());
        }
        return print(tags_for_people(
            &mut session,
            &text,
            args.aggregation_strategy,
        )?);
    }
    let shown = for_people(&mut session, &text, pair.as_deref(), args.top_k)?;
    print(shown)
}

/// Words or entities with their tags, a line each.
fn tags_for_people(
    session: &mut Session,
    text: &str,
    aggregation: Option<Aggregation>,
) -> Result<String, Error> {
    let usual = Aggregation::usual(session.model().header().labels.iter());
    let aggregation = aggregation.unwrap_or(usual);
    let tags = session.tag_with(text, None, aggregation)?;
    let rows: Vec<_> = tags.collect::<Result<_, _>>()?;
    if rows.is_empty() {
        return Ok("nothing is tagged".into());
    }
    let wide = |text: &str| text.chars().count();
    let words: Vec<String> = rows.iter().map(|row| show::excerpt(row.word, 40)).collect();
    let word = words.iter().map(|text| wide(text)).max().unwrap_or(0);
    let label = rows.iter().map(|row| wide(row.label)).max().unwrap_or(0);
    let lines = words.iter().zip(&rows).map(|(text, row)| {
        let percent = 100.0 * row.score;
        format!("{text:<word$}  {:<label$}  {percent:>6.2} %", row.label)
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// The answer as lines of labels with bars or of words with tags, or as a number.
pub fn for_people(
    session: &mut Session,
    text: &str,
    pair: Option<&str>,
    most: Option<usize>,
) -> Result<String, Error> {
    let task = session.model().header().task;
    if task == Task::TokenClassification {
        return match pair {
            None => tags_for_people(session, text, None),
            Some(_) => Err(QueryError::PairUnwanted.into()),
        };
    }
    if task == Task::TextPairRegression {
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

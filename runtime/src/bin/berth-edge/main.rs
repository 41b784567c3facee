//! `berth-edge`: one bundle, answers on standard output as JSON, nothing else needed.
//!
//! With a text it prints one answer; without, one for each line of standard input, in order and
//! flushed, so that another program can talk to it. A line that can't be answered gets an answer
//! that says so, and the run goes on; the exit code tells at the end. When nobody reads the output
//! any more, it ends silently.

mod args;

use std::alloc::System;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use args::{Command, USAGE, UsageError};
use berth_runtime::answer::{Answer, Answerer, Options};
use berth_runtime::counting::{Counting, allocations};
use berth_runtime::lines::{Lines, text_of, without_mark};
use berth_runtime::measure::{self, MeasureError, measure};
use berth_runtime::selftest::{SelftestError, selftest};
use berth_runtime::{Model, OpenError, QueryError, inspect};
use berth_task::Task;

#[global_allocator]
static ALLOCATOR: Counting<System> = Counting(System);

fn main() -> ExitCode {
    let done = match args::parse(std::env::args_os().skip(1)) {
        Ok(command) => run(command),
        Err(error) => Err(Failure::Usage(error)),
    };
    match done {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::FAILURE,
        // Whoever read the answers has heard enough.
        Err(failure) if failure.is_hang_up() => ExitCode::SUCCESS,
        Err(failure) => {
            // Where nobody listens on standard error either, the exit code has to do.
            let _ = writeln!(io::stderr(), "berth-edge: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

/// How a run ended that went to its end.
enum Verdict {
    Good,
    /// There were lines without an answer, or answers that differ from the workstation's.
    Bad,
}

fn run(command: Command) -> Result<Verdict, Failure> {
    let mut out = io::stdout().lock();
    match command {
        Command::Help => writeln!(out, "{USAGE}"),
        Command::Version => writeln!(out, "berth-edge {}", env!("CARGO_PKG_VERSION")),
        Command::Inspect { bundle, verify } => {
            let model = open(&bundle, verify)?;
            write!(out, "{}", inspect(&model))
        }
        Command::Bench {
            bundle,
            verify,
            threads,
        } => {
            if verify {
                open(&bundle, true)?;
            }
            let options = measure::Options {
                threads,
                allocations: Some(allocations),
                ..Default::default()
            };
            let report = measure(&bundle, &options).map_err(Failure::Measure)?;
            writeln!(out, "{report}")
        }
        Command::Selftest { bundle, verify } => return test(&bundle, verify, &mut out),
        Command::Answer(wanted) => return answer(wanted, &mut out),
    }
    .map_err(Failure::Output)?;
    out.flush().map_err(Failure::Output)?;
    Ok(Verdict::Good)
}

fn open(bundle: &Path, verify: bool) -> Result<Model, Failure> {
    let model = if verify {
        Model::open_verified(bundle)
    } else {
        Model::open(bundle)
    };
    model.map_err(Failure::Open)
}

/// Compares this machine's answers with those that the bundle carries.
fn test(bundle: &Path, verify: bool, out: &mut impl Write) -> Result<Verdict, Failure> {
    let report = selftest(&open(bundle, verify)?).map_err(Failure::Selftest)?;
    writeln!(out, "{}\n{report}", bundle.display()).map_err(Failure::Output)?;
    out.flush().map_err(Failure::Output)?;
    Ok(if report.passed() {
        Verdict::Good
    } else {
        Verdict::Bad
    })
}

fn answer(wanted: args::Answer, out: &mut impl Write) -> Result<Verdict, Failure> {
    let session = open(&wanted.bundle, wanted.verify)?
        .session_with(wanted.threads)
        .map_err(Failure::Open)?;
    let options = Options {
        top_k: wanted.top_k,
        aggregation_strategy: wanted.aggregation_strategy,
        plain_text: wanted.plain_text,
        long_texts: wanted.long_texts,
    };
    let task = session.model().header().task;
    for flag in options.without_effect(task) {
        warn(format_args!("{flag} changes no answer of {task}"));
    }
    if let Some(told) = options.more_than_kept(session.model().header().spans) {
        warn(format_args!("{told}"));
    }
    if wanted.context.is_some() && task != Task::QuestionAnswering {
        return Err(Failure::NoQuestions(wanted.bundle, task));
    }
    if wanted.context.is_some() && matches!(wanted.text, Some((_, Some(_)))) {
        warn(format_args!(
            "--context changes nothing, since the passage stands behind the question"
        ));
    }
    let failed = |error| Failure::Query(wanted.bundle.clone(), error);
    let mut answerer = Answerer::new(session, options).map_err(Failure::Open)?;
    if let Some(min_score) = wanted.min_score {
        answerer.set_min_score(min_score).map_err(failed)?;
    }
    let context = wanted.context.as_deref().map(passage).transpose()?;
    if let Some(context) = &context {
        answerer.set_passage(context.clone()).map_err(failed)?;
    }
    match &wanted.text {
        Some((text, pair)) => {
            let pair = pair.as_deref().or(context.as_deref());
            let answer = answerer.ask(text, pair).map_err(failed)?;
            one(answer, out).map_err(Failure::Output)
        }
        None => every_line(&mut answerer, out),
    }
}

/// The text of a file, a byte order mark passed over.
fn passage(path: &Path) -> Result<String, Failure> {
    let bytes = fs::read(path).map_err(|error| Failure::Context(path.to_owned(), error))?;
    let text = text_of(bytes).map_err(|lines| Failure::NotUtf8(path.to_owned(), 1 + lines))?;
    Ok(without_mark(text))
}

/// Prints the answer to the texts of the command line.
fn one(answer: Answer<'_>, out: &mut impl Write) -> io::Result<Verdict> {
    if answer.truncated > 0 {
        let cut = answer.truncated;
        warn(format_args!(
            "the text is too long: {cut} word pieces are cut off"
        ));
    }
    print(out, answer.json)?;
    Ok(Verdict::Good)
}

/// Answers the lines of standard input.
fn every_line(answerer: &mut Answerer, out: &mut impl Write) -> Result<Verdict, Failure> {
    let mut lines = Lines::new(io::stdin().lock()).map_err(Failure::Input)?;
    let mut verdict = Verdict::Good;
    let mut number = 0u64;
    while let Some(line) = lines.next_line().map_err(Failure::Input)? {
        number += 1;
        let answer = answerer.line(line);
        if answer.failed {
            verdict = Verdict::Bad;
        }
        if answer.truncated > 0 {
            let cut = answer.truncated;
            warn(format_args!(
                "line {number} is too long: {cut} word pieces are cut off"
            ));
        }
        print(out, answer.json).map_err(Failure::Output)?;
    }
    Ok(verdict)
}

fn print(out: &mut impl Write, json: &str) -> io::Result<()> {
    out.write_all(json.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

fn warn(warning: std::fmt::Arguments<'_>) {
    // A warning that can't be printed must not stop the answers.
    let _ = writeln!(io::stderr(), "berth-edge: warning: {warning}");
}

/// Why a run ended early.
enum Failure {
    Usage(UsageError),
    Open(OpenError),
    Query(PathBuf, QueryError),
    /// A passage is given to a model that answers no questions.
    NoQuestions(PathBuf, Task),
    Measure(MeasureError),
    Selftest(SelftestError),
    Context(PathBuf, io::Error),
    /// A line of the passage's file.
    NotUtf8(PathBuf, usize),
    Input(io::Error),
    Output(io::Error),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Failure::Usage(_) | Failure::NoQuestions(..) => 2,
            // One text too few or too many on the command line, or a bound on scores where answers have none.
            Failure::Query(
                _,
                QueryError::PairMissing
                | QueryError::PairUnwanted
                | QueryError::Unscored
                | QueryError::NoScore,
            ) => 2,
            _ => 1,
        }
    }

    /// Whether whoever read the answers is gone. A socket says so to who reads from it, too, where answers were left
    /// unread.
    fn is_hang_up(&self) -> bool {
        let (Failure::Input(error) | Failure::Output(error)) = self else {
            return false;
        };
        matches!(
            error.kind(),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted
        )
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Usage(error) => write!(f, "{error}; `berth-edge --help` tells more"),
            Failure::Open(error) => error.fmt(f),
            Failure::Query(bundle, error) => write!(f, "{}: {error}", bundle.display()),
            Failure::NoQuestions(bundle, task) => write!(
                f,
                "{}: --context is for a model that answers questions, and the model's task is {task}",
                bundle.display()
            ),
            Failure::Measure(error) => error.fmt(f),
            Failure::Selftest(error) => error.fmt(f),
            Failure::Context(path, error) => write!(f, "{}: {error}", path.display()),
            Failure::NotUtf8(path, line) => write!(
                f,
                "{}:{line}: not UTF-8; save the text as UTF-8",
                path.display()
            ),
            Failure::Input(error) => write!(f, "standard input: {error}"),
            Failure::Output(error) => write!(f, "standard output: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hang_up_is_told_from_other_failures() {
        for (kind, is_hang_up) in [
            (ErrorKind::BrokenPipe, true),
            (ErrorKind::ConnectionReset, true),
            (ErrorKind::ConnectionAborted, true),
            (ErrorKind::StorageFull, false),
            (ErrorKind::TimedOut, false),
        ] {
            for failure in [Failure::Input(kind.into()), Failure::Output(kind.into())] {
                assert_eq!(failure.is_hang_up(), is_hang_up, "{failure}");
            }
        }
        let passage = Failure::Context("p.txt".into(), ErrorKind::ConnectionReset.into());
        assert!(!passage.is_hang_up());
    }
}

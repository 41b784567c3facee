//! One file for each command. A command takes what was typed, does its work through the stages' own
//! libraries, and prints; what two commands share is a function of one of them.

mod ask;
mod bench;
mod bench_train;
mod data;
mod diff;
mod evaluate;
mod export;
mod fetch;
mod finetune;
mod inspect;
mod predict;
mod quantize;
mod quickstart;
mod tokenize;

use crate::args::Command;
use crate::error::Error;
use berth_runtime::lines::text_of;
use std::io::Write;
use std::path::Path;

/// Carries out what was typed.
///
/// # Errors
/// Whatever the command met, as one line.
pub fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Fetch(args) => fetch::run(&args),
        Command::Data(args) => data::run(&args),
        Command::Finetune(args) => finetune::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Ask(args) => ask::run(&args),
        Command::Tokenize(args) => tokenize::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Quickstart(args) => quickstart::run(&args),
    }
}

/// Prints to standard output, so that a closed pipe is an error and not a panic.
fn print(text: impl std::fmt::Display) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(Error::Output)
}

/// The text of bytes that begin on `line` of a file.
fn utf8(path: &Path, line: usize, bytes: Vec<u8>) -> Result<String, Error> {
    text_of(bytes).map_err(|lines| Error::Setting {
        path: path.to_owned(),
        line: line + lines,
        what: "not UTF-8; save the text as UTF-8".into(),
    })
}

/// Starts the threads of everything that runs in parallel, so many at most. Not given: one for each core.
fn use_threads(threads: Option<u32>) -> Result<(), Error> {
    let threads = threads.map_or(0, |threads| threads as usize);
    let built = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global();
    match built {
        // What has no cause in the system is that they are there already: a command that is part of another.
        Err(error) if std::error::Error::source(&error).is_some() => Err(Error::Threads(error)),
        _ => Ok(()),
    }
}

//! `berth`: the host program, and the one room that knows every stage of the road.
//!
//! ```text
//!   fetch ──► finetune ──► evaluate ──► quantize ──► evaluate ──► ask
//!   a base    a Hugging    f32 metric   one bundle   int8         an answer
//!   model     Face folder               for a device metric
//! ```
//!
//! - [`args`]: what can be typed; Hugging Face's flag names, `_` and `-` alike.
//! - [`config`]: flags from a file. [`meant`]: what an unknown flag was to be. [`seeds`]: what several runs came to.
//! - [`commands`]: one file for each command; `quickstart` walks the whole road.
//! - [`sources`]: from flags, and from what a model remembers, to a file that can be read.
//! - [`outputs`]: what may be written where, and over what. [`interrupt`]: Ctrl-C as a request to stop.
//! - [`fetch`]: base models by name, checksummed. Nothing else here opens a socket.
//! - [`names`]: bundles by name, in `models/` and in the user's own folder.
//! - [`model`]: a checkpoint or a bundle, opened as something that scores examples.
//! - [`page`]: reports as HTML, one self-contained file for each fine-tuning and each quantization.
//! - [`show`]: tables, bars and progress, for people; JSON is for programs. [`error`]: all that can go wrong, each in
//!   one line, and the exit code.
//!
//! The allocator is mimalloc, which keeps the big blocks that every training step frees and asks for
//! again, behind a counter, so that `bench` can say what a query allocates. It asks for no huge pages:
//! they gained no time that could be told, and cost 31 MB of a training step's memory in half-used ones.
//!
//! Exit codes: 0, 1 with one line that names file and way out, 2 for usage, 130 after Ctrl-C.

mod args;
mod commands;
mod config;
mod error;
mod fetch;
mod interrupt;
mod meant;
mod model;
mod names;
mod outputs;
mod page;
mod seeds;
mod show;
mod sources;

use berth_runtime::counting::Counting;
use mimalloc::MiMalloc;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: Counting<MiMalloc> = Counting(MiMalloc);

fn main() -> ExitCode {
    let typed = match config::expand(args::normalize(std::env::args_os())) {
        Ok(typed) => typed,
        Err(error) => return failed(&error),
    };
    let cli = match args::parse(typed) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and the version are what was asked for; where an error can't be told, its code still is.
            let printed = error.print().map_err(error::Error::Output);
            if let Err(full) = printed
                && !error.use_stderr()
                && !full.is_closed_pipe()
            {
                return failed(&full);
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &error::Error) -> ExitCode {
    if !error.is_told() {
        show::note(format!("error: {error}"));
    }
    ExitCode::from(error.exit_code())
}

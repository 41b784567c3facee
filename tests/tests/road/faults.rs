//! No lost work: a `berth finetune` whose saves meet a full disk, a broken one or a kill, at each of their system calls
//! in turn, by `strace`.
//!
//! `BERTH_TEST_FAULTS` says of how many calls one is tried: 1 for each of them. Without strace nothing is tried, aloud.

use std::env;
use std::fs;
use std::process::{Command, Output};

use crate::fixture;
use crate::kills::{TinyRun, checkpoints, hold_to_promise};
use crate::real::say;

/// One call of so many is tried, where nothing says how many.
const EVERY: usize = 24;

/// The calls that make or change a file, or let go of one.
const CALLS: &str = "openat,write,fsync,mkdir,rename,unlink,unlinkat,close";

/// What happens to a call.
const FAULTS: [&str; 3] = ["error=ENOSPC", "error=EIO", "signal=KILL"];

#[test]
fn a_save_that_fails_at_any_call_loses_nothing() {
    let every = env::var("BERTH_TEST_FAULTS").map_or(EVERY, |text| text.parse().expect("a number"));
    if Command::new("strace").arg("--version").output().is_err() {
        say("faults: SKIPPED, there is no strace");
        return;
    }
    let dir = fixture::folder();
    let run = TinyRun::new(dir.path());
    let state = LastStep::new(&run);
    state.prepare();
    let calls = calls_of_the_saves(&state.trace(&[]));
    assert!(calls.len() > 50, "{calls:?}");
    let (mut tried, mut killed) = (0, 0);
    for (index, (call, number)) in calls.iter().enumerate() {
        for (kind, fault) in FAULTS.iter().enumerate() {
            if (index * FAULTS.len() + kind).is_multiple_of(every) {
                killed += usize::from(state.survives(call, *number, fault));
                tried += 1;
            }
        }
    }
    say(&format!(
        "faults: {tried} tried at {} calls, {killed} of them kills",
        calls.len()
    ));
}

/// A run that has its last step before it, and a checkpoint of the step before.
struct LastStep<'a> {
    run: &'a TinyRun,
}

impl<'a> LastStep<'a> {
    fn new(run: &'a TinyRun) -> Self {
        let done = run
            .command("whole")
            .args(["--save_total_limit", "99"])
            .output();
        assert!(done.expect("the program").status.success());
        LastStep { run }
    }

    /// Puts the run's folder back to where it was before the last step.
    fn prepare(&self) {
        let out = self.run.path("out");
        if out.exists() {
            fs::remove_dir_all(&out).expect("a folder");
        }
        let last = "checkpoint-11";
        let (from, to) = (self.run.path("whole").join(last), out.join(last));
        fs::create_dir_all(&to).expect("a folder");
        for entry in fs::read_dir(from).expect("a checkpoint") {
            let entry = entry.expect("a file");
            fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
        }
    }

    /// Runs the last step under strace; what strace wrote.
    fn trace(&self, inject: &[&str]) -> String {
        self.traced(inject).1
    }

    fn traced(&self, inject: &[&str]) -> (Output, String) {
        let log = self.run.path("strace.log");
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-e", &format!("trace={CALLS}"), "-o"]);
        command
            .arg(&log)
            .args(inject)
            .arg(self.run.command("out").get_program());
        // Each checkpoint makes the one before it go, so that removing is tried too.
        let arguments = self.run.arguments("out").into_iter();
        command.args(arguments.chain(["--save_total_limit".to_owned(), "1".to_owned()]));
        let output = command.output().expect("strace");
        (output, fs::read_to_string(log).expect("a log"))
    }

    /// Lets one call fail, and holds what is left to the promise. Says whether the run was killed.
    fn survives(&self, call: &str, number: usize, fault: &str) -> bool {
        self.prepare();
        let inject = format!("inject={call}:{fault}:when={number}");
        let (output, log) = self.traced(&["-e", &inject]);
        let out = self.run.path("out");
        let what = || format!("{inject}: {output:?}");
        hold_to_promise(&out);
        let finished = out.join("config.json").exists();
        assert!(
            finished || !checkpoints(&out).is_empty(),
            "{}: nothing is left",
            what()
        );
        let killed = fault.starts_with("signal");
        // strace counts each thread's calls: the number of one that writes a file may be that of one that says why. And a
        // folder that a finished save has emptied may stay.
        let injected = |what: &str| {
            let mut lines = log.lines().filter(|line| line.contains("(INJECTED)"));
            lines.any(|line| line.contains(what))
        };
        let (unheard, emptied) = (injected("write(2<"), injected(".partial\","));
        if output.status.code() == Some(1) && !unheard {
            let error = String::from_utf8_lossy(&output.stderr);
            let last = error.lines().last().unwrap_or_default();
            let named = last.starts_with("error: ") && last.contains(&*out.to_string_lossy());
            assert!(named, "{}", what());
        } else if call == "close" {
            // Whether a file that was only written to could be closed is no news to the standard library, and a folder
            // that could not makes it panic: there is no line to expect, but what is left keeps the promise.
        } else if !killed && !unheard && !emptied {
            let missed = !log.contains("(INJECTED)");
            assert!(missed && output.status.success(), "{}", what());
        }
        self.run.to_the_end("out");
        assert!(
            self.run.weights("out") == self.run.weights("whole"),
            "{}: other weights",
            what()
        );
        killed
    }
}

/// The calls that the saving thread makes from the first folder on that it makes, each with its number among its calls of that
/// name: so strace counts.
fn calls_of_the_saves(log: &str) -> Vec<(String, usize)> {
    let entered = |line: &str| {
        let (thread, rest) = line.split_once(' ')?;
        let (call, _) = rest.trim_start().split_once('(')?;
        let plain = call.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        plain.then(|| (thread.to_owned(), call.to_owned()))
    };
    let all: Vec<(String, String)> = log.lines().filter_map(entered).collect();
    let first = all
        .iter()
        .position(|(_, call)| call == "mkdir")
        .expect("a save");
    let saving = &all[first].0;
    let mut calls: Vec<(String, usize)> = Vec::new();
    let mut counts = std::collections::HashMap::new();
    for (place, (_, call)) in all
        .iter()
        .enumerate()
        .filter(|(_, (thread, _))| thread == saving)
    {
        let count = counts.entry(call).or_insert(0);
        *count += 1;
        if place >= first {
            calls.push((call.clone(), *count));
        }
    }
    calls
}

//! Ctrl-C: what a command has begun and can't keep goes, and of a run everything is kept but what it has only begun.

#![cfg(unix)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::fixture::{self, Trained};
use crate::kills::{TinyRun, checkpoints};
use crate::program::program;

/// The card is what an export reads last; where it is a pipe, the export waits there with both graphs written.
#[test]
fn an_export_that_is_interrupted_leaves_nothing() {
    let dir = fixture::folder();
    let [own, out] = ["own", "out"].map(|name| dir.path().join(name));
    Trained::get().copy(&own);
    let card = own.join("README.md");
    fs::remove_file(&card).expect("a card");
    make_pipe(&card);
    let pipe = File::options().read(true).write(true).open(&card);
    let pipe = pipe.expect("a pipe");

    let mut command = program("berth");
    command
        .arg("export")
        .arg(&own)
        .arg("--output_dir")
        .arg(&out);
    let mut child = begin(&mut command);
    let has_begun = || {
        names(dir.path())
            .iter()
            .any(|name| name.ends_with(".partial"))
    };
    while !has_begun() && child.try_wait().expect("a child").is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let said = interrupt(&mut child);
    drop(pipe);
    // It may have come to the card only now, where it would wait for somebody to write.
    while child.try_wait().expect("a child").is_none() {
        let _ = File::options().read(true).write(true).open(&card);
        std::thread::sleep(Duration::from_millis(1));
    }
    let last = said.last();
    let ended = child.wait_with_output().expect("the program");
    let expected = format!("error: stopped before {} was written", out.display());
    assert_eq!((ended.status.code(), last), (Some(130), Some(expected)));
    assert!(ended.stdout.is_empty(), "{ended:?}");
    assert_eq!(names(dir.path()), ["own"]);
}

/// Where the file to learn from is a pipe, the program waits in the middle of it.
#[test]
fn a_run_that_is_interrupted_over_its_files_makes_no_step() {
    let dir = fixture::folder();
    let run = TinyRun::new(dir.path());
    let train = run.path("train.tsv");
    let rows = fs::read(&train).expect("sentences");
    fs::remove_file(&train).expect("a file");
    make_pipe(&train);
    let mut child = begin(&mut run.command("out"));
    let (sender, opened) = mpsc::channel();
    // Until the program opens it, too.
    std::thread::spawn(move || sender.send(File::options().write(true).open(train)));
    let pipe = opened.recv_timeout(Duration::from_secs(60));
    let mut pipe = pipe.expect("a reader").expect("a pipe");
    let said = interrupt(&mut child);
    pipe.write_all(&rows).expect("a reader");
    drop(pipe);
    let said: Vec<String> = said.collect();
    let ended = child.wait_with_output().expect("the program");
    let expected = "error: stopped before a step was made; the same command begins again";
    assert_eq!(said, [expected]);
    assert_eq!(ended.status.code(), Some(130));
    assert!(ended.stdout.is_empty(), "{ended:?}");
    assert!(!run.path("out").exists());
}

/// Nearly all the time goes into measuring, so it is there that the signal comes.
#[test]
fn an_evaluation_that_is_interrupted_is_made_anew() {
    let dir = fixture::folder();
    let run = TinyRun::new(dir.path());
    let dev = fixture::write_sentences(dir.path(), "dev.tsv", 2000, 2);
    let command = |out: &str| {
        let mut command = run.command(out);
        command.arg("--validation_file").arg(&dev);
        let flags =
            "--max_steps 3 --eval_strategy steps --eval_steps 1 --per_device_eval_batch_size 4";
        command.args(flags.split(' '));
        command
    };
    let state = |folder: &Path| -> Value {
        let text = fs::read(folder.join("trainer_state.json")).expect("a state");
        serde_json::from_slice(&text).expect("JSON")
    };
    let losses = |out: &str| -> Vec<(u64, f64)> {
        let state = state(&run.path(out));
        let log = state["log_history"].as_array().expect("a log").iter();
        let loss = |entry: &Value| entry["step"].as_u64().zip(entry["eval_loss"].as_f64());
        log.filter_map(loss).collect()
    };
    let to_the_end = |out: &str| {
        let done = command(out).output().expect("the program");
        assert!(done.status.success(), "{done:?}");
    };
    to_the_end("whole");
    let out = run.path("out");
    for attempt in 0.. {
        assert!(attempt < 20, "no signal came in time");
        let mut child = begin(&mut command("out"));
        while checkpoints(&out).is_empty() && child.try_wait().expect("a child").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(20));
        send_signal(&child);
        let ended = child.wait_with_output().expect("the program");
        let error = String::from_utf8_lossy(&ended.stderr);
        let is_cut = |folder: &PathBuf| state(folder)["evaluation_due"] == true;
        let Some(cut) = checkpoints(&out).into_iter().find(is_cut) else {
            fs::remove_dir_all(&out).expect("a folder");
            continue;
        };
        let step = &state(&cut)["global_step"];
        let last = error.lines().last().unwrap_or_default();
        let said = format!(
            "error: stopped after step {step}, saved in {}; ",
            cut.display()
        );
        assert!(last.starts_with(&said), "{error}");
        assert!(!error.contains(&format!("step {step}: ")), "{error}");
        break;
    }
    to_the_end("out");
    assert!(
        run.weights("whole") == run.weights("out"),
        "it ended elsewhere"
    );
    assert_eq!(losses("whole"), losses("out"));
}

fn make_pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.is_ok_and(|status| status.success()), "no pipe");
}

fn begin(command: &mut Command) -> Child {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program")
}

fn send_signal(child: &Child) {
    let signal = ["-INT", &child.id().to_string()].map(str::to_owned);
    let _ = Command::new("kill").args(signal).status();
}

/// Interrupts a program that listens; what it says after it has heard of it.
fn interrupt(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    send_signal(child);
    let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let mut said = lines.map(|line| line.expect("UTF-8"));
    assert!(said.any(|line| line.contains("stopping after this step")));
    said
}

/// What lies in a folder, hidden or not.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a folder");
    let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("UTF-8");
    entries
        .map(|entry| name(entry.expect("an entry")))
        .collect()
}

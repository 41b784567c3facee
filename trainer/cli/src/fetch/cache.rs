//! Hugging Face's cache, as all its tools lay it out:
//!
//! ```text
//! models--ORG--NAME/blobs/HASH             contents, each under the name that the Hub gives it
//! models--ORG--NAME/snapshots/COMMIT/FILE  links to them
//! models--ORG--NAME/refs/main              the commit that `main` was when last asked
//! .locks/models--ORG--NAME/HASH.lock       held while a content is being fetched
//! ```
//!
//! A content grows as `HASH.incomplete` and is renamed when its length and its hash are right, so
//! whatever has its final name can be used, and whatever was cut can be gone on with.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use berth_checkpoint::config::CONFIG_FILE;
use berth_checkpoint::weights::WEIGHTS_FILE;
use berth_checkpoint::{hex, sha256};
use sha1::{Digest, Sha1};

use super::error::FetchError;
use super::pinned::{Pinned, PinnedFile};
use super::progress::Progress;

/// The folder among the snapshots for files of no known commit.
pub const UNVERSIONED: &str = "main";

/// A model's place in the cache.
#[derive(Debug)]
pub struct Repo {
    hub: PathBuf,
    dir: PathBuf,
    locks: PathBuf,
}

impl Repo {
    /// The place of a model of a valid name in the cache at `hub`.
    pub fn new(hub: &Path, name: &str) -> Self {
        let folder = format!("models--{}", name.replace('/', "--"));
        let locks = hub.join(".locks").join(&folder);
        Repo {
            hub: hub.to_owned(),
            dir: hub.join(folder),
            locks,
        }
    }

    /// The cache itself.
    pub fn hub(&self) -> &Path {
        &self.hub
    }

    /// The folder of a commit's files.
    pub fn snapshot(&self, revision: &str) -> PathBuf {
        self.dir.join("snapshots").join(revision)
    }

    /// A content's file.
    pub fn blob(&self, blob: &str) -> PathBuf {
        self.dir.join("blobs").join(blob)
    }

    /// The model's folder, if everything needed is in it.
    pub fn find(&self) -> Option<PathBuf> {
        let main = self.main();
        let revisions = [main.as_deref().unwrap_or(UNVERSIONED), UNVERSIONED];
        revisions
            .iter()
            .map(|revision| self.snapshot(revision))
            .find(|dir| {
                let has = |name: &str| dir.join(name).exists();
                has(CONFIG_FILE) && has(WEIGHTS_FILE) && (has("tokenizer.json") || has("vocab.txt"))
            })
    }

    /// The folder with the pinned files, at their commit or at the one that `main` was, if all are
    /// there and have their SHA-256.
    pub fn find_pinned(
        &self,
        pinned: &Pinned,
        progress: &dyn Progress,
    ) -> Result<Option<PathBuf>, FetchError> {
        let main = self.main().filter(|commit| commit != pinned.revision);
        for revision in [Some(pinned.revision), main.as_deref()]
            .into_iter()
            .flatten()
        {
            let dir = self.snapshot(revision);
            if !pinned.files.iter().all(|file| dir.join(file.name).exists()) {
                continue;
            }
            match first_wrong(&dir, pinned)? {
                None => return Ok(Some(dir)),
                Some(wrong) => {
                    let path = dir.join(wrong.name);
                    progress.say(&format!(
                        "{}: not the known bytes, left aside",
                        path.display()
                    ));
                }
            }
        }
        Ok(None)
    }

    /// The commit that `main` was when last asked.
    fn main(&self) -> Option<String> {
        let text = fs::read_to_string(self.dir.join("refs").join("main")).ok()?;
        let commit = text.trim();
        is_file_name(commit).then(|| commit.to_owned())
    }

    /// Remembers what commit `main` is.
    pub fn set_main(&self, commit: &str) -> Result<(), FetchError> {
        let path = self.dir.join("refs").join("main");
        make_folder_of(&path)
            .and_then(|()| fs::write(&path, commit))
            .map_err(|source| FetchError::io(&path, source))
    }

    /// Remembers the commit where nothing else is known of `main`.
    pub fn set_main_if_unknown(&self, commit: &str) -> Result<(), FetchError> {
        if self.main().is_some() {
            Ok(())
        } else {
            self.set_main(commit)
        }
    }

    /// Puts a content into a commit's folder under a file's name.
    pub fn link(&self, revision: &str, file: &str, blob: &str) -> Result<(), FetchError> {
        let path = self.snapshot(revision).join(file);
        let link = || {
            make_folder_of(&path)?;
            // A name that no other process and no other thread of this one uses.
            static LINKS: AtomicU64 = AtomicU64::new(0);
            let number = LINKS.fetch_add(1, Ordering::Relaxed);
            let fresh = self
                .snapshot(revision)
                .join(format!(".{file}.{}.{number}", std::process::id()));
            let _ = fs::remove_file(&fresh);
            #[cfg(unix)]
            std::os::unix::fs::symlink(Path::new("../../blobs").join(blob), &fresh)?;
            #[cfg(not(unix))]
            fs::hard_link(self.blob(blob), &fresh)?;
            fs::rename(&fresh, &path)
        };
        link().map_err(|source| FetchError::io(&path, source))
    }

    /// Waits until no other process fetches this content; the lock lasts as long as the file.
    pub fn lock(&self, blob: &str, progress: &dyn Progress) -> Result<File, FetchError> {
        let path = self.locks.join(format!("{blob}.lock"));
        let lock = || {
            make_folder_of(&path)?;
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            let result = match file.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    progress.say("waiting for another program that fetches the same file");
                    file.lock()
                }
                Err(TryLockError::Error(error)) => Err(error),
                Ok(()) => Ok(()),
            };
            match result {
                // Some network file systems have no locks; then the same work may be done twice.
                Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(error),
                _ => Ok(file),
            }
        };
        lock().map_err(|source| FetchError::io(&path, source))
    }

    /// Whether a content is there, and right as far as it can be told; a wrong one is removed.
    pub fn has(&self, blob: &str, expected: &Expected) -> Result<bool, FetchError> {
        let path = self.blob(blob);
        if !path.exists() {
            return Ok(false);
        }
        let remove = || fs::remove_file(&path).map(|()| false);
        let right = expected.differs(&path).and_then(|wrong| match wrong {
            None => Ok(true),
            Some(_) => remove(),
        });
        right.map_err(|source| FetchError::io(&path, source))
    }
}

/// What is known of a content beforehand.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Its length.
    pub size: Option<u64>,
    /// Its hash.
    pub hash: Option<Hash>,
}

/// A content's hash, in lower-case hexadecimal.
#[derive(Clone, Debug)]
pub enum Hash {
    /// SHA-256.
    Sha256(String),
    /// SHA-1: Git's, which begins with the length, or as some mirrors have it that of the bytes alone.
    Sha1(String),
}

impl Hash {
    /// The hash that a content's name on the Hub is: its SHA-256, or Git's for what lies in Git.
    pub fn of_name(blob: &str) -> Option<Self> {
        let is_hex = blob.bytes().all(|byte| byte.is_ascii_hexdigit());
        match blob.len() {
            64 if is_hex => Some(Hash::Sha256(blob.to_lowercase())),
            40 if is_hex => Some(Hash::Sha1(blob.to_lowercase())),
            _ => None,
        }
    }
}

/// What a content has that is not as expected.
struct Wrong {
    what: &'static str,
    expected: String,
    found: String,
}

impl Expected {
    /// What of the file at `path` is known to be otherwise.
    fn differs(&self, path: &Path) -> io::Result<Option<Wrong>> {
        let wrong = |what, expected: &dyn ToString, found: &dyn ToString| {
            let (expected, found) = (expected.to_string(), found.to_string());
            Ok(Some(Wrong {
                what,
                expected,
                found,
            }))
        };
        match &self.hash {
            Some(Hash::Sha256(known)) => {
                let found = hex(&sha256(path)?);
                if found != *known {
                    return wrong("SHA-256", known, &found);
                }
            }
            Some(Hash::Sha1(known)) => {
                let found = sha1s(path)?;
                if !found.contains(known) {
                    return wrong("Git's SHA-1", known, &found[0]);
                }
            }
            None => {}
        }
        let length = fs::metadata(path)?.len();
        match self.size {
            Some(size) if size != length => wrong("length", &size, &length),
            _ => Ok(None),
        }
    }
}

impl From<&PinnedFile> for Expected {
    fn from(file: &PinnedFile) -> Self {
        Expected {
            size: Some(file.size),
            hash: Some(Hash::Sha256(file.sha256.to_owned())),
        }
    }
}

/// A content on its way into the cache.
pub struct Incoming {
    path: PathBuf,
    blob: PathBuf,
    file: File,
    length: u64,
}

impl Incoming {
    /// Goes on with what was left of an earlier try.
    pub fn open(repo: &Repo, blob: &str) -> Result<Self, FetchError> {
        let path = repo.blob(&format!("{blob}.incomplete"));
        let open = || {
            make_folder_of(&path)?;
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        let (file, length) = open().map_err(|source| FetchError::io(&path, source))?;
        Ok(Incoming {
            blob: repo.blob(blob),
            path,
            file,
            length,
        })
    }

    /// How many bytes are there.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Forgets what is there.
    pub fn restart(&mut self) -> Result<(), FetchError> {
        self.file
            .set_len(0)
            .map_err(|source| FetchError::io(&self.path, source))?;
        self.length = 0;
        Ok(())
    }

    /// Adds bytes at the end.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.file
            .write_all(bytes)
            .map_err(|source| FetchError::io(&self.path, source))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Gives the content its name if it is what it should be; else removes it. `file` and `source`
    /// are for the message.
    pub fn finish(self, expected: &Expected, file: &str, source: &str) -> Result<(), FetchError> {
        let Incoming {
            path,
            blob,
            file: open,
            ..
        } = self;
        let io = |error| FetchError::io(&path, error);
        if let Some(wrong) = expected.differs(&path).map_err(io)? {
            fs::remove_file(&path).map_err(io)?;
            return Err(FetchError::Wrong {
                file: file.to_owned(),
                source_name: source.to_owned(),
                what: wrong.what,
                expected: wrong.expected,
                found: wrong.found,
            });
        }
        let finish = open.sync_all().and_then(|()| fs::rename(&path, &blob));
        finish.map_err(|source| FetchError::io(&blob, source))
    }
}

/// Whether a text from elsewhere may be used as a file's name.
pub fn is_file_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=128).contains(&text.len()) && text.chars().all(plain) && !text.starts_with('.')
}

/// The first pinned file that has other bytes in this folder.
fn first_wrong<'a>(dir: &Path, pinned: &Pinned) -> Result<Option<&'a PinnedFile>, FetchError> {
    for file in pinned.files {
        let path = dir.join(file.name);
        let io = |source| FetchError::io(&path, source);
        let same_length = fs::metadata(&path).map_err(io)?.len() == file.size;
        if !same_length || hex(&sha256(&path).map_err(io)?) != file.sha256 {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// Git's hash of a file, and the SHA-1 of its bytes alone.
fn sha1s(path: &Path) -> io::Result<[String; 2]> {
    let mut file = File::open(path)?;
    let header = format!("blob {}\0", file.metadata()?.len());
    let mut hashers = [Sha1::new_with_prefix(header), Sha1::new()];
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hashers.map(|hasher| hex(&hasher.finalize())));
        }
        for hasher in &mut hashers {
            hasher.update(&buffer[..read]);
        }
    }
}

fn make_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

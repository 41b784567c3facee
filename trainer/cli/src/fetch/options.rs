//! Where models are looked for and kept: read once from the environment, so that everything below can
//! be tested without touching it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::pinned::{DEFAULT, Pinned};

/// The settings of a fetch.
#[derive(Clone, Debug)]
pub struct Options {
    /// Hugging Face's cache, the folder with `models--ORG--NAME` in it.
    pub cache: Option<PathBuf>,
    /// The Hub, without a slash at the end.
    pub endpoint: String,
    /// Whether the Hub is left alone. pip has settings of its own.
    pub offline: bool,
    /// Ways to call pip, the first that works.
    pub pip: Vec<Pip>,
    /// The pause before a cut connection is tried again.
    pub pause: Duration,
    /// The model whose files are known.
    pub pinned: Pinned,
}

/// A way to call pip.
#[derive(Clone, Debug)]
pub struct Pip {
    /// The program.
    pub program: OsString,
    /// What stands before pip's own arguments.
    pub args: Vec<OsString>,
}

impl Pip {
    pub(super) fn new(program: impl Into<OsString>, args: &[&str]) -> Self {
        Pip {
            program: program.into(),
            args: args.iter().map(OsString::from).collect(),
        }
    }
}

impl Options {
    /// The user's settings, under the names that Hugging Face's tools read.
    pub fn from_environment() -> Self {
        Self::from_lookup(|name| std::env::var_os(name))
    }

    pub(super) fn from_lookup(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let get = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| get(name).map(PathBuf::from);
        let text = |name: &str| get(name).and_then(|value| value.into_string().ok());
        let home = || path("HOME").or_else(|| path("USERPROFILE"));
        // A `~` that no shell has seen, that of a file of settings, is the home folder to Hugging Face's tools.
        let place = |name: &str| {
            let path = path(name)?;
            let rest = path.strip_prefix("~").ok();
            let at_home = rest.and_then(|rest| Some(home()?.join(rest)));
            Some(at_home.unwrap_or(path))
        };
        let caches = || place("XDG_CACHE_HOME").or_else(|| Some(home()?.join(".cache")));
        let hf_home = || place("HF_HOME").or_else(|| Some(caches()?.join("huggingface")));
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let offline = text("HF_HUB_OFFLINE").unwrap_or_default().to_uppercase();
        let pip = [("python3", &["-m", "pip"][..]), ("pip3", &[]), ("pip", &[])];
        Options {
            cache: place("HF_HUB_CACHE").or_else(|| Some(hf_home()?.join("hub"))),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            offline: ["1", "ON", "YES", "TRUE"].contains(&offline.as_str()),
            pip: pip.map(|(program, args)| Pip::new(program, args)).to_vec(),
            pause: Duration::from_secs(1),
            pinned: DEFAULT,
        }
    }
}

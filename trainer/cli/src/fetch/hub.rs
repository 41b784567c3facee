//! The Hugging Face Hub over HTTP: `ENDPOINT/NAME/resolve/REVISION/FILE` is a file, or a redirect to
//! where it lies, with its commit and the name of its content in the headers.

use std::io::Read;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use berth_checkpoint::Config;
use berth_checkpoint::config::CONFIG_FILE;
use berth_checkpoint::weights::WEIGHTS_FILE;
use ureq::Agent;
use ureq::http::{Response, header::HeaderMap};

use super::FILES;
use super::cache::{Expected, Hash, Incoming, Repo, UNVERSIONED, is_file_name};
use super::error::FetchError;
use super::options::Options;
use super::pinned::Pinned;
use super::progress::Progress;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(30);
/// How many tries in a row may bring nothing, after one that brought some bytes. A server that has sent none is not tried
/// again: it is rather away than busy, and whoever waits is told so, or served from elsewhere, at once.
const TRIES: u32 = 3;
/// How many redirects are followed on the way to a file's headers.
const REDIRECTS: usize = 5;

/// A Hub, or a mirror of it.
pub struct Hub<'a> {
    agent: Agent,
    endpoint: &'a str,
    pause: Duration,
    progress: &'a dyn Progress,
}

/// What a Hub says of a file before sending it.
struct Remote {
    commit: Option<String>,
    blob: String,
    expected: Expected,
}

/// How one try to download ended short of success.
enum Failure {
    /// It may go better another time.
    Passing(Passing),
    /// Not worth another try.
    Final(FetchError),
}

/// What may go better another time.
enum Passing {
    /// No answer.
    Unreachable(String),
    /// Less than the whole answer, or not what was asked for.
    Cut(String),
    /// An answer that the server can't now.
    Status(u16),
}

impl From<Passing> for Failure {
    fn from(passing: Passing) -> Self {
        Failure::Passing(passing)
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Failure::Final(error)
    }
}

impl<'a> Hub<'a> {
    /// No connection is made yet.
    pub fn new(options: &'a Options, progress: &'a dyn Progress) -> Self {
        let mut config = Agent::config_builder()
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .http_status_as_error(false)
            .user_agent(concat!("berth/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&options.endpoint) {
            config = config.proxy(None);
        }
        Hub {
            agent: config.build().into(),
            endpoint: &options.endpoint,
            pause: options.pause,
            progress,
        }
    }

    /// Fetches the pinned files at their commit.
    pub fn pinned(&self, repo: &Repo, pinned: &Pinned) -> Result<PathBuf, FetchError> {
        for file in pinned.files {
            let url = self.url(pinned.name, pinned.revision, file.name);
            self.download(&url, pinned.name, file.name, repo, file.blob, &file.into())?;
            repo.link(pinned.revision, file.name, file.blob)?;
        }
        repo.set_main_if_unknown(pinned.revision)?;
        Ok(repo.snapshot(pinned.revision))
    }

    /// Fetches a model as it is now.
    pub fn latest(&self, repo: &Repo, name: &str) -> Result<PathBuf, FetchError> {
        let mut commit = None;
        let mut has_tokenizer = false;
        for file in FILES {
            let revision = commit.as_deref().unwrap_or(UNVERSIONED);
            let Remote {
                commit: found,
                blob,
                expected,
            } = match self.head(name, revision, file) {
                // A tokenizer is one file or the other; the rest have defaults.
                Err(FetchError::Missing { .. }) if ![CONFIG_FILE, WEIGHTS_FILE].contains(&file) => {
                    continue;
                }
                result => result?,
            };
            has_tokenizer |= ["tokenizer.json", "vocab.txt"].contains(&file);
            if file == WEIGHTS_FILE && !has_tokenizer {
                break;
            }
            let revision = commit.get_or_insert(found.unwrap_or_else(|| UNVERSIONED.to_owned()));
            let url = self.url(name, revision, file);
            self.download(&url, name, file, repo, &blob, &expected)?;
            repo.link(revision, file, &blob)?;
            if file == CONFIG_FILE {
                // Another family's weights are not worth the wait.
                Config::read(repo.snapshot(revision))?;
            }
        }
        let commit = commit.unwrap_or_else(|| UNVERSIONED.to_owned());
        if !has_tokenizer {
            let (name, file) = (name.to_owned(), "tokenizer.json".to_owned());
            let url = self.url(&name, &commit, &file);
            return Err(FetchError::Missing {
                name,
                file,
                status: 404,
                url,
            });
        }
        if commit != UNVERSIONED {
            repo.set_main(&commit)?;
        }
        Ok(repo.snapshot(&commit))
    }

    fn url(&self, name: &str, revision: &str, file: &str) -> String {
        format!("{}/{name}/resolve/{revision}/{file}", self.endpoint)
    }

    /// Asks what a file is. The Hub's own answer counts, not that of the store that it redirects to.
    fn head(&self, name: &str, revision: &str, file: &str) -> Result<Remote, FetchError> {
        let mut url = self.url(name, revision, file);
        let mut commit = None;
        for _ in 0..REDIRECTS {
            let request = self.agent.head(&url).header("Accept-Encoding", "identity");
            let response = request.config().max_redirects(0).build().call();
            let response = response.map_err(|error| unreachable(&url, &error))?;
            let headers = response.headers();
            let found = text(headers, "x-repo-commit").filter(|commit| is_file_name(commit));
            commit = commit.or(found.map(str::to_owned));
            let etag = commit.as_ref().and_then(|_| text(headers, "etag"));
            let described = etag.or(text(headers, "x-linked-etag")).is_some();
            match (response.status().as_u16(), text(headers, "location")) {
                (300..400, Some(location)) if !described => url = join(&url, location),
                (200..400, _) => return remote(&url, &response, commit),
                (status, _) => return Err(refusal(status, name, file, &url)),
            }
        }
        Err(FetchError::Answer {
            url,
            what: "redirects without end".to_owned(),
        })
    }

    /// Brings a content into the cache, going on where an earlier try was cut.
    fn download(
        &self,
        url: &str,
        name: &str,
        file: &str,
        repo: &Repo,
        blob: &str,
        expected: &Expected,
    ) -> Result<(), FetchError> {
        let _lock = repo.lock(blob, self.progress)?;
        if repo.has(blob, expected)? {
            return Ok(());
        }
        let mut incoming = Incoming::open(repo, blob)?;
        let mut furthest = incoming.length();
        let mut tries = 0;
        loop {
            let result = self.attempt(url, name, file, &mut incoming, expected);
            self.progress.end();
            let passing = match result {
                Ok(()) => return incoming.finish(expected, file, url),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(passing)) => passing,
            };
            let received = incoming.length();
            if received > furthest {
                furthest = received;
                tries = TRIES;
            } else if tries == 0 {
                let cut = |reason| {
                    let url = url.to_owned();
                    FetchError::Cut {
                        url,
                        received,
                        reason,
                    }
                };
                return Err(match passing {
                    Passing::Unreachable(reason) if furthest == 0 => {
                        let url = url.to_owned();
                        FetchError::Unreachable { url, reason }
                    }
                    Passing::Status(status) if furthest == 0 => refusal(status, name, file, url),
                    Passing::Unreachable(reason) | Passing::Cut(reason) => cut(reason),
                    Passing::Status(status) => cut(format!("status {status}")),
                });
            }
            tries -= 1;
            thread::sleep(self.pause);
        }
    }

    fn attempt(
        &self,
        url: &str,
        name: &str,
        file: &str,
        incoming: &mut Incoming,
        expected: &Expected,
    ) -> Result<(), Failure> {
        let at = incoming.length();
        if expected.size.is_some_and(|size| at >= size) {
            return Ok(());
        }
        let mut request = self.agent.get(url).header("Accept-Encoding", "identity");
        if at > 0 {
            request = request.header("Range", format!("bytes={at}-"));
        }
        let response = request
            .call()
            .map_err(|error| Passing::Unreachable(error.to_string()))?;
        let unfit = |what: String| {
            let what = format!("{what}; name another server by HF_ENDPOINT");
            let url = url.to_owned();
            Failure::Final(FetchError::Answer { url, what })
        };
        let headers = response.headers();
        let comes = response.status().is_success();
        if let Some(encoding) = encoding(headers).filter(|_| comes) {
            return Err(unfit(format!(
                "comes as {encoding}, which was not asked for"
            )));
        }
        let coming = text(headers, "content-length").and_then(|n| n.parse::<u64>().ok());
        // Chunks tell where they end.
        let told = coming.or(expected.size).is_some() || headers.contains_key("transfer-encoding");
        if comes && !told && expected.hash.is_none() {
            let what = "neither the file's length nor its hash is told, so it may not be whole";
            return Err(unfit(what.to_owned()));
        }
        match response.status().as_u16() {
            206 if continues(&response, at) => {}
            200 => incoming.restart()?,
            // The server cannot go on from here: from the start, next time.
            206 | 416 => {
                incoming.restart()?;
                return Err(Passing::Cut("the rest was refused".to_owned()).into());
            }
            status @ 500.. => return Err(Passing::Status(status).into()),
            status => return Err(refusal(status, name, file, url).into()),
        }
        let size = expected.size;
        let total = coming.map(|coming| incoming.length() + coming).or(size);
        self.progress.begin(file, incoming.length(), total);
        self.receive(response, incoming, total, size)
    }

    /// Takes an answer to its end, or until it is longer than the file can be.
    fn receive(
        &self,
        response: Response<ureq::Body>,
        incoming: &mut Incoming,
        total: Option<u64>,
        size: Option<u64>,
    ) -> Result<(), Failure> {
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 17];
        loop {
            let read = body
                .read(&mut buffer)
                .map_err(|error| Passing::Cut(error.to_string()))?;
            incoming.write(&buffer[..read])?;
            self.progress.advance(read as u64);
            if read == 0 && total.is_some_and(|total| incoming.length() < total) {
                return Err(Passing::Cut("the answer ended early".to_owned()).into());
            }
            if read == 0 || size.is_some_and(|size| incoming.length() > size) {
                return Ok(());
            }
        }
    }
}

/// Reads a file's headers.
fn remote(
    url: &str,
    response: &Response<ureq::Body>,
    commit: Option<String>,
) -> Result<Remote, FetchError> {
    let headers = response.headers();
    let etag = text(headers, "x-linked-etag").or_else(|| text(headers, "etag"));
    let blob = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
    let Some(blob) = blob.filter(|blob| is_file_name(blob)) else {
        let what = "no ETag that names the content, so this is no Hub".to_owned();
        return Err(FetchError::Answer {
            url: url.to_owned(),
            what,
        });
    };
    // A redirect's length is its own.
    let is_own = response.status().is_success() && encoding(headers).is_none();
    let own = || text(headers, "content-length").filter(|_| is_own);
    let size = text(headers, "x-linked-size").or_else(own);
    let size = size.and_then(|size| size.parse::<u64>().ok());
    Ok(Remote {
        commit,
        blob: blob.to_owned(),
        expected: Expected {
            // None of the files is empty: a server that says so does not know.
            size: size.filter(|size| *size > 0),
            hash: Hash::of_name(blob),
        },
    })
}

fn unreachable(url: &str, error: &ureq::Error) -> FetchError {
    FetchError::Unreachable {
        url: url.to_owned(),
        reason: error.to_string(),
    }
}

/// The error for a status that is no success. The Hub answers 401 for a model that is not there.
fn refusal(status: u16, name: &str, file: &str, url: &str) -> FetchError {
    let (url, name, file) = (url.to_owned(), name.to_owned(), file.to_owned());
    match status {
        401 | 403 | 404 => FetchError::Missing {
            name,
            file,
            status,
            url,
        },
        429 | 500.. => FetchError::Answer {
            url,
            what: format!(
                "status {status}; try again later, or name another server by HF_ENDPOINT"
            ),
        },
        _ => FetchError::Answer {
            url,
            what: format!("status {status}"),
        },
    }
}

/// How an answer's bytes are packed, where they are not the file's own.
fn encoding(headers: &HeaderMap) -> Option<&str> {
    let encoding = text(headers, "content-encoding");
    encoding.filter(|encoding| !encoding.eq_ignore_ascii_case("identity"))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Whether a partial answer begins where the file ends.
fn continues(response: &Response<ureq::Body>, at: u64) -> bool {
    let range = text(response.headers(), "content-range");
    range.is_some_and(|range| range.starts_with(&format!("bytes {at}-")))
}

/// The target of a redirect, which may be a path on the same server.
fn join(url: &str, location: &str) -> String {
    if !location.starts_with('/') || location.starts_with("//") {
        return location.to_owned();
    }
    let host_at = url.find("://").map_or(0, |at| at + 3);
    let path_at = url[host_at..]
        .find('/')
        .map_or(url.len(), |at| host_at + at);
    format!("{}{location}", &url[..path_at])
}

/// A server on this machine is not asked through a proxy.
fn is_loopback(endpoint: &str) -> bool {
    let host = endpoint.split("://").nth(1).unwrap_or(endpoint);
    ["127.", "localhost", "[::1]"]
        .iter()
        .any(|start| host.starts_with(start))
}

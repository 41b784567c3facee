//! The Hub's side, with a server in its place.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use super::server::{End, Reply, Request, Server};
use super::{Fixture, REVISION, Recorder, git_of, model, names, sha256_of};
use crate::fetch::resolve_with;

const COMMIT: &str = "fedcba9876543210fedcba9876543210fedcba98";

/// The pinned file that a request is for.
fn pinned_file(request: &Request) -> Option<Vec<u8>> {
    let name = request
        .path
        .strip_prefix(&format!("/test/tiny/resolve/{REVISION}/"))?;
    Some(model().into_iter().find(|(file, _)| *file == name)?.1)
}

fn serve(request: &Request) -> Reply {
    match pinned_file(request) {
        Some(bytes) => Reply::file(request, &bytes),
        None => Reply::status(404),
    }
}

fn is_weights(request: &Request) -> bool {
    request.path.ends_with("/model.safetensors")
}

/// The file of a model that is not pinned, as the Hub describes it.
fn other_file(request: &Request, name: &str) -> Option<Reply> {
    let rest = request.path.strip_prefix(&format!("/{name}/resolve/"))?;
    let (revision, file) = rest.split_once('/')?;
    assert!([COMMIT, "main"].contains(&revision));
    let (_, bytes) = model().into_iter().find(|(known, _)| *known == file)?;
    let reply = Reply::file(request, &bytes).with("X-Repo-Commit", COMMIT);
    Some(if is_weights(request) {
        let etag = format!("\"{}\"", sha256_of(&bytes));
        reply
            .with("X-Linked-Etag", etag)
            .with("X-Linked-Size", bytes.len().to_string())
    } else {
        reply.with("ETag", format!("W/\"{}\"", git_of(&bytes)))
    })
}

/// The whole of a file whatever was asked for, as a server without ranges sends it.
fn whole(request: &Request) -> Request {
    Request {
        from: None,
        ..request.clone()
    }
}

#[test]
fn the_pinned_model_is_fetched_once_at_its_commit() {
    let server = Server::start(serve);
    let fixture = Fixture::new(&server.url);
    let dir = fixture.resolve("tiny").unwrap();
    fixture.holds_the_pinned_files(&dir);
    assert_eq!(server.take().len(), 3);
    let pieces = fixture.said.pieces.borrow();
    let fetched: Vec<(&str, u64)> = pieces.iter().map(|(name, _, n)| (&**name, *n)).collect();
    let expected = model().map(|(name, bytes)| (name, bytes.len() as u64));
    assert_eq!(fetched, expected);
    let main = fixture.repo("models--test--tiny").join("refs").join("main");
    assert_eq!(fs::read_to_string(main).unwrap(), REVISION);

    assert_eq!(fixture.resolve("test/tiny").unwrap(), dir);
    assert!(server.take().is_empty(), "the cache was enough");
    assert!(fixture.said.lines.borrow().is_empty());
}

#[test]
fn a_cut_connection_is_taken_up_where_it_ended() {
    let server = Server::start(|request| {
        let at = request.from.unwrap_or(0);
        if is_weights(request) {
            serve(request).cut(300_000 + at % 7)
        } else {
            serve(request)
        }
    });
    let fixture = Fixture::new(&server.url);
    fixture.holds_the_pinned_files(&fixture.resolve("tiny").unwrap());
    let ranges: Vec<Option<usize>> = server
        .take()
        .iter()
        .filter(|request| is_weights(request))
        .map(|r| r.from)
        .collect();
    assert_eq!(ranges, [None, Some(300_000), Some(600_001)]);
}

#[test]
fn what_was_cut_is_left_for_the_next_call() {
    let broken = Server::start(|request| match (is_weights(request), request.from) {
        (true, None) => serve(request).cut(100_000),
        (true, Some(_)) => serve(request).cut(0),
        _ => serve(request),
    });
    let mut fixture = Fixture::new(&broken.url);
    let error = fixture.error("tiny");
    assert!(
        error.contains("the connection was cut after 100000 bytes"),
        "{error}"
    );
    assert!(
        error.contains("; pip: no program no-such-program; put config.json, tok"),
        "{error}"
    );
    let tries = broken.take().into_iter().filter(is_weights).count();
    assert_eq!(tries, 4, "one that brought something, three that did not");

    let server = Server::start(serve);
    fixture.options.endpoint = server.url.clone();
    fixture.holds_the_pinned_files(&fixture.resolve("tiny").unwrap());
    let requests = server.take();
    assert_eq!(requests.len(), 1, "the small files were there");
    assert_eq!(requests[0].from, Some(100_000));
}

#[test]
fn a_server_without_ranges_sends_from_the_start() {
    for refused in [200, 206, 416] {
        let cuts = AtomicUsize::new(0);
        let server = Server::start(move |request| {
            let whole = whole(request);
            match (is_weights(request), request.from, refused) {
                (true, None, _) if cuts.fetch_add(1, SeqCst) == 0 => serve(request).cut(1000),
                (true, Some(_), 206) => serve(&Request {
                    from: Some(7),
                    ..whole
                }),
                (true, Some(_), 416) => Reply::status(416),
                _ => serve(&whole),
            }
        });
        let fixture = Fixture::new(&server.url);
        fixture.holds_the_pinned_files(&fixture.resolve("tiny").unwrap());
    }
}

#[test]
fn wrong_bytes_are_refused_and_removed() {
    let changes: [fn(&mut Vec<u8>); 3] = [
        |bytes| bytes[500_000] ^= 1,
        |bytes| bytes.push(0),
        |bytes| bytes.truncate(700_000),
    ];
    for change in changes {
        let server = Server::start(move |request| {
            let mut bytes = pinned_file(request).unwrap();
            if is_weights(request) {
                change(&mut bytes);
            }
            Reply::file(request, &bytes)
        });
        let fixture = Fixture::new(&server.url);
        let error = fixture.error("tiny");
        assert!(
            error.starts_with("model.safetensors from http://127.0.0.1"),
            "{error}"
        );
        let known = sha256_of(&model()[2].1);
        assert!(
            error.ends_with(&format!("instead of {known}; refused and removed")),
            "{error}"
        );
        assert!(
            fixture.said.lines.borrow().is_empty(),
            "no other source after wrong bytes"
        );
        let repo = fixture.repo("models--test--tiny");
        assert!(
            !names(&repo.join("blobs"))
                .iter()
                .any(|name| name.starts_with(&known[..40]))
        );
        assert!(
            !repo
                .join("snapshots")
                .join(REVISION)
                .join("model.safetensors")
                .exists()
        );
    }
}

#[test]
fn a_cached_file_with_other_bytes_is_fetched_anew() {
    let server = Server::start(serve);
    let fixture = Fixture::new(&server.url);
    let dir = fixture.resolve("tiny").unwrap();
    let blob = fs::canonicalize(dir.join("tokenizer.json")).unwrap();
    fs::write(blob, "[]").unwrap();
    server.take();
    fixture.holds_the_pinned_files(&fixture.resolve("tiny").unwrap());
    assert_eq!(server.take().len(), 1);
    assert!(
        fixture.said.lines.borrow()[0].ends_with("tokenizer.json: not the known bytes, left aside")
    );
}

#[test]
fn two_calls_at_once_fetch_once() {
    let server = Server::start(serve);
    let fixture = Fixture::new(&server.url);
    let options = &fixture.options;
    thread::scope(|scope| {
        let fetch = || resolve_with("tiny", options, &Recorder::default()).unwrap();
        let calls = [scope.spawn(fetch), scope.spawn(fetch), scope.spawn(fetch)];
        for call in calls {
            fixture.holds_the_pinned_files(&call.join().unwrap());
        }
    });
    assert_eq!(server.take().len(), 3);
}

#[test]
fn any_model_is_fetched_as_it_is_now() {
    let server = Server::start(|request| {
        other_file(request, "some/model").unwrap_or_else(|| Reply::status(404))
    });
    let fixture = Fixture::new(&server.url);
    let dir = fixture.resolve("some/model").unwrap();
    assert_eq!(
        dir,
        fixture
            .repo("models--some--model")
            .join("snapshots")
            .join(COMMIT)
    );
    for (name, bytes) in model() {
        assert_eq!(fs::read(dir.join(name)).unwrap(), bytes);
    }
    assert_eq!(
        names(&dir),
        ["config.json", "model.safetensors", "tokenizer.json"]
    );
    assert!(names(&fixture.repo("models--some--model/blobs")).contains(&sha256_of(&model()[2].1)));
    server.take();
    assert_eq!(fixture.resolve("some/model").unwrap(), dir);
    assert!(server.take().is_empty());
}

#[test]
fn redirects_lead_to_a_renamed_model_and_to_the_store_of_large_files() {
    let store = Server::start(|request| {
        assert_eq!(request.path, "/store/weights");
        let reply = Reply::file(request, &model()[2].1).with("ETag", "\"something-else\"");
        if request.from.is_none() {
            reply.cut(5000)
        } else {
            reply
        }
    });
    let location = format!("{}/store/weights", store.url);
    let server = Server::start(move |request| {
        if let Some(rest) = request.path.strip_prefix("/old/") {
            return Reply::status(307).with("Location", format!("/new/{rest}"));
        }
        match other_file(request, "new/model") {
            Some(reply) if is_weights(request) => Reply {
                status: 302,
                body: Vec::new(),
                ..reply
            }
            .with("Location", location.clone()),
            Some(reply) => reply,
            None => Reply::status(404),
        }
    });
    let fixture = Fixture::new(&server.url);
    let dir = fixture.resolve("old/model").unwrap();
    assert_eq!(
        fs::read(dir.join("model.safetensors")).unwrap(),
        model()[2].1
    );
    let ranges: Vec<Option<usize>> = store.take().iter().map(|request| request.from).collect();
    assert_eq!(
        ranges,
        [None, Some(5000)],
        "the range goes along with the redirect"
    );
}

/// Serves `some/model`, with its tokenizer.json as `answer` says.
fn with_tokenizer(
    answer: impl Fn(&Request, Vec<u8>) -> Reply + Send + 'static,
) -> (Server, Fixture) {
    let server = Server::start(move |request| match other_file(request, "some/model") {
        Some(_) if request.path.ends_with("/tokenizer.json") => {
            let (_, bytes) = model()[1].clone();
            answer(request, bytes).with("X-Repo-Commit", COMMIT)
        }
        reply => reply.unwrap_or_else(|| Reply::status(404)),
    });
    let fixture = Fixture::new(&server.url);
    (server, fixture)
}

#[test]
fn what_did_not_come_whole_is_never_taken_for_the_file() {
    let (_, tokenizer) = model()[1].clone();
    let etag = format!("\"{}\"", git_of(&tokenizer));
    type Answer = fn(&Request, Vec<u8>) -> Reply;
    let cases: [(Answer, &str); 7] = [
        (|request, _| Reply::file(request, b"[]"), "Git's SHA-1 0637"),
        // A length that is too short, of which HEAD knows or not.
        (
            |request, bytes| match request.head {
                true => Reply::file(request, &bytes),
                false => Reply::file(request, &bytes[..1]),
            },
            "refused and removed",
        ),
        (
            |request, bytes| Reply::file(request, &bytes[..1]),
            "refused and removed",
        ),
        (
            |request, bytes| match request.head {
                true => Reply::file(request, &bytes),
                false => Reply::file(&whole(request), &bytes)
                    .ended(End::Close)
                    .cut(1),
            },
            "the connection was cut after 1 bytes",
        ),
        (
            |request, bytes| Reply::file(request, &bytes).ended(End::Close).cut(1),
            "refused and removed",
        ),
        (
            |request, bytes| {
                let reply = Reply::file(&whole(request), &bytes);
                reply.ended(End::Chunk).cut(1)
            },
            "the connection was cut after 1 bytes",
        ),
        (
            |request, bytes| Reply::file(request, &bytes).with("Content-Encoding", "gzip"),
            "comes as gzip, which was not asked for; name another server by HF_ENDPOINT",
        ),
    ];
    for (number, (answer, expected)) in cases.into_iter().enumerate() {
        let etag = etag.clone();
        let (_server, fixture) =
            with_tokenizer(move |request, bytes| answer(request, bytes).with("ETag", etag.clone()));
        let error = fixture.error("some/model");
        assert!(error.contains("tokenizer.json"), "{number}: {error}");
        assert!(error.contains(expected), "{number}: {error}");
        let repo = fixture.repo("models--some--model");
        let has = |folder: &str, name: &str| repo.join(folder).join(name).exists();
        assert!(!has("blobs", &git_of(&tokenizer)), "{number}");
        let snapshot = format!("snapshots/{COMMIT}");
        assert!(!has(&snapshot, "tokenizer.json"), "{number}");
    }
}

#[test]
fn a_cut_that_only_the_files_known_length_shows_is_taken_up() {
    let (server, fixture) = with_tokenizer(|request, bytes| {
        let reply = Reply::file(request, &bytes).with("ETag", format!("\"{}\"", git_of(&bytes)));
        match request.head {
            true => reply,
            false => reply.ended(End::Close).cut(1),
        }
    });
    let dir = fixture.resolve("some/model").unwrap();
    assert_eq!(fs::read(dir.join("tokenizer.json")).unwrap(), model()[1].1);
    let asked = server.take().into_iter();
    let ranges: Vec<Option<usize>> = asked
        .filter(|request| !request.head && request.path.ends_with("/tokenizer.json"))
        .map(|request| request.from)
        .collect();
    assert_eq!(ranges, [None, Some(1)]);
}

#[test]
fn a_name_that_is_no_hash_needs_an_end_that_is_told() {
    for (end, is_told) in [(End::Length, true), (End::Chunk, true), (End::Close, false)] {
        let (_server, fixture) = with_tokenizer(move |request, bytes| {
            Reply::file(request, &bytes)
                .ended(end)
                .with("ETag", "\"first\"")
        });
        match is_told {
            true => drop(fixture.resolve("some/model").unwrap()),
            false => {
                let error = fixture.error("some/model");
                assert!(error.contains("so it may not be whole"), "{error}");
            }
        }
    }
    // A mirror may call a file by the SHA-1 of its bytes, as Git does not.
    let (_server, fixture) = with_tokenizer(|request, bytes| {
        let plain = "bf21a9e8fbc5a3846fb05b4fa0859e0917b2202f";
        Reply::file(request, &bytes).with("ETag", plain)
    });
    fixture.resolve("some/model").unwrap();
}

#[test]
fn a_server_in_trouble_is_not_one_that_cannot_be_reached() {
    let (_server, fixture) = with_tokenizer(|request, bytes| match request.head {
        true => Reply::file(request, &bytes).with("ETag", format!("\"{}\"", git_of(&bytes))),
        false => Reply::status(500),
    });
    let error = fixture.error("some/model");
    assert!(
        error.ends_with("status 500; try again later, or name another server by HF_ENDPOINT"),
        "{error}"
    );
    let unreachable = Fixture::new("http://127.0.0.1:1").error("some/model");
    assert!(
        unreachable.contains("cannot be reached") && unreachable.ends_with(" by hand"),
        "{unreachable}"
    );
}

#[test]
fn a_missing_file_is_named() {
    for (lacking, status) in [
        ("config.json", 401),
        ("model.safetensors", 404),
        ("tokenizer.json", 404),
    ] {
        let server = Server::start(move |request| match other_file(request, "some/model") {
            Some(reply) if !request.path.ends_with(lacking) => reply,
            _ => Reply::status(status),
        });
        let fixture = Fixture::new(&server.url);
        let error = fixture.error("some/model");
        assert!(
            error.starts_with(&format!("some/model: no {lacking} ({status} from http")),
            "{error}"
        );
        let weights = server
            .take()
            .iter()
            .filter(|r| is_weights(r) && !r.head)
            .count();
        assert_eq!(weights, 0, "nothing large was fetched in vain");
    }
}

#[test]
fn answers_that_no_hub_gives_are_refused() {
    let wrong_etag = |request: &Request| {
        other_file(request, "some/model").map(|mut reply| {
            if is_weights(request) {
                reply.headers.retain(|(name, _)| *name != "X-Linked-Etag");
                reply.headers.push(("X-Linked-Etag", "0".repeat(64)));
            }
            reply
        })
    };
    let roberta = |request: &Request| {
        let config = br#"{"model_type": "roberta"}"#;
        let is_config = request.path.ends_with("config.json");
        match is_config {
            true => {
                let reply = Reply::file(request, config).with("X-Repo-Commit", COMMIT);
                Some(reply.with("ETag", format!("\"{}\"", git_of(config))))
            }
            false => other_file(request, "some/model"),
        }
    };
    let loops = |request: &Request| Some(Reply::status(302).with("Location", request.path.clone()));
    let escapes =
        |request: &Request| Some(Reply::file(request, b"{}").with("ETag", "\"../../../escaped\""));
    let fails = |_: &Request| Some(Reply::status(503));
    type Answer = fn(&Request) -> Option<Reply>;
    let cases: [(Answer, &str); 5] = [
        (wrong_etag, "instead of 0000"),
        (
            roberta,
            "`model_type` is \"roberta\"; only bert and distilbert are supported",
        ),
        (loops, "redirects without end"),
        (escapes, "no ETag that names the content, so this is no Hub"),
        (fails, "status 503"),
    ];
    for (answer, expected) in cases {
        let server =
            Server::start(move |request| answer(request).unwrap_or_else(|| Reply::status(404)));
        let error = Fixture::new(&server.url).error("some/model");
        assert!(error.contains(expected), "{error}");
    }
}

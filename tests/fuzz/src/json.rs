//! A line of JSON, read as `berth-edge` reads it and by `serde_json`.
//!
//! An input is the line. What has to hold: both accept it or both refuse it, but for two things that
//! `serde_json` has its own mind about (numbers beyond a double, and how deep is too deep); the
//! strings are the same, and so are the words of a list; a text that is written comes back, and so
//! does a number.

use serde_json::Value;

#[allow(
    dead_code,
    reason = "a line of JSON has more kinds of members than this target asks for"
)]
#[path = "../../../runtime/src/json.rs"]
mod reader;

use reader::{JsonError, Words};

/// Reads the line both ways, and writes what it can.
pub fn run(data: &[u8]) {
    read(data);
    read_words(data);
    write(data);
}

fn read(data: &[u8]) {
    const KEYS: [&str; 2] = ["text", "text_pair"];
    let theirs = serde_json::from_slice::<Value>(data);
    let mut line = data.to_vec();
    match (reader::strings(&mut line, KEYS), theirs) {
        (Ok(ours), Ok(Value::Object(theirs))) => {
            for (key, ours) in KEYS.into_iter().zip(ours) {
                let expected = theirs.get(key).unwrap_or(&Value::Null);
                assert_eq!(ours, expected.as_str(), "{key}");
                assert!(ours.is_some() || expected.is_null(), "{key}");
            }
        }
        (Ok(_), Ok(other)) => panic!("no object: {other}"),
        (Ok(_), Err(error)) => {
            let message = error.to_string();
            assert!(message.starts_with("number out of range"), "{message}");
        }
        (Err(JsonError::NotAString { key }), Ok(theirs)) => {
            // Of two members with one name the first may have been the one that is no string.
            assert!(theirs.get(key).is_some());
        }
        (Err(JsonError::TooDeep), _) => (),
        (Err(error), Ok(Value::Object(_))) => panic!("refused: {error}"),
        (Err(error), _) => assert!(!error.to_string().contains('\n')),
    }
}

/// Words of a text that came split have their places, as many as there is room for.
fn read_words(data: &[u8]) {
    const ROOM: usize = 64;
    let mut ends = Vec::with_capacity(ROOM);
    let mut line = data.to_vec();
    let Ok(Some(words)) = reader::words(&mut line, &mut ends) else {
        assert_eq!(ends.capacity(), ROOM);
        return;
    };
    let theirs: Value = match serde_json::from_slice(data) {
        Ok(theirs) => theirs,
        Err(error) => return assert!(error.to_string().starts_with("number out of range")),
    };
    match words {
        Words::Plain(text) => assert_eq!(Some(text), theirs["text"].as_str()),
        Words::Split(text) => {
            let mut start = 0;
            let cut = ends.iter().map(|&end| {
                let word = &text[start..end as usize];
                start = end as usize + 1;
                Value::from(word)
            });
            assert_eq!(Value::Array(cut.collect()), theirs["tokens"]);
        }
    }
    assert_eq!(ends.capacity(), ROOM);
}

fn write(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut written = String::new();
    reader::write_string(&mut written, &text).expect("memory takes every character");
    assert!(!written.contains(['\n', '\r']));
    assert_eq!(
        serde_json::from_str::<String>(&written).expect("JSON"),
        text
    );

    let number = data
        .first_chunk()
        .map_or(0.0, |bytes| f32::from_le_bytes(*bytes));
    written.clear();
    reader::write_number(&mut written, number).expect("memory takes every character");
    match serde_json::from_str::<Option<f32>>(&written).expect("JSON") {
        Some(read) => assert_eq!(read.to_bits(), number.to_bits()),
        None => assert!(!number.is_finite()),
    }
}

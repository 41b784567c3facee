//! A stream of bytes, in blocks of any size, through the whole of `berth-edge`.
//!
//! An input is the size of the blocks and the stream; the bytes `fd`, `fe` and `ff` stand for runs that
//! bring a line to the limit, a byte before it and beyond, since no fuzzer would get there. What has
//! to hold: the lines are those between the line feeds, less a carriage return and the byte order mark before JSON at the
//! very beginning, too long where they are; and every line has an answer of one line of JSON.

use std::cell::RefCell;
use std::io::BufReader;

use berth_runtime::Model;
use berth_runtime::answer::{Answerer, Options};
use berth_runtime::lines::{Line, Lines, MAX_LINE_BYTES};
use serde_json::Value;

use crate::models;

/// Reads and answers the stream.
pub fn run(data: &[u8]) {
    thread_local! {
        static ANSWERERS: RefCell<[Answerer; 4]> = RefCell::new([0, 1, 2, 3].map(answerer));
    }
    let (block, stream) = data.split_first().unwrap_or((&0, &[]));
    let stream = expanded(stream);
    ANSWERERS.with_borrow_mut(|answerers| {
        let answerer = &mut answerers[usize::from(block & 3)];
        let input = BufReader::with_capacity(1 + usize::from(*block), stream.as_slice());
        let mut lines = Lines::new(input).expect("memory for a line");
        let json = stream.strip_prefix("\u{feff}".as_bytes());
        let json = json.filter(|rest| rest.starts_with(b"{"));
        let mut expected = between_line_feeds(json.unwrap_or(&stream));
        while let Some(line) = lines.next_line().expect("memory can be read") {
            let wanted = expected.next().expect("no more lines than there are");
            match &line {
                Line::Whole(line) => assert_eq!(**line, *wanted),
                Line::TooLong => assert!(wanted.len() > MAX_LINE_BYTES),
            }
            answered(answerer, line);
        }
        assert_eq!(expected.next(), None);
    });
}

/// An answerer over one of the small bundles, which is whole.
fn answerer(bundle: usize) -> Answerer {
    let model = Model::from_bytes(&models::bundles()[bundle]).expect("a whole bundle");
    let session = model.session().expect("a small session");
    Answerer::new(session, Options::default()).expect("memory for answers")
}

fn answered(answerer: &mut Answerer, line: Line<'_>) {
    let answer = answerer.line(line);
    assert!(!answer.json.contains(['\n', '\r']));
    let value: Value = serde_json::from_str(answer.json).expect("JSON");
    assert_eq!(answer.failed, value.get("error").is_some());
}

/// The stream with its runs written out; two of them at most.
fn expanded(stream: &[u8]) -> Vec<u8> {
    let mut runs = 0;
    let mut whole = Vec::new();
    for &byte in stream {
        if byte < 0xfd || runs == 2 {
            whole.push(byte);
            continue;
        }
        runs += 1;
        let count = MAX_LINE_BYTES - 1 + usize::from(byte - 0xfd);
        whole.resize(whole.len() + count, b'x');
    }
    whole
}

/// The lines as they should come.
fn between_line_feeds(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    stream.split_inclusive(|&byte| byte == b'\n').map(|line| {
        let Some(line) = line.strip_suffix(b"\n") else {
            return line;
        };
        line.strip_suffix(b"\r").unwrap_or(line)
    })
}

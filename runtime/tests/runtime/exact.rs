//! Offsets on a thousand texts that mix scripts, emoji, combining marks and writing from right to left:
//! what stands at `start` to `end`, in all three counts, is the word or the answer.

use berth_runtime::answer::{Answerer, Options};
use berth_runtime::lines::Line;
use berth_runtime::{Model, Session};
use berth_task::{Aggregation, Task};
use serde_json::{Value, json};

use crate::support::{self, Random};

const TEXTS: usize = 1000;

/// Ranges of code points: scripts from left to right and from right to left, of two to four bytes, marks
/// that combine, emoji with what joins and colours them, signs, and what is no character to see.
const RANGES: [(u32, u32); 18] = [
    (0x20, 0x7e),
    (0xa0, 0x17f),
    (0x300, 0x36f),
    (0x370, 0x3ff),
    (0x400, 0x45f),
    (0x591, 0x5f4),
    (0x600, 0x6ff),
    (0x900, 0x97f),
    (0xe01, 0xe5b),
    (0x1100, 0x11ff),
    (0x2000, 0x206f),
    (0x3041, 0x30ff),
    (0x4e00, 0x9fff),
    (0xac00, 0xd7a3),
    (0xfe00, 0xfeff),
    (0x1f1e6, 0x1f1ff),
    (0x1f300, 0x1f64f),
    (0x20000, 0x2a6df),
];

/// Up to sixty runs of up to six characters of one range, parted by spaces or by nothing.
fn mixed(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..1 + random.below(60) {
        let (low, high) = RANGES[random.below(RANGES.len())];
        for _ in 0..1 + random.below(6) {
            let code = low + random.below((high - low + 1) as usize) as u32;
            text.extend(char::from_u32(code));
        }
        text.push_str([" ", "", "\u{200d}", "\t", "  ", "\u{301}", "-"][random.below(7)]);
    }
    text
}

fn texts() -> Vec<String> {
    let mut random = Random(20);
    (0..TEXTS).map(|_| mixed(&mut random)).collect()
}

/// A text taken apart in the three ways that languages count.
struct Counted<'t> {
    text: &'t str,
    chars: Vec<char>,
    utf16: Vec<u16>,
}

impl<'t> Counted<'t> {
    fn new(text: &'t str) -> Self {
        Counted {
            text,
            chars: text.chars().collect(),
            utf16: text.encode_utf16().collect(),
        }
    }

    /// Holds the places in an object of JSON against the part of the text that it names.
    fn check(&self, object: &Value, part: &str) {
        let at = |name: &str| object[name].as_u64().unwrap() as usize;
        assert_eq!(
            &self.text[at("start_byte")..at("end_byte")],
            part,
            "{object}"
        );
        let chars: String = self.chars[at("start")..at("end")].iter().collect();
        assert_eq!(chars, part, "{object}");
        let units = &self.utf16[at("start_utf16")..at("end_utf16")];
        assert_eq!(String::from_utf16(units).unwrap(), part, "{object}");
    }
}

fn session(task: Task, labels: &[&str]) -> Session {
    let bundle = support::bundle(task, labels);
    Model::from_bytes(&bundle).unwrap().session().unwrap()
}

fn answer(answerer: &mut Answerer, line: &Value) -> Value {
    let mut line = line.to_string().into_bytes();
    let answer = answerer.line(Line::Whole(&mut line));
    assert!(!answer.failed, "{}", answer.json);
    serde_json::from_str(answer.json).unwrap()
}

#[test]
fn words_pieces_and_entities_can_be_cut_out_of_a_thousand_texts() {
    for strategy in Aggregation::ALL {
        let options = Options {
            aggregation_strategy: Some(strategy),
            ..Options::default()
        };
        let labels = &["O", "B-PER", "I-PER"];
        let mut answerer =
            Answerer::new(session(Task::TokenClassification, labels), options).unwrap();
        let mut rows = 0;
        for text in texts() {
            let counted = Counted::new(&text);
            let answer = answer(&mut answerer, &json!({"text": text}));
            let mut reached = 0;
            for row in answer.as_array().unwrap() {
                let word = row["word"].as_str().unwrap();
                assert!(!word.is_empty(), "{row}");
                counted.check(row, word);
                let start = row["start_byte"].as_u64().unwrap();
                assert!(
                    start >= reached,
                    "rows stand in the order of the text: {row}"
                );
                reached = start;
                rows += 1;
            }
        }
        assert!(rows > 3 * TEXTS, "{strategy}: {rows}");
    }
}

#[test]
fn words_that_were_given_are_cut_out_of_their_text_as_they_were_given() {
    let session = session(Task::TokenClassification, &["A", "B"]);
    let mut answerer = Answerer::new(session, Options::default()).unwrap();
    for text in texts() {
        let words: Vec<&str> = text.split([' ', '\t']).collect();
        let joined = words.join(" ");
        let counted = Counted::new(&joined);
        let answer = answer(&mut answerer, &json!({"tokens": words}));
        for row in answer.as_array().unwrap() {
            let index = row["index"].as_u64().unwrap() as usize;
            assert_eq!(row["word"], words[index - 1]);
            counted.check(row, words[index - 1]);
        }
    }
}

#[test]
fn answers_can_be_cut_out_of_a_thousand_passages() {
    let options = Options {
        top_k: std::num::NonZero::new(5),
        ..Options::default()
    };
    let mut answerer = Answerer::new(session(Task::QuestionAnswering, &[]), options).unwrap();
    let mut answers = 0;
    for text in texts() {
        let counted = Counted::new(&text);
        let answer = answer(
            &mut answerer,
            &json!({"question": "ist es gut?", "context": text}),
        );
        for row in answer.as_array().unwrap() {
            let part = row["answer"].as_str().unwrap();
            counted.check(row, part);
            answers += usize::from(!part.is_empty());
        }
    }
    assert!(answers > 3 * TEXTS, "{answers}");
}

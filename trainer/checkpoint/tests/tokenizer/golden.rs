//! Vectors that the original tokenizer made.

use std::fs;

use berth_wordpiece::{Piece, Tokenizer};
use serde_json::Value;

use crate::kit::{bert, golden, pieces};

fn json(name: &str) -> Value {
    let bytes = fs::read(golden().join(name)).expect("a golden file");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn numbers(value: &Value) -> Vec<u32> {
    let numbers = value.as_array().expect("a list").iter();
    numbers
        .map(|number| number.as_u64().expect("a number") as u32)
        .collect()
}

fn ids(pieces: &[Piece]) -> Vec<u32> {
    pieces.iter().map(|piece| piece.id).collect()
}

#[test]
fn tricky_inputs() {
    let tokenizer = Tokenizer::new(&bert().1).unwrap();
    let vectors = json("tricky_bert_base_uncased.json");
    let mut checked = 0;
    for model in ["bert-base-uncased", "google-bert/bert-base-uncased"] {
        for vector in vectors[model].as_array().unwrap() {
            let text = vector["input"].as_str().unwrap();
            let mut out = [Piece::default(); 1024];
            let encoding = tokenizer.encode(text, None, 512, &mut out).unwrap();
            assert_eq!(
                ids(&out[..encoding.len]),
                numbers(&vector["encoded"]["input_ids"]),
                "{text:?}"
            );
            assert!(
                numbers(&vector["encoded"]["token_type_ids"])
                    .iter()
                    .all(|&kind| kind == 0)
            );
            assert_eq!((encoding.second, encoding.truncated), (encoding.len, 0));
            checked += 1;
        }
    }
    assert_eq!(checked, 36);
}

#[test]
fn a_long_french_text() {
    let tokenizer = Tokenizer::new(&bert().1).unwrap();
    let vector = json("bert_uncased_encoded.json");
    let text = vector["text"].as_str().unwrap();
    let mut out = [Piece::default(); 1024];
    let encoding = tokenizer.encode(text, None, 512, &mut out).unwrap();
    assert_eq!(ids(&out[..encoding.len]), numbers(&vector["token_ids"]));
}

#[test]
fn questions_of_squad() {
    let tokenizer = Tokenizer::new(&bert().1).unwrap();
    let lines = fs::read_to_string(golden().join("squad_questions.jsonl")).unwrap();
    for line in lines.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let text = row["text"].as_str().unwrap();
        assert_eq!(
            ids(&pieces(&tokenizer, text)),
            numbers(&row["ids"]),
            "{text:?}"
        );
    }
    assert_eq!(lines.lines().count(), 510);
}

#[test]
fn every_id_has_its_line_of_the_vocabulary() {
    let tokenizer = Tokenizer::new(&bert().1).unwrap();
    let vocabulary = crate::kit::bert_vocabulary();
    for (id, line) in vocabulary.lines().enumerate() {
        let text = tokenizer.piece_text(id as u32).expect("a piece");
        assert_eq!(text.to_string(), line);
        assert_eq!(tokenizer.begins_word(id as u32), !line.starts_with("##"));
    }
    assert_eq!(tokenizer.ids(), 30_522);
    assert_eq!(tokenizer.piece_text(30_522), None);
    assert_eq!(tokenizer.piece_text(u32::MAX), None);
    let special = [
        tokenizer.unk(),
        tokenizer.cls(),
        tokenizer.sep(),
        tokenizer.pad().unwrap(),
    ];
    assert_eq!(special, [100, 101, 102, 0]);
}

#[test]
fn tables_are_small() {
    let bytes = bert().1.len();
    assert!(bytes < 750_000, "{bytes} bytes");
}

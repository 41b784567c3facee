//! `berth data`: what a file holds, told before it is learnt from.

use std::fs;

use serde_json::{Value, json};

use crate::fixture;
use crate::program::berth;

#[test]
fn labels_lengths_duplicates_and_cuts_are_counted() {
    let dir = fixture::folder();
    let base = dir.path().join("base");
    fixture::base_model(&base);
    let table = dir.path().join("a.tsv");
    let rows = "sentence\tlabel\ngood film\tpositive\nthe film is bad\tnegative\ngood film\tpositive\n\
                good film\tnegative\nit\t\n";
    fs::write(&table, rows).expect("a file");
    let [table, base] = [&table, &base].map(|path| path.to_str().expect("UTF-8"));
    let typed = |more: &[&'static str]| {
        let fixed = [
            "data",
            table,
            "--task",
            "text-classification",
            "--model_name_or_path",
            base,
        ];
        berth(fixed.iter().chain(more)).ok()
    };
    let told: Value =
        serde_json::from_str(&typed(&["--json", "--max_seq_length", "5"])).expect("JSON");
    // Every word is a piece of its own; [CLS] and [SEP] come to them.
    let expected = json!({
        "file": table,
        "task": "text-classification",
        "rows": 5,
        "unlabelled": 1,
        "labels": {"negative": 2, "positive": 2},
        "lengths": {"unit": "pieces", "p50": 4, "p90": 6, "p99": 6, "max": 6},
        "repeated": 1,
        "contradicting": 1,
        "max_seq_length": 5,
        "cut_rows": 1,
        "cut_pieces": 1,
        "inputs": 4,
    });
    assert_eq!(told, expected);
    let people = typed(&[]);
    for part in [
        "5 rows",
        "1 of them without a label",
        "positive",
        "50.00 %",
        "128 0 rows are cut",
    ] {
        assert!(people.contains(part), "{people}");
    }
}

#[test]
fn words_numbers_and_questions_have_their_own_counts() {
    let dir = fixture::folder();
    let base = dir.path().join("base");
    fixture::base_model(&base);
    let question = |id: &str, answers: Value| {
        json!({"id": id, "question": "film is", "context": "the film is good and the plot is bad",
               "answers": answers})
    };
    let questions = [
        question("a", json!({"text": ["good"], "answer_start": [12]})),
        question("b", json!({"text": ["good"], "answer_start": [3]})),
        question("c", json!({"text": [], "answer_start": []})),
    ];
    let lines: String = questions.iter().map(|row| format!("{row}\n")).collect();
    for (name, content, task, name_of, counts) in [
        (
            "a.conll",
            "the O\nfilm B-X\n\ngood O\n".to_owned(),
            "token-classification",
            "labels",
            json!({"B-X": 1, "O": 2}),
        ),
        (
            "a.csv",
            "text,text_pair,label\na,b,-1.5\nc,d,4\n".to_owned(),
            "text-pair-regression",
            "range",
            json!([-1.5, 4.0]),
        ),
        (
            "a.jsonl",
            lines,
            "question-answering",
            "answers",
            json!({"answer": 1, "misplaced": 1, "none": 1}),
        ),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, content).expect("a file");
        let [path, base] = [&path, &base].map(|path| path.to_str().expect("UTF-8"));
        let typed = [
            "data",
            path,
            "--task",
            task,
            "--model_name_or_path",
            base,
            "--max_seq_length",
            "10",
            "--doc_stride",
            "3",
            "--json",
        ];
        let told: Value = serde_json::from_str(&berth(typed).ok()).expect("JSON");
        assert_eq!(told[name_of], counts, "{told}");
        if task == "question-answering" {
            // Nine pieces by windows of five that share three: 0..5, 2..7, 4..9 of each question.
            assert_eq!(
                (&told["lengths"]["max"], &told["inputs"]),
                (&json!(14), &json!(9))
            );
            assert_eq!(
                (&told["cut_rows"], &told["repeated"]),
                (&json!(0), &json!(0))
            );
            assert_eq!(told["contradicting"], 2);
        }
    }
}

#[test]
fn without_a_tokenizer_lengths_are_in_words() {
    let dir = fixture::folder();
    let table = dir.path().join("a.csv");
    fs::write(&table, "text,label\nunbelievably good,1\nbad,0\n").expect("a file");
    let mut command = crate::program::program("berth");
    command.args([
        "data",
        table.to_str().expect("UTF-8"),
        "--task",
        "text-classification",
    ]);
    command.env("HF_HUB_CACHE", dir.path());
    let people = command.output().expect("the program runs");
    assert!(
        people.status.success() && people.stderr.is_empty(),
        "{people:?}"
    );
    let people = String::from_utf8(people.stdout).expect("UTF-8");
    assert!(
        people.contains("words, since") && people.contains("berth fetch"),
        "{people}"
    );
    let output = command.arg("--json").output().expect("the program runs");
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        told["lengths"],
        json!({"unit": "words", "p50": 1, "p90": 2, "p99": 2, "max": 2})
    );
    assert_eq!(told.get("cut_rows"), None);
}

//! `berth data`: what a file holds, told before it is learnt from. `berth diff`: what two bundles hold.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::fixture::{self, Trained};
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
fn what_is_cut_of_a_question_is_counted_once_for_all_windows() {
    let dir = fixture::folder();
    let base = dir.path().join("base");
    fixture::base_model(&base);
    let row = |question: &str| {
        json!({"question": question, "context": "the film is good",
               "answers": {"text": ["good"], "answer_start": [12]}})
    };
    let rows = ["film is film is film is film is", "film is"].map(row);
    let file = dir.path().join("a.jsonl");
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(&file, lines).expect("a file");
    let [file, base] = [&file, &base].map(|path| path.to_str().expect("UTF-8"));
    let fixed = "--task question-answering --max_seq_length 10 --doc_stride 3 --json";
    let typed = ["data", file, "--model_name_or_path", base];
    let typed = typed.into_iter().chain(fixed.split(' '));
    let told: Value = serde_json::from_str(&berth(typed.clone()).ok()).expect("JSON");
    // The first keeps 5 of 8 pieces beside windows of two that share one: 0..2, 1..3, 2..4.
    let [rows, pieces, inputs] = ["cut_rows", "cut_pieces", "inputs"].map(|name| &told[name]);
    assert_eq!(
        (rows, pieces, inputs),
        (&json!(1), &json!(3), &json!(4)),
        "{told}"
    );

    let [threshold, none] = [
        "--null_score_diff_threshold 1.5",
        "--version_2_with_negative false",
    ];
    let both = "--null_score_diff_threshold 1.5 --version_2_with_negative false";
    for (more, is_told) in [(threshold, false), (none, false), (both, true)] {
        let run = berth(typed.clone().chain(more.split(' ')));
        let told = run
            .stderr
            .contains("nothing with --version_2_with_negative false");
        assert_eq!(told, is_told, "{run:?}");
        run.ok();
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

#[test]
fn a_trained_model_says_what_no_flag_does() {
    let trained = Trained::get();
    let [dev, model] =
        [&trained.dev, &trained.checkpoint].map(|path| path.to_str().expect("UTF-8"));
    let typed = |more: &[&'static str]| {
        let fixed = ["data", dev, "--model_name_or_path", model];
        berth(fixed.iter().chain(more)).ok()
    };
    let own = format!("at --max_seq_length {} ", fixture::LENGTH);
    let people = typed(&[]);
    assert!(people.contains(&own), "{people}");
    // As finetune would see it.
    let people = typed(&["--task", "text-classification"]);
    assert!(people.contains("at --max_seq_length 128 "), "{people}");
    let people = typed(&["--max_seq_length", "5"]);
    assert!(people.contains("at --max_seq_length 5 "), "{people}");
    let told: Value = serde_json::from_str(&typed(&["--json"])).expect("JSON");
    assert_eq!(
        (&told["task"], &told["max_seq_length"]),
        (&json!("text-classification"), &json!(fixture::LENGTH))
    );
}

/// A bundle of the trained model, of which the last number of one tensor is another where that is named.
fn bundle(dir: &Path, tensor: Option<&str>) -> PathBuf {
    let model = dir.join(tensor.unwrap_or("model"));
    Trained::get().copy(&model);
    if let Some(tensor) = tensor {
        let file = model.join("model.safetensors");
        let mut bytes = fs::read(&file).expect("the weights");
        let (length, rest) = bytes.split_first_chunk().expect("a length");
        let length = u64::from_le_bytes(*length) as usize;
        let header: Value = serde_json::from_slice(&rest[..length]).expect("JSON");
        let end = header[tensor]["data_offsets"][1].as_u64();
        let end = 8 + length + end.expect("a number") as usize;
        bytes[end - 4..end].copy_from_slice(&3f32.to_le_bytes());
        fs::write(&file, bytes).expect("the file");
    }
    let to = dir.join(tensor.unwrap_or("model").to_owned() + ".berth");
    let paths = [&model, &to].map(|path| path.to_str().expect("UTF-8"));
    berth(["quantize", paths[0], "--output", paths[1]]).ok();
    to
}

#[test]
fn whatever_differs_in_a_section_of_weights_is_told() {
    let dir = fixture::folder();
    let plain = bundle(dir.path(), None);
    let head = |tensor: &str| {
        let other = bundle(dir.path(), Some(tensor));
        let typed = ["diff", plain.to_str().expect("UTF-8")];
        let typed = typed
            .into_iter()
            .chain([other.to_str().expect("UTF-8")])
            .collect::<Vec<_>>();
        let people = berth(&typed);
        let told = berth(typed.iter().chain(&["--json"]));
        assert_eq!((people.code, told.code), (Some(1), Some(1)), "{told:?}");
        let told: Value = serde_json::from_str(&told.stdout).expect("JSON");
        let [differ, of] = ["differ", "of"].map(|name| told["weights"]["head"][name].as_u64());
        let line = people.stdout.lines().find(|line| line.starts_with("head "));
        (differ, of, line.unwrap_or_default().to_owned())
    };
    let (differ, of, line) = head("bert.pooler.dense.weight");
    assert!(differ > Some(0) && differ < of, "{line}");
    let (differ, same, line) = head("classifier.bias");
    assert_eq!((differ, same), (Some(0), of), "{line}");
    assert!(line.ends_with("scales, biases or norms do"), "{line}");
}

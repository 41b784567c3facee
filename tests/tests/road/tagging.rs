//! Words and their tags on the whole road, by the programs: learned, measured, quantized, answered.

use std::fs;
use std::path::{Path, PathBuf};

use berth_checkpoint::{Checkpoint, tiny};
use serde_json::{Value, json};

use crate::fixture::{self, Dice};
use crate::predictions::predict;
use crate::program::{berth, edge};

const FIRST: [&str; 6] = ["anna", "boris", "clara", "david", "emma", "frank"];
const LAST: [&str; 6] = ["adler", "brown", "costa", "duval", "engel", "fisher"];
const PLACES: [&str; 6] = ["paris", "rome", "berlin", "oslo", "cairo", "lima"];
const REST: [&str; 10] = [
    "the", "a", "car", "of", "is", "new", "and", "sees", "in", "near",
];

#[test]
fn names_in_sentences_are_learned_and_found_on_the_device() {
    let dir = fixture::folder();
    let [train, dev] = [("train", 400, 1), ("dev", 100, 2)]
        .map(|(name, rows, seed)| write(&dir.path().join(name), rows, seed));
    let base = dir.path().join("base");
    tiny::create(&base, 7, &[&FIRST[..], &LAST, &PLACES, &REST].concat()).expect("a tiny model");
    let model = dir.path().join("model");
    let learned = finetune(&base, &train, &dev, &model);
    assert!(number(&learned, "eval_f1") > 0.95, "{learned}");

    let checkpoint = Checkpoint::open(&model).expect("the result");
    assert_eq!(
        checkpoint.config.architectures,
        ["BertForTokenClassification"]
    );
    assert_eq!(checkpoint.config.id2label, ["B-LOC", "B-PER", "I-PER", "O"]);
    assert!(checkpoint.has("classifier.weight") && !checkpoint.has("bert.pooler.dense.weight"));

    let bundle = dir.path().join("tiny.berth");
    let quantized = json_of(&[
        "quantize",
        text(&model),
        "--output",
        text(&bundle),
        "--validation_file",
        text(&dev),
    ]);
    assert!(number(&quantized, "agreement") > 0.98, "{quantized}");
    for (of, told) in [(&model, &quantized["f32"]), (&bundle, &quantized["int8"])] {
        let measured = json_of(&["evaluate", text(of), "--validation_file", text(&dev)]);
        for name in [
            "eval_loss",
            "eval_precision",
            "eval_recall",
            "eval_f1",
            "eval_accuracy",
        ] {
            assert_eq!(measured[name], told[name], "{name} of {}", of.display());
        }
        assert_eq!(measured["eval_samples"], 100);
    }
    assert_eq!(quantized["f32"]["eval_f1"], learned["eval_f1"]);
    for (of, told) in [(&model, &quantized["f32"]), (&bundle, &quantized["int8"])] {
        its_tags_are_written(of, &dev, number(told, "eval_accuracy"), dir.path());
    }
    it_answers(&bundle);
}

/// The file of predicted tags, on the dev file without its tags, is right as often as was measured.
fn its_tags_are_written(model: &Path, dev: &Path, accuracy: f64, dir: &Path) {
    let tagged = fs::read_to_string(dev).expect("the dev file");
    let column = |line: &str, column| line.split('\t').nth(column).unwrap_or("").to_owned();
    let words: String = tagged.lines().map(|line| column(line, 0) + "\n").collect();
    let (test, out) = (dir.join("test.conll"), dir.join("out"));
    fs::write(&test, words).expect("a file");
    let report = predict(model, &test, &out);
    let written = fs::read_to_string(out.join("predictions.txt")).expect("predictions");
    let sentences: Vec<Vec<&str>> = written
        .lines()
        .map(|line| line.split(' ').collect())
        .collect();
    let gold: Vec<Vec<String>> = tagged
        .trim_end()
        .split("\n\n")
        .map(|sentence| sentence.lines().map(|line| column(line, 1)).collect())
        .collect();
    let lengths: Vec<usize> = sentences.iter().map(Vec::len).collect();
    assert_eq!(lengths, gold.iter().map(Vec::len).collect::<Vec<_>>());
    let pairs: Vec<(&str, String)> = sentences.concat().into_iter().zip(gold.concat()).collect();
    let right = pairs.iter().filter(|(tag, gold)| tag == gold).count();
    assert_eq!(right as f64 / pairs.len() as f64, accuracy);
    let outside = pairs.iter().filter(|(tag, _)| *tag == "O").count();
    assert_eq!(report["predict_labels"]["O"], outside);

    // Words behind the limit have no tag, and are counted.
    fs::write(&test, "rome\n".repeat(40)).expect("a file");
    let report = predict(model, &test, &out);
    let written = fs::read_to_string(out.join("predictions.txt")).expect("predictions");
    assert_eq!(written.split_whitespace().count(), 30);
    assert_eq!(report["predict_unanswered_words"], 10);
    assert_eq!(report["predict_truncated"], 1);
}

/// Learns with the program; its results.
fn finetune(base: &Path, train: &Path, dev: &Path, to: &Path) -> Value {
    json_of(&[
        "finetune",
        "--task",
        "token-classification",
        "--train_file",
        text(train),
        "--validation_file",
        text(dev),
        "--model_name_or_path",
        text(base),
        "--output_dir",
        text(to),
        "--max_seq_length",
        "32",
        "--learning_rate",
        "1e-3",
        "--num_train_epochs",
        "10",
        "--per_device_train_batch_size",
        "16",
    ])
}

fn it_answers(bundle: &Path) {
    let sentence = "The car of Emma Brown is in Oslo";
    let asked = berth(["ask", text(bundle), sentence, "--json"]).ok();
    let asked: Value = serde_json::from_str(&asked).expect("JSON");
    let row = |entity: &str, word: &str, start: usize| json!({"entity_group": entity, "word": word, "start": start, "end": start + word.len()});
    assert_eq!(
        short(&asked),
        [row("PER", "Emma Brown", 11), row("LOC", "Oslo", 28)]
    );
    let people = berth(["ask", text(bundle), sentence]).ok();
    assert!(people.contains("Emma Brown  PER"), "{people}");

    let lines = "{\"tokens\": [\"Rome\", \"sees\", \"Clara\"]}\nthe car\n\n";
    let answers = edge([text(bundle)], lines).ok();
    let answers: Vec<Value> = answers
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(
        short(&answers[0]),
        [row("LOC", "Rome", 0), row("PER", "Clara", 10)]
    );
    assert_eq!(answers[1..], [json!([]), json!([])]);
    let words = edge(
        [text(bundle), "--aggregation_strategy", "first", "new Lima"],
        "",
    )
    .ok();
    let words: Value = serde_json::from_str(&words).expect("JSON");
    assert_eq!(
        (&words[0]["entity"], &words[1]["entity"]),
        (&json!("O"), &json!("B-LOC"))
    );
    assert_eq!(
        (&words[1]["index"], &words[1]["start"]),
        (&json!(2), &json!(4))
    );
}

/// The rows of an answer without their scores and their other counts.
fn short(answer: &Value) -> Vec<Value> {
    let rows = answer.as_array().expect("a list");
    let keep = |row: &Value| {
        let kept = ["entity_group", "word", "start", "end"];
        Value::Object(
            kept.map(|key| (key.to_owned(), row[key].clone()))
                .into_iter()
                .collect(),
        )
    };
    rows.iter().map(keep).collect()
}

/// A CoNLL file of sentences with names in them.
fn write(path: &Path, rows: usize, seed: u64) -> PathBuf {
    let mut dice = Dice(seed);
    let mut file = String::new();
    for _ in 0..rows {
        for _ in 0..3 + dice.below(5) {
            let rows = match dice.below(4) {
                0 => vec![(FIRST[dice.below(6)], "B-PER")],
                1 => vec![
                    (FIRST[dice.below(6)], "B-PER"),
                    (LAST[dice.below(6)], "I-PER"),
                ],
                2 => vec![(PLACES[dice.below(6)], "B-LOC")],
                _ => Vec::new(),
            };
            let rest = (REST[dice.below(10)], "O");
            for (word, tag) in rows.into_iter().chain([rest]) {
                file += &format!("{word}\t{tag}\n");
            }
        }
        file.push('\n');
    }
    let path = path.with_extension("conll");
    fs::write(&path, file).expect("a file");
    path
}

/// What a command of `berth` prints with `--json`.
fn json_of(arguments: &[&str]) -> Value {
    let line = berth(arguments.iter().chain(&["--json"])).ok();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

fn number(object: &Value, name: &str) -> f64 {
    object[name].as_f64().unwrap_or(f64::NAN)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

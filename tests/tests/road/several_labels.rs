//! Rows with any number of labels, by the program: the same at every stage of the road.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use berth_checkpoint::Checkpoint;
use serde_json::{Value, json};

use crate::fixture::{self, Dice};
use crate::predictions::predict;
use crate::program::{berth, edge};

/// A word that decides each label.
const LABELS: [(&str, &str); 3] = [
    ("bad", "negative"),
    ("ending", "plot"),
    ("good", "positive"),
];
const REST: [&str; 5] = ["the", "film", "is", "this", "story"];

type Row = (String, BTreeSet<&'static str>);

/// Sentences with each label in about half of them, whatever the others.
fn rows(count: usize, seed: u64) -> Vec<Row> {
    let mut dice = Dice(seed);
    let row = |_| {
        let mut words: Vec<&str> = (0..2 + dice.below(3)).map(|_| dice.pick(&REST)).collect();
        let mut labels = BTreeSet::new();
        for (word, label) in LABELS {
            if dice.below(2) == 1 {
                let place = dice.below(words.len() + 1);
                words.insert(place, word);
                labels.insert(label);
            }
        }
        (words.join(" "), labels)
    };
    (0..count).map(row).collect()
}

fn jsonl(rows: &[Row]) -> String {
    let row = |(text, labels): &Row| json!({"text": text, "labels": labels}).to_string() + "\n";
    rows.iter().map(row).collect()
}

fn csv(rows: &[Row]) -> String {
    let row = |(text, labels): &Row| {
        let labels: Vec<&str> = labels.iter().copied().collect();
        format!("{text},{}\n", labels.join(" ; "))
    };
    "text,label\n".to_owned() + &rows.iter().map(row).collect::<String>()
}

/// The same with lists of JSON for labels.
fn csv_of_lists(rows: &[Row]) -> String {
    let row = |(text, labels): &Row| {
        let labels = json!(labels).to_string().replace('"', "\"\"");
        format!("{text},\"{labels}\"\n")
    };
    "text,label\n".to_owned() + &rows.iter().map(row).collect::<String>()
}

fn json_of(line: &str) -> Value {
    serde_json::from_str(line).expect("JSON")
}

/// Shares that scikit-learn calls F1 (micro) and accuracy, counted anew.
fn figures(rows: &[Row], said: &[BTreeSet<String>]) -> (f64, f64) {
    let (mut hit, mut all, mut same) = (0, 0, 0);
    for ((_, gold), said) in rows.iter().zip(said) {
        let gold: BTreeSet<String> = gold.iter().map(|label| label.to_string()).collect();
        hit += gold.intersection(said).count();
        all += gold.len() + said.len();
        same += usize::from(gold == *said);
    }
    (
        2.0 * hit as f64 / all as f64,
        same as f64 / rows.len() as f64,
    )
}

#[test]
fn rows_with_any_number_of_labels_keep_them() {
    let dir = fixture::folder();
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let base = fixture::base_model(&dir.path().join("base")).dir;
    let (train, dev) = (rows(240, 1), rows(60, 2));
    fs::write(path("train.jsonl"), jsonl(&train)).expect("a file");
    fs::write(path("train.csv"), csv(&train)).expect("a file");
    fs::write(path("dev.jsonl"), jsonl(&dev)).expect("a file");
    fs::write(path("dev.csv"), csv(&dev)).expect("a file");
    fs::write(path("lists.csv"), csv_of_lists(&dev)).expect("a file");

    let told = ["data", &path("train.csv"), "--task", "text-classification"];
    let told = told.into_iter().chain(["--label_delimiter", ";", "--json"]);
    let told = json_of(&berth(told).ok());
    assert_eq!(told["multi_label"], true);
    let with = |label: &str| train.iter().filter(|row| row.1.contains(label)).count();
    for (_, label) in LABELS {
        assert_eq!(told["labels"][label], with(label), "{label}");
    }

    let learn = |name: &str, extension: &str, more: &[&str]| {
        let files = ["train", "dev"].map(|split| path(&format!("{split}.{extension}")));
        let line = format!(
            "finetune --task text-classification --max_seq_length 16 --num_train_epochs 20 \
             --learning_rate 2e-3 --per_device_train_batch_size 16 --save_strategy no --threads 1 \
             --eval_strategy no --train_file {} --validation_file {} --model_name_or_path {} --output_dir {} --json",
            files[0],
            files[1],
            base.display(),
            path(name)
        );
        let words = line.split_whitespace().chain(more.iter().copied());
        json_of(&berth(words).ok())
    };
    let results = learn("model", "jsonl", &[]);
    let same = learn("same", "csv", &["--label_delimiter", ";"]);
    let weights = |name: &str| fs::read(path(name) + "/model.safetensors").expect("weights");
    assert!(
        weights("model") == weights("same"),
        "a list and a cell say two things"
    );
    assert!(
        results["eval_f1"].as_f64().is_some_and(|f1| f1 > 0.9),
        "{results}"
    );
    assert_eq!(results["eval_f1"], same["eval_f1"]);

    let config = Checkpoint::open(path("model")).expect("the model").config;
    assert_eq!(config.id2label, LABELS.map(|(_, label)| label));
    assert_eq!(
        config.to_json()["problem_type"],
        "multi_label_classification"
    );
    // Each way to write the labels is known from the training.
    let evaluate = |model: &str, file: &str| {
        json_of(
            &berth([
                "evaluate",
                &path(model),
                "--validation_file",
                &path(file),
                "--json",
            ])
            .ok(),
        )
    };
    for (model, file) in [
        ("model", "dev.jsonl"),
        ("same", "dev.csv"),
        ("same", "dev.jsonl"),
        ("same", "lists.csv"),
    ] {
        let measured = evaluate(model, file);
        for name in ["eval_loss", "eval_f1", "eval_f1_macro", "eval_accuracy"] {
            assert_eq!(measured[name], results[name], "{model} on {file}: {name}");
        }
    }

    let said = predicted(&path("model"), &path("dev.jsonl"), &dir.path().join("said"));
    let (f1, accuracy) = figures(&dev, &said);
    assert!((results["eval_f1"].as_f64().expect("a figure") - f1).abs() < 1e-12);
    assert_eq!(results["eval_accuracy"], accuracy);

    let bundle = path("model.berth");
    let quantize = ["quantize", &path("model"), "--output", &bundle, "--json"];
    let file = ["--validation_file", &path("dev.jsonl")];
    let report = json_of(&berth(quantize.into_iter().chain(file)).ok());
    assert_eq!(report["f32"]["eval_f1"], results["eval_f1"]);
    let int8 = predicted(&bundle, &path("dev.jsonl"), &dir.path().join("int8"));
    let kept = said
        .iter()
        .zip(&int8)
        .filter(|(f32, int8)| f32 == int8)
        .count();
    assert_eq!(report["agreement"], kept as f64 / dev.len() as f64);
    assert!(kept * 10 >= dev.len() * 9, "{report}");
    let measured = evaluate("model.berth", "dev.jsonl");
    assert_eq!(measured["eval_f1"], report["int8"]["eval_f1"]);
    let (f1, _) = figures(&dev, &int8);
    assert!((measured["eval_f1"].as_f64().expect("a figure") - f1).abs() < 1e-12);

    // The device: every label by itself, the most probable first; what it says is what was measured.
    let lines: String = dev.iter().map(|(text, _)| text.clone() + "\n").collect();
    let answers = edge([&bundle], &lines).ok();
    let mut none = 0;
    for (line, measured) in answers.lines().zip(&int8) {
        let answer = json_of(line);
        let rows = answer.as_array().expect("a list");
        assert_eq!(rows.len(), LABELS.len());
        let scores: Vec<f64> = rows
            .iter()
            .map(|row| row["score"].as_f64().expect("a score"))
            .collect();
        assert!(scores.is_sorted_by(|a, b| a >= b), "{answer}");
        let likely = rows.iter().zip(&scores).filter(|(_, score)| **score > 0.5);
        let labels = likely.map(|(row, _)| row["label"].as_str().expect("a label").to_owned());
        assert_eq!(labels.collect::<BTreeSet<_>>(), *measured, "{answer}");
        none += usize::from(scores.iter().all(|&score| score < 0.5));
    }
    assert!(none > 0, "no sentence without a label was seen");
    let told = berth(["inspect", &bundle]).ok();
    assert!(told.contains("each by itself"), "{told}");
}

#[test]
fn what_goes_with_one_label_a_row_alone_is_refused() {
    let dir = fixture::folder();
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let base = fixture::base_model(&dir.path().join("base")).dir;
    fs::write(path("train.jsonl"), jsonl(&rows(20, 1))).expect("a file");
    let out = path("out");
    let line = format!(
        "finetune --task text-classification --train_file {} --model_name_or_path {} --output_dir {out} \
         --class_weights balanced",
        path("train.jsonl"),
        base.display()
    );
    let weighed = berth(line.split_whitespace()).refused();
    assert!(
        weighed.contains("one label each, and these may have several"),
        "{weighed}"
    );
    for (task, delimiter, said) in [
        (
            "token-classification",
            ";",
            "not those of token-classification",
        ),
        ("text-classification", "", "--label_delimiter is empty"),
    ] {
        let typed = [
            "data",
            &path("train.jsonl"),
            "--task",
            task,
            "--label_delimiter",
            delimiter,
        ];
        let run = berth(typed);
        assert_eq!(run.code, Some(2));
        assert!(run.stderr.contains(said), "{run:?}");
    }
    assert!(!Path::new(&out).exists());
}

/// The labels that a model says each row has.
fn predicted(model: &str, file: &str, out: &Path) -> Vec<BTreeSet<String>> {
    let report = predict(Path::new(model), Path::new(file), out);
    let file = fs::read_to_string(out.join("predict_results.txt")).expect("predictions");
    let labels = |line: &str| {
        let (_, labels) = line.split_once('\t').expect("two columns");
        serde_json::from_str::<BTreeSet<String>>(labels).expect("a list")
    };
    let sets: Vec<BTreeSet<String>> = file.lines().skip(1).map(labels).collect();
    for (_, label) in LABELS {
        let count = sets.iter().filter(|set| set.contains(label)).count();
        assert_eq!(report["predict_labels"][label], count, "{label}");
    }
    sets
}

//! Answers by both programs: the same lines, scores at the bundle's temperature, abstaining, long texts,
//! and bundles by name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::fixture::{self, Dice, Trained};
use crate::program::{Run, berth, edge, program};

/// The trained model as the program quantizes it, measured on the dev file; and what it prints.
fn quantized(dir: &Path) -> (PathBuf, Value) {
    let trained = Trained::get();
    let bundle = dir.join("calibrated.berth");
    let [checkpoint, dev, output] =
        [&trained.checkpoint, &trained.dev, &bundle].map(|path| text(path).to_owned());
    let told = json_of(&[
        "quantize",
        &checkpoint,
        "--output",
        &output,
        "--validation_file",
        &dev,
    ]);
    (bundle, told)
}

#[test]
fn the_temperature_goes_from_the_report_into_every_score() {
    let dir = fixture::folder();
    let (bundle, told) = quantized(dir.path());
    let calibration = &told["calibration"];
    let number = |name: &str| calibration[name].as_f64().expect("a number");
    assert_eq!(calibration["answers"], 100);
    assert!(number("error_held_out") <= number("error_before"), "{told}");
    assert!(number("temperature") != 1.0, "{told}");
    let inspected = json_of(&["inspect", text(&bundle)]);
    assert_eq!(&inspected["calibration"], calibration);
    assert_eq!(inspected["card"], Value::Null);
    let shown = berth(["inspect", text(&bundle)]).ok();
    assert_eq!(edge(["--inspect", text(&bundle)], "").ok(), shown);
    assert!(shown.contains("temperature  "), "{shown}");

    // What evaluation measures with the bundle is what quantization said; the device's scores say it too.
    let dev = &Trained::get().dev;
    let measured = json_of(&["evaluate", text(&bundle), "--validation_file", text(dev)]);
    let error = measured["eval_calibration_error"]
        .as_f64()
        .expect("a number");
    assert!(
        (error - number("error_after")).abs() < 1e-6,
        "{measured} {told}"
    );
    let plain = json_of(&[
        "evaluate",
        text(&Trained::get().bundle),
        "--validation_file",
        text(dev),
    ]);
    let before = plain["eval_calibration_error"].as_f64().expect("a number");
    assert!(
        (before - number("error_before")).abs() < 1e-6,
        "{plain} {told}"
    );
    assert_eq!(plain["eval_accuracy"], measured["eval_accuracy"]);
    assert_eq!(plain["eval_loss"], measured["eval_loss"]);

    let rows = fs::read_to_string(dev).expect("the dev file");
    let rows: Vec<(&str, &str)> = rows
        .lines()
        .skip(1)
        .map(|line| line.split_once('\t').expect("two columns"))
        .collect();
    let lines: String = rows.iter().map(|(text, _)| format!("{text}\n")).collect();
    let answers = edge([text(&bundle), "--min_score", "0.9"], &lines).ok();
    let best: Vec<Value> = answers
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")[0].clone())
        .collect();
    let sure = |answer: &Value| answer["score"].as_f64().expect("a number") as f32 >= 0.9;
    let thresholds = calibration["thresholds"].as_array().expect("a list");
    let row = thresholds
        .iter()
        .find(|row| row["min_score"].as_f64().expect("a number") as f32 == 0.9);
    let row = row.expect("a row for 0.9");
    let answered = best.iter().filter(|answer| sure(answer)).count();
    assert_eq!(row["answered"], answered);
    let right = best
        .iter()
        .zip(&rows)
        .filter(|(answer, row)| sure(answer) && answer["label"] == row.1);
    assert_eq!(row["right"], right.count());
    for answer in &best {
        assert_eq!(answer.get("abstained").is_none(), sure(answer), "{answer}");
    }
}

#[test]
fn predictions_that_are_not_sure_enough_are_left_empty() {
    let dir = fixture::folder();
    let (bundle, _) = quantized(dir.path());
    let test = dir.path().join("test.tsv");
    fs::write(&test, "sentence\na good warm film\nthe film\n").expect("a file");
    let lines = edge(
        [text(&bundle), "--top_k", "1"],
        "a good warm film\nthe film\n",
    )
    .ok();
    let scores: Vec<f32> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")[0]["score"].clone())
        .map(|score| score.as_f64().expect("a number") as f32)
        .collect();
    assert!(scores[0] > scores[1], "{scores:?}");
    let out = dir.path().join("out");
    let least = scores[0].to_string();
    let typed = [
        "predict",
        text(&bundle),
        "--test_file",
        text(&test),
        "--output_dir",
        text(&out),
        "--min_score",
        &least,
    ];
    let report = json_of(&typed);
    assert_eq!(report["predict_abstained"], 1);
    assert_eq!(
        report["predict_labels"],
        json!({"negative": 0, "positive": 1})
    );
    let file = fs::read_to_string(out.join("predict_results.txt")).expect("predictions");
    assert_eq!(file, "index\tprediction\n0\tpositive\n1\t\n");

    let shown = berth(["ask", text(&bundle), "the film", "--min_score", &least]).ok();
    assert!(shown.starts_with("no answer: "), "{shown}");
    assert_eq!(shown.lines().count(), 3, "{shown}");
}

/// Runs of characters of many kinds, in the order that a generator throws them.
fn mixed(dice: &mut Dice) -> String {
    const PARTS: [&str; 14] = [
        "good",
        "film",
        "日本語",
        "مرحبا",
        "שלום",
        "e\u{301}",
        "👩‍👩‍👧",
        "🇩🇪",
        "ß",
        "नमस्ते",
        "\u{200f}",
        "-",
        "{",
        "\\",
    ];
    let count = dice.below(40);
    let parts = (0..count).map(|_| dice.pick(&PARTS));
    parts.collect::<Vec<_>>().join(dice.pick(&[" ", "", "  "]))
}

#[test]
fn both_programs_print_the_same_answer_and_windows_are_the_same_everywhere() {
    let dir = fixture::folder();
    let (bundle, _) = quantized(dir.path());
    let mut dice = Dice(77);
    let mut texts: Vec<String> = (0..20).map(|_| mixed(&mut dice)).collect();
    texts.extend(["good film ".repeat(900), "dull ".repeat(2000)]);
    let lines: String = texts
        .iter()
        .map(|text| json!({"text": text}).to_string() + "\n")
        .collect();
    let answers = edge([text(&bundle)], &lines).ok();
    for (asked, answer) in texts.iter().zip(answers.lines()) {
        let host = berth(["ask", text(&bundle), "--json", "--", asked]).ok();
        assert_eq!(host.trim_end(), answer, "{asked}");
    }

    // The same windows, at the length of the device, in a file's rows.
    let long: Vec<&String> = texts.iter().rev().take(2).collect();
    let table = dir.path().join("long.tsv");
    let rows: String = long
        .iter()
        .map(|text| format!("{}\tpositive\n", text.trim()))
        .collect();
    fs::write(&table, format!("sentence\tlabel\n{rows}")).expect("a file");
    let positions = json_of(&["inspect", text(&bundle)])["max_position_embeddings"].to_string();
    let evaluate = |more: &[&str]| {
        let typed = [
            "evaluate",
            text(&bundle),
            "--validation_file",
            text(&table),
            "--max_seq_length",
            &positions,
        ];
        let run = berth(typed.iter().chain(more).chain(&["--json"]));
        let warned = run.stderr.contains("were cut");
        let told: Value = serde_json::from_str(&run.ok()).expect("JSON");
        (told, warned)
    };
    let (cut, warned) = evaluate(&[]);
    assert!(warned && cut["eval_truncated"] == 2, "{cut}");
    let (read, warned) = evaluate(&["--long_texts", "windows"]);
    assert!(!warned && read.get("eval_truncated").is_none(), "{read}");
    assert_eq!(read["eval_samples"], 2);
    let score = |text: &str| {
        let answer = edge(["--no_verify", self::text(&bundle), text], "").ok();
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert!(answer[0]["windows"].as_u64() > Some(3), "{answer}");
        (
            answer[0]["label"] == "positive",
            answer[0]["score"].as_f64().expect("a number"),
        )
    };
    let scores: Vec<(bool, f64)> = long.iter().map(|text| score(text.trim())).collect();
    let right = scores.iter().filter(|(right, _)| *right).count();
    assert_eq!(read["eval_accuracy"], right as f64 / 2.0);
    // Two answers lie in different bins, or in one if both are as sure.
    let gaps: Vec<f64> = scores
        .iter()
        .map(|&(right, score)| score - f64::from(u8::from(right)))
        .collect();
    let error = read["eval_calibration_error"].as_f64().expect("a number");
    let apart = gaps.iter().map(|gap| gap.abs()).sum::<f64>() / 2.0;
    let together = gaps.iter().sum::<f64>().abs() / 2.0;
    assert!(
        (error - apart).abs() < 1e-6 || (error - together).abs() < 1e-6,
        "{read} {scores:?}"
    );
}

/// `berth` in a folder, with a home of its own.
fn at_home(folder: &Path, arguments: &[&str]) -> Run {
    let mut command: Command = program("berth");
    let output = command
        .args(arguments)
        .current_dir(folder)
        .env("XDG_DATA_HOME", folder.join("data"))
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

#[test]
fn a_bundle_is_asked_by_its_name() {
    let dir = fixture::folder();
    let bundle = &Trained::get().bundle;
    let expected = berth(["ask", text(bundle), "a good film"]).ok();
    let refused = at_home(dir.path(), &["ask", "no-such-model", "a good film"]).refused();
    assert!(refused.contains("no-such-model: no such file"), "{refused}");
    for (place, name) in [
        ("models/here.berth", "here"),
        ("models/in-a-folder/in-a-folder.berth", "in-a-folder"),
        ("data/berth/models/of-mine.berth", "of-mine"),
    ] {
        let path = dir.path().join(place);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::copy(bundle, &path).expect("a copy");
        assert_eq!(
            at_home(dir.path(), &["ask", name, "a good film"]).ok(),
            expected
        );
        assert!(
            at_home(dir.path(), &["inspect", name])
                .ok()
                .contains("text-classification")
        );
    }
    let refused = at_home(dir.path(), &["ask", "heer", "a good film"]).refused();
    for known in ["here (models/here.berth)", "in-a-folder (", "of-mine ("] {
        assert!(refused.contains(known), "{refused}");
    }
}

/// What a command of `berth` prints with `--json`.
fn json_of(arguments: &[&str]) -> Value {
    let line = berth(arguments.iter().chain(&["--json"])).ok();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

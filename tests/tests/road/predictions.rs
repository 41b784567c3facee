//! Files of predictions, by the program: on rows without labels, from a checkpoint and from a bundle.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::fixture::{self, LABELS, Trained};
use crate::program::{berth, edge};

#[test]
fn labels_are_those_that_were_measured_and_that_the_device_answers() {
    let dir = fixture::folder();
    let trained = Trained::get();
    let dev = fs::read_to_string(&trained.dev).expect("the dev file");
    let rows: Vec<(&str, &str)> = dev
        .lines()
        .skip(1)
        .map(|line| line.split_once('\t').expect("two columns"))
        .collect();
    let texts: Vec<&str> = rows.iter().map(|(text, _)| *text).collect();
    let test = dir.path().join("test.tsv");
    fs::write(&test, format!("sentence\n{}\n", texts.join("\n"))).expect("a file");
    for model in [&trained.checkpoint, &trained.bundle] {
        let out = dir.path().join("out");
        let report = predict(model, &test, &out);
        assert_eq!(report["predict_samples"], rows.len());
        let labels = results(&out.join("predict_results.txt"));
        assert_eq!(labels.len(), rows.len());
        let right = labels
            .iter()
            .zip(&rows)
            .filter(|(label, row)| *label == row.1);
        let accuracy = right.count() as f64 / rows.len() as f64;
        let measured = evaluate(model, &trained.dev);
        assert_eq!(measured["eval_accuracy"], accuracy, "{}", model.display());
        for label in LABELS {
            let count = labels.iter().filter(|told| *told == label).count();
            assert_eq!(report["predict_labels"][label], count, "{label}");
        }
        let kept: Value = read(&out.join("predict_results.json"));
        assert_eq!(kept, report);
        let mut names: Vec<_> = fs::read_dir(&out)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["predict_results.json", "predict_results.txt"]);

        if model == &trained.bundle {
            let answers = edge([model], &(texts.join("\n") + "\n")).ok();
            let best = |line: &str| -> String {
                let answer: Value = serde_json::from_str(line).expect("JSON");
                answer[0]["label"].as_str().expect("a label").to_owned()
            };
            assert_eq!(answers.lines().map(best).collect::<Vec<_>>(), labels);
        }
    }
}

#[test]
fn a_file_that_does_not_fit_leaves_no_predictions() {
    let dir = fixture::folder();
    let out = dir.path().join("out");
    for (name, content, place) in [
        ("a.tsv", "review\nfine\n", ":1: no column"),
        ("b.tsv", "sentence\tx\nfine\n", ":2: 1 column"),
        ("c.tsv", "sentence\n", ":1: no rows"),
    ] {
        let test = dir.path().join(name);
        fs::write(&test, content).expect("a file");
        let [test, output] = [&test, &out].map(|path| path.to_str().expect("UTF-8"));
        let bundle = Trained::get().bundle.to_str().expect("UTF-8");
        let typed = [
            "predict",
            bundle,
            "--test_file",
            test,
            "--output_dir",
            output,
        ];
        let line = berth(typed).refused();
        assert!(line.contains(&format!("{name}{place}")), "{line}");
        assert!(!out.exists());
    }
    // Where a file stands already, it goes with the new one; others stay.
    fs::create_dir(&out).expect("a folder");
    for name in ["predict_results.txt", "mine.txt"] {
        fs::write(out.join(name), "old").expect("a file");
    }
    let test = dir.path().join("d.jsonl");
    fs::write(&test, json!({"text": "good"}).to_string()).expect("a file");
    predict(&Trained::get().bundle, &test, &out);
    assert_eq!(results(&out.join("predict_results.txt")), ["positive"]);
    let mine = fs::read_to_string(out.join("mine.txt")).expect("the file");
    assert_eq!(mine, "old");
}

/// That a text was cut is said once all are answered: it is not come to.
#[test]
fn where_nothing_can_be_written_nothing_is_answered() {
    let dir = fixture::folder();
    let test = dir.path().join("test.jsonl");
    let long = json!({"text": "good ".repeat(600)});
    fs::write(&test, long.to_string()).expect("a file");
    let predict = |out: &Path| {
        let [test, out] = [test.as_path(), out].map(|path| path.to_str().expect("UTF-8"));
        let bundle = Trained::get().bundle.to_str().expect("UTF-8");
        berth(["predict", bundle, "--test_file", test, "--output_dir", out])
    };
    let out = dir.path().join("out");
    let run = predict(&out);
    assert!(run.stderr.contains("1 of 1 texts were cut"), "{run:?}");
    run.ok();
    let taken = dir.path().join("taken");
    fs::create_dir_all(taken.join("predict_results.json")).expect("a folder");
    for (out, said) in [
        (&test, "is there already, and is no folder"),
        (&taken, "predict_results.json: is no regular file"),
    ] {
        let run = predict(out);
        assert!(!run.stderr.contains("were cut"), "{run:?}");
        let line = run.refused();
        assert!(line.contains(said), "{line}");
        assert!(line.ends_with("name another --output_dir"), "{line}");
    }
    assert!(!taken.join("predict_results.txt").exists());
}

/// MultiNLI's files by hand, under GLUE's names and columns: the second dev file is told as `run_glue` does.
#[test]
fn both_dev_files_of_mnli_are_measured() {
    let dir = fixture::folder();
    let base = dir.path().join("base");
    fixture::base_model(&base);
    let row = |first: &str, second: &str, label: &str| {
        format!(
            "0\t1\t1n\tfiction\t( a )\t( b )\tROOT\tROOT\t{first}\t{second}\t{label}\t{label}\n"
        )
    };
    let header = "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t\
                  sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n";
    let [good, bad, odd] = [
        row("good", "the film", "entailment"),
        row("bad", "the plot", "contradiction"),
        row("story", "the actor", "neutral"),
    ];
    let write = |name: &str, rows: &[&String]| {
        let rows: String = rows.iter().map(|row| row.as_str()).collect();
        fs::write(dir.path().join(name), format!("{header}{rows}")).expect("a file");
    };
    let undecided = row("scene", "x", "-");
    write("train.tsv", &[&good, &bad, &odd, &undecided]);
    write("dev_matched.tsv", &[&good, &bad, &odd]);
    let folder = dir.path().to_str().expect("UTF-8");
    let model = dir.path().join("model");
    let [base, output] = [&base, &model].map(|path| path.to_str().expect("UTF-8"));
    let finetune = [
        "finetune",
        "--task_name",
        "mnli",
        "--data_dir",
        folder,
        "--model_name_or_path",
        base,
        "--output_dir",
        output,
        "--max_seq_length",
        "16",
        "--num_train_epochs",
        "30",
        "--learning_rate",
        "3e-3",
        "--save_strategy",
        "no",
        "--eval_strategy",
        "no",
        "--json",
    ];
    // Before anything is learnt.
    let line = berth(finetune).refused();
    assert!(
        line.contains("dev_mismatched.tsv") && !model.exists(),
        "{line}"
    );

    // The mismatched file has the labels in another order, so that another share is right.
    let wrong = row("good", "the film", "neutral");
    write(
        "dev_mismatched.tsv",
        &[&good, &wrong, &bad, &odd, &undecided],
    );
    let run = berth(finetune);
    assert!(
        run.stderr.contains("3 rows, 1 without a label left out"),
        "{run:?}"
    );
    let results: Value = serde_json::from_str(&run.ok()).expect("JSON");
    let told = [
        "eval_accuracy",
        "eval_accuracy_mm",
        "eval_samples",
        "eval_samples_mm",
    ];
    assert_eq!(
        told.map(|name| results[name].clone()),
        [json!(1.0), json!(0.75), json!(3), json!(4)]
    );
    assert_eq!(read(&model.join("all_results.json")), results);
    let kept = read(&model.join("eval_results.json"));
    assert_eq!(kept["eval_accuracy_mm"], 0.75);

    // Stopped before it had measured that file, the run does so when it is gone on with.
    for name in ["all_results.json", "eval_results.json"] {
        let mut figures = read(&model.join(name));
        let all = figures.as_object_mut().expect("figures");
        all.retain(|name, _| !name.ends_with("_mm"));
        fs::write(model.join(name), figures.to_string()).expect("a file");
    }
    let on = ["--resume_from_checkpoint", "true"];
    let run = berth(finetune.into_iter().chain(on));
    let again: Value = serde_json::from_str(&run.ok()).expect("JSON");
    assert_eq!(
        told.map(|name| again[name].clone()),
        told.map(|name| results[name].clone())
    );
    for name in ["all_results.json", "eval_results.json"] {
        assert_eq!(read(&model.join(name))["eval_accuracy_mm"], 0.75, "{name}");
    }

    let run = berth(["evaluate", output, "--data_dir", folder, "--json"]);
    assert!(
        run.stderr
            .contains("dev_mismatched.tsv: 1 rows without a label left out"),
        "{run:?}"
    );
    let measured: Value = serde_json::from_str(&run.ok()).expect("JSON");
    for name in told {
        assert_eq!(measured[name], results[name], "{name}");
    }
}

/// What `berth predict` prints with `--json`.
pub fn predict(model: &Path, test: &Path, out: &Path) -> Value {
    let [model, test, out] = [model, test, out].map(|path| path.to_str().expect("UTF-8"));
    let line = berth([
        "predict",
        model,
        "--test_file",
        test,
        "--output_dir",
        out,
        "--json",
    ])
    .ok();
    assert_eq!(line.lines().count(), 1, "{line}");
    serde_json::from_str(&line).expect("JSON")
}

/// The predictions of `predict_results.txt`, whose indices must count from 0.
fn results(path: &PathBuf) -> Vec<String> {
    let file = fs::read_to_string(path).expect("predictions");
    let mut lines = file.lines();
    assert_eq!(lines.next(), Some("index\tprediction"));
    let prediction = |(index, line): (usize, &str)| {
        let prediction = line.strip_prefix(&format!("{index}\t"));
        prediction.expect("the row's index").to_owned()
    };
    lines.enumerate().map(prediction).collect()
}

fn evaluate(model: &Path, dev: &Path) -> Value {
    let [model, dev] = [model, dev].map(|path| path.to_str().expect("UTF-8"));
    let line = berth(["evaluate", model, "--validation_file", dev, "--json"]).ok();
    serde_json::from_str(&line).expect("JSON")
}

fn read(path: &Path) -> Value {
    let content = fs::read_to_string(path).expect("a file");
    serde_json::from_str(&content).expect("JSON")
}

//! What stays as it is: files that a command reads or that others made, and a run's identity when it is gone on with.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::fixture::{self, Trained};
use crate::kills::{TinyRun, checkpoints, hold_to_promise};
use crate::program::{Run, berth};

/// A folder, and its files by name.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            let name = path.file_name().expect("a name").to_string_lossy();
            files.push((name.into_owned(), fs::read(&path).expect("a file")));
        }
    }
    files.sort();
    files
}

/// Copies a folder with what it holds.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn an_export_into_a_folder_keeps_what_else_it_holds() {
    let dir = fixture::folder();
    let own = dir.path().join("own");
    copy(&Trained::get().checkpoint, &own);
    fs::write(own.join("notes.txt"), "mine").expect("a note");
    let before = files(&own);
    let export = |more: &[&str]| -> Run {
        let fixed = ["export", text(&own), "--output_dir", text(&own)];
        berth(fixed.iter().chain(more))
    };
    let refused = export(&[]).refused();
    assert!(refused.contains("--overwrite_output_dir"), "{refused}");
    assert_eq!(files(&own), before);
    export(&["--overwrite_output_dir"]).ok();
    let after = files(&own);
    let new = ["model.onnx", "model_quantized.onnx"];
    assert!(new.iter().all(|name| own.join(name).is_file()));
    let rest = after
        .into_iter()
        .filter(|(name, _)| !new.contains(&name.as_str()));
    assert_eq!(rest.collect::<Vec<_>>(), before);
}

/// What a killed command was writing there is nothing that anybody would miss.
#[test]
fn a_folder_with_what_a_killed_command_left_is_an_empty_one() {
    let dir = fixture::folder();
    let run = TinyRun::new(dir.path());
    let left = |name: &str| {
        let out = run.path(name);
        for hidden in [".berth.a1b2c3.partial", ".checkpoint-1.d4e5f6.partial"] {
            fs::create_dir_all(out.join(hidden)).expect("a folder");
        }
        out
    };
    let out = left("exported");
    fs::create_dir(run.path(".exported.g7h8i9.partial")).expect("a folder");
    let checkpoint = &Trained::get().checkpoint;
    berth(["export", text(checkpoint), "--output_dir", text(&out)]).ok();
    assert!(out.join("model.onnx").is_file() && !hold_to_promise(&out));

    let seeds: [(&str, &[&str]); 2] = [("once", &[]), ("each", &["--seeds", "1"])];
    for (name, seeds) in seeds {
        let out = left(name);
        let mut arguments = run.arguments(name);
        arguments.retain(|argument| argument != "--overwrite_output_dir" && argument != "true");
        let more = [&["--max_steps", "1"][..], seeds].concat();
        berth(arguments.iter().map(String::as_str).chain(more)).ok();
        assert!(!hold_to_promise(&out), "{name}");
    }
}

#[test]
fn a_quickstart_refuses_a_folder_of_others() {
    let dir = fixture::folder();
    let own = dir.path().join("own");
    let [tiny, data] = ["tiny", "data"].map(|name| own.join(name));
    for (folder, name) in [(&tiny, "config.json"), (&data, "train.tsv")] {
        fs::create_dir_all(folder).expect("a folder");
        fs::write(folder.join(name), "mine").expect("a file");
    }
    let before = [&own, &tiny, &data].map(|folder| files(folder));
    let refused = berth(["quickstart", "--tiny", "--output_dir", text(&own)]).refused();
    assert!(refused.contains(text(&own)), "{refused}");
    let ways = "name another --output_dir, or remove it";
    assert!(refused.contains(ways), "{refused}");
    assert_eq!([&own, &tiny, &data].map(|folder| files(folder)), before);
    assert_eq!(fs::read_dir(&own).expect("a folder").count(), 2);
    assert_eq!(fs::read_dir(&data).expect("a folder").count(), 1);
}

#[test]
fn outputs_are_written_over_nothing_but_their_own_kind() {
    let dir = fixture::folder();
    let trained = Trained::get();
    let own = dir.path().join("own");
    copy(&trained.checkpoint, &own);
    let data = dir.path().join("dev.tsv");
    fs::copy(&trained.dev, &data).expect("a copy");
    let (bundle, weights) = (dir.path().join("a.berth"), own.join("model.safetensors"));
    let quantize = |output: &Path, more: &[&str]| -> Run {
        let fixed = ["quantize", text(&own), "--output", text(output)];
        berth(fixed.iter().chain(more))
    };
    for taken in [&weights, &data] {
        let before = fs::read(taken).expect("a file");
        let line = quantize(taken, &[]).refused();
        assert!(
            line.contains(text(taken)) && line.contains("no bundle"),
            "{line}"
        );
        let line = quantize(&bundle, &["--report", text(taken)]).refused();
        assert!(
            line.contains(text(taken)) && line.contains("--report"),
            "{line}"
        );
        assert_eq!(fs::read(taken).expect("a file"), before);
        assert!(!bundle.exists());
    }
    quantize(&bundle, &[]).ok();
    quantize(&bundle, &[]).ok();
    assert_eq!(
        quantize(&bundle, &["--report", text(&bundle)]).code,
        Some(1)
    );
    let fresh = dir.path().join("b.berth");
    assert_eq!(quantize(&fresh, &["--report", text(&fresh)]).code, Some(2));
    assert!(!fresh.exists());

    // A test file by a name that predictions have.
    let out = dir.path().join("out");
    let test = out.join("predict_results.txt");
    fs::create_dir(&out).expect("a folder");
    fs::copy(&data, &test).expect("a copy");
    let before = files(&out);
    let format = ["--format", "tsv"];
    let fixed = [
        "predict",
        text(&bundle),
        "--test_file",
        text(&test),
        "--output_dir",
        text(&out),
    ];
    let line = berth(fixed.iter().chain(&format)).refused();
    assert!(line.contains(text(&test)), "{line}");
    assert_eq!(files(&out), before);
}

/// Goes on with a run, with more flags.
fn resume(run: &TinyRun, out: &str, more: &[&str]) -> Run {
    let arguments = run.arguments(out);
    let more = more.iter().map(|flag| (*flag).to_owned());
    berth(arguments.into_iter().chain(more))
}

#[test]
fn what_is_logged_is_told_where_no_bar_can_be_drawn() {
    let dir = fixture::folder();
    let run = TinyRun::new(dir.path());
    let flags = ["--max_steps", "5", "--logging_steps", "2"];
    let done = resume(&run, "out", &flags);
    assert_eq!(done.code, Some(0), "{done:?}");
    let logged = done.stderr.lines().filter(|line| line.contains(": loss "));
    let steps: Vec<&str> = logged.filter_map(|line| line.split(':').next()).collect();
    assert_eq!(steps, ["step 2 of 5", "step 4 of 5"], "{done:?}");
}

#[test]
fn a_run_goes_on_from_its_newest_whole_checkpoint() {
    let dir = fixture::folder();
    let run = TinyRun::new(dir.path());
    // Eight steps of twelve, the last two of them saved.
    resume(&run, "begun", &["--max_steps", "8"]).ok();
    let newest = |out: &Path| {
        let name = |path: &PathBuf| {
            path.file_name()?
                .to_str()?
                .strip_prefix("checkpoint-")?
                .parse::<u64>()
                .ok()
        };
        checkpoints(out)
            .into_iter()
            .max_by_key(name)
            .expect("a checkpoint")
    };
    // What it comes to without the newest.
    let undamaged = run.path("undamaged");
    copy(&run.path("begun"), &undamaged);
    fs::remove_dir_all(newest(&undamaged)).expect("a folder");
    resume(&run, "undamaged", &[]).ok();
    for (number, damage) in [
        "model.safetensors",
        "optimizer.safetensors",
        "trainer_state.json",
        "training_args.json",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("damaged-{number}");
        let out = run.path(&name);
        copy(&run.path("begun"), &out);
        let damaged = newest(&out).join(damage);
        match number {
            3 => fs::remove_file(&damaged).expect("a file"),
            _ => {
                let bytes = fs::read(&damaged).expect("a file");
                fs::write(&damaged, &bytes[..bytes.len() - 7]).expect("a file");
            }
        }
        let done = resume(&run, &name, &[]);
        assert_eq!(done.code, Some(0), "{done:?}");
        let warned = done
            .stderr
            .lines()
            .any(|line| line.contains("warning") && line.contains("checkpoint-8"));
        assert!(warned, "{done:?}");
        assert!(done.stderr.contains("checkpoint-7, step 7"), "{done:?}");
        let same = run.weights(&name) == run.weights("undamaged");
        assert!(same, "{damage}");
    }
}

/// As the columns are: a file that is named like the one that was learned from is read like it.
#[test]
fn a_format_that_was_named_is_remembered() {
    let dir = fixture::folder();
    let base = dir.path().join("base");
    fixture::base_model(&base);
    let file = |name: &str, seed| fixture::write_sentences(dir.path(), name, 20, seed);
    let (train, same, none) = (file("train.csv", 1), file("dev.csv", 2), file("dev.txt", 3));
    let other = dir.path().join("dev.jsonl");
    fs::write(
        &other,
        r#"{"sentence": "a good film", "label": "positive"}"#,
    )
    .expect("a file");
    let (model, bundle) = (dir.path().join("model"), dir.path().join("model.berth"));
    let fixed = "finetune --task text-classification --format tsv --max_steps 1 --train_file";
    let rest = [
        text(&train),
        "--model_name_or_path",
        text(&base),
        "--output_dir",
        text(&model),
    ];
    berth(fixed.split(' ').chain(rest)).ok();
    let output = ["quantize", text(&model), "--output", text(&bundle)];
    berth(output.into_iter().chain(["--validation_file", text(&same)])).ok();
    for (model, dev) in [
        (&model, &same),
        (&model, &none),
        (&model, &other),
        (&bundle, &same),
        (&bundle, &other),
    ] {
        berth(["evaluate", text(model), "--validation_file", text(dev)]).ok();
    }
}

#[test]
fn a_run_that_has_finished_says_again_what_it_came_to() {
    let dir = fixture::folder();
    let run = TinyRun::new(dir.path());
    run.to_the_end("whole");
    let before = files(&run.path("whole"));
    let said = resume(&run, "whole", &["--json"]).ok();
    let said: Value = serde_json::from_str(&said).expect("one object");
    let kept = fs::read(run.path("whole").join("all_results.json")).expect("results");
    assert_eq!(said, serde_json::from_slice::<Value>(&kept).expect("JSON"));
    assert_eq!(files(&run.path("whole")), before);
}

#[test]
fn a_finished_run_is_told_again_where_what_differs_changes_nothing() {
    let dir = fixture::folder();
    let run = TinyRun::new(dir.path());
    let (train, metrics) = (run.path("train.tsv"), run.path("metrics.json"));
    let file = ["--validation_file", text(&train)];
    let measured = [&file[..], &["--eval_strategy", "epoch"]].concat();
    resume(&run, "plain", &measured).ok();
    let before = files(&run.path("plain"));
    let named = [&file[..], &["--metric_for_best_model", "accuracy"]].concat();
    let unmeasured = [&measured[..], &["--do_eval", "false"]].concat();
    let others: [&[&str]; 4] = [&[], &file, &named, &unmeasured];
    for other in others {
        resume(&run, "plain", other).ok();
        assert_eq!(files(&run.path("plain")), before);
    }

    let best = "--load_best_model_at_end --save_strategy epoch --metric_for_best_model accuracy";
    let best: Vec<&str> = measured.into_iter().chain(best.split(' ')).collect();
    resume(&run, "best", &best).ok();
    let again = ["--metric_for_best_model", "eval_accuracy", "--metrics_file"];
    let again = [&best[..], &again, &[text(&metrics)]].concat();
    resume(&run, "best", &again).ok();
    assert!(metrics.is_file());
}

/// Both flags ask for it: `true` alone has nothing to do there.
#[test]
fn a_finished_run_is_gone_back_in_where_it_is_to_be_overwritten() {
    let dir = fixture::folder();
    let run = TinyRun::new(dir.path());
    run.to_the_end("out");
    let from = run.path("out").join("checkpoint-11");
    let over = [
        "--resume_from_checkpoint",
        text(&from),
        "--overwrite_output_dir",
    ];
    let done = resume(&run, "out", &over);
    assert!(done.stderr.contains("checkpoint-11, step 11"), "{done:?}");
    done.ok();
}

/// One that was killed between its result and its page, or whose figures are gone.
#[test]
fn a_run_without_its_page_or_its_figures_gets_them_when_it_is_gone_on_with() {
    let dir = fixture::folder();
    let run = TinyRun::new(dir.path());
    let (train, out) = (run.path("train.tsv"), run.path("out"));
    let measured = ["--validation_file", text(&train)];
    resume(&run, "out", &measured).ok();
    let before = files(&out);
    fs::remove_file(out.join("report.html")).expect("a page");
    resume(&run, "out", &measured).ok();
    assert_eq!(files(&out), before);
    for name in ["report.html", "all_results.json"] {
        fs::remove_file(out.join(name)).expect("a file");
    }
    let weights = run.weights("out");
    resume(&run, "out", &measured).ok();
    assert!(out.join("report.html").is_file() && out.join("all_results.json").is_file());
    assert!(run.weights("out") == weights);
}

#[test]
fn another_rate_is_warned_of_while_a_run_goes_on_and_refused_when_it_has_finished() {
    let dir = fixture::folder();
    let run = TinyRun::new(dir.path());
    resume(&run, "out", &["--max_steps", "3"]).ok();
    let faster = ["--learning_rate", "1e-2"];
    let done = resume(&run, "out", &faster);
    for said in [
        "warning: --learning_rate was 0.001 until here and is 0.01 from here on",
        "warning: --max_steps was 3 until here and is 12 from here on",
    ] {
        assert!(done.stderr.contains(said), "{done:?}");
    }
    done.ok();
    let before = files(&run.path("out"));
    let line = resume(&run, "out", &[]).refused();
    assert!(
        line.contains("learning_rate was 0.01 and is now 0.001"),
        "{line}"
    );
    assert_eq!(files(&run.path("out")), before);
}

#[test]
fn a_checkpoint_from_elsewhere_is_not_gone_on_with_in_a_used_folder() {
    let dir = fixture::folder();
    let run = TinyRun::new(dir.path());
    resume(&run, "first", &["--max_steps", "3"]).ok();
    resume(&run, "second", &["--max_steps", "3"]).ok();
    let from = run.path("first").join("checkpoint-3");
    let line = resume(&run, "second", &["--resume_from_checkpoint", text(&from)]).refused();
    let ways = format!(
        "second: not empty; with `--overwrite_output_dir` the run goes on from {} in it; or name an empty --output_dir",
        from.display()
    );
    assert!(line.ends_with(&ways), "{line}");
    assert!(run.path("second").join("checkpoint-3").is_dir());
    let over = [
        "--resume_from_checkpoint",
        text(&from),
        "--overwrite_output_dir",
    ];
    let done = resume(&run, "second", &over);
    assert!(
        done.stderr.contains("first/checkpoint-3, step 3"),
        "{done:?}"
    );
    done.ok();
    assert!(from.is_dir() && !run.path("second").join("checkpoint-3").exists());
}

#[test]
fn a_run_is_told_with_figures_of_the_rows_that_are_asked_for() {
    let dir = fixture::folder();
    let run = TinyRun::new(dir.path());
    let train = run.path("train.tsv");
    let rows = |rows| {
        let file = ["--validation_file", text(&train)];
        [&file[..], &["--max_eval_samples", rows]].concat()
    };
    let begun = [&rows("8")[..], &["--max_steps", "3"]].concat();
    resume(&run, "out", &begun).ok();
    let done = resume(&run, "out", &rows("4"));
    let said = "warning: --max_eval_samples was 8 until here and is 4 from here on";
    assert!(done.stderr.contains(said), "{done:?}");
    done.ok();
    resume(&run, "unmeasured", &[]).ok();
    for (out, then) in [("out", "4 rows of train.tsv"), ("unmeasured", "no file")] {
        let before = files(&run.path(out));
        let line = resume(&run, out, &rows("5")).refused();
        let said = format!("measured on {then} and not on 5 rows of train.tsv; `berth evaluate`");
        assert!(line.contains(&said), "{line}");
        assert_eq!(files(&run.path(out)), before);
    }
}

#[test]
fn figures_are_written_over_nothing_that_a_run_reads() {
    let dir = fixture::folder();
    let run = TinyRun::new(dir.path());
    let rows = "{\"text\": \"good\", \"label\": \"x\"}\n{\"text\": \"bad\", \"label\": \"y\"}\n";
    let read = [
        ("train.jsonl", rows),
        ("dev.jsonl", rows),
        ("weights.json", "{\"x\": 1, \"y\": 2}"),
        ("settings.json", "{\"seed\": 7}"),
    ];
    let read = read.map(|(name, content)| {
        let path = run.path(name);
        fs::write(&path, content).expect("a file");
        path
    });
    let flags = [
        "--train_file",
        "--validation_file",
        "--class_weights",
        "--config",
    ];
    let flags = flags.into_iter().zip(&read);
    let flags: Vec<&str> = flags.flat_map(|(flag, path)| [flag, text(path)]).collect();
    for taken in &read {
        let before = fs::read(taken).expect("a file");
        let more = [&flags[..], &["--metrics_file", text(taken)]].concat();
        let line = resume(&run, "out", &more).refused();
        let said = format!("{}: is read, and would be written over", text(taken));
        assert!(line.contains(&said), "{line}");
        assert_eq!(fs::read(taken).expect("a file"), before);
    }
    assert!(!run.path("out").exists());
}

/// Such a row has the label or has it not.
#[test]
fn one_label_is_something_to_tell_apart_where_a_row_may_have_none() {
    let dir = fixture::folder();
    fixture::base_model(&dir.path().join("base"));
    let warned = |name: &str, rows: &str| {
        let [base, train, out] = ["base", name, "out"].map(|name| dir.path().join(name));
        fs::write(&train, rows).expect("a file");
        let fixed = "finetune --task text-classification --max_steps 1 --overwrite_output_dir";
        let paths = [
            "--train_file",
            text(&train),
            "--model_name_or_path",
            text(&base),
            "--output_dir",
            text(&out),
        ];
        let done = berth(fixed.split(' ').chain(paths));
        let warned = done.stderr.contains("nothing to tell apart");
        done.ok();
        warned
    };
    let several =
        "{\"text\": \"good\", \"labels\": [\"x\"]}\n{\"text\": \"bad\", \"labels\": []}\n";
    assert!(!warned("several.jsonl", several));
    let single = "{\"text\": \"good\", \"label\": \"x\"}\n{\"text\": \"bad\", \"label\": \"x\"}\n";
    assert!(warned("single.jsonl", single));
}

#[test]
fn with_other_inputs_it_would_be_another_run() {
    let dir = fixture::folder();
    let run = TinyRun::new(dir.path());
    resume(&run, "begun", &["--max_steps", "3"]).ok();
    let before = files(&run.path("begun"));
    let line = resume(&run, "begun", &["--max_seq_length", "16"]).refused();
    assert!(
        line.contains("--max_seq_length was 128 and is now 16"),
        "{line}"
    );

    let other = run.path("other");
    copy(&run.path("base"), &other);
    let path = other.join("tokenizer.json");
    let mut tokenizer: Value =
        serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
    let vocabulary = tokenizer["model"]["vocab"].as_object_mut().expect("pieces");
    let (a, b) = (vocabulary["a"].clone(), vocabulary["b"].clone());
    vocabulary.insert("a".into(), b);
    vocabulary.insert("b".into(), a);
    fs::write(&path, tokenizer.to_string()).expect("a file");
    fs::remove_file(other.join("vocab.txt")).expect("a file");
    let line = resume(&run, "begun", &["--model_name_or_path", text(&other)]).refused();
    assert!(line.contains("the tokenizer was"), "{line}");
    assert_eq!(files(&run.path("begun")), before);
}

#[test]
fn what_can_be_known_before_training_is_said_before() {
    let dir = fixture::folder();
    let run = TinyRun::new(dir.path());
    let train = run.path("train.tsv");
    run.to_the_end("done");
    let before = files(&run.path("done"));
    let best = [
        "--load_best_model_at_end",
        "--metric_for_best_model",
        "nosuch",
        "--eval_strategy",
        "epoch",
        "--save_strategy",
        "epoch",
        "--validation_file",
        text(&train),
    ];
    let mut arguments = run.arguments("new");
    let at = arguments
        .iter()
        .position(|argument| argument == "--output_dir")
        .expect("a flag");
    arguments[at + 1] = text(&run.path("done")).into();
    let line = berth(arguments.iter().map(String::as_str).chain(best)).refused();
    assert!(
        line.contains("eval_nosuch") && line.contains("eval_accuracy"),
        "{line}"
    );
    assert_eq!(files(&run.path("done")), before);

    let arguments = run.arguments("none");
    let metrics = [
        "--validation_file",
        text(&train),
        "--metrics_file",
        "no/such/folder/m.json",
    ];
    let line = berth(arguments.iter().map(String::as_str).chain(metrics)).refused();
    assert!(line.contains("no/such/folder"), "{line}");
    assert!(!run.path("none").exists());

    // The file of weights that fit no labels is named.
    let weights = run.path("weights.json");
    fs::write(&weights, "[1, 2, 3, 4, 5, 6, 7]").expect("a file");
    let weighed = ["--class_weights", text(&weights)];
    let line = berth(arguments.iter().map(String::as_str).chain(weighed)).refused();
    assert!(
        line.contains("weights.json: class_weights: 7 weights"),
        "{line}"
    );

    // Longer than the model: as long as it can.
    let arguments = run.arguments("long");
    let metrics = run.path("long.json");
    let long = [
        "--max_seq_length",
        "1000",
        "--validation_file",
        text(&train),
        "--metrics_file",
        text(&metrics),
    ];
    let done = berth(arguments.iter().map(String::as_str).chain(long));
    assert!(
        done.stderr
            .contains("warning: --max_seq_length 1000 is more"),
        "{done:?}"
    );
    done.ok();
    assert!(metrics.is_file() && run.path("long/model.berth").is_file());
    berth([
        "evaluate",
        text(&run.path("long")),
        "--validation_file",
        text(&train),
    ])
    .ok();
}

#[test]
fn a_bundle_of_an_earlier_run_does_not_outlive_its_weights() {
    let dir = fixture::folder();
    let run = TinyRun::new(dir.path());
    let (train, metrics) = (run.path("train.tsv"), run.path("metrics.json"));
    let measured = |more: &[&str]| -> Run {
        let mut arguments = run.arguments("out");
        arguments.retain(|argument| argument != "--resume_from_checkpoint" && argument != "true");
        let flags = [
            "--validation_file",
            text(&train),
            "--metrics_file",
            text(&metrics),
            "--overwrite_output_dir",
        ];
        let flags = flags.iter().chain(more).map(|flag| (*flag).to_owned());
        berth(arguments.into_iter().chain(flags))
    };
    measured(&[]).ok();
    let bundle = run.path("out").join("model.berth");
    assert!(bundle.is_file() && run.path("out").join("eval_results.json").is_file());
    let missed = measured(&["--max_drop=-30"]);
    assert_eq!(missed.code, Some(1), "{missed:?}");
    assert!(missed.stderr.contains("agreement"), "{missed:?}");
    assert!(!bundle.exists());

    // Nor do measurements.
    let arguments = run
        .arguments("out")
        .into_iter()
        .filter(|argument| argument != "--resume_from_checkpoint");
    let arguments: Vec<String> = arguments.filter(|argument| argument != "true").collect();
    berth(
        arguments
            .iter()
            .map(String::as_str)
            .chain(["--overwrite_output_dir"]),
    )
    .ok();
    assert!(!run.path("out").join("eval_results.json").exists());
}

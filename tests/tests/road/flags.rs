//! Flags that later commands take: they do what they say, or are refused with exit code 2.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::fixture::{self, Trained};
use crate::predictions::predict;
use crate::program::{Run, berth, edge};

/// The file that the model is measured on, under other names for its labels.
const NAMES: [(&str, &str); 2] = [("negative", "awful"), ("positive", "great")];

/// Types the words of `line`, in which `{}` stands for each of `paths` by turns.
fn typed(line: &str, paths: &[&Path]) -> Run {
    let mut paths = paths.iter();
    let words = line.split_whitespace().map(|word| match word {
        "{}" => paths.next().expect("a path").display().to_string(),
        word => word.to_owned(),
    });
    berth(words.collect::<Vec<_>>())
}

fn json_of(run: Run) -> Value {
    serde_json::from_str(&run.ok()).expect("a line of JSON")
}

/// The message of a usage error.
fn misused(run: &Run) -> &str {
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run:?}");
    assert_eq!(run.stderr.trim_end().lines().count(), 1, "{run:?}");
    &run.stderr
}

fn renamed(dev: &Path, to: &Path) -> PathBuf {
    let mut text = fs::read_to_string(dev).expect("the dev file");
    for (old, new) in NAMES {
        text = text.replace(old, new);
    }
    fs::write(to, text).expect("a file");
    to.to_owned()
}

/// The model as another program would leave it: nothing tells its task, and its labels have numbers.
fn made_elsewhere(to: &Path) -> PathBuf {
    Trained::get().copy(to);
    fs::remove_file(to.join("training_args.json")).expect("the file");
    change(&to.join("config.json"), |config| {
        config["id2label"] = json!({"0": "LABEL_0", "1": "LABEL_1"});
        config["label2id"] = json!({"LABEL_0": 0, "LABEL_1": 1});
    });
    to.to_owned()
}

fn change(file: &Path, change: impl FnOnce(&mut Value)) {
    let text = fs::read(file).expect("the file");
    let mut value = serde_json::from_slice(&text).expect("JSON");
    change(&mut value);
    fs::write(file, value.to_string()).expect("the file");
}

#[test]
fn labels_get_the_names_that_are_asked_for() {
    let dir = fixture::folder();
    let trained = Trained::get();
    let file = renamed(&trained.dev, &dir.path().join("renamed.tsv"));
    let foreign = made_elsewhere(&dir.path().join("elsewhere"));
    let bundle = dir.path().join("renamed.berth");
    let right = |model: &Path, file: &Path, more: &str| {
        let line = format!("evaluate {{}} --validation_file {{}} --json {more}");
        json_of(typed(&line, &[model, file]))["eval_accuracy"].clone()
    };
    const ASKED: &str = "--label_names awful,great";
    for (model, task) in [
        (&trained.checkpoint, ""),
        (&trained.bundle, ""),
        (&foreign, "--task text-classification"),
    ] {
        let line = format!("evaluate {{}} --validation_file {{}} {task}");
        let unknown = typed(&line, &[model, &file]).refused();
        assert!(unknown.contains("unknown label"), "{unknown}");
        let asked = format!("{ASKED} {task}");
        let expected = right(
            model,
            &trained.dev,
            &format!("--label_names negative,positive {task}"),
        );
        assert_eq!(right(model, &file, &asked), expected);

        let out = dir.path().join("out");
        let line = format!("predict {{}} --test_file {{}} --output_dir {{}} --json {asked}");
        let counts = &json_of(typed(&line, &[model, &file, &out]))["predict_labels"];
        assert!(
            counts["awful"].is_u64() && counts["great"].is_u64(),
            "{counts}"
        );

        if model != &trained.bundle {
            let line = format!("quantize {{}} --output {{}} --validation_file {{}} --json {asked}");
            let report = json_of(typed(&line, &[model, &bundle, &file]));
            assert_eq!(report["f32"]["eval_accuracy"], expected);
            let answer = edge([&bundle], "a good film\n").ok();
            assert!(
                answer.contains("awful") && answer.contains("great"),
                "{answer}"
            );
            assert_eq!(right(&bundle, &file, ""), report["int8"]["eval_accuracy"]);
        }
    }
    // What the labels were called before is known still.
    let line = format!("quantize {{}} --output {{}} {ASKED}");
    typed(&line, &[&trained.checkpoint, &bundle]).ok();
    assert_eq!(
        right(&bundle, &trained.dev, ""),
        right(&trained.bundle, &trained.dev, "")
    );
}

#[test]
fn labels_keep_their_outputs_whatever_the_order_of_their_names() {
    const ASKED: &str = "--label_names positive,negative";
    let dir = fixture::folder();
    let trained = Trained::get();
    let right = |model: &Path, more: &str| {
        let line = format!("evaluate {{}} --validation_file {{}} --json {more}");
        json_of(typed(&line, &[model, &trained.dev]))["eval_accuracy"].clone()
    };
    let said = |model: &Path, more: &str| {
        let out = dir.path().join("out");
        let line = format!("predict {{}} --test_file {{}} --output_dir {{}} {more}");
        typed(&line, &[model, &trained.dev, &out]).ok();
        fs::read_to_string(out.join("predict_results.txt")).expect("predictions")
    };
    for model in [&trained.checkpoint, &trained.bundle] {
        assert_eq!(right(model, ASKED), right(model, ""));
        assert_eq!(said(model, ASKED), said(model, ""));
    }
    let bundle = dir.path().join("out.berth");
    let [plain, named] = ["", ASKED].map(|asked| {
        let line = format!("quantize {{}} --output {{}} --validation_file {{}} --json {asked}");
        let report = json_of(typed(&line, &[&trained.checkpoint, &bundle, &trained.dev]));
        let figures = ["f32", "int8"].map(|kind| report[kind]["eval_accuracy"].clone());
        (figures, said(&bundle, ""))
    });
    assert_eq!(plain, named);
}

#[test]
fn names_that_no_labels_can_have_are_refused() {
    let dir = fixture::folder();
    let trained = Trained::get();
    let bundle = dir.path().join("out.berth");
    let out = dir.path().join("out");
    for (names, said) in [
        ("a,b,c", "gives 3 names, and the labels of"),
        ("a", "gives 1 names, and the labels of"),
        ("a,a", "gives \"a\" twice"),
        ("a,", "an empty name"),
        ("positive,a", "\"positive\", which is another label's name"),
        (
            "a,b --task text-pair-regression",
            "text-pair-regression has none",
        ),
        (
            "a,b --task question-answering",
            "question-answering has none",
        ),
    ] {
        let asked = format!("--label_names {names}");
        for run in [
            typed(
                &format!("quantize {{}} --output {{}} {asked}"),
                &[&trained.checkpoint, &bundle],
            ),
            typed(
                &format!("evaluate {{}} --validation_file {{}} {asked}"),
                &[&trained.bundle, &trained.dev],
            ),
            typed(
                &format!("predict {{}} --test_file {{}} --output_dir {{}} {asked}"),
                &[&trained.checkpoint, &trained.dev, &out],
            ),
        ] {
            let told = misused(&run);
            // Whichever is seen first: the count or the task.
            assert!(told.contains(said) || names.contains("--task"), "{told}");
        }
    }
    assert!(!bundle.exists() && !out.exists());
}

#[test]
fn labels_that_are_not_there_or_there_twice_are_told() {
    let dir = fixture::folder();
    let trained = Trained::get();
    let base = dir.path().join("base");
    fixture::base_model(&base);
    let line = "evaluate {} --validation_file {} --task text-classification";
    let told = typed(line, &[&base, &trained.dev]).refused();
    assert!(told.contains("fine-tune it first"), "{told}");

    let twice = dir.path().join("twice");
    Trained::get().copy(&twice);
    change(&twice.join("config.json"), |config| {
        config["id2label"] = json!({"0": "same", "1": "same"});
    });
    let bundle = dir.path().join("out.berth");
    for told in [
        typed("evaluate {} --validation_file {}", &[&twice, &trained.dev]).refused(),
        typed("quantize {} --output {}", &[&twice, &bundle]).refused(),
    ] {
        assert!(told.contains("twice"), "{told}");
    }
    let line = "evaluate {} --validation_file {} --label_names negative,positive";
    typed(line, &[&twice, &trained.dev]).ok();
}

/// What a model learned from a data set's own files does not bind it to their layout.
#[test]
fn a_model_of_a_task_name_reads_other_files_too() {
    let dir = fixture::folder();
    let model = dir.path().join("model");
    Trained::get().copy(&model);
    let bundle = dir.path().join("model.berth");
    for name in ["mr", "cola"] {
        change(&model.join("training_args.json"), |args| {
            args["task_name"] = json!(name)
        });
        typed("quantize {} --output {}", &[&model, &bundle]).ok();
        let file = |name: &str, content: &str| {
            let path = dir.path().join(name);
            fs::write(&path, content).expect("a file");
            path
        };
        let csv = file(
            "dev.csv",
            "text,label\n\"good, so good\",positive\nbad,negative\n",
        );
        let other = file("dev.txt", "text,label\ngood,positive\n");
        for model in [&model, &bundle] {
            let measured = json_of(typed(
                "evaluate {} --validation_file {} --json",
                &[model, &csv],
            ));
            assert_eq!(measured["eval_samples"], 2);
            let report = predict(model, &csv, &dir.path().join("out"));
            assert_eq!(report["predict_samples"], 2);
            let told = typed("evaluate {} --validation_file {}", &[model, &other]).refused();
            assert!(told.contains("--format tsv|csv|jsonl|json"), "{told}");
            let line = "evaluate {} --validation_file {} --format csv";
            typed(line, &[model, &other]).ok();
        }
    }
}

/// A wrong setting in a file is no wrong usage; the same one typed is, and one that is right goes before the file's.
#[test]
fn a_wrong_setting_that_a_model_remembers_is_told_with_its_file() {
    let dir = fixture::folder();
    let trained = Trained::get();
    let copy = |name: &str, setting: &str, value: Value| {
        let model = dir.path().join(name);
        trained.copy(&model);
        let file = model.join("training_args.json");
        change(&file, |args| args[setting] = value);
        (model, file)
    };
    let text = dir.path().join("dev.txt");
    fs::copy(&trained.dev, &text).expect("a copy");
    let (named, named_file) = copy("named", "task_name", json!("im\ndb"));
    let (formatted, formatted_file) = copy("formatted", "format", json!("xlsx"));
    let (long, long_file) = copy("long", "max_seq_length", json!(100_000));
    let bundle = dir.path().join("out.berth");
    typed("quantize {} --output {}", &[&formatted, &bundle]).ok();
    let line = "evaluate {} --validation_file {}";
    for (model, file, said, wrong, right) in [
        (
            &named,
            &named_file,
            "task_name im\u{fffd}db: not a task name; the names are cola, ",
            "--task_name imdb",
            "--task text-classification --format tsv",
        ),
        (
            &formatted,
            &formatted_file,
            "format xlsx: not a format; the formats are tsv, ",
            "--format xlsx",
            "--format tsv",
        ),
        (
            &bundle,
            &bundle,
            "format xlsx: not a format; the formats are tsv, ",
            "--format xlsx",
            "--format tsv",
        ),
        (
            &long,
            &long_file,
            "max_seq_length 100000 is more than the model's ",
            "--format tsv --max_seq_length 99999",
            "--format tsv --max_seq_length 32",
        ),
    ] {
        let file = file.display();
        let paths: [&Path; 2] = [model, &text];
        // Lengths matter once the file is read.
        let more = if model == &long { "--format tsv" } else { "" };
        let told = typed(&format!("{line} {more}"), &paths).refused();
        let begins = format!("error: {file}: {said}");
        assert!(told.starts_with(&begins), "{told}");
        let usage = typed(&format!("{line} {wrong}"), &paths);
        assert_eq!(usage.code, Some(2), "{usage:?}");
        let flag = wrong.rsplit("--").next().expect("a flag");
        let (flag, value) = flag.split_once(' ').expect("its value");
        assert!(
            usage.stderr.contains(flag) && usage.stderr.contains(value),
            "{usage:?}"
        );
        typed(&format!("{line} {right}"), &paths).ok();
    }
    let out = dir.path().join("out");
    let line = "predict {} --test_file {} --output_dir {}";
    typed(line, &[&long, &trained.dev, &out]).refused();
    typed("quantize {} --output {}", &[&long, &bundle]).refused();
    assert!(!out.exists());
}

#[test]
fn a_foreign_checkpoint_and_a_pair_too_many_are_wrong_usage() {
    let dir = fixture::folder();
    let trained = Trained::get();
    let foreign = made_elsewhere(&dir.path().join("elsewhere"));
    let bundle = dir.path().join("out.berth");
    for run in [
        typed("quantize {} --output {}", &[&foreign, &bundle]),
        typed(
            "evaluate {} --validation_file {}",
            &[&foreign, &trained.dev],
        ),
    ] {
        let told = misused(&run);
        assert!(told.contains("--task"), "{told}");
    }
    for more in ["", "--json"] {
        let run = typed(&format!("ask {{}} good bad {more}"), &[&trained.bundle]);
        misused(&run);
    }
}

#[test]
fn booleans_have_any_capitals_and_are_nothing_else() {
    let dir = fixture::folder();
    let trained = Trained::get();
    let measured = |json: &str| {
        let line = format!("evaluate {{}} --validation_file {{}} {json}");
        json_of(typed(&line, &[&trained.bundle, &trained.dev]))["eval_accuracy"].clone()
    };
    let plain = measured("--json");
    assert!(plain.is_number(), "{plain}");
    for json in ["--json True", "--json TRUE", "--json=True"] {
        assert_eq!(measured(json), plain, "{json}");
    }
    let out = dir.path().join("out");
    let line = "finetune --task text-classification --train_file {} --output_dir {} --bf16 maybe";
    let run = typed(line, &[&trained.dev, &out]);
    let told = misused(&run);
    assert!(told.contains("--bf16 takes true or false"), "{told}");
    let run = typed("evaluate {} --json maybe --validation_file x", &[&out]);
    assert_eq!(run.code, Some(2), "{run:?}");
    let told = "--json takes true or false, not maybe";
    assert!(run.stderr.contains(told), "{run:?}");
    assert!(!out.exists());
}

#[test]
fn a_folder_that_was_fetched_is_told_in_json() {
    let dir = fixture::folder();
    let [base, copy] = ["base", "copy"].map(|name| dir.path().join(name));
    fixture::base_model(&base);
    let shown = |path: &Path| path.display().to_string();
    let printed = typed("fetch {}", &[&base]).ok();
    assert_eq!(printed.trim_end(), shown(&base));
    let told = json_of(typed("fetch {} --json", &[&base]));
    assert_eq!(told["name"], shown(&base));
    assert_eq!(told["path"], shown(&base));
    let config = fs::metadata(base.join("config.json")).expect("a file");
    assert_eq!(told["files"]["config.json"], config.len());
    let copied = json_of(typed("fetch {} --output_dir {} --json", &[&base, &copy]));
    assert_eq!(copied["name"], shown(&base));
    assert_eq!(copied["path"], shown(&copy));
    assert_eq!(copied["files"], told["files"]);
    let names = told["files"].as_object().expect("files").keys();
    assert!(names.clone().count() > 2 && names.clone().all(|name| copy.join(name).is_file()));
}

#[test]
fn a_bench_times_the_lengths_that_fit() {
    let bundle = &Trained::get().bundle;
    let report = json_of(typed("bench {} --json", &[bundle]));
    let lengths = report["lengths"].as_object().expect("lengths");
    let positions = json_of(typed("inspect {} --json", &[bundle]))["max_position_embeddings"]
        .as_u64()
        .expect("a number");
    assert!(positions < 384, "the tiny model has become a large one");
    let expected = [16, 32, 64, 128, 256, 384].into_iter();
    let expected = expected.filter(|&length| length <= positions);
    let told = lengths
        .keys()
        .map(|length| length.parse().expect("a number"));
    assert_eq!(told.collect::<Vec<u64>>(), expected.collect::<Vec<_>>());

    let report = json_of(typed("bench {} --json --lengths 16,8,16", &[bundle]));
    let lengths = report["lengths"].as_object().expect("lengths");
    assert_eq!(lengths.keys().collect::<Vec<_>>(), ["16", "8"]);
    let run = typed("bench {} --lengths 16,999", &[bundle]);
    let told = misused(&run);
    assert!(told.contains("--lengths") && told.contains("999"), "{told}");
    assert!(told.contains(&positions.to_string()), "{told}");
    misused(&typed("bench {} --threads 99", &[bundle]));
}

#[test]
fn a_bench_takes_the_flags_of_what_it_measures() {
    let bundle = &Trained::get().bundle;
    for flag in [
        "--model_name_or_path nowhere",
        "--shapes 1x16",
        "--steps 1",
        "--device cuda:0",
        "--bf16",
    ] {
        let run = typed(&format!("bench {{}} {flag}"), &[bundle]);
        let told = misused(&run);
        let name = flag.split(' ').next().expect("a name");
        let said = format!("{name} goes with --train");
        assert!(told.contains(&said), "{told}");
    }
    let run = typed("bench --train --lengths 16", &[]);
    let told = misused(&run);
    assert!(told.contains("--lengths goes with a bundle"), "{told}");
}

#[test]
fn a_limit_of_tokenize_may_be_any_number_that_has_a_place_for_the_added_pieces() {
    let bundle = &Trained::get().bundle;
    let tokenize = |more: &str| typed(&format!("tokenize {{}} good film --json {more}"), &[bundle]);
    let whole = tokenize("").ok();
    assert_eq!(tokenize("--max_seq_length 4000000000").ok(), whole);
    let cut = json_of(tokenize("--max_seq_length 4"));
    assert_eq!(cut["ids"].as_array().map(Vec::len), Some(4), "{cut}");
    let run = tokenize("--max_seq_length 2");
    let told = misused(&run);
    assert!(told.contains("--max_seq_length: a limit below 3"), "{told}");
}

/// Where a file's rows are cut whatever is said, it is not to be said.
#[test]
fn windows_are_refused_where_words_are_tagged() {
    let dir = fixture::folder();
    let trained = Trained::get();
    let out = dir.path().join("out");
    const ASKED: &str = "--task token-classification --long_texts windows";
    for run in [
        typed(
            &format!("evaluate {{}} --validation_file {{}} {ASKED}"),
            &[&trained.bundle, &trained.dev],
        ),
        typed(
            &format!("predict {{}} --test_file {{}} --output_dir {{}} {ASKED}"),
            &[&trained.bundle, &trained.dev, &out],
        ),
    ] {
        let told = misused(&run);
        assert!(
            told.contains("--long_texts windows") && told.contains("--max_seq_length"),
            "{told}"
        );
    }
    assert!(!out.exists());
}

#[test]
fn a_shape_that_is_too_long_for_the_model_is_one_line() {
    let dir = fixture::folder();
    let base = fixture::base_model(dir.path());
    let line = "bench --train --model_name_or_path {} --shapes 2x16,2x1000 --steps 1";
    let run = typed(line, &[dir.path()]);
    let told = misused(&run);
    let positions = base.config.max_position_embeddings;
    assert!(told.contains(&format!("{positions} positions")), "{told}");
    assert!(told.contains("2x1000"), "{told}");
}

#[test]
fn a_flag_that_changes_nothing_is_told() {
    let trained = Trained::get();
    let told = |run: Run, flag: &str| {
        assert_eq!(run.code, Some(0), "{run:?}");
        let warned = run.stderr.lines().any(|line| line.contains("warning"));
        assert_eq!(
            run.stderr.contains(flag) && warned,
            !flag.is_empty(),
            "{run:?}"
        );
        run.stdout
    };
    let evaluate = |more: &str, flag: &str| {
        let line = format!("evaluate {{}} --validation_file {{}} --json {more}");
        told(typed(&line, &[&trained.bundle, &trained.dev]), flag);
    };
    evaluate("", "");
    evaluate("--doc_stride 8", "--doc_stride");
    evaluate("--version_2_with_negative", "--version_2_with_negative");

    let flag = "--aggregation_strategy";
    let ask = |more: &str, flag: &str| {
        let line = format!("ask {{}} good --json {more}");
        told(typed(&line, &[&trained.bundle]), flag)
    };
    let plain = ask("", "");
    ask("--top_k 1", "");
    assert_eq!(ask("--aggregation_strategy first", flag), plain);
    let bundle = trained.bundle.display().to_string();
    let answer = told(edge([&bundle, "good", flag, "first"], ""), flag);
    assert_eq!(answer, plain);
}

/// However many files a command reads, and however many runs it measures.
#[test]
fn a_flag_that_changes_nothing_is_told_once() {
    let dir = fixture::folder();
    let trained = Trained::get();
    let (model, dev) = (&trained.checkpoint, &trained.dev);
    let at = |name: &str| dir.path().join(name);
    let (bundle, said, out, metrics) = (at("out.berth"), at("said"), at("out"), at("metrics.json"));
    for (line, paths) in [
        ("data {} --task text-classification", &[dev][..]),
        ("evaluate {} --validation_file {}", &[model, dev]),
        (
            "predict {} --test_file {} --output_dir {}",
            &[model, dev, &said],
        ),
        (
            "quantize {} --validation_file {} --output {}",
            &[model, dev, &bundle],
        ),
        (
            "finetune --task text-classification --max_train_samples 16 --num_train_epochs 1 \
             --max_seq_length 32 --seeds 1,2 --model_name_or_path {} --train_file {} \
             --validation_file {} --output_dir {} --metrics_file {}",
            &[model, dev, dev, &out, &metrics],
        ),
    ] {
        let paths: Vec<&Path> = paths.iter().map(|path| path.as_path()).collect();
        let run = typed(&format!("{line} --doc_stride 8"), &paths);
        assert_eq!(run.code, Some(0), "{run:?}");
        let told = run.stderr.matches("--doc_stride changes nothing in");
        assert_eq!(told.count(), 1, "{run:?}");
    }
}

/// Also where another command measures than `evaluate`.
#[test]
fn what_was_cut_is_told_wherever_figures_are_made() {
    let dir = fixture::folder();
    let trained = Trained::get();
    let (model, dev) = (&trained.checkpoint, &trained.dev);
    let at = |name: &str| dir.path().join(name);
    let (bundle, out, metrics) = (at("out.berth"), at("out"), at("metrics.json"));
    for (line, paths) in [
        (
            "quantize {} --validation_file {} --output {} --max_seq_length 5 --json",
            &[model, dev, &bundle][..],
        ),
        (
            "finetune --task text-classification --max_train_samples 16 --num_train_epochs 1 \
             --max_seq_length 5 --model_name_or_path {} --train_file {} --validation_file {} \
             --output_dir {} --metrics_file {} --warmup_ratio 2",
            &[model, dev, dev, &out, &metrics],
        ),
    ] {
        let paths: Vec<&Path> = paths.iter().map(|path| path.as_path()).collect();
        let run = typed(line, &paths);
        assert_eq!(run.code, Some(0), "{run:?}");
        assert!(run.stderr.contains("texts were cut to 5 pieces"), "{run:?}");
        let counted = run.stderr.contains("--warmup_ratio 2 is a count of steps");
        assert_eq!(counted, line.contains("warmup"), "{run:?}");
    }
}

/// Before the file is read, which here is not there.
#[test]
fn a_least_score_is_refused_at_once_where_rows_have_any_number_of_labels() {
    let dir = fixture::folder();
    let model = dir.path().join("model");
    Trained::get().copy(&model);
    change(&model.join("config.json"), |config| {
        config["problem_type"] = json!("multi_label_classification");
    });
    let [file, out] = ["none.tsv", "out"].map(|name| dir.path().join(name));
    let line = "predict {} --test_file {} --output_dir {} --min_score 0.5";
    let run = typed(line, &[&model, &file, &out]);
    let told = misused(&run);
    assert!(told.contains("--min_score is for one label"), "{told}");
    assert!(!out.exists());
}

/// A label that would be several where one stands on a line.
#[test]
fn labels_that_part_the_lines_of_predictions_are_refused() {
    let dir = fixture::folder();
    let trained = Trained::get();
    let model = dir.path().join("model");
    Trained::get().copy(&model);
    change(&model.join("config.json"), |config| {
        config["id2label"] = json!({"0": "so\nso", "1": "positive"});
        config["label2id"] = json!({"so\nso": 0, "positive": 1});
    });
    let out = dir.path().join("out");
    let line = "predict {} --test_file {} --output_dir {}";
    let told = typed(line, &[&model, &trained.dev, &out]).refused();
    assert!(
        told.contains("\"so\\nso\"") && told.contains("--label_names"),
        "{told}"
    );
    assert!(!out.exists());
    let named = format!("{line} --label_names negative,positive");
    typed(&named, &[&model, &trained.dev, &out]).ok();
}

//! Questions on passages: from files in SQuAD's form to the same answers on workstation and device.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fixture::{self, Dice};
use crate::predictions::predict;
use crate::program::{Run, berth, edge};

const THINGS: [&str; 4] = ["film", "plot", "story", "scene"];
const KINDS: [&str; 6] = ["good", "warm", "funny", "dull", "stale", "cold"];

/// Questions of the form "film is", each on sentences that tell it of some things. One in four has no answer.
fn questions(count: usize, seed: u64) -> Vec<Value> {
    let mut dice = Dice(seed);
    (0..count)
        .map(|number| {
            let asked = dice.below(THINGS.len());
            let unanswerable = dice.below(4) == 0;
            let mut passage = String::new();
            let mut answers = Vec::new();
            for _ in 0..1 + dice.below(9) {
                let thing = dice.below(THINGS.len());
                let kind = KINDS[dice.below(KINDS.len())];
                if unanswerable && thing == asked {
                    continue;
                }
                let start = passage.chars().count() + "é the ".len() - 1 + THINGS[thing].len() + " is ".len();
                passage += &format!("é the {} is {kind}, ", THINGS[thing]);
                if thing == asked && answers.is_empty() {
                    answers.push(json!({"text": kind, "answer_start": start}));
                }
            }
            let question = format!("{} is", THINGS[asked]);
            json!({"context": passage, "qas": [{"id": format!("q{number}"), "question": question, "answers": answers}]})
        })
        .collect()
}

fn write(dir: &Path, name: &str, paragraphs: &[Value]) -> PathBuf {
    let path = dir.join(name);
    let content = json!({"version": "2", "data": [{"title": "t", "paragraphs": paragraphs}]});
    fs::write(&path, serde_json::to_string_pretty(&content).unwrap()).unwrap();
    path
}

fn finetune(base: &Path, train: &Path, dev: &Path, out: &Path, more: &[&str]) -> Run {
    let paths = [
        ("--model_name_or_path", base),
        ("--train_file", train),
        ("--validation_file", dev),
        ("--output_dir", out),
    ];
    let paths = paths
        .iter()
        .flat_map(|(flag, path)| [flag.to_string(), path.display().to_string()]);
    let fixed = "finetune --task question-answering --max_seq_length 40 --doc_stride 12 \
                 --learning_rate 3e-3 --per_device_train_batch_size 16 --threads 1";
    let fixed = fixed.split_whitespace().map(str::to_owned);
    berth(
        fixed
            .chain(paths)
            .chain(more.iter().map(|word| word.to_string())),
    )
}

fn read(path: PathBuf) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A model that may find no answer, trained on few questions, and the files that it was trained with.
struct Walk {
    dir: TempDir,
    model: PathBuf,
    bundle: PathBuf,
    dev: PathBuf,
    paragraphs: Vec<Value>,
}

fn walk() -> Walk {
    let dir = fixture::folder();
    fixture::base_model(&dir.path().join("base"));
    let train = write(dir.path(), "train.json", &questions(300, 1));
    let paragraphs = questions(60, 2);
    let dev = write(dir.path(), "dev.json", &paragraphs);
    let (model, bundle) = (dir.path().join("model"), dir.path().join("questions.berth"));
    let negative = ["--version_2_with_negative", "--num_train_epochs", "3"];
    finetune(&dir.path().join("base"), &train, &dev, &model, &negative).ok();
    let quantize = [
        "quantize".as_ref(),
        model.as_os_str(),
        "--output".as_ref(),
        bundle.as_os_str(),
        "--validation_file".as_ref(),
        dev.as_os_str(),
        "--json".as_ref(),
    ];
    let report: Value = serde_json::from_str(&berth(quantize).ok()).unwrap();
    assert!(report["agreement"].as_f64().unwrap() > 0.8, "{report}");
    Walk {
        dir,
        model,
        bundle,
        dev,
        paragraphs,
    }
}

/// The metrics of a model and its answers by id.
fn evaluate(walk: &Walk, model: &Path, name: &str) -> (Value, Value) {
    let out = walk.dir.path().join(name);
    let arguments = [
        "evaluate".as_ref(),
        model.as_os_str(),
        "--validation_file".as_ref(),
        walk.dev.as_os_str(),
        "--output_dir".as_ref(),
        out.as_os_str(),
        "--json".as_ref(),
    ];
    let report = serde_json::from_str(&berth(arguments).ok()).unwrap();
    (report, read(out.join("eval_predictions.json")))
}

#[test]
fn the_device_gives_the_answers_that_were_measured() {
    let walk = walk();
    // Windows of fifteen pieces would share all that they have with the one before.
    let short = walk.dir.path().join("short.berth");
    let quantize = [
        "quantize".as_ref(),
        walk.model.as_os_str(),
        "--output".as_ref(),
        short.as_os_str(),
    ];
    let length = ["--max_seq_length", "15"].map(OsStr::new);
    let refused = berth(quantize.into_iter().chain(length));
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("--doc_stride 12") && !short.exists());

    let results = read(walk.model.join("all_results.json"));
    let args = read(walk.model.join("training_args.json"));
    assert_eq!(
        args["null_score_diff_threshold"],
        results["eval_best_f1_thresh"]
    );
    assert_eq!(
        (&args["doc_stride"], &args["max_seq_length"]),
        (&json!(12), &json!(40))
    );
    // The threshold's search adds the questions up in another order.
    let [f1, best] = ["eval_f1", "eval_best_f1"].map(|name| results[name].as_f64().unwrap());
    assert!((f1 - best).abs() < 1e-12 * best, "{f1} {best}");
    assert!(f1 > 20.0, "{results}");
    let config = read(walk.model.join("config.json"));
    assert_eq!(config["architectures"], json!(["BertForQuestionAnswering"]));

    // The same figures from the files alone, without a flag.
    let (f32, answers) = evaluate(&walk, &walk.model, "f32");
    for name in [
        "eval_exact_match",
        "eval_f1",
        "eval_loss",
        "eval_NoAns_f1",
        "eval_samples",
    ] {
        let near = |a: &Value, b: &Value| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-4;
        assert!(near(&f32[name], &results[name]), "{name}: {f32} {results}");
    }
    assert_eq!(answers, read(walk.model.join("eval_predictions.json")));
    the_same_is_predicted_without_answers(&walk, &answers);

    // Question by question, as a device is asked, and as `berth ask` asks.
    let (_, measured) = evaluate(&walk, &walk.bundle, "int8");
    let lines: String = walk
        .paragraphs
        .iter()
        .map(|paragraph| {
            let question = &paragraph["qas"][0]["question"];
            json!({"question": question, "context": paragraph["context"]}).to_string() + "\n"
        })
        .collect();
    let out = edge([&walk.bundle], &lines).ok();
    let mut none = 0;
    for (line, paragraph) in out.lines().zip(&walk.paragraphs) {
        let answer: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            answer["answer"],
            measured[paragraph["qas"][0]["id"].as_str().unwrap()]
        );
        none += usize::from(answer["answer"] == "");
        let passage: Vec<char> = paragraph["context"].as_str().unwrap().chars().collect();
        let place = |name: &str| answer[name].as_u64().unwrap() as usize;
        let part: String = passage[place("start")..place("end")].iter().collect();
        assert_eq!(answer["answer"], part);
    }
    assert_eq!(out.lines().count(), walk.paragraphs.len());
    assert!((1..walk.paragraphs.len()).contains(&none), "{none}");
    let first = &walk.paragraphs[0];
    let bundle = walk.bundle.display().to_string();
    let [question, passage] =
        [&first["qas"][0]["question"], &first["context"]].map(|text| text.as_str().unwrap());
    let asked = berth(["ask", &bundle, question, passage, "--json"]).ok();
    assert_eq!(asked.lines().next(), out.lines().next());
    let shown = berth(["ask", &bundle, question, passage, "--top_k", "3"]).ok();
    assert_eq!(shown.lines().count(), 3);
    a_bundle_has_the_threshold_that_it_was_measured_with(&walk);
}

/// A checkpoint that remembers none, as one made elsewhere, has it fitted to the file; the bundle then says what was
/// told of it.
fn a_bundle_has_the_threshold_that_it_was_measured_with(walk: &Walk) {
    let (model, bundle) = (&walk.model, walk.dir.path().join("elsewhere.berth"));
    fs::remove_file(model.join("training_args.json")).unwrap();
    let fixed = "quantize --task question-answering --version_2_with_negative --max_seq_length 40 --doc_stride 12 --json";
    let paths = [
        model.as_os_str(),
        "--output".as_ref(),
        bundle.as_os_str(),
        "--validation_file".as_ref(),
        walk.dev.as_os_str(),
    ];
    let fixed = fixed.split_whitespace().map(OsStr::new);
    let report: Value = serde_json::from_str(&berth(fixed.chain(paths)).ok()).unwrap();
    let threshold = &report["f32"]["eval_best_f1_thresh"];
    assert_ne!(*threshold, 0.0);
    let inspected = berth(["inspect".as_ref(), bundle.as_os_str(), "--json".as_ref()]).ok();
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["spans"]["null_score_diff_threshold"], *threshold);
    let (measured, _) = evaluate(walk, &bundle, "elsewhere");
    for name in ["eval_exact_match", "eval_f1", "eval_NoAns_f1"] {
        assert_eq!(measured[name], report["int8"][name], "{name}: {report}");
    }
}

fn the_same_is_predicted_without_answers(walk: &Walk, answers: &Value) {
    let mut paragraphs = walk.paragraphs.clone();
    for paragraph in &mut paragraphs {
        let question = paragraph["qas"][0].as_object_mut().unwrap();
        question.remove("answers");
    }
    let test = write(walk.dir.path(), "test.json", &paragraphs);
    let out = walk.dir.path().join("predicted");
    let report = predict(&walk.model, &test, &out);
    assert_eq!(&read(out.join("predict_predictions.json")), answers);
    let measured = walk.dir.path().join("f32");
    for name in ["nbest_predictions.json", "null_odds.json"] {
        let [predicted, measured] = [(&out, "predict"), (&measured, "eval")]
            .map(|(folder, stage)| read(folder.join(format!("{stage}_{name}"))));
        assert_eq!(predicted, measured, "{name}");
    }
    let none = answers.as_object().unwrap().values();
    let none = none.filter(|answer| **answer == "").count();
    assert_eq!(report["predict_answers"]["none"], none);
    assert_eq!(report["predict_samples"], paragraphs.len());
}

#[test]
fn a_file_that_does_not_fit_is_named_with_the_way_out() {
    let dir = fixture::folder();
    let base = dir.path().join("base");
    fixture::base_model(&base);
    let paragraphs = questions(40, 3);
    let whole = write(dir.path(), "whole.json", &paragraphs);
    let refused = finetune(&base, &whole, &whole, &dir.path().join("a"), &[]).refused();
    assert!(
        refused.contains("whole.json:") && refused.contains("--version_2_with_negative"),
        "{refused}"
    );

    let answerable: Vec<Value> = paragraphs
        .into_iter()
        .filter(|row| row["qas"][0]["answers"] != json!([]))
        .collect();
    let mut moved = answerable.clone();
    moved[0]["qas"][0]["answers"][0]["answer_start"] = json!(1);
    let [moved, answerable] = [("moved.json", &moved), ("good.json", &answerable)]
        .map(|(name, rows)| write(dir.path(), name, rows));
    let few = ["--max_steps", "1"];
    let run = finetune(&base, &moved, &moved, &dir.path().join("b"), &few);
    assert!(
        run.stderr.contains("moved.json: 1 questions left out")
            && run.stderr.contains("eval_loss leaves them out"),
        "{run:?}"
    );
    run.ok();
    // Of this file the loss is not known, so that it can't tell which checkpoint is best.
    let first = read(moved.clone())["data"][0]["paragraphs"][0].clone();
    let lost = write(dir.path(), "lost.json", &[first]);
    let best = ["--max_steps", "1", "--load_best_model_at_end"];
    let refused = finetune(&base, &answerable, &lost, &dir.path().join("d"), &best).refused();
    assert!(
        refused.contains("eval_loss, which no evaluation has") && refused.contains("eval_f1"),
        "{refused}"
    );
    let out = dir.path().join("e");
    let run = finetune(&base, &answerable, &lost, &out, &few);
    let told = "lost.json: 1 of 1 questions have answers that are not where answer_start says; there is no eval_loss";
    assert!(run.stderr.contains(told), "{run:?}");
    run.ok();
    let [out, lost] = [&out, &lost].map(|path| path.display().to_string());
    let run = berth(["evaluate", &out, "--validation_file", &lost, "--json"]);
    assert!(run.stderr.contains(told), "{run:?}");
    let measured: Value = serde_json::from_str(&run.ok()).unwrap();
    for results in [measured, read(Path::new(&out).join("all_results.json"))] {
        assert!(
            results.get("eval_loss").is_none() && results["eval_f1"].is_number(),
            "{results}"
        );
    }
    let stride = ["--doc_stride", "37"];
    let usage = finetune(
        &base,
        &answerable,
        &answerable,
        &dir.path().join("c"),
        &stride,
    );
    assert_eq!(usage.code, Some(2), "{usage:?}");
    assert!(usage.stderr.contains("--doc_stride 37"), "{usage:?}");
    assert!(!dir.path().join("c").exists());
}

#[test]
fn a_threshold_alone_says_that_questions_may_have_no_answer() {
    let dir = fixture::folder();
    let base = dir.path().join("base");
    fixture::base_model(&base);
    let file = write(dir.path(), "whole.json", &questions(40, 3));
    let out = dir.path().join("out");
    let few = ["--null_score_diff_threshold", "1.5", "--max_steps", "1"];
    finetune(&base, &file, &file, &out, &few).ok();
    let args = read(out.join("training_args.json"));
    assert_eq!(
        (
            &args["version_2_with_negative"],
            &args["null_score_diff_threshold"]
        ),
        (&json!(true), &json!(1.5))
    );
    assert!(read(out.join("all_results.json"))["eval_NoAns_total"].is_number());
}

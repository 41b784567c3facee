//! ONNX out and in: the same bundle, the same logits, and files of other makers.
//!
//! The files in `golden/onnx` and the logits that ONNX Runtime computes with them are written by
//! `reference/onnx_makers.py`: small random models by torch's two exporters, and what ONNX Runtime's quantizers and
//! its optimizer make of them.

use std::fs;
use std::path::{Path, PathBuf};

use berth_bundle::{AlignedBytes, Bundle};
use berth_checkpoint::save::{Existing, Folder};
use berth_checkpoint::{Checkpoint, tiny};
use berth_data::Encoded;
use berth_quantize::onnx::{self, Form, Run, Tokens, export};
use berth_quantize::{Options, quantize};
use berth_runtime::Model;
use berth_task::Task;
use berth_trainer::Predictor;
use serde_json::Value;

use crate::fixture::{self, Dice, Trained};
use crate::program::berth;

/// The logits of rows, by tract.
fn run(file: &Path, rows: &[Encoded]) -> Vec<Vec<f32>> {
    let tokens: Vec<Tokens> = rows
        .iter()
        .map(|row| Tokens {
            ids: &row.ids,
            second: row.second,
        })
        .collect();
    let mut run = Run::open(file).expect("a graph that tract runs");
    let logits = run.logits(&tokens, 64, 2, &|| ()).expect("logits");
    let share: f64 = run.shares().iter().map(|share| share.share).sum();
    assert!((share - 1.0).abs() < 1e-6, "{share}");
    logits
}

fn furthest(one: &[Vec<f32>], other: &[Vec<f32>]) -> f32 {
    assert_eq!(one.len(), other.len());
    let rows = one.iter().zip(other);
    let differences = rows.flat_map(|(one, other)| {
        assert_eq!(one.len(), other.len());
        one.iter()
            .zip(other)
            .map(|(one, other)| (one - other).abs())
    });
    differences.fold(0.0, f32::max)
}

fn best(row: &[f32]) -> usize {
    let places = 0..row.len();
    places
        .max_by(|&one, &other| row[one].total_cmp(&row[other]))
        .expect("logits")
}

/// Lets the program export a checkpoint.
fn export_to(checkpoint: &Path, out: &Path) {
    berth([
        "export".as_ref(),
        checkpoint.as_os_str(),
        "--output_dir".as_ref(),
        out.as_os_str(),
    ])
    .ok();
}

#[test]
fn a_checkpoint_through_onnx_is_the_same_bundle() {
    let trained = Trained::get();
    let dir = fixture::folder();
    let (out, bundle) = (dir.path().join("out"), dir.path().join("through.berth"));
    export_to(&trained.checkpoint, &out);
    let file = out.join("model.onnx");
    berth([
        "quantize".as_ref(),
        file.as_os_str(),
        "--output".as_ref(),
        bundle.as_os_str(),
    ])
    .ok();
    let same =
        fs::read(&bundle).expect("the bundle") == fs::read(&trained.bundle).expect("the other");
    assert!(same, "the bundles differ");

    // A second export needs leave to replace the first.
    let again = [
        "export".as_ref(),
        trained.checkpoint.as_os_str(),
        "--output_dir".as_ref(),
        out.as_os_str(),
    ];
    let refused = berth(again).refused();
    assert!(refused.contains("--overwrite_output_dir"), "{refused}");
}

#[test]
fn exported_graphs_compute_what_checkpoint_and_bundle_compute() {
    let trained = Trained::get();
    let checkpoint = trained.open();
    let rows = fixture::encoded(&trained.dev, &checkpoint);
    let dir = fixture::folder();
    let write = |name: &str, form| {
        let path = dir.path().join(name);
        fs::write(&path, export(&checkpoint, None, form).expect("a graph")).expect("a file");
        path
    };
    let f32 = Predictor::load(&checkpoint, Task::TextClassification).expect("a model");
    let f32 = f32.logits(&rows, 32).expect("logits");
    let difference = furthest(&f32, &run(&write("model.onnx", Form::F32), &rows));
    assert!(difference < 1e-4, "{difference}");

    let model = Model::open(&trained.bundle).expect("the bundle");
    let mut session = model.session().expect("a session");
    let graph = run(&write("model_quantized.onnx", Form::Int8), &rows);
    let mut same = 0;
    for (row, logits) in rows.iter().zip(&graph) {
        let device = session.logits_of(&row.ids, row.second).expect("logits");
        same += usize::from(best(device) == best(logits));
    }
    assert!(
        same * 100 >= rows.len() * 99,
        "{same} of {} labels",
        rows.len()
    );
}

#[test]
fn evaluating_a_graph_gives_the_checkpoints_metrics_and_what_each_operator_cost() {
    let trained = Trained::get();
    let dir = fixture::folder();
    let out = dir.path().join("out");
    export_to(&trained.checkpoint, &out);
    let measure = |model: &Path| -> Value {
        let model = model.to_str().expect("UTF-8");
        let dev = trained.dev.to_str().expect("UTF-8");
        let said = berth(["evaluate", model, "--validation_file", dev, "--json"]).ok();
        serde_json::from_str(&said).expect("JSON")
    };
    let (graph, checkpoint) = (
        measure(&out.join("model.onnx")),
        measure(&trained.checkpoint),
    );
    assert_eq!(graph["eval_accuracy"], checkpoint["eval_accuracy"]);
    let operators = graph["operators"].as_object().expect("operators");
    assert!(operators.len() > 3, "{operators:?}");
    assert_eq!(checkpoint["operators"], Value::Null);
}

/// A folder with config.json and tokenizer for a file of `golden/onnx`.
fn folder_for(dir: &Path, class: &str, labels: usize) -> PathBuf {
    let base = dir.join("base");
    tiny::create(&base, 7, &[]).expect("a tiny model");
    let base = Checkpoint::open(&base).expect("the tiny model");
    let mut config = base.config.clone();
    config.architectures = vec![class.to_owned()];
    config.vocab_size = 192;
    config.max_position_embeddings = 64;
    config.id2label = (0..labels).map(|label| format!("LABEL_{label}")).collect();
    let mut folder = Folder::create(dir.join("folder")).expect("a folder");
    folder
        .json("config.json", &config.to_json())
        .expect("a file");
    folder
        .tokenizer(&base.tokenizer_files().expect("its files"), 64)
        .expect("files");
    folder.commit(Existing::Refuse).expect("the folder")
}

fn golden(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/onnx");
    root.join(name)
}

#[test]
fn files_of_other_makers_come_in() {
    let expected = fs::read_to_string(golden("expected.json")).expect("the logits");
    let expected: Value = serde_json::from_str(&expected).expect("JSON");
    for (name, task, kept, bound) in [
        ("older", Task::TextClassification, 0, 1e-4),
        ("newer", Task::TokenClassification, 0, 1e-4),
        ("dynamic", Task::TextClassification, 14, 0.2),
        ("qdq", Task::QuestionAnswering, 13, 1.0),
        ("fused", Task::TokenClassification, 0, 1e-4),
        ("fused-dynamic", Task::TextClassification, 14, 0.2),
    ] {
        let row = &expected[name];
        let numbers = |key: &str| row[key].as_array().expect("numbers").iter();
        let ids: Vec<u32> = numbers("ids")
            .map(|id| id.as_u64().expect("an id") as u32)
            .collect();
        let theirs: Vec<f32> = numbers("logits")
            .map(|n| n.as_f64().expect("a logit") as f32)
            .collect();
        let dir = fixture::folder();
        let labels = if task == Task::QuestionAnswering {
            2
        } else {
            3
        };
        let folder = folder_for(dir.path(), row["class"].as_str().expect("a class"), labels);
        let file = golden(&format!("{name}.onnx"));
        let checkpoint =
            onnx::open(&file, &folder).unwrap_or_else(|error| panic!("{name}: {error}"));

        let input = Encoded {
            second: row["second"].as_u64().expect("a place") as usize,
            ids,
            ..Encoded::default()
        };
        let rows = [input];
        let ours = Predictor::load(&checkpoint, task)
            .expect("a model")
            .logits(&rows, 1)
            .expect("logits");
        let difference = furthest(&ours, std::slice::from_ref(&theirs));
        assert!(difference < bound, "{name}: {difference} beside {theirs:?}");

        let steps = checkpoint
            .names()
            .filter(|name| checkpoint.steps(name).is_some())
            .count();
        assert_eq!(steps, kept, "{name}: matrices whose steps were kept");
        let options = Options {
            task: Some(task),
            ..Options::default()
        };
        let bundle =
            quantize(&checkpoint, &options).unwrap_or_else(|error| panic!("{name}: {error}"));
        let model = Model::from_bytes(&bundle.to_bytes().expect("bytes")).expect("a bundle");
        let mut session = model.session().expect("a session");
        let device = session
            .logits_of(&rows[0].ids, rows[0].second)
            .expect("logits");
        assert_eq!(device.len(), theirs.len(), "{name}");
    }
}

#[test]
fn a_quantized_export_comes_in_again_with_the_same_weights() {
    let trained = Trained::get();
    let dir = fixture::folder();
    let (out, bundle) = (dir.path().join("out"), dir.path().join("again.berth"));
    export_to(&trained.checkpoint, &out);
    berth([
        "quantize".as_ref(),
        out.join("model_quantized.onnx").as_os_str(),
        "--output".as_ref(),
        bundle.as_os_str(),
    ])
    .ok();
    let (one, other) = (
        fs::read(&trained.bundle).expect("the bundle"),
        fs::read(&bundle).expect("the other"),
    );
    let [one, other] = [&one, &other].map(|bytes| AlignedBytes::copy_of(bytes));
    let open = |bytes| Bundle::open(bytes).expect("a bundle");
    let (one, other) = (open(&one), open(&other));
    assert_eq!(one.header().sections.len(), other.header().sections.len());
    for (one, other) in one.header().sections.iter().zip(&other.header().sections) {
        assert_eq!(one, other);
    }
}

#[test]
fn what_is_no_bert_is_refused_with_the_nodes_that_no_rule_knows() {
    let trained = Trained::get();
    let checkpoint = trained.open();
    let mut bytes = export(&checkpoint, None, Form::F32).expect("a graph");
    // The same length, so that every length in the file stays right.
    let mut changed = 0;
    for at in 0..bytes.len() - 5 {
        if bytes[at..].starts_with(b"\x22\x03Erf") {
            bytes[at + 2..at + 5].copy_from_slice(b"Sin");
            changed += 1;
        }
    }
    assert_eq!(changed, checkpoint.config.num_hidden_layers);
    let dir = fixture::folder();
    let file = dir.path().join("sinus.onnx");
    fs::write(&file, &bytes).expect("a file");
    let bundle = dir.path().join("x.berth");
    let tried = berth([
        "quantize".as_ref(),
        file.as_os_str(),
        "--tokenizer_name".as_ref(),
        trained.checkpoint.as_os_str(),
        "--output".as_ref(),
        bundle.as_os_str(),
    ]);
    let refused = tried.refused();
    for part in ["sinus.onnx", "GELU", "(Sin, nearest rule", "berth evaluate"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    assert!(!bundle.exists());
}

#[test]
fn operators_of_onnx_runtime_without_a_rule_are_told() {
    let mut bytes = fs::read(golden("fused.onnx")).expect("a file");
    let mut changed = 0;
    for at in 0..bytes.len() - 11 {
        if bytes[at..].starts_with(b"\x22\x09Attention") {
            bytes[at + 2..at + 11].copy_from_slice(b"MultiHead");
            changed += 1;
        }
    }
    assert_eq!(changed, 2, "one in each layer");
    let refused = onnx::check(&bytes).expect_err("a BERT").to_string();
    for part in ["(MultiHead, nearest rule none)", "ONNX Runtime's optimizer"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    assert!(!refused.contains("berth evaluate"), "{refused}");
}

#[test]
fn damaged_files_are_errors_and_never_panics() {
    let trained = Trained::get();
    let checkpoint = trained.open();
    let seeds = [
        export(&checkpoint, None, Form::F32).expect("a graph"),
        fs::read(golden("dynamic.onnx")).expect("a file"),
        fs::read(golden("qdq.onnx")).expect("a file"),
        fs::read(golden("fused-dynamic.onnx")).expect("a file"),
    ];
    let mut dice = Dice(9);
    let mut refused = 0;
    for seed in &seeds {
        assert!(seed.len() < 1 << 20, "small enough to be tried often");
        for round in 0..400 {
            let mut bytes = seed.clone();
            for _ in 0..1 + dice.below(4) {
                let at = dice.below(bytes.len());
                match dice.below(5) {
                    0 => bytes.truncate(at.max(1)),
                    1 => bytes[at] ^= 1 << dice.below(8),
                    2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][dice.below(5)],
                    3 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, dice.below(256) as u8),
                }
            }
            if let Err(error) = onnx::check(&bytes) {
                let text = error.to_string();
                assert!(!text.is_empty() && text.len() < 4096, "{round}: {text}");
                refused += 1;
            }
        }
    }
    assert!(refused > 300, "{refused} of 1,600 were refused");
    // A thousand graphs inside one another cost nothing.
    let mut deep = vec![];
    for _ in 0..1000 {
        let mut outer = vec![0x32];
        let mut len = deep.len();
        while len >= 0x80 {
            outer.push(len as u8 | 0x80);
            len >>= 7;
        }
        outer.push(len as u8);
        outer.extend(&deep);
        deep = outer;
    }
    assert!(onnx::check(&deep).is_err());
}

#[test]
fn a_shape_that_lies_is_told_by_the_tensors_name() {
    let trained = Trained::get();
    let checkpoint = trained.open();
    let mut bytes = export(&checkpoint, None, Form::F32).expect("a graph");
    // Its dimension, its type, its name.
    let head = [&[0x08, 2, 0x10, 1, 0x42, 15][..], b"classifier.bias"].concat();
    let at = bytes
        .windows(head.len())
        .position(|part| part == head)
        .expect("the tensor");
    bytes[at + 1] = 3;
    let error = onnx::check(&bytes).unwrap_err().to_string();
    assert!(
        error.contains("classifier.bias") && error.contains("[3]"),
        "{error}"
    );
}

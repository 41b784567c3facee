//! A DistilBERT goes the whole road: its names, no token types, ReLU where BERT has tanh. And a BERT that was trained with
//! another form of GELU comes in, aloud.
//!
//! `transformers` is the oracle for its logits (`tests/reference/interop.py`); here the stages are held
//! against each other.

use std::fs;
use std::path::{Path, PathBuf};

use berth_bundle::Bundle;
use berth_checkpoint::{Checkpoint, Config, Family};
use berth_data::Encoded;
use berth_quantize::onnx::{self, Form, Run, Tokens};
use berth_quantize::{Options, quantize};
use berth_runtime::Model;
use berth_task::Task;
use berth_trainer::{Predictor, Recipe};
use serde_json::{Map, Value};

use crate::fixture::{self, Dice, Trained};
use crate::program::berth;

const TASK: Task = Task::TextPairClassification;
const LABELS: [&str; 3] = ["a", "b", "c"];
const HIDDEN: usize = 32;

#[test]
fn a_distilbert_answers_as_its_checkpoint_does() {
    let dir = fixture::folder();
    let checkpoint = Checkpoint::open(distilbert(dir.path())).expect("the model");
    let mut dice = Dice(3);
    let rows: Vec<Encoded> = (0..200).map(|example| pair(example, &mut dice)).collect();
    let predictor = Predictor::load(&checkpoint, TASK).expect("its head");
    let f32 = predictor.logits(&rows, 16).expect("its answers");
    // Token types are zero: where the second text begins changes nothing.
    let elsewhere: Vec<Encoded> = rows
        .iter()
        .map(|row| Encoded {
            second: row.ids.len(),
            ..row.clone()
        })
        .collect();
    assert_eq!(predictor.logits(&elsewhere, 16).expect("answers"), f32);

    for f32_layers in [vec![], vec![0, 1]] {
        let floats = !f32_layers.is_empty();
        let options = Options {
            f32_layers,
            ..Options::default()
        };
        let writer = quantize(&checkpoint, &options).expect("a bundle");
        let bytes = writer.to_bytes().expect("its bytes");
        assert!(Bundle::open(&bytes).expect("it").header().has_relu_head());
        let mut session = Model::from_bytes(&bytes)
            .and_then(|model| model.session())
            .expect("a session");
        let (mut error, mut all) = (0.0, 0.0);
        for (row, f32) in rows.iter().zip(&f32) {
            let int8 = session.logits_of(&row.ids, row.second).expect("an answer");
            for (a, b) in int8.iter().zip(f32) {
                error += f64::from(a - b).powi(2);
                all += f64::from(*b).powi(2);
            }
        }
        // Embeddings and pooler are int8 in both.
        let most = if floats { 2e-4 } else { 2e-3 };
        assert!(error / all < most, "{} of the logits", error / all);
    }
}

#[test]
fn as_onnx_it_has_no_token_types_and_comes_back_as_it_was() {
    let dir = fixture::folder();
    let checkpoint = Checkpoint::open(distilbert(dir.path())).expect("the model");
    let mut dice = Dice(4);
    let rows: Vec<Encoded> = (0..40).map(|example| pair(example, &mut dice)).collect();
    let predictor = Predictor::load(&checkpoint, TASK).expect("its head");
    let f32 = predictor.logits(&rows, 16).expect("its answers");
    let options = Options {
        name: Some("the same".into()),
        ..Options::default()
    };
    let own = quantize(&checkpoint, &options).expect("a bundle");
    let file = dir.path().join("model.onnx");
    let write = |form| {
        let bytes = onnx::export(&checkpoint, None, form).expect("a graph");
        fs::write(&file, bytes).expect("a file");
    };

    write(Form::F32);
    let tokens: Vec<Tokens> = rows
        .iter()
        .map(|row| Tokens {
            ids: &row.ids,
            second: row.second,
        })
        .collect();
    let mut run = Run::open(&file).expect("a graph that tract runs");
    let logits = run.logits(&tokens, 128, 1, &|| ()).expect("logits");
    for (a, b) in logits.iter().flatten().zip(f32.iter().flatten()) {
        assert!((a - b).abs() < 1e-4, "{a} where {b} should be");
    }
    let back = onnx::open(&file, &checkpoint.dir).expect("a DistilBERT");
    let back = quantize(&back, &options).expect("a bundle");
    let same = back.to_bytes().expect("bytes")[..] == own.to_bytes().expect("bytes")[..];
    assert!(same, "the bundles differ");

    write(Form::Int8);
    let back = onnx::open(&file, &checkpoint.dir).expect("a DistilBERT");
    let back = quantize(&back, &options).expect("a bundle");
    assert_eq!(back.header().sections, own.header().sections);
}

#[test]
fn trained_further_it_stays_one_and_keeps_its_head() {
    let dir = fixture::folder();
    let checkpoint = Checkpoint::open(distilbert(dir.path())).expect("the model");
    let config = checkpoint
        .config
        .with_head(TASK, &LABELS.map(str::to_owned));
    assert_eq!(config.family, Family::DistilBert);
    let rows = fixture::encoded(
        &fixture::write_sentences(dir.path(), "train.tsv", 40, 1),
        &checkpoint,
    );
    let still = Recipe {
        learning_rate: 0.0,
        ..fixture::recipe()
    };
    let out = dir.path().join("out");
    let trained = fixture::train(&checkpoint, &rows, &still, &out);
    assert_eq!(trained.config.family, Family::DistilBert);
    for name in [
        "pre_classifier.weight",
        "bert.encoder.layer.1.output.dense.bias",
    ] {
        let [before, after] = [&checkpoint, &trained].map(|model| model.tensor(name));
        assert_eq!(
            before.expect("a tensor"),
            after.expect("a tensor"),
            "{name}"
        );
    }
    let file = fs::read(out.join("model.safetensors")).expect("weights");
    let (length, rest) = file.split_first_chunk().expect("a length");
    let header = &rest[..u64::from_le_bytes(*length) as usize];
    let header: Map<String, Value> = serde_json::from_slice(header).expect("JSON");
    let mut names: Vec<&str> = header.keys().map(String::as_str).collect();
    names.retain(|name| !name.starts_with("distilbert.") && *name != "__metadata__");
    names.sort_unstable();
    let head = ["classifier", "pre_classifier"];
    let head = head.map(|name| ["bias", "weight"].map(|part| format!("{name}.{part}")));
    assert_eq!(names, head.concat());
    let bundle = quantize(&trained, &Options::default()).expect("a bundle");
    assert!(bundle.header().has_relu_head());
}

#[test]
fn a_gelu_by_tanh_is_taken_for_gelu_and_told() {
    let dir = fixture::folder();
    let [own, bundle, out] = ["own", "own.berth", "out"].map(|name| dir.path().join(name));
    let trained = Trained::get();
    trained.copy(&own);
    let config = own.join("config.json");
    let text = fs::read_to_string(&config).expect("a config");
    let other = text.replace("\"hidden_act\": \"gelu\"", "\"hidden_act\": \"gelu_new\"");
    assert_ne!(text, other);
    fs::write(&config, other).expect("a config");
    let paths = [&own, &bundle, &out].map(|path| path.display().to_string());
    let [own, bundle, out] = [0, 1, 2].map(|i| paths[i].as_str());
    let warning = format!(
        "warning: {}: \"gelu_new\", GELU by tanh, is computed by the error function",
        config.display()
    );
    for command in [
        &["quantize", own, "--output", bundle][..],
        &["export", own, "--output_dir", out],
        &[
            "evaluate",
            own,
            "--validation_file",
            &trained.dev.display().to_string(),
        ],
    ] {
        let run = berth(command);
        assert!(run.stderr.contains(&warning), "{command:?}: {}", run.stderr);
        run.ok();
    }
    let written = fs::read_to_string(dir.path().join("out/config.json")).expect("a config");
    assert!(written.contains("\"hidden_act\": \"gelu\""), "{written}");
}

fn pair(example: usize, dice: &mut Dice) -> Encoded {
    let tokens = 6 + dice.below(20);
    let mut ids: Vec<u32> = (0..tokens).map(|_| 5 + dice.below(60) as u32).collect();
    (ids[0], ids[tokens - 1]) = (2, 3);
    Encoded {
        ids,
        second: tokens / 2,
        example,
        ..Encoded::default()
    }
}

/// What BERT's names become in a DistilBERT.
const NAMES: [(&str, &str); 11] = [
    ("attention.self.query", "attention.q_lin"),
    ("attention.self.key", "attention.k_lin"),
    ("attention.self.value", "attention.v_lin"),
    ("attention.output.dense", "attention.out_lin"),
    ("attention.output.LayerNorm", "sa_layer_norm"),
    ("intermediate.dense", "ffn.lin1"),
    ("output.dense", "ffn.lin2"),
    ("output.LayerNorm", "output_layer_norm"),
    ("bert.encoder.layer", "distilbert.transformer.layer"),
    ("bert.embeddings", "distilbert.embeddings"),
    ("bert.pooler.dense", "pre_classifier"),
];

/// The tiny model with a classifier, saved as a DistilBERT.
fn distilbert(dir: &Path) -> PathBuf {
    let base = fixture::base_model(&dir.join("base"));
    let config = Config {
        family: Family::DistilBert,
        architectures: vec!["DistilBertForSequenceClassification".to_owned()],
        ..base.config.with_head(TASK, &LABELS.map(str::to_owned))
    };
    let renamed = |name: &str| {
        let replace = |name: String, (bert, distil): &(&str, &str)| name.replace(bert, distil);
        NAMES.iter().fold(name.to_owned(), replace)
    };
    let kept = base.names().filter(|name| !name.contains("token_type"));
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = kept
        .map(|name| {
            let tensor = base.tensor(name).expect("a tensor");
            (renamed(name), tensor.shape, tensor.data)
        })
        .collect();
    let weight = (0..3 * HIDDEN).map(|i| (i as f32 * 0.7).sin()).collect();
    tensors.push(("classifier.weight".into(), vec![3, HIDDEN], weight));
    tensors.push(("classifier.bias".into(), vec![3], vec![0.1, -0.2, 0.3]));
    fixture::save(&base, &config, &tensors, TASK, &dir.join("distilbert"))
}

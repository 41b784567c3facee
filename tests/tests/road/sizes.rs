//! A BERT of which no size fills whole vectors goes the whole road: 4 heads of 13 values, 70 inside.
//!
//! The trainer takes any size, and the bundle fills up with zeros what the kernels read.

use std::fs;
use std::path::{Path, PathBuf};

use berth_bundle::{AlignedBytes, Bundle};
use berth_checkpoint::{Checkpoint, Config};
use berth_data::Encoded;
use berth_kernels::Isa;
use berth_quantize::onnx::{self, Form};
use berth_quantize::{Options, Ranges, quantize};
use berth_runtime::Model;
use berth_task::Task;
use berth_trainer::Predictor;

use crate::fixture::{self, Dice};

const HIDDEN: usize = 52;
const HEADS: usize = 4;
const INTERMEDIATE: usize = 70;

/// A head on the first row, with a pooler, and one on every row.
const TASKS: [Task; 2] = [Task::TextPairClassification, Task::TokenClassification];
const LABELS: [&str; 3] = ["a", "b", "c"];

#[test]
fn its_bundle_answers_as_its_checkpoint_does_on_every_instruction_set() {
    for task in TASKS {
        let dir = fixture::folder();
        let checkpoint = Checkpoint::open(model(dir.path(), task)).expect("the model");
        let rows = rows();
        let f32 = Predictor::load(&checkpoint, task).expect("its head");
        let f32 = f32.logits(&rows, 16).expect("its answers");
        let all = vec![0, 1];
        let floats = bundle(&checkpoint, all.clone(), None);
        let smoothing = Ranges::measure(&floats, &rows).expect("texts that it reads");
        let smoothed = |f32_layers| bundle(&checkpoint, f32_layers, Some(smoothing.clone()));
        // Embeddings and pooler are int8 in all of them.
        for (bytes, most) in [
            (bundle(&checkpoint, vec![], None), 2e-3),
            (smoothed(vec![]), 2e-3),
            (floats, 2e-4),
            (smoothed(all), 2e-4),
        ] {
            let header = Bundle::open(&bytes).expect("a bundle").header().clone();
            assert_eq!((header.shape.hidden, header.version()), (52, 5));
            let off = error(&bytes, &rows, &f32);
            assert!(off < most, "{task}: {off} of the logits");
        }
    }
}

#[test]
fn as_onnx_it_comes_back_as_it_was() {
    let dir = fixture::folder();
    let checkpoint = Checkpoint::open(model(dir.path(), TASKS[0])).expect("the model");
    let own = bundle(&checkpoint, vec![], None);
    let file = dir.path().join("model.onnx");
    let back = |form| {
        let bytes = onnx::export(&checkpoint, None, form).expect("a graph");
        fs::write(&file, bytes).expect("a file");
        let back = onnx::open(&file, &checkpoint.dir).expect("a BERT");
        bundle(&back, vec![], None)
    };
    assert!(back(Form::F32)[..] == own[..], "the bundles differ");
    // All but where the weights come from.
    let sections = |bytes| {
        Bundle::open(bytes)
            .expect("a bundle")
            .header()
            .sections
            .clone()
    };
    assert_eq!(sections(&back(Form::Int8)), sections(&own));
}

fn bundle(
    checkpoint: &Checkpoint,
    f32_layers: Vec<usize>,
    smoothing: Option<Ranges>,
) -> AlignedBytes {
    let options = Options {
        name: Some("the same".into()),
        f32_layers,
        smoothing,
        ..Options::default()
    };
    let writer = quantize(checkpoint, &options).expect("a bundle");
    writer.to_bytes().expect("its bytes")
}

/// How much of the squares of the logits is error. On all instruction sets it is the same, to the bit.
fn error(bytes: &AlignedBytes, rows: &[Encoded], f32: &[Vec<f32>]) -> f64 {
    let model = Model::from_bytes(bytes).expect("a model");
    let errors = Isa::available().map(|isa| {
        let on = model.on(isa).expect("an instruction set of this machine");
        let mut session = on.session().expect("a session");
        let (mut error, mut all) = (0.0, 0.0);
        for (row, f32) in rows.iter().zip(f32) {
            let found = session.logits_of(&row.ids, row.second).expect("an answer");
            assert_eq!(found.len(), f32.len());
            for (a, b) in found.iter().zip(f32) {
                error += f64::from(a - b).powi(2);
                all += f64::from(*b).powi(2);
            }
        }
        error / all
    });
    let errors: Vec<f64> = errors.collect();
    assert!(errors.iter().all(|error| error == &errors[0]), "{errors:?}");
    errors[0]
}

fn rows() -> Vec<Encoded> {
    let mut dice = Dice(5);
    let row = |example| {
        let tokens = 6 + dice.below(20);
        let ids = (0..tokens).map(|_| 5 + dice.below(60) as u32).collect();
        Encoded {
            ids,
            second: tokens / 2,
            example,
            ..Encoded::default()
        }
    };
    (0..100).map(row).collect()
}

/// A model of random weights with the tiny one's tokenizer.
fn model(dir: &Path, task: Task) -> PathBuf {
    let base = fixture::base_model(&dir.join("base"));
    let config = Config {
        hidden_size: HIDDEN,
        num_attention_heads: HEADS,
        intermediate_size: INTERMEDIATE,
        ..base.config.with_head(task, &LABELS.map(str::to_owned))
    };
    let size = |size: usize| match size {
        size if size == base.config.hidden_size => HIDDEN,
        size if size == base.config.intermediate_size => INTERMEDIATE,
        size => size,
    };
    let mut dice = Dice(6);
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = base
        .names()
        .filter(|name| task.reads_first_row_only() || !name.contains("pooler"))
        .map(|name| {
            let mut shape = base.tensor(name).expect("a tensor").shape;
            match &mut shape[..] {
                [.., last] if name.contains("_embeddings") => *last = size(*last),
                sizes => sizes.iter_mut().for_each(|n| *n = size(*n)),
            }
            let data = random(&mut dice, name, &shape);
            (name.to_owned(), shape, data)
        })
        .collect();
    for (name, shape) in [
        ("classifier.weight", vec![LABELS.len(), HIDDEN]),
        ("classifier.bias", vec![LABELS.len()]),
    ] {
        let data = random(&mut dice, name, &shape);
        tensors.push((name.to_owned(), shape, data));
    }
    fixture::save(&base, &config, &tensors, task, &dir.join("partial"))
}

/// Numbers that keep the variance of what goes through a dense layer; a norm's weights stay near 1.
fn random(dice: &mut Dice, name: &str, shape: &[usize]) -> Vec<f32> {
    let (mean, range) = match shape {
        _ if name.ends_with("LayerNorm.weight") => (1.0, 0.2),
        [_, inputs] => (0.0, 1.7 / (*inputs as f32).sqrt()),
        _ => (0.0, 0.1),
    };
    let unit = |dice: &mut Dice| dice.below(2_001) as f32 / 1_000.0 - 1.0;
    (0..shape.iter().product())
        .map(|_| mean + range * unit(dice))
        .collect()
}

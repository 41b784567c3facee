//! One model, computed by the reference, the trainer, the encoder and tract, layer by layer.
//!
//! ```text
//!   reference (f64) ── rounding alone ── trainer (candle, f32)
//!         │
//!   the weights quantized: half a step at most
//!         │
//!   reference on the bundle's weights ── int8 activations ── encoder ── not a bit ── tract
//! ```

use std::path::Path;

use berth_bundle::{AlignedBytes, Bundle};
use berth_checkpoint::save::{Existing, Folder, TensorRef};
use berth_checkpoint::{Checkpoint, Config};
use berth_data::Encoded;
use berth_encoder::{Encoder, Rows, Scratch, scratch_bytes};
use berth_kernels::Isa;
use berth_quantize::{Options, quantize};
use berth_runtime::Model;
use berth_task::Task;
use berth_tests::naive::{Bert, Dimensions, Gold, Matrix, Sequence, Trace};
use berth_trainer::Predictor;

use crate::dequantized;
use crate::fixture::{self, Trained};

/// Relative error of a row of the trainer's: some roundings of f32.
const ROUNDING: f64 = 2e-6;

/// Relative error that quantized activations may leave, for each layer that was gone through. Of the
/// logits, in which most of it averages out, as much as of one layer.
const INT8_LAYER: f64 = 0.02;

#[test]
fn the_trainer_computes_the_reference_after_every_layer() {
    let dir = fixture::folder();
    let whole = Trained::get().open();
    let rows = fixture::encoded(&Trained::get().dev, &whole);
    let reference = reference(&whole);
    for depth in 1..=whole.config.num_hidden_layers {
        let probe = probe(&whole, depth, &dir.path().join(depth.to_string()));
        let found = Predictor::load(&probe, Task::TextClassification)
            .expect("a model")
            .logits(&rows, 7)
            .expect("rows");
        for (row, found) in rows.iter().zip(found) {
            let layers = reference.forward(&sequence(row)).layers;
            let expected = Matrix::new(1, found.len(), layers[depth - 1].row(0).to_vec());
            let error = expected.map(f64::tanh).relative_error(&matrix(&found, 1));
            assert!(error < ROUNDING, "layer {depth}: off by {error:e}");
        }
    }
    let found = Predictor::load(&whole, Task::TextClassification)
        .expect("a model")
        .logits(&rows, 7)
        .expect("logits");
    for (row, found) in rows.iter().zip(found) {
        let expected = reference.forward(&sequence(row)).logits;
        let error = Matrix::new(1, expected.len(), expected).relative_error(&matrix(&found, 1));
        assert!(error < 2.0 * ROUNDING, "logits: off by {error:e}");
    }
}

#[test]
fn a_quantized_weight_is_at_most_half_a_step_off() {
    let reference = reference(&Trained::get().open());
    let bytes = bundle_bytes();
    let bundle = Bundle::open(&bytes).expect("the bundle");
    let dequantized = dequantized::reference(&bundle);
    assert!(
        dequantized.tensors.keys().eq(reference.tensors.keys()),
        "the same tensors"
    );
    for (name, exact) in &reference.tensors {
        let found = &dequantized.tensors[name];
        for row in 0..exact.rows {
            let largest = exact
                .row(row)
                .iter()
                .fold(0.0, |most: f64, w| most.max(w.abs()));
            // Half of 1/127 of the largest, and the roundings of f32.
            let bound = largest * (0.5 / 127.0 + 1e-6);
            for (exact, found) in exact.row(row).iter().zip(found.row(row)) {
                assert!(
                    (exact - found).abs() <= bound,
                    "{name}: {exact} became {found}"
                );
            }
        }
    }
}

#[test]
fn the_encoder_stays_close_to_the_reference_after_every_layer() {
    let bytes = bundle_bytes();
    let bundle = Bundle::open(&bytes).expect("the bundle");
    let reference = dequantized::reference(&bundle);
    for row in &fixture::encoded(&Trained::get().dev, &Trained::get().open()) {
        let expected = reference.forward(&sequence(row));
        let found = layers(&bundle, Isa::best(), row);
        let error = expected.embedded.relative_error(&found.embedded);
        assert!(error < ROUNDING, "embeddings: off by {error:e}");
        for (layer, (expected, found)) in expected.layers.iter().zip(&found.layers).enumerate() {
            let error = expected.relative_error(found);
            let bound = INT8_LAYER * (layer + 1) as f64;
            assert!(error < bound, "layer {layer}: off by {error:e}");
        }
        let logits = Matrix::new(1, expected.logits.len(), expected.logits);
        let error = logits.relative_error(&matrix(&found.logits, 1));
        assert!(error < INT8_LAYER, "logits: off by {error:e}");
    }
}

#[test]
fn a_layer_in_f32_brings_the_bundle_closer_to_the_checkpoint() {
    let checkpoint = Trained::get().open();
    let reference = reference(&checkpoint);
    let rows = fixture::encoded(&Trained::get().dev, &checkpoint);
    let expected = rows.iter().map(|row| reference.forward(&sequence(row)));
    let expected: Vec<_> = expected.collect();
    // Over all sentences, of the rows behind the last layer.
    let error = |f32_layers: &[usize]| -> f64 {
        let bytes = mixed_bytes(f32_layers);
        let bundle = Bundle::open(&bytes).expect("the bundle");
        let of_row = |(row, expected): (&Encoded, &Trace)| {
            let found = layers(&bundle, Isa::best(), row);
            let last = expected.layers.len() - 1;
            expected.layers[last].relative_error(&found.layers[last])
        };
        rows.iter().zip(&expected).map(of_row).sum::<f64>() / rows.len() as f64
    };
    let int8 = error(&[]);
    for f32_layers in [&[0][..], &[1], &[0, 1]] {
        let mixed = error(f32_layers);
        assert!(
            mixed < int8,
            "{f32_layers:?}: off by {mixed:e}, in int8 {int8:e}"
        );
    }
}

#[test]
fn every_instruction_set_tract_and_the_bare_encoder_have_the_same_bits() {
    for f32_layers in [&[][..], &[1]] {
        same_bits(&mixed_bytes(f32_layers));
    }
}

fn same_bits(bytes: &AlignedBytes) {
    let bundle = Bundle::open(bytes).expect("the bundle");
    let model = Model::from_bytes(bytes).expect("the bundle");
    let rows = fixture::encoded(&Trained::get().dev, &Trained::get().open());
    let bits = |logits: &[f32]| logits.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for isa in Isa::available() {
        let on = model.on(isa).expect("an instruction set of this machine");
        let mut session = on.session().expect("a session");
        for row in &rows {
            let blocks = layers(&bundle, isa, row).logits;
            let by_tract = session.logits_of(&row.ids, row.second).expect("an answer");
            assert_eq!(bits(by_tract), bits(&blocks), "tract, {}", isa.tier());
            let portable = layers(&bundle, Isa::portable(), row).logits;
            assert_eq!(bits(&portable), bits(&blocks), "{}", isa.tier());
        }
    }
}

/// What the encoder's blocks compute, each called by itself.
struct Blocks {
    embedded: Matrix,
    layers: Vec<Matrix>,
    logits: Vec<f32>,
}

fn layers(bundle: &Bundle<'_>, isa: Isa, row: &Encoded) -> Blocks {
    let shape = bundle.header().shape;
    let tokens = row.ids.len();
    let header = bundle.header();
    let mut memory = vec![0; scratch_bytes(header, tokens)];
    let mut scratch = Scratch::carve(&mut memory, header, tokens).expect("enough memory");
    let encoder = Encoder::new(bundle, isa);
    let mut hidden = vec![0.0; tokens * shape.hidden as usize];
    encoder
        .embed(&row.ids, row.second, &mut hidden, &mut scratch)
        .expect("known ids");
    let embedded = matrix(&hidden, tokens);
    let mut layers = Vec::new();
    for layer in 0..shape.layers as usize {
        encoder.layer(layer, Rows::All, &mut hidden, &mut scratch);
        layers.push(matrix(&hidden, tokens));
    }
    let mut logits = vec![0.0; shape.outputs as usize];
    encoder.head(&hidden[..shape.hidden as usize], &mut logits, &mut scratch);
    Blocks {
        embedded,
        layers,
        logits,
    }
}

/// A model of the first `depth` layers whose logits are the hyperbolic tangent of the first row:
/// pooler and classifier let it through as it is.
fn probe(whole: &Checkpoint, depth: usize, dir: &Path) -> Checkpoint {
    let hidden = whole.config.hidden_size;
    let config = Config {
        num_hidden_layers: depth,
        id2label: (0..hidden)
            .map(|channel| format!("channel {channel}"))
            .collect(),
        ..whole.config.clone()
    };
    let through: Vec<f32> = (0..hidden * hidden)
        .map(|i| f32::from(u8::from(i / hidden == i % hidden)))
        .collect();
    let zeros = vec![0.0; hidden];
    let mut tensors = Vec::new();
    for name in whole.names() {
        let layer = name
            .strip_prefix("bert.encoder.layer.")
            .and_then(|rest| rest.split('.').next());
        if layer.is_some_and(|layer| layer.parse::<usize>().expect("a number") >= depth) {
            continue;
        }
        let tensor = whole.tensor(name).expect("a tensor");
        let (shape, data) = match name {
            "bert.pooler.dense.weight" | "classifier.weight" => (vec![hidden; 2], through.clone()),
            "bert.pooler.dense.bias" | "classifier.bias" => (vec![hidden], zeros.clone()),
            _ => (tensor.shape, tensor.data),
        };
        tensors.push((name, shape, data));
    }
    let tensors: Vec<TensorRef> = tensors
        .iter()
        .map(|(name, shape, data)| TensorRef { name, shape, data })
        .collect();
    let mut folder = Folder::create(dir).expect("a folder");
    folder.model(&config, &tensors).expect("room on the disk");
    folder
        .tokenizer(&whole.tokenizer_files().expect("a tokenizer"), 128)
        .expect("room");
    folder.commit(Existing::Refuse).expect("a new folder");
    Checkpoint::open(dir).expect("the probe")
}

pub fn reference(checkpoint: &Checkpoint) -> Bert {
    let tensor = |name: &str| {
        let tensor = checkpoint.tensor(name).expect("a tensor");
        (
            name.to_owned(),
            Matrix::from_tensor(&tensor.shape, &tensor.data),
        )
    };
    Bert {
        tensors: checkpoint.names().map(tensor).collect(),
        dimensions: Dimensions {
            layers: checkpoint.config.num_hidden_layers,
            heads: checkpoint.config.num_attention_heads,
            norm_eps: checkpoint.config.layer_norm_eps,
        },
    }
}

pub fn sequence(row: &Encoded) -> Sequence {
    let ids = row.ids.iter().map(|id| *id as usize).collect();
    Sequence {
        ids,
        second: row.second,
        gold: Gold::Class(0),
    }
}

pub fn matrix(values: &[f32], rows: usize) -> Matrix {
    Matrix::from_tensor(&[rows, values.len() / rows], values)
}

/// The trained model with some layers in f32.
fn mixed_bytes(f32_layers: &[usize]) -> AlignedBytes {
    let options = Options {
        f32_layers: f32_layers.to_vec(),
        ..Options::default()
    };
    let writer = quantize(&Trained::get().open(), &options).expect("a bundle");
    writer.to_bytes().expect("all sections")
}

fn bundle_bytes() -> AlignedBytes {
    AlignedBytes::copy_of(&std::fs::read(&Trained::get().bundle).expect("the bundle"))
}

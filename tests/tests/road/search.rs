//! A model that int8 breaks: it fails the gate as it comes, and the search repairs it.
//!
//! The models have outliers: two channels of activations 50 times as large as the rest, whose readers have
//! weights that are so much smaller. Labels are the checkpoint's own answers, so that it is right
//! throughout and every answer that changes costs something.

use std::path::{Path, PathBuf};

use berth_checkpoint::Checkpoint;
use berth_data::{Encoded, Evaluator, Target};
use berth_quantize::{Change, Gate, LayerCost, Measured, Options, QuantizeError, Trials};
use berth_runtime::Model;
use berth_task::Task;
use berth_trainer::Predictor;

use crate::fixture::{self, Dice};

const TASK: Task = Task::TextClassification;
const LABELS: [&str; 4] = ["a", "b", "c", "d"];
const HIDDEN: usize = 32;

/// How much larger the outliers are.
const OUTLIER: f32 = 50.0;

/// The channels that have them.
const CHANNELS: [usize; 2] = [5, 20];

#[test]
fn outliers_that_one_linear_reads_are_smoothed_away() {
    let dir = fixture::folder();
    let hard = model(dir.path(), |name, data| match part(name) {
        Some("attention.self.value") => rows(data, OUTLIER),
        Some("attention.output.dense") if name.ends_with("weight") => {
            // A model that listens to its attention.
            data.iter_mut().for_each(|weight| *weight *= 3.0);
            columns(data, 1.0 / OUTLIER);
        }
        Some("attention.self.query") => rows(data, OUTLIER),
        Some("attention.self.key") => rows(data, 1.0 / OUTLIER),
        _ => (),
    });
    let file = File::of(&hard);
    let before = file.measure(Gate::default());
    assert!(before.search.is_empty(), "nothing was asked for");
    let lost = before.comparison.agreement();
    assert!(lost < 0.99, "int8 keeps {lost} as it comes");

    let gate = half_of(lost);
    assert!(gate.check(&before.comparison).is_err());
    let after = file.measure(gate);
    assert_eq!(gate.check(&after.comparison), Ok(()), "{:?}", after.search);
    assert_eq!(after.writer.header().f32_layers().count(), 0);
    let [first, second, third] = &after.search[..] else {
        panic!("{:?}", after.search);
    };
    assert_eq!((first.change, first.agreement), (Change::None, lost));
    assert_eq!((second.change, second.kept), (Change::Smoothing, true));
    assert!(second.error < first.error / 10.0, "{:?}", after.search);
    // The channels that were scaled are no noise of their layers.
    let layers = &after.cost.layers;
    let is_sane = |layer: &LayerCost| layer.own_snr_db > 25.0 && layer.explains > -1.0;
    assert!(layers.iter().all(is_sane), "{layers:?}");
    // What was measured and not taken is told too.
    assert_eq!((third.change, third.kept), (Change::Clipping, false));
}

#[test]
fn outliers_that_the_residual_sum_reads_too_go_into_f32_layers() {
    let dir = fixture::folder();
    let hard = model(dir.path(), |name, data| match part(name) {
        Some("attention.output.LayerNorm") => rows(data, OUTLIER),
        Some("intermediate.dense") if name.ends_with("weight") => columns(data, 1.0 / OUTLIER),
        _ => (),
    });
    let file = File::of(&hard);
    let before = file.measure(Gate::default());
    let lost = before.comparison.agreement();
    assert!(lost < 1.0, "int8 keeps {lost} as it comes");
    let mut noisy = before.cost.layers.iter();
    assert!(
        noisy.all(|layer| layer.own_snr_db < 60.0),
        "{:?}",
        before.cost
    );

    let gate = half_of(lost);
    let after = file.measure(gate);
    assert_eq!(gate.check(&after.comparison), Ok(()), "{:?}", after.search);
    let in_f32: Vec<usize> = after.writer.header().f32_layers().collect();
    assert!(!in_f32.is_empty(), "{:?}", after.search);
    for layer in in_f32 {
        let change = Change::F32Layer(layer);
        assert!(
            after
                .search
                .iter()
                .any(|step| step.change == change && step.kept)
        );
        assert_eq!(after.cost.layers[layer].own_snr_db, f64::INFINITY);
    }
}

/// A gate that asks for half as many changed answers.
fn half_of(agreement: f64) -> Gate {
    Gate {
        max_drop: None,
        min_agreement: Some((1.0 + agreement) / 2.0),
    }
}

/// A labelled file: texts of random pieces, and what the checkpoint says to them.
struct File {
    checkpoint: Checkpoint,
    labels: Vec<String>,
    rows: Vec<Encoded>,
    logits: Vec<Vec<f32>>,
}

impl File {
    fn of(checkpoint: &Path) -> Self {
        let checkpoint = Checkpoint::open(checkpoint).expect("the model");
        let mut rows = texts();
        let predictor = Predictor::load(&checkpoint, TASK).expect("its head");
        let logits = predictor.logits(&rows, 32).expect("its answers");
        for (row, logits) in rows.iter_mut().zip(&logits) {
            row.target = Target::Class(berth_task::argmax(logits) as u32);
        }
        File {
            checkpoint,
            labels: LABELS.map(str::to_owned).to_vec(),
            rows,
            logits,
        }
    }

    fn evaluator(&self) -> Evaluator<'_> {
        Evaluator {
            task: TASK,
            task_name: None,
            labels: &self.labels,
            multi_label: false,
            examples: &[],
            inputs: &self.rows,
            spans: Default::default(),
        }
    }

    fn measure(&self, gate: Gate) -> Measured {
        let trials = Trials {
            checkpoint: &self.checkpoint,
            evaluator: self.evaluator(),
            f32_logits: &self.logits,
            gate,
            threads: 2,
        };
        let measured = trials.run(&Options::default(), |bundle| answers(bundle, &self.rows));
        measured.expect("a bundle")
    }
}

fn texts() -> Vec<Encoded> {
    let mut dice = Dice(11);
    (0..1_000).map(|example| text(example, &mut dice)).collect()
}

fn text(example: usize, dice: &mut Dice) -> Encoded {
    let mut ids = vec![2];
    ids.extend((0..3 + dice.below(20)).map(|_| 5 + dice.below(60) as u32));
    ids.push(3);
    Encoded {
        second: ids.len(),
        ids,
        example,
        ..Encoded::default()
    }
}

fn answers(bundle: &[u8], rows: &[Encoded]) -> Result<Vec<Vec<f32>>, QuantizeError> {
    let model = Model::from_bytes(bundle)?;
    let mut session = model.session()?;
    let mut all = Vec::new();
    for row in rows {
        all.push(session.logits_of(&row.ids, row.second)?.to_vec());
    }
    Ok(all)
}

/// The part of a layer that a tensor is of.
fn part(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("bert.encoder.layer.")?;
    let (_, part) = rest.split_once('.')?;
    part.rsplit_once('.').map(|(part, _)| part)
}

/// Makes the outputs [`CHANNELS`] of a weight or a bias so many times as large.
fn rows(data: &mut [f32], factor: f32) {
    let width = data.len() / HIDDEN;
    for channel in CHANNELS {
        let row = &mut data[channel * width..][..width];
        row.iter_mut().for_each(|value| *value *= factor);
    }
}

/// Makes the inputs [`CHANNELS`] of a weight so many times as large.
fn columns(data: &mut [f32], factor: f32) {
    for channel in CHANNELS {
        let column = data.iter_mut().skip(channel).step_by(HIDDEN);
        column.for_each(|value| *value *= factor);
    }
}

/// A classifier on the tiny model, after `edit` of each tensor. No label is more frequent for all texts
/// alike: what it says hangs on the text.
fn model(dir: &Path, edit: impl Fn(&str, &mut [f32])) -> PathBuf {
    let base = fixture::base_model(&dir.join("base"));
    let outputs = LABELS.len();
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = base
        .names()
        .map(|name| {
            let mut tensor = base.tensor(name).expect("a tensor");
            edit(name, &mut tensor.data);
            (name.to_owned(), tensor.shape, tensor.data)
        })
        .collect();
    let weight = (0..outputs * HIDDEN).map(|i| (i as f32 * 0.7).sin());
    let shape = vec![outputs, HIDDEN];
    tensors.push(("classifier.weight".into(), shape, weight.collect()));
    tensors.push(("classifier.bias".into(), vec![outputs], vec![0.0; outputs]));
    let path = save(&base, &tensors, &dir.join("hard"));
    let uncentred = Checkpoint::open(&path).expect("the model");
    let predictor = Predictor::load(&uncentred, TASK).expect("its head");
    let logits = predictor.logits(&texts(), 32).expect("its answers");
    let (_, _, bias) = tensors.last_mut().expect("the bias");
    for (output, bias) in bias.iter_mut().enumerate() {
        let sum: f32 = logits.iter().map(|logits| logits[output]).sum();
        *bias = -sum / logits.len() as f32;
    }
    save(&base, &tensors, &dir.join("hard"))
}

fn save(base: &Checkpoint, tensors: &[(String, Vec<usize>, Vec<f32>)], to: &Path) -> PathBuf {
    let config = base.config.with_head(TASK, &LABELS.map(str::to_owned));
    fixture::save(base, &config, tensors, TASK, to)
}

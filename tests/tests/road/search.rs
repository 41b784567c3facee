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

/// What the bundles are worth is laid down here: each is off by the factor it has, and none passes.
#[test]
fn only_what_helps_is_kept_and_layers_go_the_most_harmful_first() {
    let dir = fixture::folder();
    let hard = model(dir.path(), |name, data| match part(name) {
        _ if !name.contains("layer.1.") => (),
        Some("attention.self.value") => rows(data, OUTLIER),
        Some("attention.output.dense") if name.ends_with("weight") => {
            data.iter_mut().for_each(|weight| *weight *= 3.0);
            columns(data, 1.0 / OUTLIER);
        }
        _ => (),
    });
    let file = File::of(&hard);
    let mut layers = file.measure(Gate::default()).cost.layers;
    layers.sort_by(|a, b| b.explains.total_cmp(&a.explains));
    let [worst, other] = layers[..] else {
        panic!("{layers:?}");
    };

    // The checkpoint is right throughout: nothing is left to gain.
    let gate = Gate {
        max_drop: Some(-1.0),
        min_agreement: None,
    };
    let off = |factors: &[f32]| factors.iter().map(|&factor| file.times(factor)).collect();
    let steps = |measured: &Measured| {
        let steps = measured.search.iter();
        steps
            .map(|step| (step.change, step.kept))
            .collect::<Vec<_>>()
    };
    let found = file.play(
        gate,
        &Options::default(),
        off(&[1.1, 1.2, 1.3, 1.4, 1.05, 1.5]),
    );
    let expected = [
        (Change::None, true),
        (Change::Smoothing, false),
        (Change::Clipping, false),
        (Change::F32Layer(worst.layer), true),
        (Change::F32Layer(other.layer), false),
    ];
    assert_eq!(steps(&found), expected, "{layers:?}");
    let in_f32: Vec<usize> = found.writer.header().f32_layers().collect();
    assert_eq!(in_f32, [worst.layer]);

    // A layer that is in f32 as the bundle comes is not tried.
    let options = Options {
        f32_layers: vec![worst.layer],
        ..Options::default()
    };
    let found = file.play(gate, &options, off(&[1.1, 1.2, 1.3, 1.4, 1.5]));
    let expected = [
        (Change::None, true),
        (Change::Smoothing, false),
        (Change::Clipping, false),
        (Change::F32Layer(other.layer), false),
    ];
    assert_eq!(steps(&found), expected);
}

#[test]
fn a_bundle_that_passes_comes_before_one_with_a_smaller_error() {
    let dir = fixture::folder();
    let file = File::of(&model(dir.path(), |_, _| ()));
    let mut missed = file.times(1.0);
    missed[0].iter_mut().for_each(|logit| *logit = -*logit);
    let gate = Gate {
        max_drop: None,
        min_agreement: Some(1.0),
    };
    let bundles = vec![missed.clone(), missed, file.times(1.5)];
    let found = file.play(gate, &Options::default(), bundles);
    let [first, second, third] = &found.search[..] else {
        panic!("{:?}", found.search);
    };
    assert_eq!((first.change, first.kept), (Change::None, true));
    assert_eq!((second.change, second.kept), (Change::Clipping, true));
    assert_eq!((third.change, third.kept), (Change::Smoothing, false));
    assert!(second.error > third.error, "{:?}", found.search);
    assert_eq!(gate.check(&found.comparison), Ok(()));
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

    fn trials(&self, gate: Gate) -> Trials<'_> {
        Trials {
            checkpoint: &self.checkpoint,
            evaluator: self.evaluator(),
            f32_logits: &self.logits,
            gate,
            threads: 2,
        }
    }

    fn measure(&self, gate: Gate) -> Measured {
        let trials = self.trials(gate);
        let measured = trials.run(&Options::default(), |bundle| answers(bundle, &self.rows));
        measured.expect("a bundle")
    }

    /// What the checkpoint says, so many times as large: the same answers.
    fn times(&self, factor: f32) -> Vec<Vec<f32>> {
        let row = |row: &Vec<f32>| row.iter().map(|logit| factor * logit).collect();
        self.logits.iter().map(row).collect()
    }

    /// Lets bundles answer by the book, one entry for each that is made, whatever they would say.
    fn play(&self, gate: Gate, options: &Options, book: Vec<Vec<Vec<f32>>>) -> Measured {
        let mut book = book.into_iter();
        let trials = self.trials(gate);
        let measured = trials.run(options, |_| {
            Ok::<_, QuantizeError>(book.next().expect("a bundle of the book"))
        });
        assert!(book.next().is_none(), "fewer bundles than in the book");
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

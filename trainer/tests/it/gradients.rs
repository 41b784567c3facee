//! Logits, loss and every parameter's gradient of a whole model, against the same model in f64.

use std::sync::Arc;

use berth_data::{Encoded, Target};
use berth_trainer::batches::{Batch, passes, targets};
use berth_trainer::kernels::gemm::Precision;
use berth_trainer::kernels::isa::Isa;
use berth_trainer::kernels::loss::Weighing;
use berth_trainer::kernels::workspace::Workspace;
use berth_trainer::model::{Bert, HeadKind, Missing};
use berth_trainer::ops::{Before, Packing, Pass, feed_forward};
use berth_trainer::random::Random;

use crate::common::Base;
use crate::reference::Reference;

const MASKS: Option<u64> = Some(77);

fn rows(lengths: &[usize]) -> Vec<Encoded> {
    let mut random = Random::new(5);
    let row = |&length: &usize| Encoded {
        ids: (0..length).map(|_| random.below(100) as u32).collect(),
        second: length.div_ceil(2),
        target: Target::Class(random.below(3) as u32),
        ..Encoded::default()
    };
    lengths.iter().map(row).collect()
}

/// ‖x − y‖ and ‖y‖
fn norms(x: &[f32], y: &[f64]) -> (f64, f64) {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    assert_eq!(x.len(), y.len());
    (
        norm(&mut x.iter().zip(y).map(|(x, y)| f64::from(*x) - y)),
        norm(&mut y.iter().copied()),
    )
}

fn compare(base: &Base, lengths: &[usize]) {
    let model = Bert::load(
        &base.checkpoint,
        HeadKind::Sequence { outputs: 3 },
        Missing::Seeded(9),
    )
    .unwrap();
    let reference = Reference::of(&model, &base.checkpoint.config);
    let rows = rows(lengths);
    let batch = Batch::new(rows.iter());
    let pass = Pass {
        isa: Isa::best(),
        precision: Precision::F32,
        workspace: Workspace::default(),
        packing: Arc::new(Packing::new(lengths.iter().copied())),
        masks: MASKS,
        before: Before::default(),
    };
    let classes: Vec<i64> = rows
        .iter()
        .map(|row| {
            if let Target::Class(class) = row.target {
                i64::from(class)
            } else {
                0
            }
        })
        .collect();
    let exact = reference.forward(&batch, &pass).unwrap();
    let exact_loss = reference.loss(&exact, &classes).unwrap();
    let logits = model.forward(&batch, MASKS).unwrap();
    let loss = targets(rows.iter()).unwrap().loss(&logits).unwrap();

    let flat: Vec<f64> = exact.flatten_all().unwrap().to_vec1().unwrap();
    let (difference, size) = norms(&logits.flatten_all().unwrap().to_vec1().unwrap(), &flat);
    assert!(
        difference < 1e-5 * size,
        "logits: {difference:e} of {size:e}"
    );
    let (ours, theirs) = (
        f64::from(loss.to_scalar::<f32>().unwrap()),
        exact_loss.to_scalar::<f64>().unwrap(),
    );
    assert!((ours - theirs).abs() < 1e-6, "{ours} {theirs}");

    loss.backward().unwrap();
    let gradients = exact_loss.backward().unwrap();
    for parameter in model.parameters() {
        let name = parameter.name();
        let exact = gradients
            .get(&reference.vars[name])
            .unwrap()
            .flatten_all()
            .unwrap();
        let ours = parameter.gradient().to_vec(parameter.len());
        let (difference, size) = norms(&ours, &exact.to_vec1().unwrap());
        // Some true gradients are zero: those of the keys' biases, since a shift of all keys changes no softmax, and
        // those of queries and keys where there is one token.
        let bound = if size < 1e-12 { 1e-7 } else { 1e-5 * size };
        assert!(difference <= bound, "{name}: {difference:e} of {size:e}");
    }
}

#[test]
fn gradients_of_every_parameter_agree_with_f64() {
    let base = Base::new().without_dropout();
    compare(&base, &[9, 1, 16, 17, 33]);
    compare(&base, &[1]);
}

/// The feed-forward half takes so many rows in blocks, the last of them a short one.
#[test]
fn gradients_of_a_batch_of_several_blocks_agree_with_f64() {
    let lengths = [50; 21];
    assert!(lengths.iter().sum::<usize>() > 2 * feed_forward::ROWS);
    compare(&Base::new(), &lengths);
}

#[test]
fn gradients_under_dropout_agree_with_f64() {
    compare(&Base::new(), &[9, 1, 16, 17, 33]);
}

/// A large batch goes through in several passes, with the masks, the loss and the gradients of one.
#[test]
fn a_batch_in_several_passes_has_the_gradients_of_the_whole() {
    let base = Base::new();
    let lengths: Vec<usize> = (0..70).map(|i| 1 + 37 * i % 64).collect();
    assert!(passes(lengths.iter().copied()).len() > 2);
    let sequence = |outputs| HeadKind::Sequence { outputs };
    /// The target of a sequence by its number and its length.
    type Made = fn(usize, usize) -> Target;
    let kinds: [(HeadKind, Made); 5] = [
        (sequence(3), |i, _| Target::Class(i as u32 % 3)),
        (sequence(3), |i, _| Target::Set(vec![i as u32 % 2, 2])),
        (sequence(1), |i, _| Target::Value(i as f32 * 0.1)),
        (HeadKind::Token { outputs: 3 }, |i, length| {
            // Some sequences have no row that counts.
            let counts = |row: usize| !i.is_multiple_of(5) && !row.is_multiple_of(3);
            let class = |row: usize| counts(row).then_some((i + row) as u32 % 3);
            Target::Classes((0..length).map(class).collect())
        }),
        (HeadKind::Span, |i, length| {
            Target::Span((i % length) as u32, length as u32 - 1)
        }),
    ];
    let weighing = Arc::new(Weighing {
        weights: vec![0.2, 1.0, 3.0],
        smoothing: 0.1,
        gamma: 2.0,
    });
    for (kind, target) in kinds {
        let mut rows = rows(&lengths);
        for (i, row) in rows.iter_mut().enumerate() {
            row.target = target(i, row.ids.len());
        }
        let weighings = match target(0, 1) {
            Target::Class(_) | Target::Classes(_) => vec![None, Some(&weighing)],
            _ => vec![None],
        };
        let model = Bert::load(&base.checkpoint, kind, Missing::Seeded(9)).unwrap();
        let batch = Batch::new(rows.iter());
        for weighing in weighings {
            let gradients = || {
                let read = |p: &Arc<berth_trainer::ops::Parameter>| {
                    let gradient = p.gradient().to_vec(p.len());
                    p.gradient().clear();
                    gradient
                };
                model.parameters().iter().map(read).collect::<Vec<_>>()
            };
            let targets = targets(rows.iter()).unwrap();
            let logits = model.forward(&batch, MASKS).unwrap();
            let whole = targets.clone().weighed_loss(&logits, weighing).unwrap();
            whole.backward().unwrap();
            let expected = gradients();
            let whole = f64::from(whole.to_scalar::<f32>().unwrap());
            let found = model.learn(&batch, 77, targets, weighing).unwrap();
            assert!((found - whole).abs() < 1e-6 * whole, "{found} {whole}");
            for ((p, found), expected) in model.parameters().iter().zip(gradients()).zip(expected) {
                let exact: Vec<f64> = expected.iter().map(|&x| f64::from(x)).collect();
                let (difference, size) = norms(&found, &exact);
                // The biases of the keys have no true gradient.
                let bound = if size < 1e-7 { 1e-7 } else { 1e-5 * size };
                assert!(
                    difference <= bound,
                    "{kind:?}, {}: {difference:e} of {size:e}",
                    p.name()
                );
            }
        }
    }
}

/// As where no word of a batch has a piece, or its classes weigh nothing: there is nothing to learn from it, and no
/// parameter is left out.
#[test]
fn a_batch_in_which_nothing_counts_has_gradients_of_zero() {
    let base = Base::new();
    let nothing = Arc::new(Weighing {
        weights: vec![0.0, 1.0, 1.0],
        smoothing: 0.0,
        gamma: 0.0,
    });
    let ignored = |length| Target::Classes(vec![None; length]);
    let weightless = |_| Target::Class(0);
    type Case<'a> = (HeadKind, fn(usize) -> Target, Option<&'a Arc<Weighing>>);
    let cases: [Case; 2] = [
        (HeadKind::Token { outputs: 3 }, ignored, None),
        (
            HeadKind::Sequence { outputs: 3 },
            weightless,
            Some(&nothing),
        ),
    ];
    for (kind, target, weighing) in cases {
        let mut rows = rows(&[5, 12]);
        rows.iter_mut()
            .for_each(|row| row.target = target(row.ids.len()));
        let model = Bert::load(&base.checkpoint, kind, Missing::Seeded(9)).unwrap();
        let targets = targets(rows.iter()).unwrap();
        let loss = model.learn(&Batch::new(rows.iter()), 77, targets, weighing);
        assert_eq!(loss.unwrap(), 0.0);
        for p in model.parameters() {
            let gradient = p.gradient();
            assert!(gradient.is_filled(), "{kind:?}: {}", p.name());
            assert!(gradient.to_vec(p.len()).iter().all(|x| *x == 0.0));
        }
    }
}

#[test]
fn classes_have_a_weight_for_each_output_or_none() {
    let base = Base::new();
    let kind = HeadKind::Sequence { outputs: 3 };
    let model = Bert::load(&base.checkpoint, kind, Missing::Seeded(9)).unwrap();
    let rows = rows(&[5, 12]);
    let batch = Batch::new(rows.iter());
    let learn = |weights: usize| {
        let weighing = Arc::new(Weighing {
            weights: vec![0.5; weights],
            smoothing: 0.1,
            gamma: 0.0,
        });
        let targets = targets(rows.iter()).unwrap();
        let loss = model.learn(&batch, 77, targets, Some(&weighing));
        loss.map_err(|error| error.to_string())
    };
    for weights in [2, 4] {
        let told = learn(weights).unwrap_err();
        let wrong = format!("{weights} class weights for 3 outputs");
        assert!(told.starts_with(&wrong), "{told}");
    }
    for weights in [0, 3] {
        assert!(learn(weights).is_ok(), "{weights}");
    }
}

#[test]
fn a_second_batch_adds_to_the_gradients() {
    let base = Base::new();
    let model = Bert::load(
        &base.checkpoint,
        HeadKind::Sequence { outputs: 3 },
        Missing::Seeded(9),
    )
    .unwrap();
    let rows = rows(&[5, 12, 7]);
    let gradient = |rows: &[Encoded]| {
        let logits = model.forward(&Batch::new(rows.iter()), MASKS).unwrap();
        targets(rows.iter())
            .unwrap()
            .loss(&logits)
            .unwrap()
            .backward()
            .unwrap();
        let read = |p: &Arc<berth_trainer::ops::Parameter>| p.gradient().to_vec(p.len());
        model.parameters().iter().map(read).collect::<Vec<_>>()
    };
    let clear = || model.parameters().iter().for_each(|p| p.gradient().clear());
    let first = gradient(&rows[..1]);
    clear();
    let second = gradient(&rows[1..]);
    let both = gradient(&rows[..1]);
    for ((first, second), both) in first
        .iter()
        .flatten()
        .zip(second.iter().flatten())
        .zip(both.iter().flatten())
    {
        assert!(
            (first + second - both).abs() <= 1e-6 * (1.0 + both.abs()),
            "{first} + {second} = {both}"
        );
    }
}

#[test]
fn every_thread_count_and_a_second_run_give_the_same_bits() {
    let base = Base::new();
    let rows = rows(&[5, 40, 7, 64, 1, 33]);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let model = Bert::load(
                &base.checkpoint,
                HeadKind::Sequence { outputs: 3 },
                Missing::Seeded(9),
            )
            .unwrap();
            let logits = model.forward(&Batch::new(rows.iter()), MASKS).unwrap();
            targets(rows.iter())
                .unwrap()
                .loss(&logits)
                .unwrap()
                .backward()
                .unwrap();
            model
                .parameters()
                .iter()
                .map(|p| p.gradient().to_vec(p.len()))
                .collect::<Vec<_>>()
        })
    };
    let one = run(1);
    assert!([1, 2, 3].into_iter().all(|threads| run(threads) == one));
}

#[test]
fn without_dropout_training_and_prediction_compute_the_same() {
    let base = Base::new().without_dropout();
    let model = Bert::load(
        &base.checkpoint,
        HeadKind::Sequence { outputs: 3 },
        Missing::Seeded(9),
    )
    .unwrap();
    let rows = rows(&[5, 12]);
    let logits = |masks| {
        model
            .forward(&Batch::new(rows.iter()), masks)
            .unwrap()
            .to_vec2::<f32>()
            .unwrap()
    };
    assert_eq!(logits(MASKS), logits(None));
    assert!(
        Bert::load(
            &base.checkpoint,
            HeadKind::Sequence { outputs: 3 },
            Missing::Refused
        )
        .is_err()
    );
}

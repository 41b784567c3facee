//! A whole model: loss, every gradient and steps of AdamW against the CPU's.

use std::sync::Arc;

use berth_checkpoint::{Checkpoint, tiny};

use super::Tested;
use crate::batches::Batch;
use crate::cuda::engine::Trained;
use crate::cuda::machine::Operand;
use crate::device::{Engine, Numbers};
use crate::kernels::adamw::Betas;
use crate::kernels::embed::Token;
use crate::kernels::isa::Isa;
use crate::kernels::loss::{IGNORED, Weighing};
use crate::model::{Bert, HeadKind, Missing};
use crate::ops::Packing;
use crate::ops::loss::Targets;
use crate::optimizer::AdamW;
use crate::random::Random;

/// Columns of the small model's heads.
const HEAD: usize = 16;
const MASKS: u64 = 77;
/// Around a tile of 32 rows, and one alone.
const LENGTHS: [usize; 4] = [33, 1, 32, 7];

/// The small model twice: here, and on a device.
struct Both {
    here: Bert,
    there: Arc<Trained>,
    operand: Operand,
}

impl Both {
    fn new(kind: HeadKind, operand: Operand) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        tiny::create(dir.path(), 3, &["good"]).unwrap();
        let base = Checkpoint::open(dir.path()).unwrap();
        let here = Bert::load(&base, kind, Missing::Seeded(9)).unwrap();
        // A norm that does nothing and biases of 0 would hide mistakes.
        let mut random = Random::new(4);
        for parameter in here.parameters() {
            let mut nudge = |x: &mut f32| *x += 0.1 * random.normal() as f32;
            parameter
                .update(|all| all.iter_mut().for_each(&mut nudge))
                .unwrap();
        }
        let there = Trained::new(Tested::new(HEAD, operand)?.machine(), &here, operand).unwrap();
        let there = Arc::new(there);
        Some(Self {
            here,
            there,
            operand,
        })
    }

    /// The losses, and the largest difference of a gradient from the one here, in its norm.
    fn learn(
        &self,
        batch: &Batch,
        targets: &Targets,
        weighing: Option<&Arc<Weighing>>,
    ) -> ([f64; 2], f64) {
        self.learn_share(batch, targets, weighing, targets.weight(weighing))
    }

    /// The same of the share in an update that weighs `whole`.
    fn learn_share(
        &self,
        batch: &Batch,
        targets: &Targets,
        weighing: Option<&Arc<Weighing>>,
        whole: f64,
    ) -> ([f64; 2], f64) {
        let here = self
            .here
            .learn_share(batch, MASKS, targets.clone(), weighing, whole)
            .unwrap();
        let there = self
            .there
            .learn(batch, MASKS, targets, weighing.map(Arc::as_ref), whole)
            .unwrap();
        let most = |x: &[f32]| x.iter().fold(0f32, |most, x| most.max(x.abs()));
        let mut zeros = 0;
        let difference = |(i, parameter): (usize, &Arc<crate::ops::Parameter>)| {
            let expected = parameter.gradient().to_vec(parameter.len());
            let got = self.there.read(Numbers::Gradient, i).unwrap();
            if most(&expected) < 2e-7 {
                // The true gradient is 0, and both are rounding.
                let bound = match self.operand {
                    Operand::Full => 2e-7,
                    Operand::Half => 1e-3,
                };
                assert!(most(&got) < bound, "{}", parameter.name());
                zeros += 1;
                return 0.0;
            }
            relative(&got, &expected)
        };
        let parameters = self.here.parameters().iter().enumerate();
        let worst = parameters.map(difference).fold(0.0, f64::max);
        // A shift of all keys changes no softmax, nor, under the head for spans, one of all rows: the keys' biases of
        // two layers, the last norm's and the head's.
        assert!(zeros <= 4, "{zeros} parameters without a gradient");
        ([here, there], worst)
    }
}

/// ‖x − y‖ / ‖y‖
fn relative(x: &[f32], y: &[f32]) -> f64 {
    assert_eq!(x.len(), y.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut x.iter().zip(y).map(|(x, y)| f64::from(*x) - f64::from(*y)));
    let size = norm(&mut y.iter().map(|y| f64::from(*y)));
    // A NaN is no small difference.
    if difference.is_nan() {
        f64::INFINITY
    } else {
        difference / size.max(1e-9)
    }
}

fn batch(lengths: &[usize]) -> Batch {
    let mut random = Random::new(5);
    let tokens = lengths
        .iter()
        .flat_map(|&length| 0..length)
        .map(|position| Token {
            word: random.below(60) as u32,
            position: position as u32,
            kind: u32::from(position % 3 == 2),
        });
    Batch {
        tokens: tokens.collect(),
        packing: Arc::new(Packing::new(lengths.iter().copied())),
    }
}

/// A head, what its outputs should be for `batch(&LENGTHS)`, and what classes weigh.
fn heads() -> Vec<(HeadKind, Targets, Option<Weighing>)> {
    let rows: usize = LENGTHS.iter().sum();
    let sequence = |outputs| HeadKind::Sequence { outputs };
    let weighing = Weighing {
        weights: vec![0.5, 2.0, 1.25],
        smoothing: 0.1,
        gamma: 1.5,
    };
    let classes = Targets::Classes(vec![2, 0, IGNORED, 1]);
    let tags = (0..rows as i64).map(|i| if i % 4 == 1 { IGNORED } else { i % 5 });
    vec![
        (sequence(3), classes.clone(), None),
        (sequence(3), classes, Some(weighing)),
        (
            sequence(3),
            Targets::Sets(vec![vec![0, 2], vec![], vec![1], vec![2]]),
            None,
        ),
        (
            sequence(1),
            Targets::Values(vec![1.5, -2.0, 0.25, 4.0]),
            None,
        ),
        (
            HeadKind::Token { outputs: 5 },
            Targets::Classes(tags.collect()),
            None,
        ),
        (
            HeadKind::Span,
            Targets::Spans(
                Packing::new(LENGTHS),
                vec![[0, 32], [0, 0], [31, 31], [2, 5]],
            ),
            None,
        ),
    ]
}

#[test]
fn losses_and_gradients_of_every_head_are_the_cpus() {
    for (kind, targets, weighing) in heads() {
        let Some(both) = Both::new(kind, Operand::Full) else {
            return;
        };
        let weighing = weighing.map(Arc::new);
        let ([here, there], worst) = both.learn(&batch(&LENGTHS), &targets, weighing.as_ref());
        assert!(
            (here - there).abs() < 1e-5 * here.abs(),
            "{kind:?}: loss {here} {there}"
        );
        assert!(worst < 1e-5, "{kind:?}: gradient off by {worst:e}");
        assert!(both.there.without_gradient().is_empty());
    }
}

#[test]
fn the_share_of_a_batch_in_an_update_is_the_cpus() {
    for (kind, targets, weighing) in heads() {
        let Some(both) = Both::new(kind, Operand::Full) else {
            return;
        };
        let weighing = weighing.map(Arc::new);
        let own = targets.weight(weighing.as_ref());
        let batch = batch(&LENGTHS);
        let ([here, there], worst) =
            both.learn_share(&batch, &targets, weighing.as_ref(), 3.0 * own);
        assert!(
            (here - there).abs() < 1e-5 * here.abs(),
            "{kind:?}: loss {here} {there}"
        );
        assert!(worst < 1e-5, "{kind:?}: gradient off by {worst:e}");
        let whole = both.here.learn(&batch, MASKS, targets, weighing.as_ref());
        let whole = whole.unwrap();
        assert!(
            (3.0 * here - whole).abs() < 1e-5 * whole,
            "{kind:?}: {here} is no third of {whole}"
        );
    }
}

#[test]
fn in_bf16_losses_and_gradients_are_near_those_in_f32() {
    for kind in [
        HeadKind::Sequence { outputs: 3 },
        HeadKind::Token { outputs: 3 },
    ] {
        let Some(both) = Both::new(kind, Operand::Half) else {
            return;
        };
        let rows = match kind {
            HeadKind::Sequence { .. } => LENGTHS.len(),
            _ => LENGTHS.iter().sum(),
        };
        let targets = Targets::Classes((0..rows as i64).map(|i| i % 3).collect());
        let ([here, there], worst) = both.learn(&batch(&LENGTHS), &targets, None);
        assert!(
            (here - there).abs() < 1e-2 * here.abs(),
            "{kind:?}: loss {here} {there}"
        );
        // bf16 has 8 bits; the gradients of queries and keys are differences of products.
        assert!(
            (1e-5..6e-2).contains(&worst),
            "{kind:?}: gradient off by {worst:e}"
        );
    }
}

#[test]
fn logits_without_dropout_are_the_cpus_whatever_products_of_training_read() {
    for operand in [Operand::Full, Operand::Half] {
        for kind in [HeadKind::Sequence { outputs: 3 }, HeadKind::Span] {
            let Some(both) = Both::new(kind, operand) else {
                return;
            };
            for lengths in [&LENGTHS[..], &[1], &[64, 65]] {
                let batch = batch(lengths);
                let here = both.here.forward(&batch, None).unwrap();
                let here: Vec<f32> = here.flatten_all().unwrap().to_vec1().unwrap();
                let there = both.there.logits(&batch, None).unwrap();
                assert!(relative(&there, &here) < 1e-5);
            }
        }
    }
}

#[test]
fn steps_of_adamw_and_the_norm_of_gradients_are_the_cpus() {
    let Some(both) = Both::new(HeadKind::Sequence { outputs: 2 }, Operand::Half) else {
        return;
    };
    let Both { here, there, .. } = &both;
    let betas = Betas {
        first: 0.9,
        second: 0.999,
        eps: 1e-8,
    };
    let mut optimizers = [0, 1].map(|_| {
        let mut optimizer = AdamW::new(here.parameters(), betas, 0.1);
        optimizer.slow_lower_layers(0.9, 2);
        optimizer
    });
    let [cpu, gpu] = &mut optimizers;
    gpu.move_to(there.clone()).unwrap();
    assert_eq!(gpu.without_gradient().len(), here.parameters().len());
    let targets = Targets::Classes(vec![1, 0, 0, 1]);
    for step in 0..3 {
        both.learn(&batch(&LENGTHS), &targets, None);
        assert!(gpu.without_gradient().is_empty());
        // The same gradients, so that what is compared is the step.
        for (i, parameter) in here.parameters().iter().enumerate() {
            let gradient = parameter.gradient().to_vec(parameter.len());
            there.write(Numbers::Gradient, i, &gradient).unwrap();
        }
        let [norm, its] =
            [&*cpu, &*gpu].map(|optimizer| optimizer.gradient_norm(Isa::best()).unwrap());
        assert!((norm / its - 1.0).abs() < 1e-6, "{norm} {its}");
        let rate = 1e-2 / f64::from(step + 1);
        for optimizer in [&mut *cpu, &mut *gpu] {
            optimizer.step(Isa::best(), rate, 0.5).unwrap();
        }
        for (i, parameter) in here.parameters().iter().enumerate() {
            let values = there.read(Numbers::Values, i).unwrap();
            let difference = relative(&values, &parameter.values());
            assert!(difference < 1e-6, "{}: {difference:e}", parameter.name());
            let gradient = there.read(Numbers::Gradient, i).unwrap();
            assert!(gradient.iter().all(|&g| g == 0.0), "cleared");
        }
    }
    gpu.fetch().unwrap();
    for (ours, its) in cpu.moments().into_iter().zip(gpu.moments()) {
        assert_eq!(ours.name, its.name);
        let [ours, its] = [ours, its].map(|m| m.parts.flatten().copied().collect::<Vec<f32>>());
        assert!(relative(&its, &ours) < 1e-6);
    }
}

#[test]
fn fixed_token_types_neither_move_nor_count() {
    let Some(both) = Both::new(HeadKind::Sequence { outputs: 2 }, Operand::Full) else {
        return;
    };
    let Both { here, there, .. } = &both;
    here.fix_token_types();
    let betas = Betas {
        first: 0.9,
        second: 0.999,
        eps: 1e-8,
    };
    let mut optimizers = [0, 1].map(|_| AdamW::new(here.parameters(), betas, 0.1));
    let [cpu, gpu] = &mut optimizers;
    gpu.move_to(there.clone()).unwrap();
    let mut named = here.parameters().iter();
    let index = named.position(|p| p.name().contains("token_type")).unwrap();
    let before = there.read(Numbers::Values, index).unwrap();
    both.learn(&batch(&LENGTHS), &Targets::Classes(vec![1, 0, 0, 1]), None);
    assert!(gpu.without_gradient().is_empty());
    let [norm, its] = [&*cpu, &*gpu].map(|optimizer| optimizer.gradient_norm(Isa::best()).unwrap());
    assert!((norm / its - 1.0).abs() < 1e-5, "{norm} {its}");
    for optimizer in [cpu, gpu] {
        optimizer.step(Isa::best(), 1e-2, 0.5).unwrap();
    }
    assert_eq!(there.read(Numbers::Values, index).unwrap(), before);
    assert_eq!(here.parameters()[index].values()[..], before[..]);
}

#[test]
fn a_run_gives_the_same_bits_again_and_a_second_batch_adds() {
    let kind = HeadKind::Token { outputs: 2 };
    let run = |batches: &[&[usize]]| {
        let both = Both::new(kind, Operand::Half)?;
        for lengths in batches {
            let rows = lengths.iter().sum::<usize>() as i64;
            let targets = Targets::Classes((0..rows).map(|i| i % 2).collect());
            both.there
                .learn(&batch(lengths), MASKS, &targets, None, rows as f64)
                .unwrap();
        }
        let read = |i| both.there.read(Numbers::Gradient, i).unwrap();
        Some(
            (0..both.here.parameters().len())
                .map(read)
                .collect::<Vec<_>>(),
        )
    };
    let (Some(first), Some(again)) = (run(&[&[9, 33]]), run(&[&[9, 33]])) else {
        return;
    };
    assert_eq!(first, again);
    let (second, both) = (run(&[&[3]]).unwrap(), run(&[&[9, 33], &[3]]).unwrap());
    for ((first, second), both) in first.iter().zip(second).zip(both) {
        let sum: Vec<f32> = first.iter().zip(second).map(|(x, y)| x + y).collect();
        assert!(relative(&both, &sum) < 1e-5);
    }
}

#[test]
fn wrong_batches_are_refused() {
    let Some(both) = Both::new(HeadKind::Sequence { outputs: 2 }, Operand::Full) else {
        return;
    };
    let mut batch = batch(&[3]);
    batch.tokens[1].word = 1_000_000;
    let error = both.there.logits(&batch, None).unwrap_err().to_string();
    assert!(
        error.contains("token 1 of the batch has word 1000000"),
        "{error}"
    );
}

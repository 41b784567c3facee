//! The trainer's gradients against the reference's, tensor by tensor.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_checkpoint::Checkpoint;
use berth_data::{Encoded, Target};
use berth_tests::naive::{Bert, Dimensions, Gold, Matrix, Named, Sequence};
use berth_trainer::batches::{Batch, targets};
use berth_trainer::model::{self, HeadKind, Missing};
use berth_trainer::ops::Parameter;

use crate::fixture::{self, Dice};

/// Norm of the difference by the norm of the reference, for every tensor but the key biases.
const RELATIVE_ERROR: f64 = 1e-5;

/// Softmax does not see what all its rows share, so that the gradient of a key bias is zero, and under
/// a span head those of `qa_outputs.bias` and of the bias below it; what is left of it after rounding.
const UNSEEN: f64 = 1e-7;

/// What is left of such a gradient in the reference.
const NOTHING: f64 = 1e-12;

const KINDS: [HeadKind; 3] = [
    HeadKind::Sequence { outputs: 3 },
    HeadKind::Token { outputs: 3 },
    HeadKind::Span,
];

#[test]
fn every_gradient_is_the_references() {
    for kind in KINDS {
        let dir = fixture::folder();
        let base = fixture::base_model(dir.path());
        let found = hold_to_the_reference(base, kind, &batch(kind));
        // The two tensors of the pooler are there under a head on whole texts.
        let expected = match kind {
            HeadKind::Sequence { .. } => (39, 2),
            HeadKind::Token { .. } => (37, 2),
            HeadKind::Span => (35, 4),
        };
        assert_eq!((found.within, found.unseen), expected, "{kind:?}");
    }
}

/// How many tensors have been compared.
pub struct Compared {
    /// Those within [`RELATIVE_ERROR`].
    pub within: usize,
    /// Those whose gradient is zero, within [`UNSEEN`] of it.
    pub unseen: usize,
    /// The largest relative error.
    pub worst: f64,
    /// The largest element of a gradient that is zero.
    pub largest_unseen: f64,
}

/// Compares the gradients of every tensor of a model with a fresh head of this kind, without dropout.
///
/// # Panics
/// When one is not within its bound.
pub fn hold_to_the_reference(
    checkpoint: Checkpoint,
    kind: HeadKind,
    batch: &[Encoded],
) -> Compared {
    let trainer = Trainer::of(&without_dropout(checkpoint), kind);
    let (loss, found) = trainer.gradients(batch);
    let (expected_loss, expected) = trainer.reference().gradients(&sequences(batch));
    assert!(
        (loss - expected_loss).abs() < 1e-6 * expected_loss,
        "{loss} {expected_loss}"
    );
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    let mut compared = Compared {
        within: 0,
        unseen: 0,
        worst: 0.0,
        largest_unseen: 0.0,
    };
    for (name, expected) in &expected {
        let found = &found[name];
        if expected.norm() < NOTHING {
            let elements = found.data.iter().map(|g| g.abs());
            let largest = elements.fold(0.0, f64::max);
            assert!(largest <= UNSEEN, "{name}: {largest:e}");
            compared.unseen += 1;
            compared.largest_unseen = compared.largest_unseen.max(largest);
        } else {
            let error = expected.relative_error(found);
            assert!(error <= RELATIVE_ERROR, "{name}: off by {error:e}");
            compared.within += 1;
            compared.worst = compared.worst.max(error);
        }
    }
    compared
}

/// With dropout there is no reference, as the masks are the trainer's own. But the masks of a step
/// are a function, so that the loss has a slope: along the gradient it is the gradient's length.
#[test]
fn with_dropout_the_gradient_is_still_the_slope_of_the_loss() {
    let dir = fixture::folder();
    let base = fixture::base_model(dir.path());
    for kind in KINDS {
        the_slope_is_the_gradient(&Trainer::of(&base, kind), &batch(kind));
    }
}

fn the_slope_is_the_gradient(trainer: &Trainer, batch: &[Encoded]) {
    let (_, gradients) = trainer.gradients(batch);
    let length = gradients
        .values()
        .map(|g| g.norm().powi(2))
        .sum::<f64>()
        .sqrt();
    let step = 1e-2;
    let moved = |by: f64| {
        trainer.walk(&gradients, by / length);
        trainer.loss(batch)
    };
    let (ahead, behind) = (moved(step), moved(-2.0 * step));
    let slope = (ahead - behind) / (2.0 * step);
    assert!(
        (slope / length - 1.0).abs() < 2e-3,
        "slope {slope}, length {length}"
    );
}

/// A model as the trainer has it, with a seeded head.
struct Trainer {
    model: model::Bert,
    dimensions: Dimensions,
}

impl Trainer {
    fn of(checkpoint: &Checkpoint, kind: HeadKind) -> Self {
        let config = &checkpoint.config;
        Trainer {
            model: model::Bert::load(checkpoint, kind, Missing::Seeded(5)).expect("a model"),
            dimensions: Dimensions {
                layers: config.num_hidden_layers,
                heads: config.num_attention_heads,
                norm_eps: config.layer_norm_eps,
            },
        }
    }

    /// The reference with the same numbers in it.
    fn reference(&self) -> Bert {
        let tensor = |parameter: &Arc<Parameter>| {
            let values = Matrix::from_tensor(parameter.shape(), &parameter.values());
            (parameter.name().to_owned(), values)
        };
        Bert {
            tensors: self.model.parameters().iter().map(tensor).collect(),
            dimensions: self.dimensions,
        }
    }

    /// The loss of a batch, and its backward pass.
    fn pass(&self, batch: &[Encoded]) -> (f64, impl FnOnce() + use<>) {
        let logits = self
            .model
            .forward(&Batch::new(batch.iter()), Some(1))
            .expect("logits");
        let loss = targets(batch.iter())
            .expect("labels")
            .loss(&logits)
            .expect("a loss");
        let value = f64::from(loss.to_scalar::<f32>().expect("a number"));
        let backward = move || {
            loss.backward().expect("gradients");
        };
        (value, backward)
    }

    fn loss(&self, batch: &[Encoded]) -> f64 {
        self.pass(batch).0
    }

    fn gradients(&self, batch: &[Encoded]) -> (f64, Named) {
        let (value, backward) = self.pass(batch);
        backward();
        let gradient = |parameter: &Arc<Parameter>| {
            let values = parameter.gradient().to_vec(parameter.len());
            (
                parameter.name().to_owned(),
                Matrix::from_tensor(parameter.shape(), &values),
            )
        };
        let gradients: BTreeMap<_, _> = self.model.parameters().iter().map(gradient).collect();
        (value, gradients)
    }

    /// Moves every parameter by its share of `direction`.
    fn walk(&self, direction: &Named, by: f64) {
        for parameter in self.model.parameters() {
            let along = &direction[parameter.name()].data;
            let change = |values: &mut [f32]| {
                for (value, along) in values.iter_mut().zip(along) {
                    *value = (f64::from(*value) + by * along) as f32;
                }
            };
            parameter.update(change).expect("a parameter on the CPU");
        }
    }
}

fn without_dropout(mut checkpoint: Checkpoint) -> Checkpoint {
    checkpoint.config.hidden_dropout_prob = 0.0;
    checkpoint.config.attention_probs_dropout_prob = 0.0;
    checkpoint
}

/// Sequences of unlike lengths, one of a single token, one with two texts, one of 70 tokens.
fn batch(kind: HeadKind) -> Vec<Encoded> {
    let mut dice = Dice(3);
    let mut row = |length: usize, second: usize| Encoded {
        ids: (0..length).map(|_| dice.below(60) as u32).collect(),
        second,
        target: target(kind, length, &mut dice),
        ..Encoded::default()
    };
    vec![row(9, 9), row(1, 1), row(17, 6), row(70, 70), row(5, 4)]
}

fn target(kind: HeadKind, length: usize, dice: &mut Dice) -> Target {
    match kind {
        HeadKind::Sequence { outputs } => Target::Class(dice.below(outputs) as u32),
        HeadKind::Token { outputs } => {
            let mut tag = |_| (dice.below(2) == 0).then_some(dice.below(outputs) as u32);
            Target::Classes((0..length).map(&mut tag).collect())
        }
        HeadKind::Span => {
            let first = dice.below(length);
            Target::Span(first as u32, (first + dice.below(length - first)) as u32)
        }
    }
}

fn sequences(batch: &[Encoded]) -> Vec<Sequence> {
    let tag = |tag: &Option<u32>| tag.map(|tag| tag as usize);
    let sequence = |row: &Encoded| Sequence {
        ids: row.ids.iter().map(|id| *id as usize).collect(),
        second: row.second,
        gold: match &row.target {
            Target::Class(class) => Gold::Class(*class as usize),
            Target::Classes(tags) => Gold::Tags(tags.iter().map(tag).collect()),
            Target::Span(first, last) => Gold::Span([*first as usize, *last as usize]),
            other => panic!("{other:?} is no answer"),
        },
    };
    batch.iter().map(sequence).collect()
}

//! Steps on made-up batches, to be timed: forward, backward, clipping and AdamW, with dropout as in config.json, two
//! labels and no padding.

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_checkpoint::Checkpoint;

use crate::batches::Batch;
use crate::error::TrainError;
use crate::kernels::adamw::Betas;
use crate::kernels::embed::Token;
use crate::kernels::isa::Isa;
use crate::model::{Bert, HeadKind, Missing};
use crate::ops::Packing;
use crate::ops::loss::Targets;
use crate::optimizer::AdamW;
use crate::random::Random;

/// A model in training that learns nothing of use.
pub struct TrainBench {
    model: Bert,
    optimizer: AdamW,
    random: Random,
    vocabulary: usize,
}

impl TrainBench {
    /// From a base model. Runs on the threads of the current rayon pool.
    ///
    /// # Errors
    /// If a tensor can't be read.
    pub fn new(base: &Checkpoint) -> Result<Self, TrainError> {
        let model = Bert::load(base, HeadKind::Sequence { outputs: 2 }, Missing::Seeded(1))?;
        let betas = Betas {
            first: 0.9,
            second: 0.999,
            eps: 1e-8,
        };
        let optimizer = AdamW::new(model.parameters(), betas, 0.01);
        Ok(Self {
            model,
            optimizer,
            random: Random::new(1),
            vocabulary: base.config.vocab_size,
        })
    }

    /// One step over `sequences` sequences of `length` random pieces each; how long it took.
    ///
    /// # Errors
    /// If `length` is more than the model has positions.
    pub fn step(&mut self, sequences: usize, length: usize) -> Result<Duration, TrainError> {
        let mut token = |position: usize| Token {
            word: self.random.below(self.vocabulary) as u32,
            position: (position % length) as u32,
            kind: 0,
        };
        let batch = Batch {
            tokens: (0..sequences * length).map(&mut token).collect(),
            packing: Arc::new(Packing::new(std::iter::repeat_n(length, sequences))),
        };
        let classes = Targets::Classes((0..sequences as i64).map(|i| i % 2).collect());
        let isa = Isa::best();
        let started = Instant::now();
        let logits = self.model.forward(&batch, Some(self.optimizer.steps()))?;
        classes.loss(&logits)?.backward()?;
        let clip = (1.0 / self.optimizer.gradient_norm(isa)).min(1.0);
        self.optimizer.step(isa, 5e-5, clip)?;
        Ok(started.elapsed())
    }
}

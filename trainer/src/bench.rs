//! Steps on made-up batches, timed: forward, backward, clipping and AdamW, with dropout as in config.json, two labels
//! and no padding.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use berth_checkpoint::Checkpoint;
use thiserror::Error;

use crate::batches::Batch;
use crate::device::Device;
use crate::error::TrainError;
use crate::kernels::embed::Token;
use crate::kernels::gemm::Precision;
use crate::kernels::gemm::meter::{self, Products};
use crate::kernels::isa::Isa;
use crate::model::{Bert, HeadKind, Missing};
use crate::ops::Packing;
use crate::ops::loss::Targets;
use crate::optimizer::AdamW;
use crate::random::Random;
use crate::recipe::Recipe;

/// Sequences of one length: `32x128`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How many.
    pub sequences: usize,
    /// Pieces of each.
    pub length: usize,
}

/// The text is not a [`Shape`].
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
#[error("a shape is two positive numbers, sequences x pieces: 32x128")]
pub struct NoShape;

impl Shape {
    /// Pieces of all sequences.
    pub fn tokens(self) -> usize {
        self.sequences * self.length
    }
}

impl FromStr for Shape {
    type Err = NoShape;

    fn from_str(text: &str) -> Result<Self, NoShape> {
        let (sequences, length) = text.split_once('x').ok_or(NoShape)?;
        let number = |text: &str| match text.parse() {
            Ok(number @ 1..=1_000_000) => Ok(number),
            _ => Err(NoShape),
        };
        Ok(Self {
            sequences: number(sequences)?,
            length: number(length)?,
        })
    }
}

impl Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.sequences, self.length)
    }
}

/// How long steps of one shape took.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// Seconds of each step, in ascending order; at least one.
    pub seconds: Vec<f64>,
}

/// Where the time of some steps went.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Profile {
    /// Seconds of the steps.
    pub seconds: f64,
    /// What of it was matrix products.
    pub products: Products,
}

impl Profile {
    /// Billions of multiplications and additions a second, while products were computed.
    pub fn gflops(&self) -> f64 {
        1e-9 * self.products.operations as f64 / self.products.time.as_secs_f64()
    }

    /// The share of the time that is anything but products. It means something on one thread.
    pub fn rest(&self) -> f64 {
        1.0 - self.products.time.as_secs_f64() / self.seconds
    }
}

impl Timing {
    /// Seconds of the step in the middle.
    pub fn median(&self) -> f64 {
        self.seconds[self.seconds.len() / 2]
    }

    /// Seconds of the fastest.
    pub fn least(&self) -> f64 {
        self.seconds[0]
    }
}

/// A model in training that learns nothing of use.
pub struct TrainBench {
    model: Bert,
    optimizer: AdamW,
    random: Random,
    vocabulary: usize,
}

impl TrainBench {
    /// From a base model, trained in `precision`. Runs on the threads of the current rayon pool.
    ///
    /// # Errors
    /// If a tensor can't be read.
    pub fn new(base: &Checkpoint, precision: Precision) -> Result<Self, TrainError> {
        let mut model = Bert::load(base, HeadKind::Sequence { outputs: 2 }, Missing::Seeded(1))?;
        model.train_in(precision);
        let usual = Recipe::default();
        let optimizer = AdamW::new(model.parameters(), usual.betas(), usual.weight_decay);
        Ok(Self {
            model,
            optimizer,
            random: Random::new(1),
            vocabulary: base.config.vocab_size,
        })
    }

    /// Steps are taken on a device from now on, with products of bf16 if `mixed`; on the CPU they stay as they are.
    ///
    /// # Errors
    /// If the device can't be had, or the model does not fit it.
    pub fn move_to(&mut self, device: Device, mixed: bool) -> Result<(), TrainError> {
        self.model.move_to(device, mixed)?;
        match self.model.engine() {
            Some(engine) => Ok(self.optimizer.move_to(engine.clone())?),
            None => Ok(()),
        }
    }

    /// Takes `warm_up` steps and then `steps` that are timed, at least one, each on a batch of its own.
    ///
    /// # Errors
    /// If the sequences are longer than the model has positions.
    pub fn time(
        &mut self,
        shape: Shape,
        warm_up: usize,
        steps: usize,
    ) -> Result<Timing, TrainError> {
        for _ in 0..warm_up {
            self.step(shape)?;
        }
        let mut seconds = (0..steps.max(1))
            .map(|_| self.step(shape))
            .collect::<Result<Vec<_>, _>>()?;
        seconds.sort_by(f64::total_cmp);
        Ok(Timing { seconds })
    }

    /// Takes `warm_up` steps and then `steps`, and tells products from the rest.
    ///
    /// # Errors
    /// As [`TrainBench::time`].
    pub fn profile(
        &mut self,
        shape: Shape,
        warm_up: usize,
        steps: usize,
    ) -> Result<Profile, TrainError> {
        self.time(shape, warm_up, 1)?;
        meter::start();
        let timing = self.time(shape, 0, steps);
        let products = meter::stop();
        Ok(Profile {
            seconds: timing?.seconds.iter().sum(),
            products,
        })
    }

    /// One step on random pieces; the seconds that it took.
    fn step(&mut self, shape: Shape) -> Result<f64, TrainError> {
        let mut token = |position: usize| Token {
            word: self.random.below(self.vocabulary) as u32,
            position: (position % shape.length) as u32,
            kind: 0,
        };
        let batch = Batch {
            tokens: (0..shape.tokens()).map(&mut token).collect(),
            packing: Arc::new(Packing::new(std::iter::repeat_n(
                shape.length,
                shape.sequences,
            ))),
        };
        let classes = Targets::Classes((0..shape.sequences as i64).map(|i| i % 2).collect());
        let isa = Isa::best();
        let started = Instant::now();
        self.model
            .learn(&batch, self.optimizer.steps(), classes, None)?;
        let clip = (1.0 / self.optimizer.gradient_norm(isa)?).min(1.0);
        self.optimizer.step(isa, 5e-5, clip)?;
        Ok(started.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_read_as_it_is_written() {
        let shape = Shape {
            sequences: 8,
            length: 384,
        };
        assert_eq!("8x384".parse(), Ok(shape));
        assert_eq!(shape.to_string(), "8x384");
        assert_eq!(shape.tokens(), 3072);
        for wrong in ["", "8", "x8", "8x", "0x8", "8x0", "8x8x8", "-1x4", "8X8"] {
            assert_eq!(wrong.parse::<Shape>(), Err(NoShape), "{wrong}");
        }
    }
}

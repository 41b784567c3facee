//! A bundle that passes the gate, if there is one: measured, and changed where it fails.
//!
//! ```text
//!   as it comes ──► passes? ──► done
//!       │ no
//!       ├─ smoothing alone, clipping alone: measured; the better first, the other on top if it still helps
//!       │          after each: passes? ──► done
//!       ├─ which layer's noise explains most of the error now (`probe`)?
//!       └─ that layer in f32, then the next ──► passes? ──► done
//! ```
//!
//! What costs nothing at run time comes first, each kind in the order of its measured gain. The gain is
//! the fall of the squared error of the logits on the file, which moves with every change where the
//! metric of a few hundred rows may not. A change that gains nothing is not kept. Nothing is decided by
//! time: the log tells what a query takes, and any machine finds the same bundle.

use std::cmp::Ordering;
use std::fmt;

use berth_bundle::{AlignedBytes, Writer};
use berth_checkpoint::Checkpoint;
use berth_data::Evaluator;

use crate::compare::Comparison;
use crate::error::QuantizeError;
use crate::gate::Gate;
use crate::latency::{self, Latency};
use crate::model::{Options, draft, finish};
use crate::probe::{self, Cost};
use crate::smooth::Ranges;

/// What is compared, and with what.
pub struct Trials<'t> {
    /// The checkpoint.
    pub checkpoint: &'t Checkpoint,
    /// The labelled file.
    pub evaluator: Evaluator<'t>,
    /// What the checkpoint says to each input of the file.
    pub f32_logits: &'t [Vec<f32>],
    /// What a bundle has to reach. Where it is open, nothing is searched.
    pub gate: Gate,
    /// How many threads measure the layers.
    pub threads: usize,
}

/// A bundle that was measured.
pub struct Measured {
    /// The bundle.
    pub writer: Writer,
    /// f32 beside int8.
    pub comparison: Comparison,
    /// What the bundle says to each input of the file.
    pub logits: Vec<Vec<f32>>,
    /// What each layer costs.
    pub cost: Cost,
    /// What a query takes on this machine.
    pub latency: Latency,
    /// What was tried, where the first bundle did not pass.
    pub search: Vec<Step>,
}

/// What a bundle is made with, other than it comes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Nothing: the bundle as it comes.
    None,
    /// Outliers of activations moved into weights.
    Smoothing,
    /// Steps of weights with the least squared error.
    Clipping,
    /// This layer in f32.
    F32Layer(usize),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::None => f.write_str("int8 as it comes"),
            Change::Smoothing => f.write_str("outliers smoothed into weights"),
            Change::Clipping => f.write_str("steps of least squared error"),
            Change::F32Layer(layer) => write!(f, "layer {layer} in f32"),
        }
    }
}

/// One line of the search's log.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Step {
    /// What was changed, on top of the changes that were kept before.
    pub change: Change,
    /// Whether it stays.
    pub kept: bool,
    /// The squared error of the logits, as a share of the squares of the checkpoint's.
    pub error: f64,
    /// What of the main metric is lost, in points of 100.
    pub drop: f64,
    /// The share of answers that are the same.
    pub agreement: f64,
    /// What a query takes.
    pub latency: Latency,
    /// Size of the bundle, without self-test and card.
    pub bytes: u64,
}

/// A bundle in the making, and what it is worth.
struct Trial {
    options: Options,
    writer: Writer,
    bytes: AlignedBytes,
    logits: Vec<Vec<f32>>,
    comparison: Comparison,
    latency: Latency,
}

impl Trials<'_> {
    /// Makes a bundle and measures it: its logits come from `answer`, which gets the bundle's bytes.
    /// Where it misses the gate, others are made until one passes or nothing is left to try; whether the
    /// last one passes is told by [`Gate::check`].
    ///
    /// # Errors
    /// When the checkpoint can't be quantized, `answer` fails, or the answers do not fit the file.
    pub fn run<E: From<QuantizeError>>(
        &self,
        options: &Options,
        mut answer: impl FnMut(&[u8]) -> Result<Vec<Vec<f32>>, E>,
    ) -> Result<Measured, E> {
        let mut search = Search {
            trials: self,
            answer: &mut answer,
            options,
            floats: None,
            log: Vec::new(),
        };
        let first = search.trial(options.clone())?;
        let last = match self.gate.check(&first.comparison) {
            Ok(()) => first,
            Err(_) => search.repair(first)?,
        };
        let cost = search.cost(&last)?;
        let log = search.log;
        let Trial {
            mut writer,
            logits,
            comparison,
            latency,
            ..
        } = last;
        finish(&mut writer, self.checkpoint)?;
        Ok(Measured {
            writer,
            comparison,
            logits,
            cost,
            latency,
            search: log,
        })
    }
}

/// A search under way.
struct Search<'s, 't, A> {
    trials: &'s Trials<'t>,
    answer: &'s mut A,
    /// What the first bundle was made with.
    options: &'s Options,
    /// A bundle with all layers in f32, and what it was made with.
    floats: Option<(Options, AlignedBytes)>,
    log: Vec<Step>,
}

impl<E, A> Search<'_, '_, A>
where
    E: From<QuantizeError>,
    A: FnMut(&[u8]) -> Result<Vec<Vec<f32>>, E>,
{
    /// Makes a bundle and lets it answer.
    fn trial(&mut self, options: Options) -> Result<Trial, E> {
        let Trials {
            checkpoint,
            evaluator,
            f32_logits,
            ..
        } = *self.trials;
        let writer = draft(checkpoint, &options)?;
        let bytes = writer.to_bytes().map_err(QuantizeError::from)?;
        let logits = (self.answer)(&bytes)?;
        let comparison = Comparison::new(&evaluator, f32_logits, &logits);
        let comparison = comparison.map_err(|source| QuantizeError::Answers {
            dir: checkpoint.dir.clone(),
            source,
        })?;
        let latency = latency::measure(&bytes, evaluator.inputs)?;
        Ok(Trial {
            options,
            writer,
            bytes,
            logits,
            comparison,
            latency,
        })
    }

    fn repair(&mut self, first: Trial) -> Result<Trial, E> {
        self.note(Change::None, true, &first);
        let best = self.free(first)?;
        if self.passes(&best) {
            return Ok(best);
        }
        self.layers(best)
    }

    /// Tries what costs nothing at run time.
    fn free(&mut self, first: Trial) -> Result<Trial, E> {
        let smoothed = self.changed(&first, Change::Smoothing)?;
        let clipped = self.changed(&first, Change::Clipping)?;
        let mut order = [(Change::Smoothing, smoothed), (Change::Clipping, clipped)];
        order.sort_by(|(_, a), (_, b)| self.order(a, b));
        let [(better, trial), (other, alone)] = order;
        let best = self.better(better, first, trial);
        if self.passes(&best) {
            self.note(other, false, &alone);
            return Ok(best);
        }
        drop(alone);
        let both = self.changed(&best, other)?;
        Ok(self.better(other, best, both))
    }

    /// Puts layers into f32, the one first that explains most, until the gate is passed.
    fn layers(&mut self, mut best: Trial) -> Result<Trial, E> {
        let mut order = self.cost(&best)?.layers;
        order.retain(|cost| !best.options.f32_layers.contains(&cost.layer));
        order.sort_by(|a, b| b.explains.total_cmp(&a.explains));
        for cost in order {
            if self.passes(&best) {
                break;
            }
            let change = Change::F32Layer(cost.layer);
            let trial = self.changed(&best, change)?;
            best = self.better(change, best, trial);
        }
        Ok(best)
    }

    /// The bundle with one change more.
    fn changed(&mut self, trial: &Trial, change: Change) -> Result<Trial, E> {
        let mut options = trial.options.clone();
        match change {
            Change::None => (),
            Change::Smoothing => {
                let inputs = self.trials.evaluator.inputs;
                options.smoothing = Some(Ranges::measure(self.floats(self.options)?, inputs)?);
            }
            Change::Clipping => options.clipping = true,
            Change::F32Layer(layer) => options.f32_layers.push(layer),
        }
        self.trial(options)
    }

    /// The one that comes first: that passes the gate, or, where both do or neither, has the smaller error.
    fn order(&self, one: &Trial, other: &Trial) -> Ordering {
        let passing = self.passes(other).cmp(&self.passes(one));
        passing.then(one.comparison.error.total_cmp(&other.comparison.error))
    }

    /// The one that comes first, and a line in the log.
    fn better(&mut self, change: Change, before: Trial, after: Trial) -> Trial {
        let kept = self.order(&after, &before).is_lt();
        self.note(change, kept, &after);
        if kept { after } else { before }
    }

    fn note(&mut self, change: Change, kept: bool, trial: &Trial) {
        let comparison = &trial.comparison;
        self.log.push(Step {
            change,
            kept,
            error: comparison.error,
            drop: comparison.drop(),
            agreement: comparison.agreement(),
            latency: trial.latency,
            bytes: trial.bytes.len() as u64,
        });
    }

    fn passes(&self, trial: &Trial) -> bool {
        self.trials.gate.check(&trial.comparison).is_ok()
    }

    /// What each layer costs, beside the same layer in floats: smoothed alike, since a channel that is scaled is no
    /// noise.
    fn cost(&mut self, trial: &Trial) -> Result<Cost, QuantizeError> {
        let Trials {
            evaluator,
            f32_logits,
            threads,
            ..
        } = *self.trials;
        let floats = self.floats(&trial.options)?;
        probe::cost(&trial.bytes, floats, evaluator.inputs, f32_logits, threads)
    }

    /// A bundle of these options with all layers in f32, made when it is first asked for. The last one stays.
    fn floats(&mut self, options: &Options) -> Result<&AlignedBytes, QuantizeError> {
        let checkpoint = self.trials.checkpoint;
        let options = Options {
            f32_layers: (0..checkpoint.config.num_hidden_layers).collect(),
            ..options.clone()
        };
        let floats = match self.floats.take().filter(|(made, _)| *made == options) {
            Some(floats) => floats,
            None => {
                let bytes = draft(checkpoint, &options)?.to_bytes()?;
                (options, bytes)
            }
        };
        Ok(&self.floats.insert(floats).1)
    }
}

//! Where int8 loses it: each layer of a bundle beside the same layer in floats.
//!
//! ```text
//!  floats  h0 ──► layer 0 ──► h1 ──► layer 1 ──► h2 ──► head      signal: h
//!           │                  │
//!           └─► int8 0: own    └─► int8 1: own                    own noise: int8 layer on h
//!  int8    x0 ──► layer 0 ──► x1 ──► layer 1 ──► x2 ──► head      noise: x - h
//!           │                  └─► floats 1 ──────────► head      what is lost without layer 1
//!           └─► floats 0 ──► layer 1 ──────────────────► head     what is lost without layer 0
//! ```
//!
//! Both models run through the encoder that serves them. The one in floats has all its layers in floats
//! ([`Options::f32_layers`](crate::Options)); embeddings and pooler are int8 in both, and what they cost
//! is told by itself. The bits are the same on every instruction set, so whatever is decided by these
//! figures is decided alike on every machine.

use berth_bundle::{Bundle, LayerWeights};
use berth_data::Encoded;
use berth_encoder::{Encoder, ForwardError, Rows, Scratch, scratch_bytes};
use berth_kernels::Isa;
use berth_runtime::QueryError;

use crate::error::QuantizeError;
use crate::threads::on_threads;

/// How many tokens are looked at, at most about: texts from all over the file. In floats a layer takes
/// eight times as long.
const TOKENS: usize = 2_048;

/// What int8 costs, layer by layer.
#[derive(Clone, PartialEq, Debug)]
pub struct Cost {
    /// The layers, from the first on.
    pub layers: Vec<LayerCost>,
    /// The squared error of the logits that is left when every layer is in floats, as a share of the
    /// bundle's: what embeddings and pooler cost.
    pub rest: f64,
    /// How many inputs were looked at.
    pub inputs: usize,
    /// How many tokens they have.
    pub tokens: usize,
}

/// What int8 costs in one layer.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct LayerCost {
    /// Which one.
    pub layer: usize,
    /// Signal to noise of its output in decibels, with the noise of all layers before it in it.
    pub snr_db: f64,
    /// The same when its input is exact: the layer's own noise.
    pub own_snr_db: f64,
    /// By what share the squared error of the logits, against the checkpoint's, falls when this layer
    /// alone is in floats. Below 0 where its error happened to undo another's; the shares of all layers
    /// need not add up to 1.
    pub explains: f64,
}

/// Measures a bundle (`int8`) beside the same model with all layers in floats, on texts from all over
/// `inputs`; `logits` are what the checkpoint says to each input.
///
/// # Errors
/// When one of the two can't be run.
pub(crate) fn cost(
    int8: &[u8],
    floats: &[u8],
    inputs: &[Encoded],
    logits: &[Vec<f32>],
    threads: usize,
) -> Result<Cost, QuantizeError> {
    let chosen = sample(inputs);
    let sums = on_threads(&chosen, threads, || -> Result<_, QuantizeError> {
        let mut pair = Pair {
            int8: Side::open(int8)?,
            floats: Side::open(floats)?,
        };
        Ok(move |index: usize| pair.sums(&inputs[index], &logits[index]).map_err(failing))
    })?;
    let layers = Bundle::open(int8).map_err(opening)?.header().shape.layers as usize;
    let mut total = Sums::new(layers);
    sums.iter().for_each(|sums| total.add(sums));
    Ok(Cost {
        inputs: chosen.len(),
        tokens: chosen.iter().map(|&index| inputs[index].ids.len()).sum(),
        ..total.cost()
    })
}

/// Calls `look` with what goes into each layer of the model in floats, a text after another, and with
/// what comes out of the last, under the number of layers.
pub(crate) fn hidden_states(
    floats: &[u8],
    inputs: &[Encoded],
    mut look: impl FnMut(&Bundle<'_>, usize, &[f32]),
) -> Result<(), QuantizeError> {
    let mut side = Side::open(floats)?;
    for index in sample(inputs) {
        let states = side.states(&inputs[index]).map_err(failing)?;
        for (layer, state) in states.iter().enumerate() {
            look(&side.bundle, layer, state);
        }
    }
    Ok(())
}

/// Indices of inputs from all over the file, with about [`TOKENS`] tokens together.
fn sample(inputs: &[Encoded]) -> Vec<usize> {
    let tokens: usize = inputs.iter().map(|input| input.ids.len()).sum();
    (0..inputs.len())
        .step_by(tokens.div_ceil(TOKENS).max(1))
        .collect()
}

fn opening(source: berth_bundle::OpenError) -> QuantizeError {
    QuantizeError::Open(berth_runtime::OpenError::Bundle {
        origin: berth_runtime::Origin::Memory,
        source,
    })
}

fn failing(source: ForwardError) -> QuantizeError {
    QuantizeError::Query(QueryError::Forward(source))
}

/// One of the two models, with memory for its forward passes.
struct Side<'b> {
    bundle: Bundle<'b>,
    encoder: Encoder<'b>,
    memory: Vec<u8>,
}

impl<'b> Side<'b> {
    fn open(bytes: &'b [u8]) -> Result<Self, QuantizeError> {
        let bundle = Bundle::open(bytes).map_err(opening)?;
        let encoder = Encoder::new(&bundle, Isa::best());
        Ok(Side {
            bundle,
            encoder,
            memory: Vec::new(),
        })
    }

    fn width(&self) -> usize {
        self.bundle.header().shape.width() as usize
    }

    fn layers(&self) -> usize {
        self.bundle.header().shape.layers as usize
    }

    /// Lends the encoder and scratch for so many tokens.
    fn with<R>(
        &mut self,
        tokens: usize,
        run: impl FnOnce(&Encoder<'_>, &mut Scratch<'_>) -> R,
    ) -> R {
        let header = self.bundle.header();
        self.memory.resize(scratch_bytes(header, tokens), 0);
        let scratch = Scratch::carve(&mut self.memory, header, tokens);
        run(
            &self.encoder,
            &mut scratch.expect("memory as was asked for"),
        )
    }

    fn embed(&mut self, input: &Encoded) -> Result<Vec<f32>, ForwardError> {
        let tokens = input.ids.len();
        let mut hidden = vec![0.0; tokens * self.width()];
        self.with(tokens, |encoder, scratch| {
            encoder.embed(&input.ids, input.second, &mut hidden, scratch)
        })?;
        Ok(hidden)
    }

    /// The layer's output; of the last layer the rows that the head reads.
    fn layer(&mut self, index: usize, hidden: &[f32]) -> Vec<f32> {
        let width = self.width();
        let mut out = hidden.to_vec();
        let rows = self.with(hidden.len() / width, |encoder, scratch| {
            let rows = encoder.rows(index);
            encoder.layer(index, rows, &mut out, scratch);
            rows
        });
        if rows == Rows::First {
            out.truncate(width);
        }
        out
    }

    /// What goes into each layer, and what comes out of the last.
    fn states(&mut self, input: &Encoded) -> Result<Vec<Vec<f32>>, ForwardError> {
        let mut states = vec![self.embed(input)?];
        for index in 0..self.layers() {
            let next = self.layer(index, &states[index]);
            states.push(next);
        }
        Ok(states)
    }

    fn head(&mut self, rows: &[f32]) -> Vec<f32> {
        let count = rows.len() / self.width();
        let mut logits = vec![0.0; count * self.bundle.header().shape.outputs as usize];
        self.with(count, |encoder, scratch| {
            encoder.head(rows, &mut logits, scratch);
        });
        logits
    }
}

/// The two side by side.
struct Pair<'b> {
    int8: Side<'b>,
    floats: Side<'b>,
}

impl Pair<'_> {
    /// What one input adds to every sum.
    fn sums(&mut self, input: &Encoded, logits: &[f32]) -> Result<Sums, ForwardError> {
        let layers = self.int8.layers();
        let (h, x) = (self.floats.states(input)?, self.int8.states(input)?);
        let mut sums = Sums::new(layers);
        for index in 0..layers {
            let exact = &h[index + 1];
            let own = self.int8.layer(index, &h[index]);
            let sum = &mut sums.layers[index];
            sum.signal = squares(exact);
            sum.noise = squared_distance(&x[index + 1], exact);
            sum.own_noise = squared_distance(&own, exact);
            let mut without = self.floats.layer(index, &x[index]);
            for later in index + 1..layers {
                without = self.int8.layer(later, &without);
            }
            sum.error_without = squared_distance(&self.int8.head(&without), logits);
        }
        sums.error = squared_distance(&self.int8.head(&x[layers]), logits);
        sums.rest = squared_distance(&self.floats.head(&h[layers]), logits);
        Ok(sums)
    }
}

/// Sums of squares over values of all tokens, or over logits.
struct Sums {
    layers: Vec<LayerSums>,
    /// Of the bundle's logits.
    error: f64,
    /// Of the logits with all layers in floats.
    rest: f64,
}

#[derive(Copy, Clone, Default)]
struct LayerSums {
    signal: f64,
    noise: f64,
    own_noise: f64,
    /// Of the logits, with this layer alone in floats.
    error_without: f64,
}

impl Sums {
    fn new(layers: usize) -> Self {
        Sums {
            layers: vec![LayerSums::default(); layers],
            error: 0.0,
            rest: 0.0,
        }
    }

    fn add(&mut self, other: &Sums) {
        for (sum, other) in self.layers.iter_mut().zip(&other.layers) {
            sum.signal += other.signal;
            sum.noise += other.noise;
            sum.own_noise += other.own_noise;
            sum.error_without += other.error_without;
        }
        self.error += other.error;
        self.rest += other.rest;
    }

    fn cost(&self) -> Cost {
        // Where nothing is lost, nothing explains it.
        let share = |error: f64| {
            if self.error > 0.0 {
                error / self.error
            } else {
                0.0
            }
        };
        let explains = |left: f64| {
            if self.error > 0.0 {
                1.0 - left / self.error
            } else {
                0.0
            }
        };
        let layers = self.layers.iter().enumerate();
        Cost {
            layers: layers
                .map(|(layer, sum)| LayerCost {
                    layer,
                    snr_db: decibels(sum.signal, sum.noise),
                    own_snr_db: decibels(sum.signal, sum.own_noise),
                    explains: explains(sum.error_without),
                })
                .collect(),
            rest: share(self.rest),
            inputs: 0,
            tokens: 0,
        }
    }
}

fn squares(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value).powi(2)).sum()
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    let pairs = a.iter().zip(b);
    pairs
        .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
        .sum()
}

/// Infinite where there is no noise.
fn decibels(signal: f64, noise: f64) -> f64 {
    10.0 * (signal / noise).log10()
}

/// The query, key and value of every token, in floats: `[tokens][3 * heads_width]`.
pub(crate) fn qkv(bundle: &Bundle<'_>, layer: usize, hidden: &[f32]) -> Vec<f32> {
    let width = bundle.header().shape.width() as usize;
    let LayerWeights::F32(weights) = bundle.layer(layer) else {
        unreachable!("all layers of this bundle are in floats");
    };
    let linear = weights.qkv;
    let mut out = vec![0.0; hidden.len() / width * linear.outputs];
    let columns = berth_kernels::ColumnsMut::new(&mut out, linear.outputs);
    let (all, none) = (0..linear.panels(), berth_kernels::Activation::None);
    Isa::best().linear_f32(hidden, &linear, all, none, columns.expect("whole rows"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decibels_are_of_powers() {
        assert_eq!(decibels(1_000.0, 10.0), 20.0);
        assert_eq!(decibels(1.0, 0.0), f64::INFINITY);
    }

    #[test]
    fn a_layer_explains_what_is_gone_without_it() {
        let mut sums = Sums::new(2);
        sums.layers[0] = LayerSums {
            signal: 100.0,
            noise: 10.0,
            own_noise: 1.0,
            error_without: 2.0,
        };
        sums.layers[1].error_without = 10.0;
        (sums.error, sums.rest) = (8.0, 1.0);
        let cost = sums.cost();
        assert_eq!(
            (cost.layers[0].snr_db, cost.layers[0].own_snr_db),
            (10.0, 20.0)
        );
        assert_eq!(
            (cost.layers[0].explains, cost.layers[1].explains),
            (0.75, -0.25)
        );
        assert_eq!(cost.rest, 0.125);
        sums.error = 0.0;
        assert_eq!(sums.cost().layers[0].explains, 0.0);
    }

    #[test]
    fn texts_from_all_over_the_file_are_looked_at() {
        let inputs = |count: usize, tokens: usize| {
            let input = Encoded {
                ids: vec![1; tokens],
                ..Encoded::default()
            };
            vec![input; count]
        };
        assert_eq!(sample(&inputs(3, 10)), [0, 1, 2]);
        let chosen = sample(&inputs(1_000, 20));
        assert_eq!((chosen[0], chosen[1], chosen.last()), (0, 10, Some(&990)));
        assert_eq!(sample(&inputs(1, 5_000)), [0]);
        assert!(sample(&[]).is_empty());
    }
}

//! Where a query's time goes: the linears beside the core's peak, attention's two products, and the rest.
//!
//! - **Linears** are timed inside of real forward passes, by an encoder that is watched: products, bias and
//!   GELU, all but the pooler's.
//! - **Attention's products**, queries with keys and weights with values, are too short to be timed where they
//!   are. They are timed as linears of the same shapes, their dequantization included.
//! - **The rest** is what is left of a query of a session: quantizing rows, packing keys and values, softmax,
//!   residual sums and norms, embeddings, the head, and the plan.
//!
//! Everything is measured in turns, and the fastest of each counts, so that what else the machine does is
//! outside as far as it can be.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use berth_encoder::{Encoder, Part, Scratch, Watch, scratch_bytes};
use berth_kernels::{Activation, ColumnsMut, Isa, Linear, Rows, Tier, packed_len};
use berth_runtime::{Model, QueryError, Session};

use crate::peaks::{self, Peak};

/// How long one length is measured.
const ENOUGH: Duration = Duration::from_millis(2_500);
/// How many turns there are at least.
const FEWEST: usize = 12;

/// What was found for one number of tokens. Times are in nanoseconds.
#[derive(Copy, Clone, Debug)]
pub struct Profile {
    /// The number of tokens.
    pub tokens: usize,
    /// A query of a session.
    pub query: u64,
    /// Its linears.
    pub linears: u64,
    /// The linears' multiplications.
    pub linear_products: u64,
    /// Its attention as a whole.
    pub attention: u64,
    /// Attention's two products.
    pub products: u64,
    /// Their multiplications.
    pub attention_products: u64,
}

impl Profile {
    /// Billions of multiplications and additions a second in the linears.
    pub fn linear_gops(&self) -> f64 {
        2.0 * self.linear_products as f64 / self.linears as f64
    }

    /// The same in attention's products.
    pub fn attention_gops(&self) -> f64 {
        2.0 * self.attention_products as f64 / self.products as f64
    }

    /// The share of a query that is neither linears nor attention's products.
    pub fn rest(&self) -> f64 {
        1.0 - (self.linears + self.products) as f64 / self.query as f64
    }
}

/// The peak that the products of a tier are held against.
pub fn peak_of(tier: Tier) -> Option<Peak> {
    let name = match tier {
        Tier::Avx512Vnni => "vpdpbusd",
        Tier::Avx2 => "vpmaddwd and vpaddd",
        Tier::I8mm | Tier::Dotprod | Tier::Neon | Tier::Portable => return None,
    };
    peaks::all().into_iter().find(|peak| peak.name == name)
}

/// Measures queries of so many tokens.
///
/// # Errors
/// When the model takes no such input.
pub fn profile(session: &mut Session, tokens: usize) -> Result<Profile, QueryError> {
    let model = session.model().clone();
    let ids: Vec<u32> = scattered(&model).take(tokens).collect();
    let watch = Clock::default();
    let encoder = Encoder::new(model.bundle(), model.isa()).watched(&watch);
    let mut memory = vec![0; scratch_bytes(model.header(), tokens)];
    let mut logits = session.logits_of(&ids, tokens)?.to_vec();
    let mut products = Products::new(&model, tokens);
    let mut found = Profile {
        tokens,
        query: u64::MAX,
        linears: u64::MAX,
        linear_products: linear_products(&model, tokens),
        attention: u64::MAX,
        products: u64::MAX,
        attention_products: products.count(),
    };
    let start = Instant::now();
    let mut turns = 0;
    while turns < FEWEST || start.elapsed() < ENOUGH {
        turns += 1;
        found.query = found.query.min(timed(|| {
            let _ = black_box(session.logits_of(&ids, tokens));
        }));
        watch.clear();
        let scratch = Scratch::carve(&mut memory, model.header(), tokens);
        let mut scratch = scratch.expect("memory for these tokens");
        let ran = encoder.forward(&ids, tokens, &mut scratch, &mut logits);
        ran.map_err(QueryError::Forward)?;
        found.linears = found.linears.min(watch.linear.load(Ordering::Relaxed));
        found.attention = found.attention.min(watch.attention.load(Ordering::Relaxed));
        found.products = found.products.min(timed(|| products.run(model.isa())));
    }
    Ok(found)
}

fn timed(work: impl FnOnce()) -> u64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as u64
}

/// Token ids without order, from where BERT's frequent words stand.
fn scattered(model: &Model) -> impl Iterator<Item = u32> {
    let end = model.header().shape.vocab_size.min(4_096);
    (0u32..).map(move |i| i.wrapping_mul(2_654_435_761) % end)
}

/// The rows that a layer computes behind its keys and values.
fn needed(model: &Model, layer: usize, tokens: usize) -> usize {
    let encoder = Encoder::new(model.bundle(), model.isa());
    match encoder.rows(layer) {
        berth_encoder::Rows::All => tokens,
        berth_encoder::Rows::First => 1,
    }
}

/// The multiplications of the layers' linears.
fn linear_products(model: &Model, tokens: usize) -> u64 {
    let shape = model.header().shape;
    let [hidden, intermediate] = [shape.hidden, shape.intermediate].map(u64::from);
    let of_layer = |layer| {
        let needed = needed(model, layer, tokens) as u64;
        // Keys and values; query, output, and both of the feed-forward block.
        let both = 2 * tokens as u64 * hidden * hidden;
        both + needed * (2 * hidden * hidden + 2 * hidden * intermediate)
    };
    (0..shape.layers as usize).map(of_layer).sum()
}

/// Adds up how long parts take, on one thread.
#[derive(Debug)]
struct Clock {
    origin: Instant,
    begun: AtomicU64,
    linear: AtomicU64,
    attention: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        Clock {
            origin: Instant::now(),
            begun: AtomicU64::new(0),
            linear: AtomicU64::new(0),
            attention: AtomicU64::new(0),
        }
    }
}

impl Clock {
    fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    fn clear(&self) {
        self.linear.store(0, Ordering::Relaxed);
        self.attention.store(0, Ordering::Relaxed);
    }
}

impl Watch for Clock {
    fn begin(&self, _: Part) {
        self.begun.store(self.now(), Ordering::Relaxed);
    }

    fn end(&self, part: Part) {
        let took = self.now() - self.begun.load(Ordering::Relaxed);
        let sum = match part {
            Part::Linear => &self.linear,
            Part::Attention => &self.attention,
        };
        sum.fetch_add(took, Ordering::Relaxed);
    }
}

/// Attention's two products of a whole query, as linears of their shapes.
struct Products {
    scores: Dense,
    context: Dense,
    /// For each head of each layer, how many rows there are.
    rows: Vec<usize>,
}

impl Products {
    fn new(model: &Model, tokens: usize) -> Self {
        let shape = model.header().shape;
        let head_size = shape.head_size() as usize;
        let layers = 0..shape.layers as usize;
        let heads = |layer| vec![needed(model, layer, tokens); shape.heads as usize];
        Products {
            scores: Dense::new(tokens, head_size, tokens),
            context: Dense::new(tokens, tokens, head_size),
            rows: layers.flat_map(heads).collect(),
        }
    }

    fn count(&self) -> u64 {
        let each = self.scores.inputs * self.scores.outputs * 2;
        self.rows.iter().map(|rows| (rows * each) as u64).sum()
    }

    fn run(&mut self, isa: Isa) {
        for &rows in &self.rows {
            self.scores.run(isa, rows);
            self.context.run(isa, rows);
        }
    }
}

/// A linear with some content.
pub struct Dense {
    inputs: usize,
    outputs: usize,
    weights: Vec<i8>,
    columns: Vec<f32>,
    values: Vec<u8>,
    rows: Vec<f32>,
    out: Vec<f32>,
}

impl Dense {
    /// For at most so many rows.
    pub fn new(rows: usize, inputs: usize, outputs: usize) -> Self {
        Dense {
            inputs,
            outputs,
            weights: vec![3; packed_len(outputs, inputs)],
            columns: vec![0.01; outputs.next_multiple_of(16)],
            values: vec![7; rows * inputs.next_multiple_of(4)],
            rows: vec![0.1; rows],
            out: vec![0.0; rows * outputs],
        }
    }

    /// Multiplications for each row.
    pub fn products(&self) -> usize {
        self.inputs * self.outputs
    }

    /// Computes the first rows.
    pub fn run(&mut self, isa: Isa, rows: usize) {
        let columns = &self.columns;
        let linear = Linear::new(
            self.inputs,
            self.outputs,
            &self.weights,
            columns,
            columns,
            columns,
        );
        let linear = linear.expect("arrays as the dimensions ask");
        let values = &self.values[..rows * self.inputs.next_multiple_of(4)];
        let x = Rows::new(self.inputs, values, &self.rows[..rows], &self.rows[..rows]);
        let out = ColumnsMut::new(&mut self.out[..rows * self.outputs], self.outputs);
        isa.linear(
            x.expect("whole rows"),
            &linear,
            0..linear.panels(),
            Activation::None,
            out.expect("whole rows"),
        );
        black_box(&mut self.out);
    }
}

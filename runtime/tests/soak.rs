//! Eight threads on one model, for as long as one likes: the answers stay the same bits, and the
//! process neither allocates nor grows.
//!
//! `BERTH_SOAK` sets how many queries all threads ask together; `BERTH_SOAK_BUNDLE` names a real bundle
//! to ask as well, a fiftieth as often.
//!
//! A program without a test harness, since it counts everything that the process allocates.

#[allow(dead_code, reason = "the other tests use more of it")]
mod support;

use std::alloc::System;
use std::env;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use berth_runtime::counting::{Counting, allocations};
use berth_runtime::measure::rss_mb;
use berth_runtime::{Model, Session};
use berth_task::Task;
use support::Random;

#[global_allocator]
static ALLOCATOR: Counting<System> = Counting(System);

/// How many threads ask.
const THREADS: usize = 8;

/// How many queries an ordinary run asks.
const QUERIES: usize = 20_000;

/// How many different inputs there are.
const INPUTS: usize = 64;

/// How much the process may grow between the first tenth and the end, in units of 1,000,000 bytes. The
/// threads' stacks are touched by the page, and Linux counts pages for each core by itself.
const GROWTH_MB: f64 = 1.0;

fn main() {
    let wanted = env::var("BERTH_SOAK").ok();
    let queries = wanted.map_or(QUERIES, |n| n.parse().expect("BERTH_SOAK is a number"));
    let labels = &["negative", "positive"];
    let tiny = support::bundle(Task::TextClassification, labels);
    soak(
        "the tiny model",
        &Model::from_bytes(&tiny).unwrap(),
        queries,
    );
    if let Some(path) = env::var_os("BERTH_SOAK_BUNDLE") {
        let model = Model::open_verified(&path).unwrap();
        soak(&model.origin().to_string(), &model, queries / 50);
    }
}

/// An input, and the bits of its logits.
struct Known {
    ids: Vec<u32>,
    bits: Vec<u32>,
}

fn soak(name: &str, model: &Model, queries: usize) {
    let known = known(model);
    let each = queries.div_ceil(THREADS);
    let (warm, done) = (Barrier::new(THREADS + 1), Barrier::new(THREADS + 1));
    let begun = Instant::now();
    let (before, after) = thread::scope(|scope| {
        for seed in 1..=THREADS as u64 {
            let (known, warm, done) = (&known, &warm, &done);
            scope.spawn(move || {
                let mut session = model.session().expect("memory");
                let mut random = Random(seed);
                ask(&mut session, known, &mut random, each / 10);
                warm.wait();
                // The main thread looks at the process while all stand still.
                warm.wait();
                ask(&mut session, known, &mut random, each - each / 10);
                done.wait();
                done.wait();
            });
        }
        (Look::between(&warm), Look::between(&done))
    });
    let asked = each * THREADS;
    println!(
        "{name}: {asked} queries by {THREADS} threads, {INPUTS} inputs, the same bits; {:?} to {:?} MB, {:.1?}",
        before.rss_mb,
        after.rss_mb,
        begun.elapsed()
    );
    let allocated = after.when_it_began - before.when_it_ended;
    assert_eq!(allocated, 0, "allocations between the looks");
    if let (Some(before), Some(after)) = (before.rss_mb, after.rss_mb) {
        assert!(after - before < GROWTH_MB, "{before} MB became {after} MB");
    }
}

/// The process while all threads wait. Looking allocates.
struct Look {
    when_it_began: u64,
    rss_mb: Option<f64>,
    when_it_ended: u64,
}

impl Look {
    /// Looks between the two times that all threads wait at `barrier`.
    fn between(barrier: &Barrier) -> Self {
        barrier.wait();
        let look = Look {
            when_it_began: allocations(),
            rss_mb: rss_mb(),
            when_it_ended: allocations(),
        };
        barrier.wait();
        look
    }
}

fn ask(session: &mut Session, known: &[Known], random: &mut Random, count: usize) {
    for _ in 0..count {
        let Known { ids, bits } = &known[random.below(known.len())];
        let logits = session.logits_of(ids, ids.len()).expect("an answer");
        let same = logits
            .iter()
            .map(|logit| logit.to_bits())
            .eq(bits.iter().copied());
        assert!(same, "{} tokens: {logits:?}", ids.len());
    }
}

/// Random inputs of up to 64 tokens, with the answers of one session alone.
fn known(model: &Model) -> Vec<Known> {
    let mut session = model.session().expect("memory");
    let mut random = Random(17);
    let most = model.positions().min(64);
    let vocabulary = model.header().shape.vocab_size as usize;
    let one = |_| {
        let tokens = 1 + random.below(most);
        let ids: Vec<u32> = (0..tokens)
            .map(|_| random.below(vocabulary) as u32)
            .collect();
        let logits = session.logits_of(&ids, tokens).expect("an answer");
        let bits = logits.iter().map(|logit| logit.to_bits()).collect();
        Known { ids, bits }
    };
    (0..INPUTS).map(one).collect()
}

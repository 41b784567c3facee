//! What more threads bring a query, beside what they bring a bare int8 product.
//!
//! The product is a linear of the feed-forward block. Each thread has one of its own, in its own memory, and
//! works on it for a while without waiting for anybody: what the threads do together then, over what one does
//! alone, is the most that the machine gives.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use berth_kernels::Isa;
use berth_runtime::{Model, OpenError, Threads};

use crate::profile::Dense;

/// How often each number of threads has its turn.
const ROUNDS: usize = 15;
/// Queries of a turn.
const QUERIES: usize = 20;
/// How long a turn of products takes.
const TURN: Duration = Duration::from_millis(60);
/// The ids below this are BERT's special tokens, characters and frequent words.
const FREQUENT: u32 = 4_096;

/// How much faster so many threads are than one.
#[derive(Copy, Clone, Debug)]
pub struct Scaling {
    /// How many threads.
    pub threads: usize,
    /// The time of a query with one thread over that with all, medians of the turns' fastest.
    pub query: f64,
    /// The rate of bare products with all threads over that with one, the same way.
    pub product: f64,
}

/// Measures queries of so many tokens with 2 to `most` threads.
///
/// # Errors
/// When there can't be so many threads.
pub fn measure(model: &Model, tokens: usize, most: usize) -> Result<Vec<Scaling>, OpenError> {
    let end = model.header().shape.vocab_size.min(FREQUENT);
    let ids = (0u32..).map(|i| i.wrapping_mul(2_654_435_761) % end);
    let ids: Vec<u32> = ids.take(tokens).collect();
    let sessions = (1..=most).map(|n| model.session_with(Threads(n)));
    let mut sessions = sessions.collect::<Result<Vec<_>, _>>()?;
    let mut queries = vec![Vec::new(); most];
    let mut rates = vec![Vec::new(); most];
    for _ in 0..ROUNDS {
        for (session, times) in sessions.iter_mut().zip(&mut queries) {
            let query = |_| {
                let start = Instant::now();
                let _ = session.logits_of(&ids, tokens);
                start.elapsed().as_secs_f64()
            };
            times.push((0..QUERIES).map(query).fold(f64::INFINITY, f64::min));
        }
        for (index, rates) in rates.iter_mut().enumerate() {
            rates.push(products(model.isa(), tokens, index + 1));
        }
    }
    let mut queries = queries.iter_mut().map(|times| median(times));
    let mut rates = rates.iter_mut().map(|rates| median(rates));
    let one = (queries.next().unwrap_or(0.0), rates.next().unwrap_or(0.0));
    let more = queries.zip(rates).zip(2..);
    let more = more.map(|((query, rate), threads)| Scaling {
        threads,
        query: one.0 / query,
        product: rate / one.1,
    });
    Ok(more.collect())
}

/// Products a second of so many threads, each by itself.
fn products(isa: Isa, rows: usize, threads: usize) -> f64 {
    let barrier = Barrier::new(threads);
    let work = || {
        let mut dense = Dense::new(rows, 384, 1_536);
        dense.run(isa, rows);
        barrier.wait();
        let start = Instant::now();
        let mut done = 0;
        while start.elapsed() < TURN {
            dense.run(isa, rows);
            done += 1;
        }
        (done * rows * dense.products()) as f64 / start.elapsed().as_secs_f64()
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let others = others.into_iter().map(|other| other.join().unwrap_or(0.0));
        own + others.sum::<f64>()
    })
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

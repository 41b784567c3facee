//! How long a query takes on this machine: few queries, enough to see what a change costs. What a device
//! takes is for `berth-edge --bench` on the device.

use std::time::{Duration, Instant};

use berth_data::Encoded;
use berth_runtime::Model;

use crate::error::QuantizeError;

/// How many queries are timed at least, and at most.
const QUERIES: [usize; 2] = [5, 50];

/// How long goes on beyond the fewest queries.
const ENOUGH: Duration = Duration::from_millis(200);

/// What the queries took that were timed.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Latency {
    /// How many tokens the input has: as many as half of the file's inputs have at most.
    pub tokens: usize,
    /// Milliseconds that half of the queries took at most.
    pub p50_ms: f64,
    /// Milliseconds of the fastest.
    pub min_ms: f64,
}

/// Asks a bundle for the logits of one of `inputs`, that of middle length, on one thread.
///
/// # Errors
/// When the runtime doesn't open the bundle or doesn't answer.
pub(crate) fn measure(bundle: &[u8], inputs: &[Encoded]) -> Result<Latency, QuantizeError> {
    let model = Model::from_bytes(bundle)?;
    let mut session = model.session()?;
    let mut order: Vec<&Encoded> = inputs.iter().collect();
    order.sort_by_key(|input| input.ids.len());
    let Encoded { ids, second, .. } = order[(order.len() - 1) / 2];
    let mut times = Vec::with_capacity(QUERIES[1]);
    let begun = Instant::now();
    while times.len() < QUERIES[0] || (times.len() < QUERIES[1] && begun.elapsed() < ENOUGH) {
        let asked = Instant::now();
        session.logits_of(ids, *second)?;
        times.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(Latency {
        tokens: ids.len(),
        p50_ms: times[(times.len() - 1) / 2],
        min_ms: times[0],
    })
}

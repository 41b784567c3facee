//! `berth bench --train`: seconds a training step takes, by shape of the batch, and memory.

use super::print;
use crate::args::TrainBenchArgs;
use crate::error::Error;
use crate::{fetch, show};
use berth_checkpoint::Checkpoint;
use berth_runtime::measure::{cpu_name, peak_rss_mb};
use berth_trainer::bench::{Shape, Timing, TrainBench};
use berth_trainer::kernels::gemm::Precision;
use berth_trainer::{Recipe, TrainError};
use serde_json::{Map, Value, json};

/// Steps of each shape before those that count.
const WARM_UP: usize = 2;

/// Measures on so many threads and prints, as JSON or for people.
///
/// # Errors
/// If the base model can't be had, or a shape is longer than it has positions.
pub fn run(train: &TrainBenchArgs, threads: u32, json: bool) -> Result<(), Error> {
    let recipe = Recipe {
        bf16: train.bf16,
        device: train.device,
        ..Recipe::default()
    };
    let precision = recipe
        .precision()
        .map_err(|error| Error::Usage(error.to_string()))?;
    train.device.check().map_err(TrainError::from)?;
    let folder = fetch::resolve(
        &train.model_name_or_path,
        &fetch::Options::from_environment(),
    )?;
    let base = Checkpoint::open(&folder)?;
    let positions = base.config.max_position_embeddings;
    if let Some(shape) = train.shapes.iter().find(|shape| shape.length > positions) {
        return Err(Error::Usage(format!(
            "--shapes {shape}: {} has {positions} positions, so that no sequence is longer",
            train.model_name_or_path
        )));
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads as usize)
        .build()
        .map_err(Error::Threads)?;
    let timings = pool.install(|| measure(&base, train, precision))?;
    if json {
        print(report(&timings))
    } else {
        print(for_people(&timings))
    }
}

fn measure(
    base: &Checkpoint,
    train: &TrainBenchArgs,
    precision: Precision,
) -> Result<Vec<(Shape, Timing)>, Error> {
    let mut bench = TrainBench::new(base, precision)?;
    bench.move_to(train.device, train.bf16)?;
    let bar = show::progress(train.shapes.len() as u64, "shapes");
    let timings = train.shapes.iter().map(|&shape| {
        let timing = bench.time(shape, WARM_UP, train.steps as usize)?;
        bar.inc(1);
        Ok((shape, timing))
    });
    let timings = timings.collect();
    bar.finish_and_clear();
    timings
}

fn report(timings: &[(Shape, Timing)]) -> Value {
    let shapes: Map<String, Value> = timings
        .iter()
        .map(|(shape, timing)| {
            let figures = json!({
                "seconds_per_step": timing.median(),
                "min_seconds_per_step": timing.least(),
                "seconds": timing.seconds,
                "tokens_per_second": shape.tokens() as f64 / timing.median(),
            });
            (shape.to_string(), figures)
        })
        .collect();
    json!({"shapes": shapes, "peak_rss_mb": peak_rss_mb(), "cpu": cpu_name()})
}

fn for_people(timings: &[(Shape, Timing)]) -> String {
    let rows: Vec<Vec<String>> = timings
        .iter()
        .map(|(shape, timing)| {
            vec![
                shape.to_string(),
                format!("{:.3}", timing.median()),
                format!("{:.3}", timing.least()),
                format!("{:.0}", shape.tokens() as f64 / timing.median()),
            ]
        })
        .collect();
    let table = show::table(&["shape", "s a step", "least s", "tokens/s"], &rows);
    let memory = peak_rss_mb().map_or("not told".into(), |mb| format!("{mb:.0} MB"));
    format!("{table}\npeak memory {memory}\n{}", cpu_name())
}

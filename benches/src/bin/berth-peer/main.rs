//! `berth-peer`: Berth as one of the engines that `benches/peers/measure.py` sets side by side.
//!
//! `berth-peer BUNDLE` reads a command a line and writes a line of JSON for each:
//!
//! | command | answer |
//! |---|---|
//! | `{"op":"load"}` | what the bundle is, milliseconds to the first possible query, memory before and after |
//! | `{"op":"time","ids":[…],"warm":n,"count":n}` | nanoseconds of `count` queries, behind `warm` that are not told |
//! | `{"op":"states","ids":[…]}` | the encoder's rows behind the last layer, one behind the other |
//! | `{"op":"rss"}` | the process's memory now, and at most |
//! | `{"op":"profile","tokens":n}` | where a query's time goes, in nanoseconds |
//! | `{"op":"peaks"}` | what the core can do at most |
//!
//! `berth-peer --tagger CLASSIFIER OUT` writes a tagging bundle with the encoder of a classifier's:
//! every row of the last layer is computed there. `berth-peer --peaks` prints the last answer.
//! `berth-peer --profile BUNDLE…` prints, for the usual lengths, the linears' rate beside the core's peak and
//! the shares of a query; `berth-peer --scaling BUNDLE [THREADS [TOKENS]]` what more threads bring.

mod profile;
mod tagger;

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use berth_benches::peaks;
use berth_encoder::{Rows, Scratch, scratch_bytes};
use berth_runtime::measure::{cpu_name, peak_rss_mb, rss_mb};
use berth_runtime::{Model, Session};
use serde_json::{Value, json};

const USAGE: &str = "usage: berth-peer BUNDLE | --tagger CLASSIFIER OUT | --peaks | \
    --profile BUNDLE… | --scaling BUNDLE [THREADS [TOKENS]]";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--peaks"] => {
            println!("{}", peaks_of_this_core());
            Ok(())
        }
        ["--profile", ref bundles @ ..] if !bundles.is_empty() => profile::print(bundles),
        ["--scaling", bundle] => profile::print_scaling(bundle, "2", "128"),
        ["--scaling", bundle, threads] => profile::print_scaling(bundle, threads, "128"),
        ["--scaling", bundle, threads, tokens] => profile::print_scaling(bundle, threads, tokens),
        ["--tagger", classifier, out] => tagger::write(Path::new(classifier), Path::new(out)),
        [bundle] => serve(Path::new(bundle)),
        _ => Err(USAGE.into()),
    }
}

/// Answers the commands on standard input, up to its end.
fn serve(bundle: &Path) -> Result<(), Box<dyn Error>> {
    let mut loaded: Option<Session> = None;
    for line in std::io::stdin().lock().lines() {
        let command: Value = serde_json::from_str(&line?)?;
        let answer = match (command["op"].as_str().unwrap_or_default(), &mut loaded) {
            ("peaks", _) => peaks_of_this_core(),
            ("rss", _) => json!({"now_mb": rss_mb(), "peak_mb": peak_rss_mb()}),
            ("load", _) => {
                let before = rss_mb();
                let start = Instant::now();
                let session = Model::open(bundle)?.session()?;
                let ms = start.elapsed().as_secs_f64() * 1e3;
                let model = loaded.insert(session).model();
                json!({
                    "load_ms": ms,
                    "base_mb": before,
                    "engine": format!("Berth {}", env!("CARGO_PKG_VERSION")),
                    "isa": model.isa().tier().name(),
                    "f32_layers": model.header().f32_layers().collect::<Vec<_>>(),
                    "layers": model.header().shape.layers,
                    "metrics": metrics(model),
                    "task": model.header().task.to_string(),
                })
            }
            ("time", Some(session)) => time(session, &command)?,
            ("profile", Some(session)) => profile::answer(session, &command)?,
            ("states", Some(session)) => json!({"states": states(session, &ids(&command))?}),
            (op, _) => return Err(format!("no such command, or nothing loaded: {op}").into()),
        };
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// What the bundle says that it reached.
fn metrics(model: &Model) -> Value {
    let metrics = model.header().metrics.iter();
    let metrics = metrics.map(|m| json!({"name": m.name.as_str(), "f32": m.f32, "int8": m.int8}));
    metrics.collect()
}

fn ids(command: &Value) -> Vec<u32> {
    let ids = command["ids"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    ids.iter()
        .filter_map(|id| id.as_u64()?.try_into().ok())
        .collect()
}

/// Times queries of one input, the tokens already there.
fn time(session: &mut Session, command: &Value) -> Result<Value, Box<dyn Error>> {
    let ids = ids(command);
    let count = |name: &str| command[name].as_u64().unwrap_or(0);
    for _ in 0..count("warm") {
        session.logits_of(&ids, ids.len())?;
    }
    let mut times = Vec::new();
    for _ in 0..count("count") {
        let start = Instant::now();
        session.logits_of(&ids, ids.len())?;
        times.push(start.elapsed().as_nanos() as u64);
    }
    Ok(json!({"ns": times}))
}

/// The rows behind the last layer. A session has no use for them, so they come from the encoder's
/// blocks, which are what a session runs.
fn states(session: &Session, ids: &[u32]) -> Result<Vec<f32>, Box<dyn Error>> {
    let model = session.model();
    let shape = &model.header().shape;
    let encoder = berth_encoder::Encoder::new(model.bundle(), model.isa());
    let mut memory = vec![0; scratch_bytes(model.header(), ids.len())];
    let scratch = Scratch::carve(&mut memory, model.header(), ids.len());
    let mut scratch = scratch.ok_or("too many tokens")?;
    let mut rows = vec![0.0; ids.len() * shape.width() as usize];
    encoder.embed(ids, ids.len(), &mut rows, &mut scratch)?;
    for layer in 0..shape.layers as usize {
        encoder.layer(layer, Rows::All, &mut rows, &mut scratch);
    }
    Ok(rows)
}

fn peaks_of_this_core() -> Value {
    let peaks = peaks::all();
    let rates = peaks
        .iter()
        .map(|peak| (peak.name.to_owned(), json!(peak.measure())));
    json!({"cpu": cpu_name(), "peaks_gops": rates.collect::<serde_json::Map<_, _>>()})
}

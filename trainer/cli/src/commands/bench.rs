//! `berth bench`: latency by length, load time, memory and allocations of a bundle.

use super::{bench_train, print};
use crate::args::{BenchArgs, TrainBenchArgs};
use crate::error::Error;
use crate::names::bundle_path;
use crate::show;
use berth_runtime::Threads;
use berth_runtime::counting;
use berth_runtime::measure::{self, MeasureError, Options, Report};
use clap::Parser;

/// Measures and prints.
pub fn run(args: &BenchArgs) -> Result<(), Error> {
    let bundle = match (&args.bundle, args.train.train) {
        (Some(bundle), false) => bundle,
        (None, true) if !args.lengths.is_empty() => {
            let what = "--lengths goes with a bundle; --train times the batches of --shapes";
            return Err(Error::Usage(what.into()));
        }
        (None, true) => return bench_train::run(&args.train, args.threads, args.stdout.json),
        (Some(_), true) => {
            let what =
                "--train times steps of a base model, --model_name_or_path; it takes no bundle";
            return Err(Error::Usage(what.into()));
        }
        (None, false) => {
            let what = "nothing to measure: give a .berth file, or --train";
            return Err(Error::Usage(what.into()));
        }
    };
    if let Some(flag) = of_training(&args.train) {
        return Err(Error::Usage(format!(
            "{flag} goes with --train, which times steps of a base model, and not with a bundle"
        )));
    }
    let path = bundle_path(bundle)?;
    let mut lengths = Vec::new();
    for &length in &args.lengths {
        if !lengths.contains(&length) {
            lengths.push(length);
        }
    }
    let options = Options {
        lengths,
        threads: Threads(args.threads as usize),
        allocations: Some(counting::allocations),
        ..Default::default()
    };
    let report = measure::measure(&path, &options).map_err(|error| match error {
        MeasureError::Length { .. } => Error::Usage(format!("--lengths: {error}")),
        error => error.into(),
    })?;
    if args.stdout.json {
        print(&report)
    } else {
        print(for_people(&report))
    }
}

/// The flags of training where none is given.
#[derive(Parser)]
struct Usual {
    #[command(flatten)]
    train: TrainBenchArgs,
}

/// A flag that changes training alone and says something else than is usual.
fn of_training(given: &TrainBenchArgs) -> Option<&'static str> {
    let usual = Usual::try_parse_from(["bench"]).expect("every flag has a default");
    let usual = usual.train;
    let flags = [
        (
            "--model_name_or_path",
            given.model_name_or_path != usual.model_name_or_path,
        ),
        ("--shapes", given.shapes != usual.shapes),
        ("--steps", given.steps != usual.steps),
        ("--device", given.device != usual.device),
        ("--bf16", given.bf16 != usual.bf16),
    ];
    flags
        .into_iter()
        .find_map(|(flag, is_given)| is_given.then_some(flag))
}

fn for_people(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .lengths
        .iter()
        .map(|(tokens, latency)| {
            let times = [
                latency.p50_ms,
                latency.p90_ms,
                latency.p99_ms,
                latency.min_ms,
            ];
            let times = times.map(|ms| format!("{ms:.3}"));
            [tokens.to_string()].into_iter().chain(times).collect()
        })
        .collect();
    let table = show::table(&["tokens", "p50 ms", "p90 ms", "p99 ms", "min ms"], &rows);
    let memory = report
        .peak_rss_mb
        .map_or("not told".into(), |mb| format!("{mb:.1} MB"));
    let allocations = report
        .allocations_per_query
        .map_or("not counted".into(), |n| n.to_string());
    let threads = match report.threads {
        1 => "one thread".into(),
        threads => format!("{threads} threads"),
    };
    format!(
        "{table}\nopen {:.2} ms, ready for a query {:.2} ms, peak memory {memory}, allocations a query {allocations}\n{} ({}), {threads}",
        report.open_ms, report.load_ms, report.cpu, report.isa
    )
}

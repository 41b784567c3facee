//! `berth bench`: latency by length, load time, memory and allocations of a bundle.

use super::{bench_train, print};
use crate::args::BenchArgs;
use crate::error::Error;
use crate::names::bundle_path;
use crate::show;
use berth_runtime::Threads;
use berth_runtime::counting;
use berth_runtime::measure::{self, MeasureError, Options, Report};

/// Measures and prints.
pub fn run(args: &BenchArgs) -> Result<(), Error> {
    let bundle = match (&args.bundle, args.train.train) {
        (Some(bundle), false) => bundle,
        (None, true) => return bench_train::run(args),
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
    let path = bundle_path(bundle)?;
    let mut lengths = Vec::new();
    for &length in &args.lengths {
        if !lengths.contains(&length) {
            lengths.push(length);
        }
    }
    let options = Options {
        lengths,
        threads: Threads(args.train.threads as usize),
        allocations: Some(counting::allocations),
        ..Default::default()
    };
    let report = measure::measure(&path, &options).map_err(|error| match error {
        MeasureError::Length { .. } => Error::Usage(format!("--lengths: {error}")),
        error => error.into(),
    })?;
    if args.json {
        print(&report)
    } else {
        print(for_people(&report))
    }
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

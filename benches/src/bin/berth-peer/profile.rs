//! Prints where a query's time goes, and what more threads bring.

use std::error::Error;

use berth_benches::profile::{Profile, peak_of, profile};
use berth_benches::scaling;
use berth_runtime::measure::{LENGTHS, cpu_name};
use berth_runtime::{Model, Session};
use serde_json::{Value, json};

/// The answer to a command.
pub fn answer(session: &mut Session, command: &Value) -> Result<Value, Box<dyn Error>> {
    let tokens = command["tokens"].as_u64().unwrap_or(0) as usize;
    let found = profile(session, tokens)?;
    Ok(json!({
        "query_ns": found.query,
        "linears_ns": found.linears,
        "attention_ns": found.attention,
        "attention_products_ns": found.products,
        "linears_gops": found.linear_gops(),
        "attention_products_gops": found.attention_gops(),
        "rest_share": found.rest(),
    }))
}

/// A table for each bundle, for people.
pub fn print(bundles: &[&str]) -> Result<(), Box<dyn Error>> {
    for bundle in bundles {
        let model = Model::open(bundle)?;
        let mut session = model.session()?;
        let tier = model.isa().tier();
        let peak = peak_of(tier);
        // Before and after, since the clock of a core that others share wanders.
        let mut most = peak.map_or(0.0, |peak| peak.measure());
        let lengths = LENGTHS
            .iter()
            .filter(|&&tokens| tokens <= model.positions());
        let found: Result<Vec<Profile>, _> = lengths
            .map(|&tokens| profile(&mut session, tokens))
            .collect();
        most = most.max(peak.map_or(0.0, |peak| peak.measure()));
        println!(
            "{bundle}: {}, {tier} on {}",
            model.header().task,
            cpu_name()
        );
        if let Some(peak) = peak {
            println!("{}: {most:.1} GOP/s, products and sums", peak.name);
        }
        println!("| tokens | query ms | linears of peak | linears | attention's products | rest |");
        println!("|---|---|---|---|---|---|");
        for row in found? {
            println!("{}", line(&row, most));
        }
    }
    Ok(())
}

fn line(row: &Profile, peak: f64) -> String {
    let share = |part: u64| format!("{:.1} %", 100.0 * part as f64 / row.query as f64);
    let cells = [
        row.tokens.to_string(),
        format!("{:.3}", row.query as f64 / 1e6),
        format!("{:.1} %", 100.0 * row.linear_gops() / peak),
        share(row.linears),
        share(row.products),
        format!("{:.1} %", 100.0 * row.rest()),
    ];
    format!("| {} |", cells.join(" | "))
}

/// What more threads bring a query, and a bare product.
pub fn print_scaling(bundle: &str, threads: &str, tokens: &str) -> Result<(), Box<dyn Error>> {
    let (threads, tokens) = (threads.parse()?, tokens.parse()?);
    let found = scaling::measure(&Model::open(bundle)?, tokens, threads)?;
    println!("{tokens} tokens, {}", cpu_name());
    println!("| threads | a query is faster | bare products are faster | of them |");
    println!("|---|---|---|---|");
    for row in found {
        let (query, product) = (row.query, row.product);
        let threads = row.threads;
        println!(
            "| {threads} | {query:.2}× | {product:.2}× | {:.2} |",
            query / product
        );
    }
    Ok(())
}

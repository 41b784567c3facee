//! Scores every line of a text file, in bulk and in equal shares of neighbouring lines, and says how
//! many a second that is.
//!
//! ```sh
//! cargo run --release -p berth-runtime --example bulk -- sentiment.berth sentences.txt
//! ```

use std::error::Error;
use std::num::NonZero;
use std::thread;
use std::time::Instant;

use berth_runtime::Model;
use berth_runtime::bulk::{Bulk, Input};
use berth_wordpiece::Piece;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bundle, file] = &arguments[..] else {
        return Err("usage: bulk BUNDLE FILE".into());
    };
    let model = Model::open(bundle)?;
    let inputs = inputs(&model, &std::fs::read_to_string(file)?)?;
    let threads = thread::available_parallelism()?;
    let mut bulk = Bulk::new(&model, threads)?;
    for round in 1..=3 {
        let begun = Instant::now();
        let mut sorted = Vec::new();
        let borrowed = inputs.iter().map(|Input { ids, second }| Input {
            ids,
            second: *second,
        });
        bulk.logits(borrowed, |logits| sorted.push(logits))?;
        let in_bulk = begun.elapsed().as_secs_f64();

        let begun = Instant::now();
        let shares = in_shares(&model, &inputs, threads)?;
        let in_shares = begun.elapsed().as_secs_f64();
        assert_eq!(sorted, shares, "the same bits");
        let rate = |seconds: f64| inputs.len() as f64 / seconds;
        println!(
            "round {round}, {threads} threads, {} texts: {:.0} a second in bulk, {:.0} in equal shares",
            inputs.len(),
            rate(in_bulk),
            rate(in_shares)
        );
    }
    Ok(())
}

fn inputs(model: &Model, text: &str) -> Result<Vec<Input<Vec<u32>>>, Box<dyn Error>> {
    let mut pieces = vec![Piece::default(); 2 * model.positions()];
    let mut input = |line: &str| {
        let encoding = model
            .tokenizer()
            .encode(line, None, model.positions(), &mut pieces)?;
        let ids = pieces[..encoding.len].iter().map(|piece| piece.id);
        Ok(Input {
            ids: ids.collect(),
            second: encoding.second,
        })
    };
    text.lines().map(&mut input).collect()
}

/// The plain way: each thread has as many neighbouring lines as every other.
fn in_shares(
    model: &Model,
    inputs: &[Input<Vec<u32>>],
    threads: NonZero<usize>,
) -> Result<Vec<Vec<f32>>, Box<dyn Error>> {
    let mut sessions = Vec::new();
    for _ in 0..threads.get() {
        sessions.push(model.session()?);
    }
    let share = inputs.len().div_ceil(threads.get()).max(1);
    Ok(thread::scope(|scope| {
        let answer = |(inputs, mut session): (&'_ [Input<Vec<u32>>], berth_runtime::Session)| {
            let logits = |input: &Input<Vec<u32>>| {
                let logits = session.logits_of(&input.ids, input.second);
                logits.map(<[f32]>::to_vec)
            };
            inputs.iter().map(logits).collect::<Result<Vec<_>, _>>()
        };
        let threads: Vec<_> = inputs
            .chunks(share)
            .zip(sessions)
            .map(|work| scope.spawn(move || answer(work)))
            .collect();
        let answers = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        answers.collect::<Result<Vec<_>, _>>()
    })?
    .concat())
}

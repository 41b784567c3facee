//! `berth-profile`: where the time of a training step goes.
//!
//! `berth-profile MODEL [SHAPES] [STEPS] [--bf16] [--threads N]` prints one line of JSON: the core's peaks, and for each
//! shape (`32x16,32x64,32x128,8x384` by default) the seconds of a step, the rate of its matrix products, their share of
//! the peak of the instruction that they are made of, and the share of everything else in the step. Peaks are measured
//! before and after, since a core's clock moves, and the higher counts.
//!
//! With `--threads N`, steps on one thread and on N take turns, and so do bare products of the shapes that the steps have
//! the most of: `"scaling"` is how many times faster N threads are, of steps and of products, and the first by the second.
//! Pin the process to as many cores.

use std::error::Error;
use std::time::Instant;

use berth_benches::peaks;
use berth_checkpoint::Checkpoint;
use berth_runtime::measure::cpu_name;
use berth_trainer::bench::{Shape, TrainBench};
use berth_trainer::kernels::gemm::{Matrix, MatrixMut, Precision, Workers, Write, product};
use berth_trainer::recipe::Recipe;
use mimalloc::MiMalloc;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde_json::{Map, Value, json};

/// What can go wrong, also on another thread.
type Failure = Box<dyn Error + Send + Sync>;

/// As the trainer's program has it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const USAGE: &str = "usage: berth-profile MODEL [SHAPES] [STEPS] [--bf16] [--threads N]";
const SHAPES: &str = "32x16,32x64,32x128,8x384";
/// Turns of one thread and of several.
const TURNS: usize = 3;

/// What is asked for.
struct Arguments {
    model: String,
    shapes: Vec<Shape>,
    steps: usize,
    bf16: bool,
    threads: usize,
}

impl Arguments {
    fn read() -> Result<Self, Failure> {
        let (mut plain, mut bf16, mut threads) = (Vec::new(), false, 1);
        let mut all = std::env::args().skip(1);
        while let Some(argument) = all.next() {
            match argument.as_str() {
                "--bf16" => bf16 = true,
                "--threads" => threads = all.next().ok_or(USAGE)?.parse()?,
                _ => plain.push(argument),
            }
        }
        let mut plain = plain.into_iter();
        let model = plain.next().ok_or(USAGE)?;
        let shapes = plain.next().unwrap_or_else(|| SHAPES.to_owned());
        Ok(Arguments {
            model,
            shapes: shapes
                .split(',')
                .map(str::parse)
                .collect::<Result<_, _>>()?,
            steps: plain.next().map_or(Ok(3), |steps| steps.parse())?,
            bf16,
            threads,
        })
    }
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::read()?;
    let recipe = Recipe {
        bf16: arguments.bf16,
        ..Recipe::default()
    };
    let precision = recipe.precision()?;
    let base = Checkpoint::open(&arguments.model)?;
    let mut bench = TrainBench::new(&base, precision)?;
    let mut report =
        json!({"cpu": cpu_name(), "bf16": arguments.bf16, "threads": arguments.threads});
    if arguments.threads == 1 {
        let one = pool(1)?;
        let before = measured_peaks();
        let shapes = one.install(|| profiles(&mut bench, &arguments))?;
        let peaks = higher(before, measured_peaks());
        let peak = peak_of_products(&peaks, arguments.bf16);
        report["shapes"] = shapes
            .into_iter()
            .map(|(shape, mut figures)| {
                let rate = figures["gflops"].as_f64().unwrap_or(0.0);
                figures["of_peak"] = json!(rate / peak);
                (shape, figures)
            })
            .collect();
        report["peaks_gops"] = peaks
            .into_iter()
            .map(|(name, rate)| (name, Value::from(rate)))
            .collect();
    } else {
        report["scaling"] = scaling(&mut bench, &arguments, precision)?;
    }
    println!("{report}");
    Ok(())
}

fn pool(threads: usize) -> Result<ThreadPool, Failure> {
    Ok(ThreadPoolBuilder::new().num_threads(threads).build()?)
}

fn measured_peaks() -> Vec<(String, f64)> {
    let all = peaks::all();
    all.iter()
        .map(|peak| (peak.name.to_owned(), peak.measure()))
        .collect()
}

fn higher(before: Vec<(String, f64)>, after: Vec<(String, f64)>) -> Vec<(String, f64)> {
    let both = before.into_iter().zip(after);
    both.map(|((name, before), (_, after))| (name, before.max(after)))
        .collect()
}

/// The rate of the widest instruction that the products can be made of.
fn peak_of_products(peaks: &[(String, f64)], bf16: bool) -> f64 {
    let made_of = |name: &str| match bf16 {
        true => name == "vdpbf16ps",
        false => name.starts_with("vfmadd231ps"),
    };
    let rates = peaks.iter().filter(|(name, _)| made_of(name));
    rates.map(|(_, rate)| *rate).fold(0.0, f64::max)
}

fn profiles(
    bench: &mut TrainBench,
    arguments: &Arguments,
) -> Result<Vec<(String, Value)>, Failure> {
    let mut shapes = Vec::new();
    for &shape in &arguments.shapes {
        let profile = bench.profile(shape, 1, arguments.steps)?;
        let figures = json!({
            "seconds_per_step": profile.seconds / arguments.steps as f64,
            "gflops": profile.gflops(),
            "rest": profile.rest(),
        });
        shapes.push((shape.to_string(), figures));
    }
    Ok(shapes)
}

/// How many times faster several threads are than one, by the least seconds of each.
fn scaling(
    bench: &mut TrainBench,
    arguments: &Arguments,
    precision: Precision,
) -> Result<Value, Failure> {
    let pools = [pool(1)?, pool(arguments.threads)?];
    let mut shapes = Map::new();
    for &shape in &arguments.shapes {
        let mut products = Products::new(shape.tokens(), precision);
        let mut least = [[f64::INFINITY; 2]; 2];
        for _ in 0..TURNS {
            for (pool, least) in pools.iter().zip(&mut least) {
                let step = pool
                    .install(|| bench.time(shape, 1, arguments.steps))?
                    .least();
                let bare = pool.install(|| products.seconds());
                *least = [least[0].min(step), least[1].min(bare)];
            }
        }
        let faster = [0, 1].map(|what| least[0][what] / least[1][what]);
        let figures = json!({
            "seconds_per_step": [least[0][0], least[1][0]],
            "steps": faster[0],
            "products": faster[1],
            "steps_by_products": faster[0] / faster[1],
        });
        shapes.insert(shape.to_string(), figures);
    }
    Ok(shapes.into())
}

/// Bare products of a feed-forward half over some rows: forward, and the two of the backward pass.
struct Products {
    rows: usize,
    precision: Precision,
    narrow: Vec<f32>,
    wide: Vec<f32>,
    weight: Vec<f32>,
}

impl Products {
    const NARROW: usize = 384;
    const WIDE: usize = 1536;

    fn new(rows: usize, precision: Precision) -> Self {
        let numbers = |count: usize| (0..count).map(|i| (i % 61) as f32 - 30.0).collect();
        Products {
            rows,
            precision,
            narrow: numbers(rows * Self::NARROW),
            wide: numbers(rows * Self::WIDE),
            weight: numbers(Self::NARROW * Self::WIDE),
        }
    }

    /// The least of some rounds.
    fn seconds(&mut self) -> f64 {
        let rounds = (0..8).map(|_| {
            let begun = Instant::now();
            self.round();
            begun.elapsed().as_secs_f64()
        });
        rounds.fold(f64::INFINITY, f64::min)
    }

    fn round(&mut self) {
        let (rows, narrow, wide) = (self.rows, Self::NARROW, Self::WIDE);
        let run = |out: &mut [f32], (m, n), a, b| {
            let out = MatrixMut::new(out, m, n, n);
            product(self.precision, out, Write::Over, a, b, Workers::All);
        };
        let x = Matrix::new(&self.narrow, rows, narrow, narrow);
        let w = Matrix::new(&self.weight, wide, narrow, narrow);
        run(&mut self.wide, (rows, wide), x, w.t());
        let d = Matrix::new(&self.wide, rows, wide, wide);
        let mut dw = vec![0.0; self.weight.len()];
        run(&mut dw, (wide, narrow), d.t(), x);
        let mut dx = vec![0.0; self.narrow.len()];
        run(&mut dx, (rows, narrow), d, w);
    }
}

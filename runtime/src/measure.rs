//! What a model costs on this machine: latency by length, load time, memory, allocations.
//!
//! A latency is the time of [`Session::logits_of`] alone: the token ids are there beforehand, the
//! tokenizer is not part of it. Every length is measured by itself, after some queries that don't
//! count; the percentiles are taken by the nearest rank, so each is a latency that really occurred.

use std::fmt::{self, Display};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{OpenError, QueryError};
use crate::json;
use crate::model::Model;
use crate::session::Session;
use crate::workers::Threads;

/// The numbers of tokens that are measured where nothing else is asked for.
pub const LENGTHS: [usize; 6] = [16, 32, 64, 128, 256, 384];

/// Queries before the ones that are timed.
const WARM_UP: usize = 5;
/// How many queries of a length are timed at least.
const FEWEST: usize = 100;
/// How many are timed at most.
const MOST: usize = 2_000;
/// How long one length goes on beyond the fewest queries.
const ENOUGH: Duration = Duration::from_millis(500);
/// The same where little is asked for.
const BRIEFLY: (usize, Duration) = (5, Duration::from_millis(150));
/// The ids below this are BERT's special tokens, characters and frequent words.
const FREQUENT: u32 = 4_096;
/// How often the model is opened.
const LOADS: usize = 9;

/// What is to be measured.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Numbers of tokens, special ones included. Empty: those of [`LENGTHS`] that the model takes, or the most
    /// that it takes where these are none.
    pub lengths: Vec<usize>,
    /// How many share a query.
    pub threads: Threads,
    /// Counts the allocations of the program so far, if the program can; such as
    /// [`counting::allocations`](crate::counting::allocations).
    pub allocations: Option<fn() -> u64>,
    /// A first impression within a second or so, of few queries, instead of a measurement.
    pub brief: bool,
}

/// What was measured. Its text form is one line of JSON.
#[derive(Clone, Debug)]
pub struct Report {
    /// A latency for each number of tokens, as they were asked for.
    pub lengths: Vec<(usize, Latency)>,
    /// Milliseconds of [`Model::open`], the median of a few.
    pub open_ms: f64,
    /// Milliseconds until the first query can be asked: [`Model::open`] and [`Model::session`].
    pub load_ms: f64,
    /// The most memory that the process has held, in units of 1,000,000 bytes; where Linux tells it.
    pub peak_rss_mb: Option<f64>,
    /// Allocations of a query, text in and logits out; where they were counted.
    pub allocations_per_query: Option<f64>,
    /// How many threads shared a query.
    pub threads: usize,
    /// The layers that run in floats.
    pub f32_layers: Vec<usize>,
    /// The processor's name.
    pub cpu: String,
    /// The instruction set that the kernels ran on.
    pub isa: &'static str,
}

/// How long queries of one length took, in milliseconds.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Latency {
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// Nine of ten took no longer.
    pub p90_ms: f64,
    /// 99 of a hundred took no longer.
    pub p99_ms: f64,
    /// The fastest.
    pub min_ms: f64,
}

/// Why nothing was measured.
#[derive(Debug)]
pub enum MeasureError {
    /// The bundle can't be opened.
    Open(OpenError),
    /// A query failed.
    Query(QueryError),
    /// An input of so many tokens is none of this model's.
    Length {
        /// The tokens.
        tokens: usize,
        /// The most that the model reads.
        positions: usize,
    },
}

impl Display for MeasureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MeasureError::Open(error) => error.fmt(f),
            MeasureError::Query(error) => error.fmt(f),
            MeasureError::Length { tokens, positions } => {
                write!(f, "{tokens} tokens: the model reads from 1 to {positions}")
            }
        }
    }
}

impl std::error::Error for MeasureError {}

impl From<OpenError> for MeasureError {
    fn from(error: OpenError) -> Self {
        MeasureError::Open(error)
    }
}

impl From<QueryError> for MeasureError {
    fn from(error: QueryError) -> Self {
        MeasureError::Query(error)
    }
}

/// Opens the bundle at `path` and measures it. Takes some seconds.
///
/// # Errors
/// When the bundle can't be opened, or when a length is 0 or more than the model has positions.
pub fn measure(path: &Path, options: &Options) -> Result<Report, MeasureError> {
    let model = Model::open(path)?;
    let positions = model.positions();
    let wanted = lengths_for(positions, &options.lengths);
    if let Some(&tokens) = wanted
        .iter()
        .find(|&tokens| !(1..=positions).contains(tokens))
    {
        return Err(MeasureError::Length { tokens, positions });
    }
    let mut session = model.session_with(options.threads)?;
    let mut lengths = Vec::new();
    for tokens in wanted {
        lengths.push((tokens, latency(&mut session, tokens, options.brief)?));
    }
    let allocations_per_query = match options.allocations {
        Some(count) => Some(allocations(&mut session, count)?),
        None => None,
    };
    // Opening again and again leaves holes in the heap that one program with one model never has.
    let peak_rss_mb = peak_rss_mb();
    let (open_ms, load_ms) = load(path, if options.brief { 1 } else { LOADS })?;
    Ok(Report {
        lengths,
        open_ms,
        load_ms,
        peak_rss_mb,
        allocations_per_query,
        threads: options.threads.0,
        f32_layers: model.header().f32_layers().collect(),
        cpu: cpu_name(),
        isa: model.isa().tier().name(),
    })
}

/// The most memory that this process has held so far, in units of 1,000,000 bytes, if it can be told.
pub fn peak_rss_mb() -> Option<f64> {
    status_mb("VmHWM:")
}

/// The memory that this process holds now, in units of 1,000,000 bytes, if it can be told.
pub fn rss_mb() -> Option<f64> {
    status_mb("VmRSS:")
}

/// A size in what Linux says of this process.
fn status_mb(name: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0 / 1e6)
}

/// What the processor is called, or, where nothing says so, the architecture.
pub fn cpu_name() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let board = fs::read_to_string("/proc/device-tree/model").unwrap_or_default();
    name_in(&cpus)
        .or_else(|| Some(board.trim_end_matches('\0').to_owned()).filter(|name| !name.is_empty()))
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The name in the text of `/proc/cpuinfo`; on ARM the number of the core's design.
fn name_in(cpus: &str) -> Option<String> {
    let value = |wanted: &str| {
        cpus.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == wanted).then(|| value.trim().to_owned())
        })
    };
    value("model name")
        .or_else(|| value("Model"))
        .or_else(|| Some(format!("ARM part {}", value("CPU part")?)))
}

/// Medians in milliseconds: to open, and to open and make a session.
fn load(path: &Path, times: usize) -> Result<(f64, f64), OpenError> {
    let mut opened = Vec::new();
    let mut ready = Vec::new();
    for _ in 0..times {
        let start = Instant::now();
        let model = Model::open(path)?;
        opened.push(start.elapsed());
        let session = model.session()?;
        ready.push(start.elapsed());
        drop(session);
    }
    Ok((of(&mut opened).p50_ms, of(&mut ready).p50_ms))
}

fn lengths_for(positions: usize, wanted: &[usize]) -> Vec<usize> {
    if !wanted.is_empty() {
        return wanted.to_vec();
    }
    let fits = |tokens: &usize| *tokens <= positions;
    let lengths: Vec<usize> = LENGTHS.into_iter().filter(fits).collect();
    if lengths.is_empty() {
        vec![positions]
    } else {
        lengths
    }
}

fn latency(session: &mut Session, tokens: usize, brief: bool) -> Result<Latency, QueryError> {
    let ids = ids(session.model(), tokens);
    let (warm_up, (fewest, enough)) = match brief {
        true => (1, BRIEFLY),
        false => (WARM_UP, (FEWEST, ENOUGH)),
    };
    for _ in 0..warm_up {
        session.logits_of(&ids, tokens)?;
    }
    let mut times = Vec::with_capacity(MOST);
    let start = Instant::now();
    while times.len() < fewest || (times.len() < MOST && start.elapsed() < enough) {
        let start = Instant::now();
        session.logits_of(&ids, tokens)?;
        times.push(start.elapsed());
    }
    Ok(of(&mut times))
}

/// Token ids without order, from the part of the vocabulary where BERT's frequent words stand: an input
/// touches no more of the embeddings than a text does.
fn ids(model: &Model, tokens: usize) -> Vec<u32> {
    let end = model.header().shape.vocab_size.min(FREQUENT);
    let scattered = (0u32..).map(|i| i.wrapping_mul(2_654_435_761) % end);
    scattered.take(tokens).collect()
}

/// Percentiles by the nearest rank.
fn of(times: &mut [Duration]) -> Latency {
    times.sort_unstable();
    let rank = |percent: usize| {
        let rank = (times.len() * percent).div_ceil(100).max(1);
        times[rank - 1].as_secs_f64() * 1e3
    };
    Latency {
        p50_ms: rank(50),
        p90_ms: rank(90),
        p99_ms: rank(99),
        min_ms: rank(0),
    }
}

/// Allocations of a query, over texts from none to one that has to be cut.
fn allocations(session: &mut Session, count: fn() -> u64) -> Result<f64, QueryError> {
    let words = "A gripping, well-made film; café naïve 東京 — unbelievably so! ".repeat(100);
    let pair = session.model().header().task.takes_pair();
    let texts =
        [0, 1, 7, 100, 1_000, words.len()].map(|end| &words[..words.floor_char_boundary(end)]);
    let before = count();
    for text in texts {
        session.logits(text, pair.then_some(text))?;
    }
    Ok((count() - before) as f64 / texts.len() as f64)
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{\"lengths\":{")?;
        for (i, (tokens, latency)) in self.lengths.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}\"{tokens}\":{latency}")?;
        }
        write!(
            f,
            "}},\"load_ms\":{:.4},\"open_ms\":{:.4}",
            self.load_ms, self.open_ms
        )?;
        write!(f, ",\"peak_rss_mb\":{}", OrNull(self.peak_rss_mb))?;
        write!(
            f,
            ",\"allocations_per_query\":{}",
            OrNull(self.allocations_per_query)
        )?;
        write!(f, ",\"threads\":{},\"f32_layers\":[", self.threads)?;
        for (i, layer) in self.f32_layers.iter().enumerate() {
            write!(f, "{}{layer}", if i == 0 { "" } else { "," })?;
        }
        f.write_str("],\"cpu\":")?;
        json::write_string(f, &self.cpu)?;
        write!(f, ",\"isa\":\"{}\"}}", self.isa)
    }
}

impl Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency {
            p50_ms,
            p90_ms,
            p99_ms,
            min_ms,
        } = self;
        write!(f, "{{\"p50_ms\":{p50_ms:.4},\"p90_ms\":{p90_ms:.4},")?;
        write!(f, "\"p99_ms\":{p99_ms:.4},\"min_ms\":{min_ms:.4}}}")
    }
}

/// A number of JSON that may be unknown.
struct OrNull(Option<f64>);

impl Display for OrNull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => write!(f, "{number}"),
            None => f.write_str("null"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_taken_by_the_nearest_rank() {
        let mut times: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        let expected = Latency {
            p50_ms: 100.0,
            p90_ms: 180.0,
            p99_ms: 198.0,
            min_ms: 1.0,
        };
        assert_eq!(of(&mut times), expected);
        let one = of(&mut [Duration::from_millis(7)]);
        assert_eq!((one.min_ms, one.p50_ms, one.p99_ms), (7.0, 7.0, 7.0));
    }

    #[test]
    fn a_model_without_room_for_any_usual_length_is_measured_at_its_longest() {
        assert_eq!(lengths_for(512, &[]), LENGTHS);
        assert_eq!(lengths_for(48, &[]), [16, 32]);
        assert_eq!(lengths_for(16, &[]), [16]);
        assert_eq!(lengths_for(15, &[]), [15]);
        assert_eq!(lengths_for(15, &[7, 64]), [7, 64]);
    }

    #[test]
    fn the_processor_has_a_name_on_each_architecture() {
        let intel = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Intel(R) Xeon(R)\n";
        assert_eq!(name_in(intel).as_deref(), Some("Intel(R) Xeon(R)"));
        let board =
            "processor\t: 0\nCPU part\t: 0xd0b\n\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n";
        assert_eq!(
            name_in(board).as_deref(),
            Some("Raspberry Pi 5 Model B Rev 1.0")
        );
        let arm = "processor\t: 0\nCPU part\t: 0xd0b\n";
        assert_eq!(name_in(arm).as_deref(), Some("ARM part 0xd0b"));
        assert_eq!(name_in(""), None);
        assert!(!cpu_name().is_empty());
    }

    #[test]
    fn a_report_is_a_line_of_json() {
        let latency = Latency {
            p50_ms: 0.5,
            p90_ms: 0.75,
            p99_ms: 1.0,
            min_ms: 0.25,
        };
        let report = Report {
            lengths: vec![(16, latency), (32, latency)],
            open_ms: 0.125,
            load_ms: 0.5,
            peak_rss_mb: None,
            allocations_per_query: Some(0.0),
            threads: 2,
            f32_layers: vec![0, 5],
            cpu: "A \"quoted\" one".into(),
            isa: "portable",
        };
        let latency = r#"{"p50_ms":0.5000,"p90_ms":0.7500,"p99_ms":1.0000,"min_ms":0.2500}"#;
        let expected = [
            r#"{"lengths":{"16":"#,
            latency,
            r#","32":"#,
            latency,
            r#"},"load_ms":0.5000,"open_ms":0.1250,"peak_rss_mb":null,"allocations_per_query":0"#,
            r#","threads":2,"f32_layers":[0,5],"cpu":"A \"quoted\" one","isa":"portable"}"#,
        ];
        assert_eq!(report.to_string(), expected.concat());
    }
}

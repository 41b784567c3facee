//! What a program meets: the tokenizer, loading, and queries of each task by length.
//!
//! The model has the dimensions of all-MiniLM-L6-v2 and random weights, which take the same time. Where the
//! environment variable `BERTH_BUNDLE` names a bundle, that one's tokenizer and weights are measured, for its own
//! task, instead.

use std::env;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};

use berth_runtime::measure::LENGTHS;
use berth_runtime::{Model, Threads};
use berth_task::Task;
use berth_wordpiece::Piece;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

#[allow(dead_code, reason = "the tests of the runtime use more of it")]
#[path = "../../runtime/tests/support/mod.rs"]
mod support;

const TASKS: [(Task, &[&str]); 5] = [
    (Task::TextClassification, &["negative", "positive"]),
    (Task::TextPairClassification, &["yes", "no", "maybe"]),
    (Task::TextPairRegression, &[]),
    (
        Task::TokenClassification,
        &["O", "B-PER", "I-PER", "B-LOC", "I-LOC"],
    ),
    (Task::QuestionAnswering, &[]),
];

/// A text as a newspaper has it.
const TEXT: &str = "The harbour was quiet when the last ferry came in. Two men stood on the pier, \
    hands in their pockets, and watched the café owner carry his chairs inside; nobody had sat on \
    them since noon. \"It will rain before six,\" said the older one. The other looked at the sky, \
    which was as blue as it had been all week, and said nothing.";

/// The bundle that is measured, at a path.
fn bundle(task: Task, labels: &[&str]) -> Vec<u8> {
    support::bundle_with(task, labels, |shape| {
        shape.vocab_size = 30_522;
        shape.hidden = 384;
        shape.layers = 6;
        shape.heads = 12;
        shape.intermediate = 1_536;
        shape.positions = 512;
    })
}

/// The one that the environment names.
fn named() -> Option<PathBuf> {
    env::var_os("BERTH_BUNDLE").map(PathBuf::from)
}

/// Calls `work` with a bundle in a file.
fn with_file(work: impl FnOnce(&Path)) {
    if let Some(path) = named() {
        return work(&path);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("random.berth");
    let (task, labels) = TASKS[0];
    fs::write(&path, bundle(task, labels)).expect("room on the disk");
    work(&path);
}

fn tokenizer(criterion: &mut Criterion) {
    with_file(|path| {
        let model = Model::open(path).expect("a bundle");
        let mut pieces = vec![Piece::default(); 2 * model.positions()];
        let mut group = criterion.benchmark_group("tokenizer");
        group.throughput(Throughput::Bytes(TEXT.len() as u64));
        group.bench_function("encode", |bencher| {
            let limit = model.positions();
            let pair = model.header().task.takes_pair().then_some("");
            bencher.iter(|| {
                let text = black_box(TEXT);
                let encoded = model.tokenizer().encode(text, pair, limit, &mut pieces);
                black_box(encoded.map(|encoding| encoding.len))
            });
        });
    });
}

fn load(criterion: &mut Criterion) {
    with_file(|path| {
        let mut group = criterion.benchmark_group("load");
        group.bench_function("open", |bencher| bencher.iter(|| Model::open(path)));
        group.bench_function("open, verified", |bencher| {
            bencher.iter(|| Model::open_verified(path));
        });
        let model = Model::open(path).expect("a bundle");
        for threads in [1, 2] {
            let id = BenchmarkId::new("session", threads);
            group.bench_function(id, |bencher| {
                bencher.iter(|| model.session_with(Threads(threads)));
            });
        }
    });
}

fn queries(criterion: &mut Criterion) {
    if let Some(path) = named() {
        return of_model(criterion, &Model::open(path).expect("a bundle"));
    }
    for (task, labels) in TASKS {
        let model = Model::from_bytes(&bundle(task, labels));
        of_model(criterion, &model.expect("a bundle"));
    }
}

fn of_model(criterion: &mut Criterion, model: &Model) {
    let mut session = model.session().expect("memory");
    let mut group = criterion.benchmark_group(model.header().task.to_string());
    let vocabulary = model.header().shape.vocab_size;
    for tokens in LENGTHS.into_iter().filter(|&n| n <= model.positions()) {
        let id = |i: u32| i.wrapping_mul(2_654_435_761) % vocabulary;
        let ids: Vec<u32> = (0..tokens as u32).map(id).collect();
        group.throughput(Throughput::Elements(tokens as u64));
        group.bench_function(BenchmarkId::from_parameter(tokens), |bencher| {
            bencher.iter(|| {
                session
                    .logits_of(black_box(&ids), tokens / 2)
                    .map(<[f32]>::len)
            });
        });
    }
}

criterion_group!(benches, tokenizer, load, queries);
criterion_main!(benches);

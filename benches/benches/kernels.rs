//! The kernels beside the peak of the core: how much of what it can do is left for the model.
//!
//! `cargo bench --bench kernels` prints billions of multiplications and additions a second (Gelem/s) of
//!
//! - `peak`: the machine's multiply-and-add instructions in loops that touch no memory,
//! - `linear`: for each tier, the four dense layers of all-MiniLM-L6-v2, by rows,
//! - `attention`: its two products, by tokens; softmax and quantization are in the time, not in the
//!   count,
//!
//! and values a second of what goes over rows. Ratios within one run mean something; figures of two
//! machines, or of a busy one, do not.

use std::hint::black_box;

use berth_kernels::{
    Activation, Attention, AttentionScratch, ColumnsMut, Isa, Linear, Norm, Rows, RowsMut,
    packed_len,
};
use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};

/// The default model's dimensions.
const HIDDEN: usize = 384;
const INTERMEDIATE: usize = 1536;
const HEADS: usize = 12;

const TOKENS: [usize; 6] = [1, 16, 32, 64, 128, 384];

/// Numbers without a pattern that a branch could learn.
fn floats(count: usize) -> Vec<f32> {
    let float = |i: usize| (i * 7919 % 1009) as f32 * 0.004 - 2.0;
    (0..count).map(float).collect()
}

fn linear(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("linear");
    let layers = [
        ("qkv", 3 * HIDDEN, HIDDEN, Activation::None),
        ("out", HIDDEN, HIDDEN, Activation::None),
        ("up", INTERMEDIATE, HIDDEN, Activation::Gelu),
        ("down", HIDDEN, INTERMEDIATE, Activation::None),
    ];
    for (name, outputs, inputs, activation) in layers {
        let weights = vec![3; packed_len(outputs, inputs)];
        let array = vec![0.01; outputs];
        let layer = Linear::new(inputs, outputs, &weights, &array, &array, &array);
        let layer = layer.expect("arrays as the dimensions ask");
        for rows in TOKENS {
            let (values, array) = (vec![7; rows * inputs], vec![0.1; rows]);
            let x = Rows::new(inputs, &values, &array, &array).expect("whole rows");
            let mut out = vec![0.0; rows * outputs];
            group.throughput(Throughput::Elements(2 * (rows * outputs * inputs) as u64));
            for_each_tier(&mut group, name, rows, |isa| {
                let out = ColumnsMut::new(&mut out, outputs).expect("whole rows");
                isa.linear(x, &layer, 0..layer.panels(), activation, out);
            });
        }
    }
}

fn attention(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attention");
    let head_size = HIDDEN / HEADS;
    for tokens in TOKENS {
        let qkv = floats(tokens * 3 * HIDDEN);
        let input = Attention {
            qkv: &qkv,
            tokens,
            heads: HEADS,
            head_size,
        };
        let (floats, bytes) = AttentionScratch::lens(tokens, head_size);
        let (mut floats, mut bytes) = (vec![0.0; floats], vec![0; bytes]);
        let mut out = vec![0.0; tokens * HIDDEN];
        let products = 2 * tokens * tokens * HIDDEN;
        group.throughput(Throughput::Elements(2 * products as u64));
        for_each_tier(&mut group, "all heads", tokens, |isa| {
            let mut scratch = AttentionScratch::new(&mut floats, &mut bytes);
            let out = ColumnsMut::new(&mut out, HIDDEN).expect("whole rows");
            isa.attention(&input, 0..HEADS, &mut scratch, out);
        });
    }
}

fn rows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rows");
    let rows = 128;
    for width in [HIDDEN, INTERMEDIATE] {
        let x = floats(rows * width);
        let mut values = vec![0; rows * width];
        let (mut scale, mut low) = (vec![0.0; rows], vec![0.0; rows]);
        group.throughput(Throughput::Elements((rows * width) as u64));
        for_each_tier(&mut group, "quantize", width, |isa| {
            let rows = RowsMut::new(width, &mut values, &mut scale, &mut low);
            isa.quantize_rows(&x, rows.expect("whole rows"));
        });
    }
    let (mut x, y) = (floats(rows * HIDDEN), floats(rows * HIDDEN));
    let learned = floats(HIDDEN);
    let norm = Norm {
        weight: &learned,
        bias: &learned,
        channels: learned.len(),
        eps: 1e-12,
    };
    group.throughput(Throughput::Elements((rows * HIDDEN) as u64));
    for_each_tier(&mut group, "add and norm", HIDDEN, |isa| {
        isa.add_norm(&mut x, &y, &norm);
    });
}

fn for_each_tier(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    size: usize,
    mut kernel: impl FnMut(Isa),
) {
    for isa in Isa::available() {
        let id = BenchmarkId::new(format!("{name}/{}", isa.tier()), size);
        group.bench_function(id, |bencher| bencher.iter(|| kernel(black_box(isa))));
    }
}

fn peak(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("peak");
    for peak in berth_benches::peaks::all() {
        group.throughput(Throughput::Elements(2 * peak.products));
        group.bench_function(peak.name, |bencher| bencher.iter(peak.run));
    }
    group.finish();
}

criterion_group!(benches, peak, linear, attention, rows);
criterion_main!(benches);

//! Random cases, as many as one likes: every tier beside every other, and beside the oracle where the
//! case is small enough for it.
//!
//! `BERTH_KERNEL_CASES` sets how many dense layers are drawn; of the other kernels it is a tenth each.
//! Sizes are log-uniform, so that tiles that are cut short come up as often as whole ones; a quarter
//! of the numbers are at their extremes. An emulated core does some hundred cases a second.

use std::env;
use std::time::{Duration, Instant};

use berth_kernels::{
    Activation, Attention, AttentionScratch, ByteRow, ColumnsMut, Isa, Norm, RowsMut, row_bytes,
};

use crate::assert_bits;
use crate::halves;
use crate::input::{Layer, Random};
use crate::linear::OwnedRows;
use crate::oracle;

/// How many dense layers an ordinary run draws.
const CASES: usize = 3_000;

/// The most products that the oracle is given to do.
const SMALL: usize = 60_000;

/// Calls `case` so many times, and says now and then how far it is.
fn draw(what: &str, share: usize, mut case: impl FnMut()) {
    let wanted = env::var("BERTH_KERNEL_CASES").map_or(CASES, |n| n.parse().expect("a number"));
    let (total, begun) = (wanted.div_ceil(share), Instant::now());
    let mut said = begun;
    for index in 0..total {
        case();
        if said.elapsed() > Duration::from_secs(60) {
            said = Instant::now();
            println!("{what}: {index} of {total}, {:.0?}", begun.elapsed());
        }
    }
    let tiers: Vec<&str> = Isa::available().map(|isa| isa.tier().name()).collect();
    println!(
        "{what}: {total} cases alike on {tiers:?}, {:.1?}",
        begun.elapsed()
    );
}

/// Computes on every tier, and holds all of them against `expected`, or else against the portable one.
fn alike(what: &str, expected: Option<Vec<f32>>, compute: impl Fn(Isa) -> Vec<f32>) {
    let by_oracle = expected.is_some();
    let expected = expected.unwrap_or_else(|| compute(Isa::portable()));
    for isa in Isa::available().filter(|&isa| by_oracle || isa != Isa::portable()) {
        assert_bits(&compute(isa), &expected, &format!("{}, {what}", isa.tier()));
    }
}

/// Every integer of a product has a say in the bits: up to 518 inputs the sums are exact in f32, and
/// beyond they are rounded but once.
#[test]
fn dense_layers() {
    let mut random = Random(40);
    // Long ones have tiles that the usual ones have too, and take a hundred times as long.
    let size = |random: &mut Random, most: usize, usual: usize| match random.bits() % 8 {
        0 => random.size(most),
        _ => random.size(usual),
    };
    draw("dense layers", 1, || {
        let rows = size(&mut random, 512, 19);
        let outputs = size(&mut random, 300, 70);
        let inputs = match random.bits() % 16 {
            0 => 1536,
            _ => random.size(400),
        };
        // The largest of all three at once would take a hundred times as long as the others.
        let rows = rows.min(20_000_000 / (outputs * inputs)).max(1);
        let activation = match random.bits() % 3 {
            0 => Activation::Gelu,
            _ => Activation::None,
        };
        let layer = Layer::random(&mut random, inputs, outputs);
        let x = OwnedRows::random(&mut random, rows, inputs);
        let linear = layer.view();
        let whole = |isa: Isa| {
            let mut found = vec![9.0; rows * outputs];
            let out = ColumnsMut::new(&mut found, outputs).unwrap();
            isa.linear(x.view(), &linear, 0..linear.panels(), activation, out);
            found
        };
        let expected = (rows * outputs * inputs <= SMALL).then(|| {
            let row = |row| oracle::linear(&x.row(row), &layer, activation);
            (0..rows).flat_map(row).collect()
        });
        alike(&format!("{rows} x {outputs} x {inputs}"), expected, whole);
    });
}

/// Feed-forward blocks whose inside is kept in halves.
#[test]
fn blocks_of_halves() {
    let mut random = Random(45);
    draw("feed-forward blocks in halves", 10, || {
        let rows = [150, 40][random.bits() as usize % 2];
        let rows = random.size(rows);
        let [inputs, outputs] = [(); 2].map(|()| random.size(70));
        let most = [96, 20, 20, 20, 20, 20, 20, 20][random.bits() as usize % 8];
        let inside = 16 * random.size(most);
        let up = Layer::random(&mut random, inputs, inside);
        let down = Layer::random(&mut random, inside, outputs);
        let x = OwnedRows::random(&mut random, rows, inputs);
        let small = rows * inside * (inputs + outputs) <= SMALL;
        let expected = small.then(|| {
            let rounded = |y: Vec<f32>| -> Vec<f32> { y.into_iter().map(oracle::half).collect() };
            let row = |row| {
                let y = rounded(oracle::linear(&x.row(row), &up, Activation::Gelu));
                let y = oracle::quantize_row(&y);
                rounded(oracle::linear(&y, &down, Activation::None))
            };
            (0..rows).flat_map(row).collect()
        });
        let what = format!("{rows} x {inputs} x {inside} x {outputs}");
        alike(&what, expected, |isa| {
            halves::block(isa, &x, &up, &down, [inside, outputs])
        });
    });
}

#[test]
fn attention() {
    let mut random = Random(41);
    draw("attention", 10, || {
        let head_size = 16 * random.size(6);
        let heads = random.size(3);
        let most = [513, 130, 130, 130][random.bits() as usize % 4];
        let tokens = random.size(most);
        let rows = match random.bits() % 3 {
            0 => 1,
            1 => random.size(tokens),
            _ => tokens,
        };
        let magnitude = [0.1, 1.0, 4.0, 30.0][random.bits() as usize % 4];
        let qkv = random.floats(tokens * 3 * heads * head_size, magnitude);
        let input = Attention {
            qkv: &qkv,
            tokens,
            heads,
            head_size,
        };
        let compute = |isa: Isa| {
            let (floats, bytes) = AttentionScratch::lens(tokens, head_size);
            let (mut floats, mut bytes) = (vec![f32::NAN; floats], vec![0xa5; bytes]);
            let mut scratch = AttentionScratch::new(&mut floats, &mut bytes);
            let mut found = vec![9.0; rows * heads * head_size];
            let out = ColumnsMut::new(&mut found, heads * head_size).unwrap();
            isa.attention(&input, 0..heads, &mut scratch, out);
            found
        };
        let small = heads == 1 && rows * tokens * head_size <= SMALL;
        let expected = small.then(|| oracle::attention(&input, 0, rows));
        let what = format!("{rows} of {tokens} tokens, {heads} heads of {head_size}");
        alike(&what, expected, compute);
    });
}

#[test]
fn quantized_rows() {
    let mut random = Random(42);
    draw("quantized rows", 10, || {
        let (count, width) = (random.size(20), random.size(1600));
        let magnitude = [1e-6, 1.0, 5.0, 1e4][random.bits() as usize % 4];
        let x = random.floats(count * width, magnitude);
        let expected: Vec<f32> = x
            .chunks(width)
            .map(oracle::quantize_row)
            .flat_map(|row| {
                let steps = row.steps.into_iter().map(f32::from);
                steps.chain([row.scale, row.low]).collect::<Vec<f32>>()
            })
            .collect();
        alike(&format!("{count} x {width}"), Some(expected), |isa| {
            let stride = row_bytes(width);
            let mut values = vec![9; count * stride];
            let (mut scale, mut low) = (vec![9.0; count], vec![9.0; count]);
            let rows = RowsMut::new(width, &mut values, &mut scale, &mut low).unwrap();
            isa.quantize_rows(&x, rows);
            let row = |row: usize| {
                let steps = values[row * stride..][..width]
                    .iter()
                    .map(|&q| f32::from(q));
                steps.chain([scale[row], low[row]]).collect::<Vec<f32>>()
            };
            (0..count).flat_map(row).collect()
        });
    });
}

#[test]
fn norms_and_embeddings() {
    let mut random = Random(43);
    draw("norms and embeddings", 10, || {
        let (count, channels) = (random.size(20), random.size(1_024));
        let width = channels.next_multiple_of(16);
        let (weight, bias) = (random.floats(width, 1.5), random.floats(width, 0.3));
        let eps = 1e-12;
        let norm = Norm {
            weight: &weight,
            bias: &bias,
            channels,
            eps,
        };
        let [x, y] = [4.0, 2.0].map(|magnitude| random.floats(count * width, magnitude));
        let rows = x.chunks(width).zip(y.chunks(width));
        let expected = rows
            .flat_map(|(x, y)| oracle::add_norm(x, y, &norm))
            .collect();
        alike(
            &format!("norm, {count} x {channels}"),
            Some(expected),
            |isa| {
                let mut found = x.clone();
                isa.add_norm(&mut found, &y, &norm);
                found
            },
        );
        let (words, positions) = (random.steps(width), random.steps(width));
        let row = |values, scale| ByteRow { values, scale };
        let (word, position) = (row(&words, 0.004), row(&positions, 0.0007));
        let kind = &y[..width];
        let expected = oracle::embed(word, position, kind, &norm);
        alike(&format!("embedding, {channels}"), Some(expected), |isa| {
            let mut found = vec![9.0; width];
            isa.embed(word, position, kind, &norm, &mut found);
            found
        });
    });
}

#[test]
fn heads_and_tanh() {
    let mut random = Random(44);
    draw("heads and tanh", 10, || {
        let (rows, width) = (random.size(20), 16 * random.size(64));
        let outputs = random.size(if rows > 3 { 20 } else { 512 });
        let x = random.floats(rows * width, 6.0);
        let expected = x.iter().map(|&x| oracle::tanh(x)).collect();
        alike(&format!("tanh, {rows} x {width}"), Some(expected), |isa| {
            let mut found = x.clone();
            isa.tanh(&mut found);
            found
        });
        let weight = random.floats(outputs * width, 0.2);
        let bias = random.floats(outputs, 0.1);
        let expected = x
            .chunks(width)
            .flat_map(|x| oracle::dense(x, &weight, &bias));
        let expected = expected.collect();
        let what = format!("head, {rows} x {outputs} x {width}");
        alike(&what, Some(expected), |isa| {
            let mut found = vec![9.0; rows * outputs];
            isa.dense(&x, width, &weight, &bias, &mut found);
            found
        });
    });
}

//! Rows that are kept in halves: rounding, and every kernel that reads or writes them.

use berth_kernels::{
    Activation, Attention, AttentionScratch, ColumnsMut, Isa, NORM_TOGETHER, Norm, RowRange,
    RowsMut, f16, row_bytes,
};

use crate::assert_bits;
use crate::input::{Layer, Random};
use crate::linear::OwnedRows;
use crate::oracle;

/// What no kernel writes.
const MARK: f16 = f16::from_bits(0x7e2d);

pub fn halves(x: &[f32]) -> Vec<f16> {
    x.iter().map(|&x| f16::from_f32(x)).collect()
}

pub fn floats(x: &[f16]) -> Vec<f32> {
    x.iter().map(|x| x.to_f32()).collect()
}

fn rounded(x: &[f32]) -> Vec<f32> {
    x.iter().map(|&x| oracle::half(x)).collect()
}

/// Floats around every half: itself, the float in the middle between it and the next, and what lies beside that.
#[test]
fn every_half_is_kept_and_what_lies_between_goes_to_the_nearest() {
    let mut x = Vec::new();
    for bits in 0..0x7c00 {
        let [this, next] = [bits, bits + 1].map(|bits| match bits {
            0x7c00 => 65_536.0,
            bits => f16::from_bits(bits).to_f32(),
        });
        let middle = (this + next) / 2.0;
        x.extend([this, middle.next_down(), middle, middle.next_up()]);
    }
    x.extend([65_536.0, 1e9, f32::MAX, f32::MIN_POSITIVE, 1e-45, 3e-8]);
    x.extend(x.clone().iter().map(|x| -x));
    let mut random = Random(80);
    x.resize_with(x.len() + 4_000, || {
        f32::from_bits(random.bits() as u32 & 0xbfff_ffff)
    });
    x.resize(x.len().next_multiple_of(16), 0.0);
    let expected = rounded(&x);
    for isa in Isa::available() {
        let mut found = vec![MARK; x.len()];
        isa.halve(&x, &mut found);
        assert_bits(&floats(&found), &expected, isa.tier().name());
    }
}

/// Writes a layer's outputs to the middle of a matrix, and holds what stands around them against what stood there.
fn check_linear(random: &mut Random, rows: usize, outputs: usize, inputs: usize, before: usize) {
    let layer = Layer::random(random, inputs, outputs);
    let x = OwnedRows::random(random, rows, inputs);
    let linear = layer.view();
    for activation in [Activation::None, Activation::Gelu] {
        let row = |row| oracle::linear(&x.row(row), &layer, activation);
        let outs: Vec<f32> = (0..rows).flat_map(row).collect();
        let expected = rounded(&outs);
        for isa in Isa::available() {
            let what = format!("{}: {rows} x {outputs} x {inputs}, {before}", isa.tier());
            let stride = before + outputs + 5;
            let mut matrix = vec![MARK; 3 + rows * stride];
            let (_, all) = ColumnsMut::new(&mut matrix[3..], stride)
                .unwrap()
                .split_at(before);
            let (out, _) = all.split_at(outputs);
            isa.linear(x.view(), &linear, 0..linear.panels(), activation, out);
            for (row, expected) in matrix[3..].chunks(stride).zip(expected.chunks(outputs)) {
                assert_bits(&floats(&row[before..before + outputs]), expected, &what);
                let around = row[..before].iter().chain(&row[before + outputs..]);
                assert!(
                    around.into_iter().all(|x| x.to_bits() == MARK.to_bits()),
                    "{what}"
                );
            }
        }
    }
}

#[test]
fn dense_layers_write_halves_and_nothing_around_them() {
    let mut random = Random(81);
    for rows in [1, 2, 3, 5, 6, 7, 13, 65, 71] {
        for (outputs, before) in [(16, 0), (33, 16), (64, 29), (70, 32), (304, 7)] {
            check_linear(&mut random, rows, outputs, 20, before);
        }
    }
    for (rows, outputs, inputs) in [(70, 48, 1536), (67, 32, 6160), (3, 48, 6160)] {
        check_linear(&mut random, rows, outputs, inputs, 64);
    }
}

/// A feed-forward block's inside by the oracle, and by every tier.
fn check_block(random: &mut Random, rows: usize, [inputs, inside, outputs]: [usize; 3]) {
    let up = Layer::random(random, inputs, inside);
    let down = Layer::random(random, inside, outputs);
    let x = OwnedRows::random(random, rows, inputs);
    let expected: Vec<f32> = (0..rows)
        .flat_map(|row| {
            let y = oracle::linear(&x.row(row), &up, Activation::Gelu);
            let y = oracle::quantize_row(&rounded(&y));
            rounded(&oracle::linear(&y, &down, Activation::None))
        })
        .collect();
    for isa in Isa::available() {
        let what = format!("{}: {rows} x {inputs} x {inside} x {outputs}", isa.tier());
        let found = block(isa, &x, &up, &down, [inside, outputs]);
        assert_bits(&found, &expected, &what);
    }
}

/// Both layers of a feed-forward block.
pub fn block(
    isa: Isa,
    x: &OwnedRows,
    up: &Layer,
    down: &Layer,
    [inside, outputs]: [usize; 2],
) -> Vec<f32> {
    let rows = x.view().len();
    let mut middle = vec![MARK; rows * inside];
    let mut ranges: Vec<RowRange> = vec![[[f32::NAN; 16]; 2]; rows];
    let out = ColumnsMut::new(&mut middle, inside).unwrap();
    isa.linear_and_ranges(x.view(), &up.view(), out, &mut ranges);
    let mut values = vec![9; rows * row_bytes(inside)];
    let (mut scale, mut low) = (vec![9.0; rows], vec![9.0; rows]);
    let places = RowsMut::new(inside, &mut values, &mut scale, &mut low).unwrap();
    let mut found = vec![MARK; rows * outputs];
    let out = ColumnsMut::new(&mut found, outputs).unwrap();
    isa.linear_in_ranges(&middle, &mut ranges, places, &down.view(), out);
    floats(&found)
}

#[test]
fn the_inside_of_a_feed_forward_block_is_quantized_by_the_range_of_its_halves() {
    let mut random = Random(82);
    for rows in [1, 2, 3, 6, 7, 63, 64, 65, 66, 67, 68, 69, 70, 132, 133] {
        check_block(&mut random, rows, [20, 48, 16]);
    }
    for inside in [16, 32, 240, 256, 272, 512, 528, 1536] {
        check_block(&mut random, 67, [16, inside, 33]);
    }
    // More rows than are kept, and more inputs.
    check_block(&mut random, 140, [16, 1536, 16]);
    check_block(&mut random, 66, [4, 6160, 16]);
}

#[test]
fn norms_of_halves() {
    let mut random = Random(83);
    for channels in [1, 16, 30, 48, 384] {
        let width = usize::next_multiple_of(channels, 16);
        let (weight, bias) = (random.floats(width, 1.5), random.floats(width, 0.3));
        let norm = Norm {
            weight: &weight,
            bias: &bias,
            channels,
            eps: 1e-12,
        };
        for count in [0, 1, 3, 4, 5, 8, 9] {
            let [x, y] = [4.0, 2.0].map(|most| rounded(&random.floats(count * width, most)));
            let rows = x.chunks(width).zip(y.chunks(width));
            let rows = rows.flat_map(|(x, y)| oracle::add_norm(x, y, &norm));
            let expected: Vec<f32> = rows.collect();
            for isa in Isa::available() {
                let what = format!("{}: {count} x {channels}", isa.tier());
                let [mut left, right] = [halves(&x), halves(&y)];
                let mut found = vec![f32::NAN; count * width];
                isa.add_norm_of_halves(&left, &right, &norm, &mut found);
                assert_bits(&found, &expected, &what);
                let mut sums = vec![f32::NAN; NORM_TOGETHER * width];
                isa.add_norm_halves(&mut left, &right, &norm, &mut sums);
                assert_bits(&floats(&left), &rounded(&expected), &what);
            }
        }
    }
}

#[test]
fn halves_are_quantized_as_the_floats_that_they_are() {
    let mut random = Random(84);
    for count in [0, 1, 3] {
        for width in (1..=40).chain([64, 127, 384, 1536]) {
            let x = halves(&random.floats(count * width, 3.0));
            for isa in Isa::available() {
                let [of_halves, of_floats] = [true, false].map(|as_they_are| {
                    let mut values = vec![9; count * row_bytes(width)];
                    let (mut scale, mut low) = (vec![9.0; count], vec![9.0; count]);
                    let rows = RowsMut::new(width, &mut values, &mut scale, &mut low).unwrap();
                    match as_they_are {
                        true => isa.quantize_rows(&x, rows),
                        false => isa.quantize_rows(&floats(&x), rows),
                    }
                    (values, scale, low)
                });
                assert_eq!(of_halves, of_floats, "{}: {count} x {width}", isa.tier());
            }
        }
    }
}

#[test]
fn attention_writes_the_nearest_halves() {
    let mut random = Random(85);
    for (tokens, rows, head_size) in [(1, 1, 16), (17, 17, 32), (70, 70, 48), (70, 1, 64)] {
        let heads = 3;
        let qkv = random.floats(tokens * 3 * heads * head_size, 3.0);
        let input = Attention {
            qkv: &qkv,
            tokens,
            heads,
            head_size,
        };
        let columns = heads * head_size;
        for isa in Isa::available() {
            let (floats, bytes) = AttentionScratch::lens(tokens, head_size);
            let (mut room, mut bytes) = (vec![f32::NAN; floats], vec![0xa5; bytes]);
            let mut scratch = AttentionScratch::new(&mut room, &mut bytes);
            let mut expected = vec![f32::NAN; rows * columns];
            let out = ColumnsMut::new(&mut expected, columns).unwrap();
            isa.attention(&input, 0..heads, &mut scratch, out);
            // One head after another, so that each has what the one before it wrote beside it.
            let mut found = vec![MARK; rows * columns];
            for head in 0..heads {
                let out = ColumnsMut::new(&mut found, columns).unwrap();
                let out = out.only(head * head_size..(head + 1) * head_size);
                isa.attention(&input, head..head + 1, &mut scratch, out);
            }
            let what = format!("{}: {rows} of {tokens}, {head_size}", isa.tier());
            assert_bits(&self::floats(&found), &rounded(&expected), &what);
        }
    }
}

#[test]
#[should_panic(expected = "a range for each row")]
fn ranges_of_other_rows_are_refused() {
    let mut random = Random(86);
    let (layer, x) = (
        Layer::random(&mut random, 16, 16),
        OwnedRows::random(&mut random, 2, 16),
    );
    let mut out = [MARK; 32];
    let out = ColumnsMut::new(&mut out, 16).unwrap();
    Isa::best().linear_and_ranges(x.view(), &layer.view(), out, &mut [[[0.0; 16]; 2]]);
}

#[test]
#[should_panic(expected = "whole panels")]
fn ranges_of_outputs_that_fill_no_panel_are_refused() {
    let mut random = Random(87);
    let (layer, x) = (
        Layer::random(&mut random, 16, 17),
        OwnedRows::random(&mut random, 1, 16),
    );
    let mut out = [MARK; 17];
    let out = ColumnsMut::new(&mut out, 17).unwrap();
    Isa::best().linear_and_ranges(x.view(), &layer.view(), out, &mut [[[0.0; 16]; 2]]);
}

#[test]
#[should_panic(expected = "a half for each float")]
fn halves_of_other_floats_are_refused() {
    Isa::best().halve(&[0.0; 32], &mut [MARK; 16]);
}

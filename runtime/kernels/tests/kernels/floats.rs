//! Layers in floats: linears and attention at every size around the tiles, and in pieces.

use berth_kernels::{Activation, Attention, AttentionScratch, ColumnsMut, Isa};

use crate::assert_bits;
use crate::input::{LayerF32, Random};
use crate::oracle;

fn check_linear(random: &mut Random, rows: usize, outputs: usize, inputs: usize) {
    let layer = LayerF32::random(random, inputs, outputs);
    let x = random.floats(rows * inputs, 2.0);
    for activation in [Activation::None, Activation::Gelu] {
        let row = |x| oracle::linear_f32(x, &layer, activation);
        let expected: Vec<f32> = x.chunks(inputs).flat_map(row).collect();
        let linear = layer.view();
        for isa in Isa::available() {
            let what = format!("{}: {rows} x {outputs} x {inputs}", isa.tier());
            let mut found = vec![9.0; rows * outputs];
            let out = ColumnsMut::new(&mut found, outputs).unwrap();
            isa.linear_f32(&x, &linear, 0..linear.panels(), activation, out);
            assert_bits(&found, &expected, &what);
            // The same in two pieces.
            let cut = linear.panels() / 2;
            let mut found = vec![9.0; rows * outputs];
            let out = ColumnsMut::new(&mut found, outputs).unwrap();
            let (left, right) = out.split_at(cut * 16);
            isa.linear_f32(&x, &linear, 0..cut, activation, left);
            isa.linear_f32(&x, &linear, cut..linear.panels(), activation, right);
            assert_bits(&found, &expected, &what);
        }
    }
}

#[test]
fn linears_of_every_size_around_the_tiles() {
    let mut random = Random(60);
    for rows in 1..=14 {
        for outputs in [1, 15, 16, 17, 48, 70] {
            for inputs in [1, 2, 16, 33] {
                check_linear(&mut random, rows, outputs, inputs);
            }
        }
    }
    for _ in 0..40 {
        let [rows, outputs, inputs] = [60, 130, 400].map(|most| random.size(most));
        check_linear(&mut random, rows, outputs, inputs);
    }
    check_linear(&mut random, 7, 32, 1536);
}

/// Memory that is full of what an earlier call might have left.
fn dirty_scratch(tokens: usize, head_size: usize) -> Vec<f32> {
    vec![f32::NAN; AttentionScratch::lens_f32(tokens, head_size)]
}

fn check_attention(random: &mut Random, tokens: usize, heads: usize, size: usize, rows: usize) {
    let hidden = heads * size;
    let qkv = random.floats(tokens * 3 * hidden, 2.0);
    let input = Attention {
        qkv: &qkv,
        tokens,
        heads,
        head_size: size,
    };
    let expected: Vec<Vec<f32>> = (0..heads)
        .map(|head| oracle::attention_f32(&input, head, rows))
        .collect();
    for isa in Isa::available() {
        let mut floats = dirty_scratch(tokens, size);
        let mut scratch = AttentionScratch::new(&mut floats, &mut []);
        let mut found = vec![9.0; rows * hidden];
        let (first, others) = ColumnsMut::new(&mut found, hidden).unwrap().split_at(size);
        isa.attention_f32(&input, 0..1, &mut scratch, first);
        isa.attention_f32(&input, 1..heads, &mut scratch, others);
        for (row, found) in found.chunks(hidden).enumerate() {
            for (head, found) in found.chunks(size).enumerate() {
                let expected = &expected[head][row * size..][..size];
                let what = format!("{}: {tokens} x {size}, row {row}", isa.tier());
                assert_bits(found, expected, &what);
            }
        }
    }
}

#[test]
fn attention_at_every_length_around_the_tiles() {
    let mut random = Random(61);
    for tokens in 1..=50 {
        for size in [16, 32, 48] {
            check_attention(&mut random, tokens, 2, size, tokens);
        }
    }
    for (tokens, rows) in [(1, 0), (17, 1), (33, 5), (130, 7), (300, 300)] {
        check_attention(&mut random, tokens, 3, 32, rows);
    }
}

#[test]
fn attention_is_within_a_few_roundings_of_f64() {
    let (tokens, size) = (40, 32);
    let qkv = Random(62).floats(tokens * 3 * size, 1.0);
    let input = Attention {
        qkv: &qkv,
        tokens,
        heads: 1,
        head_size: size,
    };
    let mut floats = dirty_scratch(tokens, size);
    let mut scratch = AttentionScratch::new(&mut floats, &mut []);
    let mut found = vec![9.0; tokens * size];
    let out = ColumnsMut::new(&mut found, size).unwrap();
    Isa::best().attention_f32(&input, 0..1, &mut scratch, out);
    let part = |t: usize, p: usize, c: usize| f64::from(qkv[(t * 3 + p) * size + c]);
    for row in 0..tokens {
        let score = |t| -> f64 { (0..size).map(|c| part(row, 0, c) * part(t, 1, c)).sum() };
        let weights: Vec<f64> = (0..tokens).map(|t| score(t).exp2()).collect();
        let sum: f64 = weights.iter().sum();
        for c in 0..size {
            let exact: f64 = (0..tokens).map(|t| weights[t] * part(t, 2, c)).sum();
            let error = (exact / sum - f64::from(found[row * size + c])).abs();
            assert!(error < 2e-6, "row {row}: {error}");
        }
    }
}

#[test]
#[should_panic(expected = "scratch for so many tokens")]
fn too_little_scratch_is_refused() {
    let qkv = [0.0; 3 * 16 * 17];
    let input = Attention {
        qkv: &qkv,
        tokens: 17,
        heads: 1,
        head_size: 16,
    };
    let mut floats = dirty_scratch(16, 16);
    let mut scratch = AttentionScratch::new(&mut floats, &mut []);
    let mut out = [0.0; 16 * 17];
    let out = ColumnsMut::new(&mut out, 16).unwrap();
    Isa::best().attention_f32(&input, 0..1, &mut scratch, out);
}

/// In a word so many heads are two, and the query of the last but two lies before the input.
#[test]
#[should_panic(expected = "all of the input")]
fn more_heads_than_memory_can_have_are_refused() {
    let heads = usize::MAX / 16 + 3;
    let input = Attention {
        qkv: &[0.0; 3 * 2 * 16],
        tokens: 1,
        heads,
        head_size: 16,
    };
    let mut floats = dirty_scratch(1, 16);
    let mut scratch = AttentionScratch::new(&mut floats, &mut []);
    let mut out = [0.0; 16];
    let out = ColumnsMut::new(&mut out, 16).unwrap();
    Isa::best().attention_f32(&input, heads - 3..heads - 2, &mut scratch, out);
}

#[test]
#[should_panic(expected = "whole rows")]
fn half_a_row_is_refused() {
    let layer = LayerF32::random(&mut Random(63), 16, 16);
    let out = ColumnsMut::new(&mut [], 16).unwrap();
    Isa::best().linear_f32(&[0.0; 8], &layer.view(), 0..1, Activation::None, out);
}

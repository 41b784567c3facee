//! Attention at every length around the tiles, for all, some and one of the rows, and in pieces.

use std::thread;

use berth_kernels::{Attention, AttentionScratch, ColumnsMut, Isa};

use crate::assert_bits;
use crate::input::Random;
use crate::oracle;

/// Memory that is full of what an earlier call might have left.
fn dirty_scratch(tokens: usize, head_size: usize) -> (Vec<f32>, Vec<u8>) {
    let (floats, bytes) = AttentionScratch::lens(tokens, head_size);
    (vec![f32::NAN; floats], vec![0xa5; bytes])
}

fn check(random: &mut Random, tokens: usize, heads: usize, head_size: usize, rows: usize) {
    let hidden = heads * head_size;
    let qkv = random.floats(tokens * 3 * hidden, 4.0);
    let input = Attention {
        qkv: &qkv,
        tokens,
        heads,
        head_size,
    };
    let expected: Vec<Vec<f32>> = (0..heads)
        .map(|head| oracle::attention(&input, head, rows))
        .collect();
    for isa in Isa::available() {
        let (mut floats, mut bytes) = dirty_scratch(tokens, head_size);
        let mut scratch = AttentionScratch::new(&mut floats, &mut bytes);
        let mut found = vec![9.0; rows * hidden];
        let out = ColumnsMut::new(&mut found, hidden).unwrap();
        isa.attention(&input, 0..heads, &mut scratch, out);
        for (row, found) in found.chunks(hidden).enumerate() {
            for (head, found) in found.chunks(head_size).enumerate() {
                let expected = &expected[head][row * head_size..][..head_size];
                let what = format!("{}: {tokens} x {head_size}, row {row}", isa.tier());
                assert_bits(found, expected, &what);
            }
        }
    }
}

#[test]
fn every_length_around_the_tiles() {
    let mut random = Random(30);
    for tokens in 1..=70 {
        for head_size in [16, 32, 64] {
            check(&mut random, tokens, 2, head_size, tokens);
        }
    }
}

#[test]
fn the_first_rows_alone() {
    let mut random = Random(31);
    for tokens in [1, 2, 15, 16, 17, 33, 64, 65, 130] {
        for rows in [0, 1, 2, 5, 7] {
            check(&mut random, tokens, 3, 32, rows.min(tokens));
        }
    }
}

#[test]
fn odd_head_sizes_and_long_inputs() {
    let mut random = Random(32);
    for (tokens, heads, head_size) in [(9, 1, 48), (20, 2, 80), (300, 1, 32), (513, 1, 16)] {
        check(&mut random, tokens, heads, head_size, tokens);
    }
}

/// On AArch64 there are places for a head's keys and for its values, but not for both, or for some of them at a time;
/// with AVX2 more tokens than 4,096 go through in pieces.
#[test]
fn more_keys_and_values_than_there_are_places_for() {
    let mut random = Random(37);
    for (tokens, head_size) in [(513, 96), (1200, 64), (513, 256), (64, 1024), (4_100, 16)] {
        for rows in [1, 13] {
            check(&mut random, tokens, 1, head_size, rows);
        }
    }
}

#[test]
fn tokens_that_are_all_alike_share_evenly() {
    let one = Random(33).floats(3 * 32, 2.0);
    let qkv: Vec<f32> = (0..21).flat_map(|_| one.clone()).collect();
    let input = Attention {
        qkv: &qkv,
        tokens: 21,
        heads: 2,
        head_size: 16,
    };
    for isa in Isa::available() {
        let (mut floats, mut bytes) = dirty_scratch(21, 16);
        let mut scratch = AttentionScratch::new(&mut floats, &mut bytes);
        let mut found = vec![9.0; 21 * 32];
        let out = ColumnsMut::new(&mut found, 32).unwrap();
        isa.attention(&input, 0..2, &mut scratch, out);
        for (found, value) in found.iter().zip(one[64..].iter().cycle()) {
            assert!(
                (found - value).abs() <= 1e-6 * value.abs(),
                "{found} {value}"
            );
        }
    }
}

#[test]
fn close_to_attention_in_f64() {
    let mut random = Random(34);
    let (tokens, size) = (40, 32);
    let qkv = random.floats(tokens * 3 * size, 1.0);
    let input = Attention {
        qkv: &qkv,
        tokens,
        heads: 1,
        head_size: size,
    };
    let (mut floats, mut bytes) = dirty_scratch(tokens, size);
    let mut scratch = AttentionScratch::new(&mut floats, &mut bytes);
    let mut found = vec![9.0; tokens * size];
    let out = ColumnsMut::new(&mut found, size).unwrap();
    Isa::best().attention(&input, 0..1, &mut scratch, out);

    let part = |t: usize, p: usize, c: usize| f64::from(qkv[(t * 3 + p) * size + c]);
    for row in 0..tokens {
        let score = |t| -> f64 { (0..size).map(|c| part(row, 0, c) * part(t, 1, c)).sum() };
        let weights: Vec<f64> = (0..tokens).map(|t| score(t).exp2()).collect();
        let sum: f64 = weights.iter().sum();
        for c in 0..size {
            let exact: f64 = (0..tokens).map(|t| weights[t] * part(t, 2, c)).sum();
            let error = (exact / sum - f64::from(found[row * size + c])).abs();
            assert!(error < 0.03, "row {row}: {error}");
        }
    }
}

#[test]
fn threads_on_their_own_heads_write_what_one_call_writes() {
    let (tokens, heads, head_size) = (23, 5, 16);
    let qkv = Random(35).floats(tokens * 3 * heads * head_size, 3.0);
    let input = Attention {
        qkv: &qkv,
        tokens,
        heads,
        head_size,
    };
    let run = |range, out: ColumnsMut<'_>| {
        let (mut floats, mut bytes) = dirty_scratch(tokens, head_size);
        let mut scratch = AttentionScratch::new(&mut floats, &mut bytes);
        Isa::best().attention(&input, range, &mut scratch, out);
    };
    let mut whole = vec![9.0; tokens * heads * head_size];
    run(0..5, ColumnsMut::new(&mut whole, 80).unwrap());
    let mut pieces = vec![9.0; tokens * heads * head_size];
    let (first, second) = ColumnsMut::new(&mut pieces, 80).unwrap().split_at(32);
    thread::scope(|scope| {
        scope.spawn(|| run(0..2, first));
        scope.spawn(|| run(2..5, second));
    });
    assert_bits(&pieces, &whole, "in two threads");
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
    let (mut floats, mut bytes) = dirty_scratch(16, 16);
    let mut scratch = AttentionScratch::new(&mut floats, &mut bytes);
    let mut out = [0.0; 16 * 17];
    let out = ColumnsMut::new(&mut out, 16).unwrap();
    Isa::best().attention(&input, 0..1, &mut scratch, out);
}

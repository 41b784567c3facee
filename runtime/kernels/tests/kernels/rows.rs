//! Kernels that work row by row: quantization, norms, embeddings, the float head.

use berth_kernels::{ByteRow, Isa, Norm, Rows, RowsMut, row_bytes};

use crate::assert_bits;
use crate::input::Random;
use crate::oracle;

fn check_quantization(x: &[f32], width: usize) {
    let count = x.len() / width;
    for isa in Isa::available() {
        let what = format!("{}: {count} rows of {width}", isa.tier());
        let stride = row_bytes(width);
        let mut values = vec![9; count * stride];
        let (mut scale, mut low) = (vec![9.0; count], vec![9.0; count]);
        let rows = RowsMut::new(width, &mut values, &mut scale, &mut low).unwrap();
        isa.quantize_rows(x, rows);
        for (row, x) in x.chunks_exact(width).enumerate() {
            let expected = oracle::quantize_row(x);
            let (steps, padding) = values[row * stride..][..stride].split_at(width);
            assert_eq!(steps, expected.steps, "{what}, row {row}");
            assert!(padding.iter().all(|&q| q == 0), "{what}");
            assert_bits(
                &[scale[row], low[row]],
                &[expected.scale, expected.low],
                &what,
            );
        }
    }
}

#[test]
fn rows_of_any_width_are_quantized_alike() {
    let mut random = Random(1);
    for width in (1..=70).chain([96, 100, 384, 1536]) {
        let x = random.floats(3 * width, 5.0);
        check_quantization(&x, width);
    }
}

#[test]
fn rows_without_a_range_and_of_great_range_are_quantized_alike() {
    for value in [0.0, -0.0, 1.0, -3.5, 1e-30, 1e30] {
        check_quantization(&[value; 40], 20);
    }
    let wide = [-1e30, 1e30, 0.0, 5e29, -0.0, 1e-20, 1e20, -1e29];
    check_quantization(&wide, 8);
    check_quantization(&[1e-25, 3e-25, -1e-25, 0.0], 4);
    check_quantization(&[-0.0, 0.0, -0.0, 0.0, -0.0], 5);
}

#[test]
fn a_quantized_row_stays_within_half_a_step() {
    let mut random = Random(2);
    let x = random.floats(384, 3.0);
    let (mut values, mut scale, mut low) = ([0; 384], [0.0], [0.0]);
    let rows = RowsMut::new(384, &mut values, &mut scale, &mut low).unwrap();
    Isa::best().quantize_rows(&x, rows);
    for (x, q) in x.iter().zip(values) {
        let back = f32::from(q) * scale[0] + low[0];
        assert!(
            (x - back).abs() <= 0.5001 * scale[0],
            "{x} came back as {back}"
        );
    }
}

#[test]
fn rows_of_wrong_lengths_are_refused() {
    let (mut values, mut a, mut b) = ([0; 24], [0.0; 3], [0.0; 3]);
    assert!(RowsMut::new(7, &mut values, &mut a, &mut b).is_some());
    assert!(RowsMut::new(9, &mut values, &mut a, &mut b).is_none());
    assert!(RowsMut::new(7, &mut values, &mut a, &mut b[..2]).is_none());
    assert!(RowsMut::new(0, &mut [], &mut a, &mut b).is_none());
    assert!(Rows::new(usize::MAX - 3, &values, &a, &b).is_none());
    for width in [usize::MAX, usize::MAX - 2] {
        assert!(Rows::new(width, &[], &a, &b).is_none());
        assert!(Rows::new(width, &[], &[], &[]).is_none());
        assert!(RowsMut::new(width, &mut [], &mut a, &mut b).is_none());
    }
    let rows = Rows::new(5, &values, &a, &b).unwrap();
    assert_eq!((rows.len(), rows.width(), rows.is_empty()), (3, 5, false));
    assert_eq!((rows.first(2).len(), rows.first(2).values().len()), (2, 16));
}

#[test]
#[should_panic(expected = "can be counted")]
fn a_row_of_more_bytes_than_can_be_counted_has_no_length() {
    row_bytes(usize::MAX);
}

/// A norm's weights and biases.
fn learned(random: &mut Random, width: usize) -> (Vec<f32>, Vec<f32>) {
    (random.floats(width, 1.5), random.floats(width, 0.3))
}

#[test]
fn norms_are_alike() {
    let mut random = Random(3);
    for (width, count) in [(16, 5), (32, 1), (48, 3), (64, 2), (384, 19), (768, 4)] {
        let (weight, bias) = learned(&mut random, width);
        let eps = 1e-12;
        let norm = Norm {
            weight: &weight,
            bias: &bias,
            channels: weight.len(),
            eps,
        };
        let (x, y) = (
            random.floats(count * width, 4.0),
            random.floats(count * width, 2.0),
        );
        for isa in Isa::available() {
            let mut found = x.clone();
            isa.add_norm(&mut found, &y, &norm);
            for row in 0..count {
                let at = row * width..(row + 1) * width;
                let expected = oracle::add_norm(&x[at.clone()], &y[at.clone()], &norm);
                assert_bits(&found[at], &expected, &format!("{} {width}", isa.tier()));
            }
        }
    }
}

#[test]
fn a_row_without_variance_becomes_the_bias() {
    let (weight, bias) = ([2.0; 32], [0.25; 32]);
    let norm = Norm {
        weight: &weight,
        bias: &bias,
        channels: weight.len(),
        eps: 1e-12,
    };
    for isa in Isa::available() {
        let mut x = [3.0; 32];
        isa.add_norm(&mut x, &[-3.0; 32], &norm);
        assert_bits(&x, &bias, "no variance");
    }
}

#[test]
fn a_normalized_row_has_mean_0_and_variance_1() {
    let mut random = Random(4);
    let norm = Norm {
        weight: &[1.0; 384],
        bias: &[0.0; 384],
        channels: 384,
        eps: 1e-12,
    };
    let mut x = random.floats(384, 7.0);
    Isa::best().add_norm(&mut x, &[1.5; 384], &norm);
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / 384.0;
    let variance = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / 384.0;
    assert!(
        mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-6,
        "{mean} {variance}"
    );
}

#[test]
fn zeros_that_fill_a_row_up_change_no_value_and_stay() {
    let mut random = Random(8);
    for (channels, count) in [(1usize, 1), (15, 3), (17, 4), (26, 5), (312, 6), (600, 9)] {
        let width = channels.next_multiple_of(16);
        let filled = |values: Vec<f32>| [values, vec![0.0; width - channels]].concat();
        let (weight, bias) = learned(&mut random, channels);
        let (weight_filled, bias_filled) = (filled(weight.clone()), filled(bias.clone()));
        let norm = Norm {
            weight: &weight_filled,
            bias: &bias_filled,
            channels,
            eps: 1e-5,
        };
        let rows: Vec<Vec<f32>> = (0..count).map(|_| random.floats(channels, 4.0)).collect();
        let x: Vec<f32> = rows.iter().flat_map(|row| filled(row.clone())).collect();
        for isa in Isa::available() {
            let mut found = x.clone();
            isa.add_norm(&mut found, &vec![0.0; x.len()], &norm);
            for (row, found) in rows.iter().zip(found.chunks(width)) {
                let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / channels as f64;
                let squares = row.iter().map(|&x| (f64::from(x) - mean).powi(2));
                let deviation = (squares.sum::<f64>() / channels as f64 + 1e-5).sqrt();
                for channel in 0..channels {
                    let unit = (f64::from(row[channel]) - mean) / deviation;
                    let expected = unit * f64::from(weight[channel]) + f64::from(bias[channel]);
                    let error = (f64::from(found[channel]) - expected).abs();
                    assert!(error < 2e-5, "{} {channels}: {error:e}", isa.tier());
                }
                assert!(found[channels..].iter().all(|&zero| zero == 0.0));
            }
        }
    }
}

#[test]
fn embeddings_are_alike() {
    let mut random = Random(5);
    for width in [16, 32, 80, 384] {
        let (weight, bias) = learned(&mut random, width);
        let norm = Norm {
            weight: &weight,
            bias: &bias,
            channels: weight.len(),
            eps: 1e-12,
        };
        let (words, positions) = (random.steps(width), random.steps(width));
        let word = ByteRow {
            values: &words,
            scale: 0.004,
        };
        let position = ByteRow {
            values: &positions,
            scale: 0.0007,
        };
        let kind = random.floats(width, 0.05);
        for isa in Isa::available() {
            let mut found = vec![9.0; width];
            isa.embed(word, position, &kind, &norm, &mut found);
            let expected = oracle::embed(word, position, &kind, &norm);
            assert_bits(&found, &expected, &format!("{} {width}", isa.tier()));
        }
    }
}

#[test]
fn logits_are_alike() {
    let mut random = Random(6);
    for (rows, width, outputs) in [
        (1, 384, 2),
        (7, 32, 17),
        (3, 48, 1),
        (1, 16, 512),
        (0, 16, 3),
    ] {
        let x = random.floats(rows * width, 1.0);
        let weight = random.floats(outputs * width, 0.2);
        let bias = random.floats(outputs, 0.1);
        let expected: Vec<f32> = x
            .chunks(width)
            .flat_map(|x| oracle::dense(x, &weight, &bias))
            .collect();
        for isa in Isa::available() {
            let mut found = vec![9.0; rows * outputs];
            isa.dense(&x, width, &weight, &bias, &mut found);
            assert_bits(&found, &expected, &format!("{} {width}", isa.tier()));
        }
    }
}

#[test]
#[should_panic(expected = "whole vectors")]
fn a_norm_of_an_odd_width_is_refused() {
    let norm = Norm {
        weight: &[1.0; 20],
        bias: &[0.0; 20],
        channels: 20,
        eps: 1e-12,
    };
    Isa::best().add_norm(&mut [0.0; 20], &[0.0; 20], &norm);
}

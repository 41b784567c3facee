//! What a model brings to the kernels: weights as they lie in the file, borrowed and never copied.
//!
//! There is one layout for all instruction sets. A matrix of `outputs` rows and `inputs` columns
//! is cut into panels of 16 outputs; inside a panel, four inputs of each output stand side by side:
//!
//! ```text
//! packed[output / 16][input / 4][output % 16][input % 4]
//! ```
//!
//! Both dimensions are padded with zeros to whole groups, so no kernel has a tail in its inner loop.

use crate::LANES;
use crate::scalar::round;

/// How many inputs of one output stand side by side.
pub(crate) const GROUP: usize = 4;

/// The most products that a sum may have: so many of the largest, 255 times -128, fit into 32 bits.
pub(crate) const MOST_PRODUCTS: usize = 65_536;

/// The smallest range that is ever divided by, so that a row of zeros needs no branch.
pub(crate) const SMALLEST_RANGE: f32 = 1e-20;

/// A dense layer in int8: `outputs` channels over `inputs` values.
///
/// The three float arrays have one entry for each output, padded to whole panels.
#[derive(Copy, Clone, Debug)]
pub struct Linear<'a> {
    /// How many values a row of activations has.
    pub inputs: usize,
    /// How many values come out for each row.
    pub outputs: usize,
    /// The quantized weights in the layout that [`pack`] writes, [`packed_len`] of them.
    pub weights: &'a [i8],
    /// What one step of each output's weights is worth.
    pub scale: &'a [f32],
    /// `scale` times the sum of the output's quantized weights.
    pub sum: &'a [f32],
    /// What is added at the end.
    pub bias: &'a [f32],
}

impl<'a> Linear<'a> {
    /// The layer over these arrays, or `None` when a length is not what the dimensions ask for,
    /// when a dimension is 0, or when there are more than 65,536 inputs, whose sum might not fit
    /// into 32 bits.
    pub fn new(
        inputs: usize,
        outputs: usize,
        weights: &'a [i8],
        scale: &'a [f32],
        sum: &'a [f32],
        bias: &'a [f32],
    ) -> Option<Self> {
        let linear = Linear {
            inputs,
            outputs,
            weights,
            scale,
            sum,
            bias,
        };
        linear.is_whole().then_some(linear)
    }

    /// How many panels of 16 outputs there are.
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }

    /// Whether every array has the length that the dimensions ask for. The kernels ask this before
    /// they read anything, since the fields can be set from outside.
    pub(crate) fn is_whole(&self) -> bool {
        // Dimensions whose product overflows are those of no array.
        let columns = self.outputs.checked_next_multiple_of(LANES);
        let rows = self.inputs.checked_next_multiple_of(GROUP);
        let weights = columns.zip(rows).and_then(|(a, b)| a.checked_mul(b));
        (1..=MOST_PRODUCTS).contains(&self.inputs)
            && self.outputs > 0
            && weights == Some(self.weights.len())
            && [self.scale, self.sum, self.bias]
                .iter()
                .all(|array| columns == Some(array.len()))
    }
}

/// The learned part of a layer norm: one weight and one bias for each channel.
#[derive(Copy, Clone, Debug)]
pub struct Norm<'a> {
    /// The factor of each channel.
    pub weight: &'a [f32],
    /// What is added to each channel.
    pub bias: &'a [f32],
    /// How many channels there are. Both arrays go on from there to a whole vector, with zeros, and so
    /// does each row.
    pub channels: usize,
    /// What is added to the variance before its root is taken.
    pub eps: f32,
}

/// How many bytes the packed weights of a layer have, padding included.
///
/// # Panics
/// When they are more than a `usize` can count.
pub const fn packed_len(outputs: usize, inputs: usize) -> usize {
    let columns = outputs.checked_next_multiple_of(LANES);
    let rows = inputs.checked_next_multiple_of(GROUP);
    let len = match (columns, rows) {
        (Some(columns), Some(rows)) => columns.checked_mul(rows),
        _ => None,
    };
    len.expect("weights that can be counted")
}

/// Brings `row_major[outputs][inputs]` into the layout of the kernels.
///
/// # Panics
/// When `row_major` is not `outputs * inputs` long, or `packed` not [`packed_len`], or when they are
/// more than a `usize` can count.
pub fn pack(row_major: &[i8], outputs: usize, inputs: usize, packed: &mut [i8]) {
    assert_eq!(
        row_major.len(),
        outputs * inputs,
        "one weight for each pair"
    );
    assert_eq!(packed.len(), packed_len(outputs, inputs), "whole panels");
    packed.fill(0);
    let panel_len = LANES * inputs.next_multiple_of(GROUP);
    for (output, row) in row_major.chunks_exact(inputs.max(1)).enumerate() {
        let panel = &mut packed[output / LANES * panel_len..][..panel_len];
        let groups = panel.chunks_exact_mut(LANES * GROUP);
        for (group, values) in groups.zip(row.chunks(GROUP)) {
            group[output % LANES * GROUP..][..values.len()].copy_from_slice(values);
        }
    }
}

/// Quantizes the weights of one output to `[-127, 127]` and returns what one step is worth.
///
/// With `range` the largest magnitude, but at least 1e-20: `q = round(w * (127 / range))`, ties to
/// even, and the scale is `range / 127`.
///
/// # Panics
/// When the two slices differ in length.
pub fn quantize_weight_row(row: &[f32], q: &mut [i8]) -> f32 {
    assert_eq!(row.len(), q.len(), "one step for each weight");
    let larger = |range: f32, w: &f32| if w.abs() > range { w.abs() } else { range };
    let range = row.iter().fold(SMALLEST_RANGE, larger);
    let steps = 127.0 / range;
    for (q, w) in q.iter_mut().zip(row) {
        *q = round(w * steps) as i8;
    }
    range / 127.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn packing_puts_every_weight_in_its_place_and_zeros_elsewhere() {
        for (outputs, inputs) in [(1, 1), (3, 5), (16, 4), (17, 3), (33, 18), (48, 64)] {
            let weight = |o: usize, i: usize| ((o * 31 + i * 7) % 253) as i8 | 1;
            let rows: vec::Vec<i8> = (0..outputs * inputs)
                .map(|at| weight(at / inputs, at % inputs))
                .collect();
            let mut packed = vec![77; packed_len(outputs, inputs)];
            pack(&rows, outputs, inputs, &mut packed);
            let groups = inputs.div_ceil(GROUP);
            for (at, &found) in packed.iter().enumerate() {
                let output = at / (groups * 64) * 16 + at / 4 % 16;
                let input = at / 64 % groups * 4 + at % 4;
                let inside = output < outputs && input < inputs;
                let expected = if inside { weight(output, input) } else { 0 };
                assert_eq!(found, expected, "{outputs} x {inputs} at {at}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "can be counted")]
    fn weights_of_more_bytes_than_can_be_counted_have_no_length() {
        packed_len(usize::MAX / 4, 8);
    }

    #[test]
    fn weight_rows_use_the_whole_range_and_round_ties_to_even() {
        let mut q = [0; 6];
        let scale = quantize_weight_row(&[-127.0, 0.5, 1.5, -2.5, 127.0, 9.9], &mut q);
        assert_eq!(scale, 1.0);
        assert_eq!(q, [-127, 0, 2, -2, 127, 10]);
        let scale = quantize_weight_row(&[0.1, -0.3], &mut q[..2]);
        assert_eq!((scale, q[0], q[1]), (0.3 / 127.0, 42, -127));
        assert_eq!(
            quantize_weight_row(&[0.0, -0.0], &mut q[..2]),
            1e-20 / 127.0
        );
        assert_eq!(q[..2], [0, 0]);
    }

    #[test]
    fn a_layer_with_a_wrong_length_is_refused() {
        let (weights, floats) = ([0; 16 * 8], [0.0; 16]);
        let short = &floats[..15];
        assert!(Linear::new(5, 3, &weights, &floats, &floats, &floats).is_some());
        assert!(Linear::new(5, 17, &weights, &floats, &floats, &floats).is_none());
        assert!(Linear::new(9, 3, &weights, &floats, &floats, &floats).is_none());
        assert!(Linear::new(5, 3, &weights, short, &floats, &floats).is_none());
        assert!(Linear::new(5, 3, &weights, &floats, short, &floats).is_none());
        assert!(Linear::new(5, 3, &weights, &floats, &floats, short).is_none());
        assert!(Linear::new(0, 3, &[], &floats, &floats, &floats).is_none());
        assert!(Linear::new(5, 0, &[], &[], &[], &[]).is_none());
        // Padded, so many outputs are 0 in a word; so are the weights, where a word has 32 bits.
        for outputs in [usize::MAX, usize::MAX - 14] {
            assert!(Linear::new(4, outputs, &[], &[], &[], &[]).is_none());
        }
        assert!(Linear::new(usize::MAX, 3, &[], &floats, &floats, &floats).is_none());
        #[cfg(target_pointer_width = "32")]
        {
            let columns = &std::vec![0.0; 65_536][..];
            assert!(Linear::new(65_536, 65_536, &[], columns, columns, columns).is_none());
        }
        let long = std::vec![0; packed_len(3, 65_540)];
        assert!(
            Linear::new(
                65_536,
                3,
                &long[..packed_len(3, 65_536)],
                &floats,
                &floats,
                &floats
            )
            .is_some()
        );
        assert!(Linear::new(65_537, 3, &long, &floats, &floats, &floats).is_none());
    }
}

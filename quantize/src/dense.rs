//! f32 matrices to i8 rows, or left in f32: dense layers in the kernels' layout, embeddings as they are.
//!
//! A row's step is the largest magnitude over 127, as `NUMERICS.md` has it. For dense layers there is
//! another choice, [`Dense::clipped`]: a smaller step, which the few largest weights saturate and which
//! rounds all others finer.

use std::borrow::Cow;

use berth_checkpoint::Steps;
use berth_kernels::{
    Linear, LinearF32, pack, pack_f32, packed_len, packed_len_f32, quantize_weight_row,
};

use crate::smooth;
use crate::spread::Spread;

/// An embedding table, quantized row by row.
pub(crate) struct Rows {
    /// `[rows][width]`.
    pub(crate) values: Vec<i8>,
    /// What one step of each row is worth.
    pub(crate) scale: Vec<f32>,
}

impl Rows {
    /// Quantizes `matrix[rows][width]`.
    pub(crate) fn of(matrix: &[f32], width: usize) -> Self {
        Rows::by(matrix, width, quantize_weight_row)
    }

    /// Quantizes each row by a function that returns what one step is worth.
    fn by(matrix: &[f32], width: usize, quantize: fn(&[f32], &mut [i8]) -> f32) -> Self {
        let mut values = vec![0; matrix.len()];
        let rows = matrix.chunks_exact(width);
        let scale = rows
            .zip(values.chunks_exact_mut(width))
            .map(|(row, q)| quantize(row, q))
            .collect();
        Rows { values, scale }
    }

    /// Steps that came in a file, as they are.
    pub(crate) fn kept(steps: &Steps) -> Self {
        Rows {
            values: steps.values.clone(),
            scale: steps.scale.clone(),
        }
    }

    /// The numbers that they stand for.
    fn floats(&self, width: usize) -> Vec<f32> {
        let all = self.values.chunks_exact(width).zip(&self.scale);
        let row = |(row, &scale): (&[i8], &f32)| -> Vec<f32> {
            row.iter().map(|&step| f32::from(step) * scale).collect()
        };
        all.flat_map(row).collect()
    }

    /// With each row filled up to whole vectors.
    pub(crate) fn filled(self, row: Spread) -> Self {
        Rows {
            values: row.vectors(self.values, 0),
            ..self
        }
    }

    /// With its rows filled up, and with rows of zeros for the outputs that are filled in.
    fn spread(self, outputs: Spread, inputs: Spread) -> Self {
        let step_of_zeros = quantize_weight_row(&[0.0], &mut [0]);
        Rows {
            values: outputs.matrix(inputs, self.values, 0),
            scale: outputs.vectors(self.scale, step_of_zeros),
        }
    }

    /// What each row's values add up to, in the row's steps: what a constant added to every input
    /// does to the output.
    pub(crate) fn sums(&self, width: usize) -> Vec<f32> {
        let sum = |row: &[i8]| row.iter().map(|&q| i32::from(q)).sum::<i32>() as f32;
        let rows_and_scales = self.values.chunks_exact(width).zip(&self.scale);
        rows_and_scales
            .map(|(row, scale)| scale * sum(row))
            .collect()
    }
}

/// The weights of a dense layer, `[outputs][inputs]`.
pub(crate) enum Weight {
    /// In floats.
    Floats(Vec<f32>),
    /// In eight bits already.
    Steps(Rows),
}

impl Weight {
    /// Several layers of the same `inputs` as one. Steps stay as they are where all have them.
    pub(crate) fn join(parts: Vec<Weight>, inputs: usize) -> Self {
        let steps = |part: &Weight| matches!(part, Weight::Steps(_));
        if !parts.iter().all(steps) {
            let floats = parts.into_iter().flat_map(|part| part.floats(inputs));
            return Weight::Floats(floats.collect());
        }
        let (mut values, mut scale) = (Vec::new(), Vec::new());
        for part in parts {
            if let Weight::Steps(rows) = part {
                values.extend(rows.values);
                scale.extend(rows.scale);
            }
        }
        Weight::Steps(Rows { values, scale })
    }

    /// With its outputs and its inputs filled up to whole vectors.
    pub(crate) fn spread(self, outputs: Spread, inputs: Spread) -> Self {
        match self {
            Weight::Floats(floats) => Weight::Floats(outputs.matrix(inputs, floats, 0.0)),
            Weight::Steps(rows) => Weight::Steps(rows.spread(outputs, inputs)),
        }
    }

    fn floats(self, inputs: usize) -> Vec<f32> {
        match self {
            Weight::Floats(floats) => floats,
            Weight::Steps(rows) => rows.floats(inputs),
        }
    }

    /// The numbers of a layer of so many inputs.
    pub(crate) fn values(&self, inputs: usize) -> Cow<'_, [f32]> {
        match self {
            Weight::Floats(floats) => Cow::Borrowed(floats),
            Weight::Steps(rows) => Cow::Owned(rows.floats(inputs)),
        }
    }

    /// Multiplies each input's weights by `2^-exponent`, as [`smooth::make_up`] does. Steps are floats
    /// from then on, unless nothing changes.
    pub(crate) fn make_up(&mut self, exponents: &[i32]) {
        if exponents.iter().all(|&exponent| exponent == 0) {
            return;
        }
        let mut floats = self.values(exponents.len()).into_owned();
        smooth::make_up(&mut floats, exponents);
        *self = Weight::Floats(floats);
    }

    fn rows(self, inputs: usize) -> Rows {
        match self {
            Weight::Floats(floats) => Rows::of(&floats, inputs),
            Weight::Steps(rows) => rows,
        }
    }
}

/// The ranges that are tried for a row, in fortieths of its largest magnitude: down to a half.
const RANGES: std::ops::RangeInclusive<u8> = 20..=40;

/// Quantizes a row with the range, of those that are tried, that leaves the least squared error; of equals
/// the widest. Returns what one step is worth.
fn quantize_clipped_row(row: &[f32], q: &mut [i8]) -> f32 {
    let widest = quantize_weight_row(row, q);
    let largest = widest * 127.0;
    let error = |range: f32| -> f64 {
        let step = range / 127.0;
        let errors = row.iter().map(|&w| f64::from(steps(w, range) * step - w));
        errors.map(|error| error * error).sum()
    };
    let mut best = (largest, error(largest));
    for part in RANGES.rev().skip(1) {
        let range = largest * f32::from(part) / 40.0;
        let error = error(range);
        if error < best.1 {
            best = (range, error);
        }
    }
    if best.0 == largest {
        return widest;
    }
    for (q, &w) in q.iter_mut().zip(row) {
        *q = steps(w, best.0) as i8;
    }
    best.0 / 127.0
}

/// A weight in steps of a range, saturated.
fn steps(weight: f32, range: f32) -> f32 {
    (weight * (127.0 / range))
        .round_ties_even()
        .clamp(-127.0, 127.0)
}

/// A dense layer, quantized by output channel.
pub(crate) struct Dense {
    inputs: usize,
    outputs: usize,
    weights: Vec<i8>,
    scale: Vec<f32>,
    sum: Vec<f32>,
    bias: Vec<f32>,
}

impl Dense {
    /// Quantizes `weight[outputs][inputs]`, with one bias for each output, and makes each output
    /// `factor(output)` times as large. The factor goes into what a
    /// step is worth, so the steps themselves are those of the plain layer.
    pub(crate) fn times(
        weight: Weight,
        bias: Vec<f32>,
        inputs: usize,
        factor: &dyn Fn(usize) -> f32,
    ) -> Self {
        Dense::of_rows(weight.rows(inputs), bias, inputs, factor)
    }

    /// The same with the step of each output that leaves the least squared error of its weights; steps
    /// that came in a file stay.
    pub(crate) fn clipped(
        weight: Weight,
        bias: Vec<f32>,
        inputs: usize,
        factor: &dyn Fn(usize) -> f32,
    ) -> Self {
        let rows = match weight {
            Weight::Floats(floats) => Rows::by(&floats, inputs, quantize_clipped_row),
            Weight::Steps(rows) => rows,
        };
        Dense::of_rows(rows, bias, inputs, factor)
    }

    fn of_rows(
        mut rows: Rows,
        mut bias: Vec<f32>,
        inputs: usize,
        factor: &dyn Fn(usize) -> f32,
    ) -> Self {
        let outputs = bias.len();
        for (output, (scale, bias)) in rows.scale.iter_mut().zip(&mut bias).enumerate() {
            *scale *= factor(output);
            *bias *= factor(output);
        }
        let mut weights = vec![0; packed_len(outputs, inputs)];
        pack(&rows.values, outputs, inputs, &mut weights);
        Dense {
            inputs,
            outputs,
            weights,
            sum: rows.sums(inputs),
            scale: rows.scale,
            bias,
        }
    }

    /// The layer as the kernels take it.
    pub(crate) fn linear(&self) -> Linear<'_> {
        Linear {
            inputs: self.inputs,
            outputs: self.outputs,
            weights: &self.weights,
            scale: &self.scale,
            sum: &self.sum,
            bias: &self.bias,
        }
    }
}

/// A dense layer that stays in f32.
pub(crate) struct DenseF32 {
    inputs: usize,
    outputs: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl DenseF32 {
    /// The layer of `weight[outputs][inputs]`, with one bias for each output, each output made
    /// `factor(output)` times as large.
    pub(crate) fn times(
        weight: Weight,
        mut bias: Vec<f32>,
        inputs: usize,
        factor: &dyn Fn(usize) -> f32,
    ) -> Self {
        let mut weight = weight.floats(inputs);
        let outputs = bias.len();
        for (output, (row, bias)) in weight.chunks_exact_mut(inputs).zip(&mut bias).enumerate() {
            row.iter_mut().for_each(|weight| *weight *= factor(output));
            *bias *= factor(output);
        }
        let mut weights = vec![0.0; packed_len_f32(outputs, inputs)];
        pack_f32(&weight, outputs, inputs, &mut weights);
        DenseF32 {
            inputs,
            outputs,
            weights,
            bias,
        }
    }

    /// The layer as the kernels take it.
    pub(crate) fn linear(&self) -> LinearF32<'_> {
        LinearF32 {
            inputs: self.inputs,
            outputs: self.outputs,
            weights: &self.weights,
            bias: &self.bias,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_stay_as_they_are_where_all_parts_have_them() {
        let steps = |first| {
            Weight::Steps(Rows {
                values: vec![first, -127],
                scale: vec![0.5],
            })
        };
        let Weight::Steps(rows) = Weight::join(vec![steps(1), steps(3)], 2) else {
            panic!("floats");
        };
        assert_eq!(
            (rows.values, rows.scale),
            (vec![1, -127, 3, -127], vec![0.5, 0.5])
        );
        let floats = Weight::Floats(vec![7.0, 8.0]);
        let Weight::Floats(joined) = Weight::join(vec![steps(1), floats], 2) else {
            panic!("steps");
        };
        assert_eq!(joined, [0.5, -63.5, 7.0, 8.0]);
    }

    /// Two rows, one with its largest weight below zero; 1.0 and 2.0 are the steps.
    const WEIGHT: [f32; 8] = [127.0, 1.0, -2.0, 3.0, -254.0, 2.0, 5.0, -1.0];

    #[test]
    fn a_row_has_its_own_step() {
        let rows = Rows::of(&WEIGHT, 4);
        assert_eq!(rows.scale, [1.0, 2.0]);
        // 5 / 2 and -1 / 2 are ties, which go to the even number.
        assert_eq!(rows.values, [127, 1, -2, 3, -127, 1, 2, 0]);
    }

    #[test]
    fn a_clipped_row_saturates_what_stands_out_where_that_pays() {
        // Many weights up to 1 and one of 1.6: a smaller step serves the many.
        let mut row: Vec<f32> = (0..100_000).map(|i| (i as f32 * 0.73).sin()).collect();
        row.push(1.6);
        let error = |q: &[i8], step: f32| -> f32 {
            let pairs = q.iter().zip(&row);
            pairs.map(|(&q, w)| (f32::from(q) * step - w).powi(2)).sum()
        };
        let (mut plain, mut clipped) = (vec![0; row.len()], vec![0; row.len()]);
        let plain_step = quantize_weight_row(&row, &mut plain);
        let step = quantize_clipped_row(&row, &mut clipped);
        assert!(
            step < plain_step && clipped[100_000] == 127,
            "{step} {plain_step}"
        );
        assert!(error(&clipped, step) < error(&plain, plain_step));
        // Where nothing stands out, nothing is cut; a row of zeros stays one.
        let even = [1.0, -1.0, 1.0, -1.0];
        let mut q = [0; 4];
        assert_eq!(quantize_clipped_row(&even, &mut q), 1.0 / 127.0);
        assert_eq!(q, [127, -127, 127, -127]);
        assert!(quantize_clipped_row(&[0.0; 4], &mut q) > 0.0);
        assert_eq!(q, [0; 4]);
    }

    #[test]
    fn in_f32_the_factor_goes_into_weight_and_bias() {
        let factor = |output: usize| [3.0, 1.0][output];
        let dense = DenseF32::times(
            Weight::Floats(WEIGHT.to_vec()),
            vec![0.5, -0.25],
            4,
            &factor,
        );
        let linear = dense.linear();
        assert_eq!((linear.inputs, linear.outputs), (4, 2));
        assert_eq!(linear.bias, [1.5, -0.25]);
        assert_eq!(
            linear.weights[..2],
            [381.0, -254.0],
            "input 0 of both outputs"
        );
        assert_eq!(linear.weights[48..50], [9.0, -1.0], "input 3");
    }

    #[test]
    fn sums_are_of_the_quantized_weights_and_factors_leave_the_steps_alone() {
        let bias = vec![0.5, -0.25];
        let weight = || Weight::Floats(WEIGHT.to_vec());
        let plain = Dense::times(weight(), bias.clone(), 4, &|_| 1.0);
        assert_eq!(plain.scale, [1.0, 2.0]);
        assert_eq!(plain.sum, [129.0, -248.0]);
        assert_eq!(plain.bias, bias);
        let factor = |output: usize| [3.0, 1.0][output];
        let times = Dense::times(weight(), bias, 4, &factor);
        assert_eq!(times.weights, plain.weights);
        assert_eq!(times.scale, [3.0, 2.0]);
        assert_eq!(times.sum, [387.0, -248.0]);
        assert_eq!(times.bias, [1.5, -0.25]);
    }
}

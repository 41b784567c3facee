//! Outliers out of activations and into weights, with the same answers in f32.
//!
//! A row of activations shares one step, so a channel with large values costs all others their
//! resolution. Where a channel is read by one linear alone, it can be made smaller by a factor and that
//! linear's weights larger by the same (SmoothQuant, Xiao et al. 2023). The factors here are powers of
//! two, which change no bit of a product in f32. Each is half way, in powers, between the channel's
//! largest activation and its largest weight, or between the two activations that meet in a score.
//!
//! | channel | what makes it smaller | what makes up for it |
//! |---|---|---|
//! | of query and key | the outputs of the query | the same outputs of the key, and the other way round |
//! | of the value | the outputs of the value; attention hands them on, channel by channel | the inputs of attention's output layer |
//! | of the last layer's norm, under a pooler | the norm's weight and bias | the inputs of the pooler |
//!
//! Nowhere else. The other layer norms are read by a linear and by the residual sum behind it, which has
//! no weights to make up for the factor; and between the two linears of the feed-forward block stands
//! GELU, which a factor doesn't pass. What stands there is left to layers in f32.

use berth_data::Encoded;

use crate::error::QuantizeError;
use crate::probe;

/// The largest power of two that a channel is scaled by, either way.
const MOST: i32 = 12;

/// The largest magnitudes that some texts have, channel by channel.
#[derive(Clone, PartialEq, Debug)]
pub struct Ranges {
    layers: Vec<LayerRanges>,
    /// Of what the pooler reads: `[width]`.
    output: Vec<f32>,
}

/// Each `[heads_width]`.
#[derive(Clone, PartialEq, Debug)]
struct LayerRanges {
    query: Vec<f32>,
    /// Beside the mean over a text's tokens, which attention doesn't see.
    key: Vec<f32>,
    value: Vec<f32>,
}

impl Ranges {
    /// Measures them on texts from all over `inputs`, with the bundle whose layers are all in floats.
    ///
    /// # Errors
    /// When the bundle can't be run.
    ///
    /// # Panics
    /// When a layer of the bundle is not in floats.
    pub fn measure(floats: &[u8], inputs: &[Encoded]) -> Result<Self, QuantizeError> {
        let mut ranges = Ranges {
            layers: Vec::new(),
            output: Vec::new(),
        };
        probe::hidden_states(floats, inputs, |bundle, layer, hidden| {
            let shape = &bundle.header().shape;
            if layer == shape.layers as usize {
                // Rows of a head that reads every token are in it as well.
                let width = shape.width() as usize;
                grow(&mut ranges.output, hidden, width, 0..width);
                return;
            }
            if ranges.layers.len() <= layer {
                ranges.layers.push(LayerRanges::none());
            }
            let mut rows = probe::qkv(bundle, layer, hidden);
            let width = shape.heads_width() as usize;
            centre(&mut rows, 3 * width, width..2 * width);
            ranges.layers[layer].grow(&rows, width);
        })?;
        Ok(ranges)
    }

    /// The exponents of the outputs of query, key and value together, `[3 * heads_width]`: each comes out
    /// `2^exponent` times as large. `out` is the weight of attention's output layer, `[width][heads_width]`.
    pub(crate) fn qkv(&self, layer: usize, out: &[f32]) -> Vec<i32> {
        let LayerRanges { query, key, value } = &self.layers[layer];
        let meet = query.iter().zip(key).map(|(&q, &k)| halfway(q, k));
        let queries: Vec<i32> = meet.map(|exponent| -exponent).collect();
        let keys: Vec<i32> = queries.iter().map(|exponent| -exponent).collect();
        let weights = columns(out, value.len());
        let values = value.iter().zip(&weights).map(|(&v, &w)| -halfway(v, w));
        let values: Vec<i32> = values.collect();
        [queries, keys, values].concat()
    }

    /// The exponents of the channels that the pooler reads, `[width]`; `weight` is its own.
    pub(crate) fn pooler(&self, weight: &[f32]) -> Vec<i32> {
        let weights = columns(weight, self.output.len());
        let pairs = self.output.iter().zip(&weights);
        pairs.map(|(&x, &w)| -halfway(x, w)).collect()
    }
}

impl LayerRanges {
    fn none() -> Self {
        LayerRanges {
            query: Vec::new(),
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Takes in `rows[tokens][3 * width]`.
    fn grow(&mut self, rows: &[f32], width: usize) {
        grow(&mut self.query, rows, 3 * width, 0..width);
        grow(&mut self.key, rows, 3 * width, width..2 * width);
        grow(&mut self.value, rows, 3 * width, 2 * width..3 * width);
    }
}

/// Multiplies each input's weights in `weight[outputs][exponents.len()]` by `2^-exponent`: what makes up
/// for inputs that come `2^exponent` times as large.
pub(crate) fn make_up(weight: &mut [f32], exponents: &[i32]) {
    for row in weight.chunks_exact_mut(exponents.len()) {
        for (weight, &exponent) in row.iter_mut().zip(exponents) {
            *weight *= power(-exponent);
        }
    }
}

/// `2^exponent`.
pub(crate) fn power(exponent: i32) -> f32 {
    f32::powi(2.0, exponent)
}

/// The power of two that a channel with values up to `x` is divided by, and one with values up to `w`
/// multiplied, so that both become alike; none where one of them is not used.
fn halfway(x: f32, w: f32) -> i32 {
    let exponent = (f64::from(x) / f64::from(w)).log2() / 2.0;
    if exponent.is_finite() {
        (exponent.round() as i32).clamp(-MOST, MOST)
    } else {
        0
    }
}

/// Takes the largest magnitude of each column of `rows[_][stride]` in `part` into `range`.
fn grow(range: &mut Vec<f32>, rows: &[f32], stride: usize, part: std::ops::Range<usize>) {
    range.resize(part.len(), 0.0);
    for row in rows.chunks_exact(stride) {
        for (range, value) in range.iter_mut().zip(&row[part.clone()]) {
            *range = range.max(value.abs());
        }
    }
}

/// Takes from each column of `rows[_][stride]` in `part` its mean.
fn centre(rows: &mut [f32], stride: usize, part: std::ops::Range<usize>) {
    let count = (rows.len() / stride) as f32;
    for column in part {
        let mean = rows.iter().skip(column).step_by(stride).sum::<f32>() / count;
        let values = rows.iter_mut().skip(column).step_by(stride);
        values.for_each(|value| *value -= mean);
    }
}

/// The largest magnitude of each input's weights in `weight[outputs][inputs]`.
fn columns(weight: &[f32], inputs: usize) -> Vec<f32> {
    let mut columns = Vec::new();
    grow(&mut columns, weight, inputs, 0..inputs);
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_is_half_way_in_powers_of_two() {
        assert_eq!(halfway(64.0, 1.0), 3);
        assert_eq!(halfway(1.0, 64.0), -3);
        assert_eq!(halfway(1.3, 1.0), 0);
        assert_eq!(halfway(f32::MAX, 1e-20), MOST);
        for (x, w) in [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)] {
            assert_eq!(halfway(x, w), 0);
        }
    }

    #[test]
    fn what_query_gives_key_takes_and_what_value_gives_the_output_layer_takes() {
        let ranges = Ranges {
            layers: vec![LayerRanges {
                query: vec![16.0, 1.0],
                key: vec![1.0, 1.0],
                value: vec![1.0, 64.0],
            }],
            output: vec![256.0, 1.0],
        };
        let mut out = vec![1.0, -1.0, 0.5, 0.25];
        let exponents = ranges.qkv(0, &out);
        assert_eq!(exponents, [-2, 0, 2, 0, 0, -3]);
        make_up(&mut out, &exponents[4..]);
        assert_eq!(out, [1.0, -8.0, 0.5, 2.0]);
        assert_eq!(ranges.pooler(&[1.0, 1.0, -0.5, 1.0]), [-4, 0]);
    }

    #[test]
    fn ranges_are_of_columns_and_keys_of_what_attention_sees() {
        let mut rows = [1.0, 10.0, -3.0, 14.0];
        centre(&mut rows, 2, 1..2);
        assert_eq!(rows, [1.0, -2.0, -3.0, 2.0]);
        let mut range = vec![2.0];
        grow(&mut range, &rows, 2, 0..1);
        assert_eq!(range, [3.0]);
        assert_eq!(columns(&[1.0, -4.0, 2.0, 3.0], 2), [2.0, 4.0]);
    }
}

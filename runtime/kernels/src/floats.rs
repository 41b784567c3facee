//! Layers in floats: for the few of a model that int8 hurts.
//!
//! What the int8 kernels do, without a step in between: a linear and attention whose products are of
//! floats. Each output is one sum, in the order of its inputs, with a product and an addition rounded by
//! themselves; sixteen outputs stand side by side in a vector, so no sum is ever split and all tiers
//! agree. They cost some eight times what int8 costs; the norm between them is the same kernel.
//!
//! ```text
//! weights   [output / 16][input][output % 16]     as LinearF32 has them
//! keys      [token / 16][channel][token % 16]     packed for each head
//! values    as they lie behind the linear: a row of channels for each token
//! ```

use core::ops::Range;

use crate::attention::{Attention, AttentionScratch, Head, Part, check_attention};
use crate::columns::{ColumnsMut, Spare};
use crate::linear::Activation;
use crate::polynomials::{EXP2, exp2, gelu};
use crate::simd::{Kernel, MAX_ROWS, Simd, lanes, lanes_mut};
use crate::tile::{self, unroll};
use crate::{Isa, LANES};

/// A dense layer in floats: `outputs` channels over `inputs` values.
#[derive(Copy, Clone, Debug)]
pub struct LinearF32<'a> {
    /// How many values a row of activations has.
    pub inputs: usize,
    /// How many values come out for each row.
    pub outputs: usize,
    /// The weights in the layout that [`pack_f32`] writes, [`packed_len_f32`] of them.
    pub weights: &'a [f32],
    /// What is added at the end, padded to whole panels.
    pub bias: &'a [f32],
}

impl<'a> LinearF32<'a> {
    /// The layer over these arrays, or `None` when a length is not what the dimensions ask for, or when
    /// a dimension is 0.
    pub fn new(inputs: usize, outputs: usize, weights: &'a [f32], bias: &'a [f32]) -> Option<Self> {
        let linear = LinearF32 {
            inputs,
            outputs,
            weights,
            bias,
        };
        linear.is_whole().then_some(linear)
    }

    /// How many panels of 16 outputs there are.
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }

    /// Whether every array has the length that the dimensions ask for; the fields can be set from
    /// outside.
    fn is_whole(&self) -> bool {
        // Dimensions whose product overflows are those of no array.
        let columns = self.outputs.checked_next_multiple_of(LANES);
        let weights = columns.and_then(|columns| columns.checked_mul(self.inputs));
        self.inputs > 0
            && self.outputs > 0
            && weights == Some(self.weights.len())
            && columns == Some(self.bias.len())
    }
}

/// How many floats the packed weights of a layer have, padding included.
///
/// # Panics
/// When they are more than a `usize` can count.
pub const fn packed_len_f32(outputs: usize, inputs: usize) -> usize {
    let len = match outputs.checked_next_multiple_of(LANES) {
        Some(columns) => columns.checked_mul(inputs),
        None => None,
    };
    len.expect("weights that can be counted")
}

/// Brings `row_major[outputs][inputs]` into the layout of the kernels.
///
/// # Panics
/// When `row_major` is not `outputs * inputs` long, or `packed` not [`packed_len_f32`], or when they are
/// more than a `usize` can count.
pub fn pack_f32(row_major: &[f32], outputs: usize, inputs: usize, packed: &mut [f32]) {
    assert_eq!(
        row_major.len(),
        outputs * inputs,
        "one weight for each pair"
    );
    assert_eq!(
        packed.len(),
        packed_len_f32(outputs, inputs),
        "whole panels"
    );
    packed.fill(0.0);
    for (output, row) in row_major.chunks_exact(inputs.max(1)).enumerate() {
        let panel = &mut packed[output / LANES * LANES * inputs..][..LANES * inputs];
        for (group, &weight) in panel.chunks_exact_mut(LANES).zip(row) {
            group[output % LANES] = weight;
        }
    }
}

impl Isa {
    /// Computes the given panels of a dense layer in floats for all rows of `x`, which stand behind one
    /// another: `out[row][column]` for the outputs `16 * panels.start ..`.
    ///
    /// # Panics
    /// When the layer's arrays are not whole, when `x` has not as many rows as `out`, each as wide as the
    /// layer's inputs, when there are no such panels, or when `out` has not just their columns.
    pub fn linear_f32(
        self,
        x: &[f32],
        linear: &LinearF32<'_>,
        panels: Range<usize>,
        activation: Activation,
        out: ColumnsMut<'_>,
    ) {
        assert!(linear.is_whole(), "arrays as the dimensions ask");
        let rows = x.len() / linear.inputs;
        assert_eq!(x.len(), rows * linear.inputs, "whole rows");
        assert_eq!(rows, out.rows(), "a row of outputs for each row");
        assert!(panels.start <= panels.end && panels.end <= linear.panels());
        let end = linear.outputs.min(panels.end * LANES);
        let columns = end.saturating_sub(panels.start * LANES);
        assert_eq!(columns, out.columns(), "the columns of these panels");
        self.run(Product {
            x,
            linear: *linear,
            panels,
            gelu: activation == Activation::Gelu,
            out,
        });
    }

    /// As [`attention`](Self::attention), in floats, in a scratch of
    /// [`lens_f32`](AttentionScratch::lens_f32).
    ///
    /// # Panics
    /// As [`attention`](Self::attention).
    pub fn attention_f32(
        self,
        input: &Attention<'_>,
        heads: Range<usize>,
        scratch: &mut AttentionScratch<'_>,
        out: ColumnsMut<'_>,
    ) {
        check_attention(input, &heads, &out);
        let (tokens, head_size) = (input.tokens, input.head_size);
        let padded = tokens.next_multiple_of(LANES);
        let floats = AttentionScratch::lens_f32(tokens, head_size);
        assert!(floats <= scratch.floats.len(), "scratch for so many tokens");
        let (keys, scores) = scratch.floats.split_at_mut(padded * head_size);
        self.run(Heads {
            input: *input,
            heads,
            keys,
            scores: &mut scores[..MAX_ROWS * padded],
            out,
        });
    }
}

/// The sums of `M` rows times sixteen columns: `sums[m][column]` is the sum of `a[m * row + i] *
/// w[i * step + column]` over `i < len`, in this order.
///
/// # Safety
/// `a` is valid for reads of `(M - 1) * row + len` floats, and `w` of `(len - 1) * step + 16` where
/// `len` is not 0.
#[inline(always)]
unsafe fn tile<S: Simd, const M: usize>(
    s: S,
    a: *const f32,
    row: usize,
    w: *const f32,
    step: usize,
    len: usize,
) -> [S::F32; M] {
    let mut sums = [s.splat(0.0); M];
    for i in 0..len {
        // SAFETY: the caller grants reads of sixteen floats here; an array of floats has no other
        // alignment than they have.
        let columns = s.load(unsafe { &*w.add(i * step).cast::<[f32; LANES]>() });
        unroll!(m < M {
            // SAFETY: the caller grants reads of `len` floats of each row.
            let x = unsafe { *a.add(m * row + i) };
            sums[m] = s.add(sums[m], s.mul(s.splat(x), columns));
        });
    }
    sums
}

/// Calls a method for one to six rows, as many as `len` says.
macro_rules! for_rows {
    ($len:expr, $method:ident of $this:expr, $($argument:expr),*) => {
        match $len {
            1 => $this.$method::<_, 1>($($argument),*),
            2 => $this.$method::<_, 2>($($argument),*),
            3 => $this.$method::<_, 3>($($argument),*),
            4 => $this.$method::<_, 4>($($argument),*),
            5 => $this.$method::<_, 5>($($argument),*),
            _ => $this.$method::<_, MAX_ROWS>($($argument),*),
        }
    };
}

/// A checked call of [`Isa::linear_f32`].
struct Product<'a> {
    x: &'a [f32],
    linear: LinearF32<'a>,
    panels: Range<usize>,
    gelu: bool,
    out: ColumnsMut<'a>,
}

impl Kernel for Product<'_> {
    type Output = ();
    const PRODUCTS: bool = false;

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for panel in self.panels.clone() {
            for (row, len) in tile::cut(self.out.rows(), S::ROWS, 1) {
                for_rows!(len, rows of self, s, row, panel);
            }
        }
    }
}

impl Product<'_> {
    /// `M` rows from `row` on of one panel.
    #[inline(always)]
    fn rows<S: Simd, const M: usize>(&mut self, s: S, row: usize, panel: usize) {
        if M > S::ROWS {
            return; // Never asked for; said so that the compiler leaves such tiles out.
        }
        let inputs = self.linear.inputs;
        debug_assert!((row + M) * inputs <= self.x.len() && panel < self.linear.panels());
        // SAFETY: the rows exist (`tile::cut` leaves none of them), and the panel is one of the layer's,
        // whose arrays are whole.
        let sums: [S::F32; M] = unsafe {
            let x = self.x.as_ptr().add(row * inputs);
            let w = self.linear.weights.as_ptr().add(panel * LANES * inputs);
            tile(s, x, inputs, w, LANES, inputs)
        };
        let bias = s.load(lanes(self.linear.bias, panel));
        let mut spare = Spare::new();
        let mut out = self
            .out
            .panel::<M>(row, panel - self.panels.start, &mut spare);
        unroll!(m < M {
            let mut y = s.add(sums[m], bias);
            if self.gelu {
                y = gelu(s, y);
            }
            out.put(s, m, y);
        });
        // SAFETY: each of the `M` rows was put.
        unsafe { out.finish() };
    }
}

/// A checked call of [`Isa::attention_f32`].
struct Heads<'a> {
    input: Attention<'a>,
    heads: Range<usize>,
    /// Packed, `[tokens / 16][head_size][16]`.
    keys: &'a mut [f32],
    /// A tile of scores, which become weights: `[MAX_ROWS][padded]`.
    scores: &'a mut [f32],
    out: ColumnsMut<'a>,
}

impl Kernel for Heads<'_> {
    type Output = ();
    const PRODUCTS: bool = false;

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for (index, number) in self.heads.clone().enumerate() {
            let head = Head {
                input: self.input,
                number,
            };
            self.pack_keys(head);
            for (row, len) in tile::cut(self.out.rows(), S::ROWS, 1) {
                for_rows!(len, rows of self, s, head, row, index);
            }
        }
    }
}

impl Heads<'_> {
    /// Sixteen tokens side by side, zeros behind the last.
    #[inline(always)]
    fn pack_keys(&mut self, head: Head<'_>) {
        let panels = self.keys.chunks_exact_mut(LANES * self.input.head_size);
        for (start, panel) in (0..self.input.tokens).step_by(LANES).zip(panels) {
            for place in 0..LANES {
                let token = start + place;
                let there = token < self.input.tokens;
                let key = head.channels(token.min(self.input.tokens - 1), Part::Key);
                for (group, &channel) in panel.chunks_exact_mut(LANES).zip(key) {
                    group[place] = if there { channel } else { 0.0 };
                }
            }
        }
    }

    /// Everything for `M` rows from `row` on of one head, whose columns of the output are the
    /// `index`-th.
    #[inline(always)]
    fn rows<S: Simd, const M: usize>(&mut self, s: S, head: Head<'_>, row: usize, index: usize) {
        if M > S::ROWS {
            return; // As above.
        }
        let Attention {
            tokens, head_size, ..
        } = self.input;
        let stride = head.stride();
        let padded = tokens.next_multiple_of(LANES);
        let mut largest = [s.splat(f32::MIN); M];
        for panel in 0..padded / LANES {
            debug_assert!(row + M <= tokens && M <= MAX_ROWS);
            // SAFETY: the channels of the rows' queries lie `stride` floats apart, all inside of the
            // input; the keys have a panel for each sixteen tokens.
            let sums: [S::F32; M] = unsafe {
                let queries = self.input.qkv.as_ptr().add(head.place(row, Part::Query));
                let keys = self.keys.as_ptr().add(panel * LANES * head_size);
                tile(s, queries, stride, keys, LANES, head_size)
            };
            let left = tokens - panel * LANES;
            unroll!(m < M {
                let score = s.first(left, sums[m], s.splat(f32::MIN));
                largest[m] = s.max(largest[m], score);
                s.store(score, lanes_mut(&mut self.scores[m * padded..], panel));
            });
        }
        let mut share = [0.0; M];
        for m in 0..M {
            let scores = &mut self.scores[m * padded..][..padded];
            share[m] = 1.0 / softmax(s, scores, s.largest(largest[m]) + 0.0, tokens);
        }
        for panel in 0..head_size / LANES {
            // SAFETY: `M` rows of weights of at least `tokens` each; sixteen channels of the value of
            // every token, `stride` floats apart, all inside of the input.
            let sums: [S::F32; M] = unsafe {
                let weights = self.scores.as_ptr();
                let values = head.place(0, Part::Value) + panel * LANES;
                let values = self.input.qkv.as_ptr().add(values);
                tile(s, weights, padded, values, stride, tokens)
            };
            unroll!(m < M {
                let columns = &mut self.out.row(row + m)[index * head_size..];
                let mean = s.mul(sums[m], s.splat(share[m]));
                s.store(mean, lanes_mut(columns, panel));
            });
        }
    }
}

/// Replaces scores by `2^(score - largest)`, those behind the last token by 0, and returns their sum.
#[inline(always)]
fn softmax<S: Simd>(s: S, scores: &mut [f32], largest: f32, tokens: usize) -> f32 {
    let largest = s.splat(largest);
    let mut sum = s.splat(0.0);
    for (place, scores) in scores.as_chunks_mut().0.iter_mut().enumerate() {
        let weight = exp2(s, &EXP2, s.sub(s.load(scores), largest));
        let weight = s.first(tokens - place * LANES, weight, s.splat(0.0));
        sum = s.add(sum, weight);
        s.store(weight, scores);
    }
    s.sum(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn packing_puts_every_weight_in_its_place_and_zeros_elsewhere() {
        for (outputs, inputs) in [(1, 1), (3, 5), (16, 4), (17, 3), (48, 64)] {
            let rows: vec::Vec<f32> = (1..=outputs * inputs).map(|at| at as f32).collect();
            let mut packed = vec![7e7; packed_len_f32(outputs, inputs)];
            pack_f32(&rows, outputs, inputs, &mut packed);
            for (at, &found) in packed.iter().enumerate() {
                let output = at / (LANES * inputs) * LANES + at % LANES;
                let input = at / LANES % inputs;
                let inside = output < outputs;
                let expected = if inside {
                    rows[output * inputs + input]
                } else {
                    0.0
                };
                assert_eq!(found, expected, "{outputs} x {inputs} at {at}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "can be counted")]
    fn weights_of_more_floats_than_can_be_counted_have_no_length() {
        packed_len_f32(usize::MAX / 4, 8);
    }

    #[test]
    fn a_layer_with_a_wrong_length_is_refused() {
        let (weights, bias) = ([0.0; 5 * 16], [0.0; 16]);
        assert!(LinearF32::new(5, 3, &weights, &bias).is_some());
        assert!(LinearF32::new(5, 17, &weights, &bias).is_none());
        assert!(LinearF32::new(4, 3, &weights, &bias).is_none());
        assert!(LinearF32::new(5, 3, &weights, &bias[1..]).is_none());
        assert!(LinearF32::new(0, 3, &[], &bias).is_none());
        assert!(LinearF32::new(5, 0, &[], &[]).is_none());
        // Padded, so many outputs are 0 in a word.
        assert!(LinearF32::new(5, usize::MAX, &[], &[]).is_none());
    }
}

//! Attention of every sequence and head, with its softmax and dropout, over packed rows.
//!
//! For one sequence of `n` rows and one head of `d` columns, with `Q` its query rows (all `n`, or the first alone),
//! `m` the dropout factors and `·` between matrices the product, `∘` the element-wise one:
//!
//! ```text
//! S = Q·Kᵀ      P = softmax(S / √d) by rows      O = (P ∘ m)·V
//! ```
//!
//! Nothing of size `n × n` is kept: backward computes `P` again, which costs one product of six, and then
//!
//! ```text
//! dV = (P ∘ m)ᵀ·dO      dP = (dO·Vᵀ) ∘ m
//! dS = P ∘ (dP − rowsum(dP ∘ P)) / √d
//! dQ = dS·K             dK = dSᵀ·Q
//! ```
//!
//! Query rows go in blocks, so that the `block × n` squares stay in the second-level cache for long sequences. A
//! sequence is one task for the threads; sequences never share a row, so there is nothing to add up between tasks.

use std::ops::{Deref, Range};

use rayon::prelude::*;

use super::dropout::{self, Dropout};
use super::gemm::{Matrix, MatrixMut, Precision, Workers, Write, product};
use super::isa::{Arithmetic, Isa, kernel};
use super::math::{exp, max, sum};
use super::workspace::{Buffer, Workspace};

/// Query rows in a block.
const BLOCK: usize = 128;

/// How the columns of a row are divided into heads.
#[derive(Copy, Clone, Debug)]
pub struct Heads {
    /// How many.
    pub count: usize,
    /// Columns of each.
    pub size: usize,
}

impl Heads {
    /// Columns of all heads.
    pub fn width(self) -> usize {
        self.count * self.size
    }
}

/// Queries, keys and values of a batch, or their gradients.
pub enum Rows<D> {
    /// Every row asks: rows of `3 * width`, query, key, value.
    Every(D),
    /// Only the first row of each sequence asks.
    First {
        /// A row of `width` for each sequence: query.
        queries: D,
        /// Rows of `2 * width`: key, value.
        keys_values: D,
    },
}

impl<D: Deref<Target = [f32]>> Rows<D> {
    /// The same, by reference.
    pub fn borrow(&self) -> Rows<&[f32]> {
        match self {
            Self::Every(all) => Rows::Every(all),
            Self::First {
                queries,
                keys_values,
            } => Rows::First {
                queries,
                keys_values,
            },
        }
    }
}

/// What all sequences of a batch share.
#[derive(Copy, Clone)]
pub struct Attention<'a> {
    /// Instructions to use.
    pub isa: Isa,
    /// Of the products; softmax and dropout are f32.
    pub precision: Precision,
    /// Scratch memory.
    pub workspace: &'a Workspace,
    /// How columns are divided.
    pub heads: Heads,
    /// First row of each sequence, then the end of the last.
    pub starts: &'a [usize],
    /// How many sequences of the batch come before these.
    pub first: usize,
    /// The mask of the probabilities: part `sequence * heads + head`, element `query * keys + key`.
    pub dropout: Dropout,
}

impl Attention<'_> {
    /// Writes the context, a row of `width` for each query row.
    pub fn forward(&self, rows: &Rows<&[f32]>, context: &mut [f32]) {
        let sequences = self.sequences(rows);
        let out = split(
            context,
            sequences.iter().map(|s| s.asking * self.heads.width()),
        );
        sequences.par_iter().zip(out).for_each(|(sequence, out)| {
            let mut scratch = self.workspace.take(sequence.block() * sequence.rows);
            for head in 0..self.heads.count {
                self.forward_head(sequence, head, out, &mut scratch);
            }
        });
    }

    /// Writes the gradients of `rows`, in the same layout, from that of the context.
    pub fn backward(&self, rows: &Rows<&[f32]>, dcontext: &[f32], gradient: Rows<&mut [f32]>) {
        let width = self.heads.width();
        let sequences = self.sequences(rows);
        let mut from = 0;
        let dout: Vec<&[f32]> = sequences
            .iter()
            .map(|s| {
                from += s.asking * width;
                &dcontext[from - s.asking * width..from]
            })
            .collect();
        let (apart, wide) = match gradient {
            Rows::Every(all) => (
                None,
                split(all, sequences.iter().map(|s| s.rows * 3 * width)),
            ),
            Rows::First {
                queries,
                keys_values,
            } => (
                Some(split(queries, sequences.iter().map(|_| width))),
                split(keys_values, sequences.iter().map(|s| s.rows * 2 * width)),
            ),
        };
        let apart: Vec<Option<&mut [f32]>> = match apart {
            Some(queries) => queries.into_iter().map(Some).collect(),
            None => sequences.iter().map(|_| None).collect(),
        };
        sequences
            .par_iter()
            .zip(dout)
            .zip(apart)
            .zip(wide)
            .for_each(|(((sequence, dout), apart), wide)| {
                let mut gradient = HeadGradient { apart, wide, width };
                let mut scratch =
                    [0, 1, 2].map(|_| self.workspace.take(sequence.block() * sequence.rows));
                for head in 0..self.heads.count {
                    self.backward_head(sequence, head, dout, &mut gradient, &mut scratch);
                }
            });
    }

    fn forward_head(&self, sequence: &Sequence<'_>, head: usize, out: &mut [f32], p: &mut [f32]) {
        let (n, width) = (sequence.rows, self.heads.width());
        let column = head * self.heads.size;
        let values = sequence.values.head(self.heads, head, 0..n);
        for first in (0..sequence.asking).step_by(BLOCK) {
            let asking = first..sequence.asking.min(first + BLOCK);
            let p = &mut p[..asking.len() * n];
            self.probabilities(sequence, head, asking.clone(), p);
            mask(self.isa, self.mask_of(sequence, head).skip(first * n), p);
            let out = MatrixMut::new(
                &mut out[first * width + column..],
                asking.len(),
                self.heads.size,
                width,
            );
            product(
                self.precision,
                out,
                Write::Over,
                Matrix::new(p, asking.len(), n, n),
                values,
                Workers::One,
            );
        }
    }

    fn backward_head(
        &self,
        sequence: &Sequence<'_>,
        head: usize,
        dout: &[f32],
        gradient: &mut HeadGradient<'_>,
        [p, masked, ds]: &mut [Buffer; 3],
    ) {
        let (n, size, width) = (sequence.rows, self.heads.size, self.heads.width());
        let keys = sequence.keys.head(self.heads, head, 0..n);
        let values = sequence.values.head(self.heads, head, 0..n);
        let mut write = Write::Over;
        for first in (0..sequence.asking).step_by(BLOCK) {
            let asking = first..sequence.asking.min(first + BLOCK);
            let m = asking.len();
            let [p, masked, ds] = [&mut p[..m * n], &mut masked[..m * n], &mut ds[..m * n]];
            let dout = Matrix::new(&dout[first * width + head * size..], m, size, width);
            self.probabilities(sequence, head, asking.clone(), p);
            product(
                self.precision,
                MatrixMut::new(ds, m, n, n),
                Write::Over,
                dout,
                values.t(),
                Workers::One,
            );
            softmax_backward(
                self.isa,
                n,
                self.scale(),
                self.mask_of(sequence, head).skip(first * n),
                p,
                masked,
                ds,
            );

            let (masked, ds) = (Matrix::new(masked, m, n, n), Matrix::new(ds, m, n, n));
            let queries = sequence.queries.head(self.heads, head, asking);
            product(
                self.precision,
                gradient.values(self.heads, head, n),
                write,
                masked.t(),
                dout,
                Workers::One,
            );
            product(
                self.precision,
                gradient.keys(self.heads, head, n),
                write,
                ds.t(),
                queries,
                Workers::One,
            );
            product(
                self.precision,
                gradient.queries(self.heads, head, first, m),
                Write::Over,
                ds,
                keys,
                Workers::One,
            );
            write = Write::Add;
        }
    }

    /// P for the query rows `asking`.
    fn probabilities(
        &self,
        sequence: &Sequence<'_>,
        head: usize,
        asking: Range<usize>,
        p: &mut [f32],
    ) {
        let n = sequence.rows;
        let (m, keys) = (asking.len(), sequence.keys.head(self.heads, head, 0..n));
        let queries = sequence.queries.head(self.heads, head, asking);
        product(
            self.precision,
            MatrixMut::new(p, m, n, n),
            Write::Over,
            queries,
            keys.t(),
            Workers::One,
        );
        softmax(self.isa, n, self.scale(), p);
    }

    fn scale(&self) -> f32 {
        1.0 / (self.heads.size as f32).sqrt()
    }

    fn mask_of(&self, sequence: &Sequence<'_>, head: usize) -> Dropout {
        if self.dropout.is_off() {
            Dropout::OFF
        } else {
            let sequence = self.first + sequence.index;
            self.dropout.part(sequence * self.heads.count + head)
        }
    }

    fn sequences<'r>(&self, rows: &Rows<&'r [f32]>) -> Vec<Sequence<'r>> {
        let width = self.heads.width();
        let cut = |(index, bounds): (usize, &[usize])| {
            let (first, end) = (bounds[0], bounds[1]);
            let columns = |data: &'r [f32], stride, column| Columns {
                data: &data[first * stride + column..end * stride],
                stride,
            };
            let (asking, queries, keys, values) = match *rows {
                Rows::Every(all) => (
                    end - first,
                    columns(all, 3 * width, 0),
                    columns(all, 3 * width, width),
                    columns(all, 3 * width, 2 * width),
                ),
                Rows::First {
                    queries,
                    keys_values,
                } => (
                    1,
                    Columns {
                        data: &queries[index * width..(index + 1) * width],
                        stride: width,
                    },
                    columns(keys_values, 2 * width, 0),
                    columns(keys_values, 2 * width, width),
                ),
            };
            Sequence {
                index,
                rows: end - first,
                asking,
                queries,
                keys,
                values,
            }
        };
        self.starts.windows(2).enumerate().map(cut).collect()
    }
}

/// One sequence of the batch.
struct Sequence<'a> {
    /// Its number in the batch.
    index: usize,
    /// n
    rows: usize,
    /// Query rows: n, or 1.
    asking: usize,
    queries: Columns<'a>,
    keys: Columns<'a>,
    values: Columns<'a>,
}

impl Sequence<'_> {
    /// Query rows of the largest block.
    fn block(&self) -> usize {
        self.asking.min(BLOCK)
    }
}

/// Rows of all heads, `stride` apart.
#[derive(Copy, Clone)]
struct Columns<'a> {
    data: &'a [f32],
    stride: usize,
}

impl<'a> Columns<'a> {
    fn head(self, heads: Heads, head: usize, rows: Range<usize>) -> Matrix<'a> {
        Matrix::new(
            &self.data[rows.start * self.stride + head * heads.size..],
            rows.len(),
            heads.size,
            self.stride,
        )
    }
}

/// Where one sequence's gradients go.
struct HeadGradient<'a> {
    /// The queries', if they lie apart.
    apart: Option<&'a mut [f32]>,
    /// The others', in rows that begin with the queries' unless those lie apart.
    wide: &'a mut [f32],
    width: usize,
}

impl HeadGradient<'_> {
    fn queries(&mut self, heads: Heads, head: usize, first: usize, rows: usize) -> MatrixMut<'_> {
        let column = head * heads.size;
        match &mut self.apart {
            Some(queries) => MatrixMut::new(&mut queries[column..], rows, heads.size, self.width),
            None => {
                let stride = 3 * self.width;
                MatrixMut::new(
                    &mut self.wide[first * stride + column..],
                    rows,
                    heads.size,
                    stride,
                )
            }
        }
    }

    fn keys(&mut self, heads: Heads, head: usize, rows: usize) -> MatrixMut<'_> {
        self.after_queries(0, heads, head, rows)
    }

    fn values(&mut self, heads: Heads, head: usize, rows: usize) -> MatrixMut<'_> {
        self.after_queries(1, heads, head, rows)
    }

    fn after_queries(
        &mut self,
        part: usize,
        heads: Heads,
        head: usize,
        rows: usize,
    ) -> MatrixMut<'_> {
        let before = if self.apart.is_some() { 0 } else { 1 };
        let column = (before + part) * self.width + head * heads.size;
        MatrixMut::new(
            &mut self.wide[column..],
            rows,
            heads.size,
            (before + 2) * self.width,
        )
    }
}

/// Cuts `data` into consecutive pieces.
fn split(mut data: &mut [f32], lengths: impl Iterator<Item = usize>) -> Vec<&mut [f32]> {
    lengths
        .map(|length| {
            let (piece, rest) = std::mem::take(&mut data).split_at_mut(length);
            data = rest;
            piece
        })
        .collect()
}

kernel! {
    /// `softmax(scale * row)` in place, for rows of `n`.
    fn softmax(n: usize, scale: f32, scores: &mut [f32]) = softmax_body
}
kernel! {
    /// Multiplies with the dropout factors.
    fn mask(dropout: Dropout, p: &mut [f32]) = mask_body
}
kernel! {
    /// From `P` and `dO·Vᵀ` (in `ds`): `P ∘ m` into `masked`, `dS` into `ds`.
    fn softmax_backward(
        n: usize, scale: f32, dropout: Dropout, p: &[f32], masked: &mut [f32], ds: &mut [f32],
    ) = softmax_backward_body
}

#[inline(always)]
fn softmax_body(math: impl Arithmetic, n: usize, scale: f32, scores: &mut [f32]) {
    for row in scores.chunks_exact_mut(n) {
        let largest = max(row);
        for x in row.iter_mut() {
            *x = exp(math, (*x - largest) * scale);
        }
        let row = &mut row[..n];
        let inverse = 1.0 / sum(n, |i| row[i]);
        for x in row.iter_mut() {
            *x *= inverse;
        }
    }
}

#[inline(always)]
fn mask_body(_: impl Arithmetic, dropout: Dropout, p: &mut [f32]) {
    dropout::apply(dropout, p);
}

#[inline(always)]
fn softmax_backward_body(
    _: impl Arithmetic,
    n: usize,
    scale: f32,
    dropout: Dropout,
    p: &[f32],
    masked: &mut [f32],
    ds: &mut [f32],
) {
    let rows = p
        .chunks_exact(n)
        .zip(masked.chunks_exact_mut(n))
        .zip(ds.chunks_exact_mut(n));
    for (row, ((p, masked), ds)) in rows.enumerate() {
        if dropout.is_off() {
            masked.copy_from_slice(p);
        } else {
            let dropout = dropout.skip(row * n);
            for (i, ((masked, ds), p)) in masked.iter_mut().zip(ds.iter_mut()).zip(p).enumerate() {
                let factor = dropout.factor(i as u32);
                *masked = p * factor;
                *ds *= factor;
            }
        }
        let (p, ds) = (&p[..n], &mut ds[..n]);
        let total = sum(n, |i| p[i] * ds[i]);
        for (ds, p) in ds.iter_mut().zip(p) {
            *ds = p * (*ds - total) * scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_close, attention, dot, gradient, numbers, on_threads};

    const HEADS: Heads = Heads { count: 2, size: 3 };

    fn starts(lengths: &[usize]) -> Vec<usize> {
        let mut end = 0;
        std::iter::once(0)
            .chain(lengths.iter().map(|n| {
                end += n;
                end
            }))
            .collect()
    }

    /// The oracle in f64, with the kernel's own dropout factors.
    fn naive(lengths: &[usize], dropout: Dropout, only_first: bool, qkv: &[f64]) -> Vec<f64> {
        let factor = |sequence: usize, head: usize, element: usize| {
            if dropout.is_off() {
                1.0
            } else {
                f64::from(
                    dropout
                        .part(sequence * HEADS.count + head)
                        .factor(element as u32),
                )
            }
        };
        attention(lengths, HEADS.count, HEADS.size, only_first, factor, qkv)
    }

    /// Context and gradient of q, k, v, as rows of three widths.
    fn run(
        isa: Isa,
        lengths: &[usize],
        dropout: Dropout,
        qkv: &[f32],
        dcontext: &[f32],
    ) -> (Vec<f32>, Vec<f32>) {
        let workspace = Workspace::default();
        let kernel = Attention {
            first: 0,
            isa,
            precision: Precision::F32,
            workspace: &workspace,
            heads: HEADS,
            starts: &starts(lengths),
            dropout,
        };
        let rows = Rows::Every(qkv);
        let (mut context, mut gradient) = (vec![9.0; dcontext.len()], vec![9.0; qkv.len()]);
        kernel.forward(&rows, &mut context);
        kernel.backward(&rows, dcontext, Rows::Every(&mut gradient));
        (context, gradient)
    }

    #[test]
    fn forward_and_gradients_agree_with_finite_differences() {
        for lengths in [&[1][..], &[2, 1, 5], &[16], &[17, 3], &[33, 15]] {
            let total: usize = lengths.iter().sum();
            let qkv: Vec<f32> = numbers(total * 3 * HEADS.width(), 1)
                .iter()
                .map(|x| 2.0 * x)
                .collect();
            let dcontext = numbers(total * HEADS.width(), 2);
            for dropout in [Dropout::OFF, Dropout::new(0.25, 8)] {
                let expected = gradient::values(&[&qkv], |v| naive(lengths, dropout, false, v[0]));
                let slope = gradient::differences(&[&qkv], 0, |v| {
                    dot(&naive(lengths, dropout, false, v[0]), &dcontext)
                });
                for isa in Isa::available() {
                    let (context, gradient) = run(isa, lengths, dropout, &qkv, &dcontext);
                    assert_close("context", &context, &expected, 2e-6);
                    assert_close("dqkv", &gradient, &slope, 1e-5);
                }
            }
        }
    }

    #[test]
    fn only_the_first_rows_asking_gives_their_context_and_the_whole_gradient() {
        let lengths = [4, 1, 19];
        let width = HEADS.width();
        let qkv = numbers(24 * 3 * width, 1);
        let dcontext = numbers(3 * width, 2);
        let begins = starts(&lengths);
        let queries: Vec<f32> = begins[..3]
            .iter()
            .flat_map(|row| qkv[row * 3 * width..][..width].to_vec())
            .collect();
        let keys_values: Vec<f32> = qkv
            .chunks(3 * width)
            .flat_map(|row| row[width..].to_vec())
            .collect();
        for dropout in [Dropout::OFF, Dropout::new(0.25, 8)] {
            let expected = gradient::values(&[&qkv], |v| naive(&lengths, dropout, true, v[0]));
            let slope = gradient::differences(&[&qkv], 0, |v| {
                dot(&naive(&lengths, dropout, true, v[0]), &dcontext)
            });
            let workspace = Workspace::default();
            let kernel = Attention {
                first: 0,
                isa: Isa::best(),
                precision: Precision::F32,
                workspace: &workspace,
                heads: HEADS,
                starts: &begins,
                dropout,
            };
            let rows = Rows::First {
                queries: &queries[..],
                keys_values: &keys_values[..],
            };
            let (mut context, mut dq, mut dkv) = (
                vec![0.0; dcontext.len()],
                vec![0.0; queries.len()],
                vec![0.0; keys_values.len()],
            );
            kernel.forward(&rows, &mut context);
            kernel.backward(
                &rows,
                &dcontext,
                Rows::First {
                    queries: &mut dq,
                    keys_values: &mut dkv,
                },
            );
            assert_close("context", &context, &expected, 2e-6);
            let slope_q: Vec<f64> = begins[..3]
                .iter()
                .flat_map(|row| slope[row * 3 * width..][..width].to_vec())
                .collect();
            let slope_kv: Vec<f64> = slope
                .chunks(3 * width)
                .flat_map(|row| row[width..].to_vec())
                .collect();
            assert_close("dq", &dq, &slope_q, 1e-5);
            assert_close("dkv", &dkv, &slope_kv, 1e-5);
        }
    }

    #[test]
    fn sequences_longer_than_a_block_agree_with_the_oracle() {
        let lengths = [BLOCK + 5, 2 * BLOCK, 3];
        let total: usize = lengths.iter().sum();
        let (qkv, dcontext) = (
            numbers(total * 3 * HEADS.width(), 3),
            numbers(total * HEADS.width(), 4),
        );
        let dropout = Dropout::new(0.1, 2);
        let (context, gradient) = run(Isa::best(), &lengths, dropout, &qkv, &dcontext);
        assert_close(
            "context",
            &context,
            &gradient::values(&[&qkv], |v| naive(&lengths, dropout, false, v[0])),
            2e-6,
        );
        // A step along a random direction: one finite difference for all the elements.
        let direction = numbers(qkv.len(), 5);
        let along = |step: f64| {
            let moved: Vec<f64> = qkv
                .iter()
                .zip(&direction)
                .map(|(x, d)| f64::from(*x) + step * f64::from(*d))
                .collect();
            dot(&naive(&lengths, dropout, false, &moved), &dcontext)
        };
        let slope = (along(1e-5) - along(-1e-5)) / 2e-5;
        let ours: f64 = gradient
            .iter()
            .zip(&direction)
            .map(|(g, d)| f64::from(*g) * f64::from(*d))
            .sum();
        assert!(
            (ours - slope).abs() < 1e-5 * slope.abs().max(1.0),
            "{ours} {slope}"
        );
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let lengths = [7, 20, 1, 150];
        let (qkv, dcontext) = (
            numbers(178 * 3 * HEADS.width(), 3),
            numbers(178 * HEADS.width(), 4),
        );
        let once = || run(Isa::best(), &lengths, Dropout::new(0.1, 2), &qkv, &dcontext);
        assert_eq!(on_threads(1, once), on_threads(2, once));
    }
}

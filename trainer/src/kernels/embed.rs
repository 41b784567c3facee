//! Embeddings: the rows of three tables added, layer norm, dropout, in one pass over a row.
//!
//! ```text
//! z = word[id] + position[p] + kind[k]      kept for the backward pass
//! y = m·norm(z)                             m the dropout factors
//! ```
//!
//! Backward, `dz` comes from `m·dy` as in the layer norm, and is added to the three rows that `z` was made of. That
//! part runs in the order of the rows, one thread for the words and one for the two small tables, because rows of a
//! batch share words.

use rayon::prelude::*;

use super::dropout::{self, Dropout};
use super::isa::{Arithmetic, Isa, kernel};
use super::norm::{Norm, row_backward, row_forward};
use super::parallel::{ROWS, Sums};

/// The row of each table that a token takes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Row of the word table.
    pub word: u32,
    /// Row of the position table.
    pub position: u32,
    /// Row of the token type table.
    pub kind: u32,
}

/// The three tables, rows of the norm's width.
#[derive(Copy, Clone)]
pub struct Tables<'a> {
    /// A row for each piece of the vocabulary.
    pub word: &'a [f32],
    /// A row for each position.
    pub position: &'a [f32],
    /// A row for the first text and one for the second.
    pub kind: &'a [f32],
}

/// Writes `z` and `y`, a row for each token.
///
/// # Panics
/// If a token asks for a row that its table does not have.
pub fn forward(
    isa: Isa,
    tables: Tables<'_>,
    norm: Norm<'_>,
    dropout: Dropout,
    tokens: &[Token],
    z: &mut [f32],
    y: &mut [f32],
) {
    let task = ROWS * norm.weight.len();
    let rows = tokens
        .par_chunks(ROWS)
        .zip(z.par_chunks_mut(task))
        .zip(y.par_chunks_mut(task));
    rows.enumerate().for_each(|(i, ((tokens, z), y))| {
        rows_forward(isa, tables, norm, dropout.skip(i * task), tokens, z, y)
    });
}

/// `y` once more, from the `z` that was kept.
pub fn again(isa: Isa, norm: Norm<'_>, dropout: Dropout, z: &[f32], y: &mut [f32]) {
    let task = ROWS * norm.weight.len();
    let rows = z.par_chunks(task).zip(y.par_chunks_mut(task));
    rows.enumerate()
        .for_each(|(i, (z, y))| rows_again(isa, norm, dropout.skip(i * task), z, y));
}

/// From `dy` the gradient `dz` of the added rows; returns the sums dg, db of the norm.
pub fn backward(
    isa: Isa,
    norm: Norm<'_>,
    dropout: Dropout,
    z: &[f32],
    dy: &[f32],
    dz: &mut [f32],
) -> Sums<2> {
    let width = norm.weight.len();
    let task = ROWS * width;
    let rows = z
        .par_chunks(task)
        .zip(dy.par_chunks(task))
        .zip(dz.par_chunks_mut(task));
    Sums::collect(width, rows, |i, ((z, dy), dz), sums| {
        rows_backward(isa, norm, dropout.skip(i * task), z, dy, dz, sums)
    })
}

kernel! {
    /// Adds each row of `dz` to the row of `table` that stands at its place in `rows`, in order.
    pub fn scatter(width: usize, rows: &[u32], dz: &[f32], table: &mut [f32]) = scatter_body
}
kernel! {
    fn rows_forward(
        tables: Tables<'_>, norm: Norm<'_>, dropout: Dropout, tokens: &[Token], z: &mut [f32], y: &mut [f32],
    ) = rows_forward_body
}
kernel! { fn rows_again(norm: Norm<'_>, dropout: Dropout, z: &[f32], y: &mut [f32]) = rows_again_body }
kernel! {
    fn rows_backward(
        norm: Norm<'_>, dropout: Dropout, z: &[f32], dy: &[f32], dz: &mut [f32], sums: [&mut [f32]; 2],
    ) = rows_backward_body
}

#[inline(always)]
fn rows_forward_body(
    math: impl Arithmetic,
    tables: Tables<'_>,
    norm: Norm<'_>,
    dropout: Dropout,
    tokens: &[Token],
    z: &mut [f32],
    y: &mut [f32],
) {
    let width = norm.weight.len();
    for ((token, z), y) in tokens
        .iter()
        .zip(z.chunks_exact_mut(width))
        .zip(y.chunks_exact_mut(width))
    {
        let [word, position, kind] = [
            (tables.word, token.word),
            (tables.position, token.position),
            (tables.kind, token.kind),
        ]
        .map(|(table, row)| &table[row as usize * width..][..width]);
        for (((z, word), position), kind) in z.iter_mut().zip(word).zip(position).zip(kind) {
            *z = word + position + kind;
        }
        row_forward(math, norm, z, y);
    }
    dropout::apply(dropout, y);
}

#[inline(always)]
fn rows_again_body(
    math: impl Arithmetic,
    norm: Norm<'_>,
    dropout: Dropout,
    z: &[f32],
    y: &mut [f32],
) {
    let width = norm.weight.len();
    for (z, y) in z.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        row_forward(math, norm, z, y);
    }
    dropout::apply(dropout, y);
}

#[inline(always)]
fn rows_backward_body(
    math: impl Arithmetic,
    norm: Norm<'_>,
    dropout: Dropout,
    z: &[f32],
    dy: &[f32],
    dz: &mut [f32],
    [dg, db]: [&mut [f32]; 2],
) {
    let width = norm.weight.len();
    let mut masked = vec![0.0; width];
    for (row, ((z, dy), dz)) in z
        .chunks_exact(width)
        .zip(dy.chunks_exact(width))
        .zip(dz.chunks_exact_mut(width))
        .enumerate()
    {
        masked.copy_from_slice(dy);
        dropout::apply(dropout.skip(row * width), &mut masked);
        row_backward(math, norm, z, &masked, dz, dg, db);
    }
}

#[inline(always)]
fn scatter_body(_: impl Arithmetic, width: usize, rows: &[u32], dz: &[f32], table: &mut [f32]) {
    for (row, dz) in rows.iter().zip(dz.chunks_exact(width)) {
        for (x, dz) in table[*row as usize * width..][..width].iter_mut().zip(dz) {
            *x += dz;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_close, dot, gradient, layer_norm, numbers};

    const EPS: f32 = 1e-3;

    /// word, position, kind, weight, bias → y
    fn naive(tokens: &[Token], dropout: Dropout, v: &[&[f64]]) -> Vec<f64> {
        let width = v[3].len();
        let row = |t: &Token, j: usize| {
            v[0][t.word as usize * width + j]
                + v[1][t.position as usize * width + j]
                + v[2][t.kind as usize * width + j]
        };
        let z: Vec<f64> = tokens
            .iter()
            .flat_map(|t| (0..width).map(move |j| row(t, j)))
            .collect();
        let y = layer_norm(&z, v[3], v[4], f64::from(EPS));
        y.iter()
            .enumerate()
            .map(|(i, y)| y * f64::from(dropout.factor(i as u32)))
            .collect()
    }

    #[test]
    fn forward_and_gradients_agree_with_finite_differences() {
        for (count, width) in [(1, 3), (5, 16), (65, 17)] {
            let tokens: Vec<Token> = (0..count)
                .map(|i| Token {
                    word: i * 7 % 9,
                    position: i % 5,
                    kind: i % 2,
                })
                .collect();
            let [word, position, kind] = [9, 5, 2].map(|rows| numbers(rows * width, rows as u64));
            let (weight, bias, dy) = (
                numbers(width, 11),
                numbers(width, 12),
                numbers(tokens.len() * width, 13),
            );
            let inputs: [&[f32]; 5] = [&word, &position, &kind, &weight, &bias];
            let tables = Tables {
                word: &word,
                position: &position,
                kind: &kind,
            };
            let norm = Norm {
                weight: &weight,
                bias: &bias,
                eps: EPS,
            };
            for dropout in [Dropout::OFF, Dropout::new(0.2, 3)] {
                let expected = |which| {
                    gradient::differences(&inputs, which, |v| dot(&naive(&tokens, dropout, v), &dy))
                };
                for isa in Isa::available() {
                    let [mut z, mut y, mut dz] = [0, 1, 2].map(|_| vec![0.0; dy.len()]);
                    forward(isa, tables, norm, dropout, &tokens, &mut z, &mut y);
                    assert_close(
                        "y",
                        &y,
                        &gradient::values(&inputs, |v| naive(&tokens, dropout, v)),
                        2e-6,
                    );
                    let mut once_more = vec![0.0; y.len()];
                    again(isa, norm, dropout, &z, &mut once_more);
                    assert_eq!(once_more, y);
                    let sums = backward(isa, norm, dropout, &z, &dy, &mut dz);
                    let mut tables = [0, 1, 2].map(|which: usize| vec![0.0; inputs[which].len()]);
                    scatter(
                        isa,
                        width,
                        &tokens.iter().map(|t| t.word).collect::<Vec<_>>(),
                        &dz,
                        &mut tables[0],
                    );
                    scatter(
                        isa,
                        width,
                        &tokens.iter().map(|t| t.position).collect::<Vec<_>>(),
                        &dz,
                        &mut tables[1],
                    );
                    scatter(
                        isa,
                        width,
                        &tokens.iter().map(|t| t.kind).collect::<Vec<_>>(),
                        &dz,
                        &mut tables[2],
                    );
                    for (which, table) in tables.iter().enumerate() {
                        assert_close("table", table, &expected(which), 1e-5);
                    }
                    assert_close("dg", sums.part(0), &expected(3), 1e-5);
                    assert_close("db", sums.part(1), &expected(4), 1e-5);
                }
            }
        }
    }
}

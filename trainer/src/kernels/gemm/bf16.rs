//! Products in mixed precision: factors rounded to bf16, products and sums in f32, by AVX512_BF16's `vdpbf16ps`.
//!
//! `vdpbf16ps` multiplies 16 pairs of bf16 with 16 other pairs and adds each pair's two products to an f32 lane. So both
//! factors are packed as pairs along the inner dimension, in panels of 16 rows of A or 16 columns of B:
//!
//! ```text
//! panel ─► line p/2 ─► 16 pairs ((x, p), (x, p + 1)), x = 16·panel …        64 bytes a line, p inside a block of BLOCK
//! ```
//!
//! A tile of the result is 8 rows by up to 48 columns in 24 registers: half a panel of A, a pair broadcast for each
//! row, times up to three panels of B, which the second-level cache holds while the rows of A pass by.
//!
//! ```text
//! pack B                                                      once, its panels shared out over the threads
//! for each chunk of rows of the result, one task:
//!     for each block of the inner dimension:                  always in this order: same bits for any threads
//!         pack A's chunk
//!         for three panels of B at a time, for each half panel of A: tile
//! ```
//!
//! Rounding is to nearest, ties to even; subnormal factors count as zero, which is what the instruction does. With
//! factors rounded, the products are exact in f32, so a result differs from the exact one by at most
//! `(2·2⁻⁸ + 2⁻¹⁶ + k·2⁻²³)·Σ|aᵢbᵢ|`: asserted against f64 by the tests.

use std::arch::x86_64::*;
use std::cell::Cell;
use std::thread::LocalKey;

use rayon::prelude::*;

use super::{Matrix, MatrixMut, Workers, Write};

/// Rows or columns in a panel, and lanes of a register.
const PANEL: usize = 16;
/// Rows of a tile.
const TILE_ROWS: usize = 8;
/// Panels of B that a tile takes at most.
const TILE_PANELS: usize = 3;
/// Panels that are packed together where rows lie across the inner dimension.
const TOGETHER: usize = 4;
/// Elements of the inner dimension in a block.
const BLOCK: usize = 512;
/// Lines of the panels that are packed together.
const GROUP: usize = TOGETHER * BLOCK / 2;
/// Rows of the result in a task: at least, and at most.
const CHUNK: (usize, usize) = (96, 128);

/// A proof that this machine has the instructions.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Bf16(());

impl Bf16 {
    /// If this machine has them.
    pub fn detect() -> Option<Self> {
        let there = is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw");
        there.then_some(Self(()))
    }

    /// `out = a · b`, or `out += a · b`, of fitting shapes.
    pub(super) fn product(
        self,
        out: MatrixMut<'_>,
        write: Write,
        a: Matrix<'_>,
        b: Matrix<'_>,
        workers: Workers,
    ) {
        let (rows, columns, inner) = (out.rows, out.columns, a.columns);
        if rows == 0 || columns == 0 {
            return;
        }
        if inner == 0 {
            return clear(out, write);
        }
        let groups = columns.div_ceil(TOGETHER * PANEL);
        let lines = inner.div_ceil(BLOCK) * groups * GROUP;
        with_lines(&ALL_OF_B, lines, |lines| {
            let b = b.t();
            each(workers, lines, GROUP, |index, lines| {
                let (block, group) = (index / groups, index % groups);
                // SAFETY: `self` is made only where the instructions of `pack` were detected.
                unsafe { pack(b, group * TOGETHER * PANEL, block * BLOCK, lines) }
            });
            let chunk = chunk_rows(rows, workers);
            let data = &mut out.data[..(rows - 1) * out.row_stride + columns];
            each(workers, data, chunk * out.row_stride, |index, data| {
                let first = index * chunk;
                let out = MatrixMut {
                    data,
                    rows: chunk.min(rows - first),
                    ..out
                };
                // SAFETY: `self` is made only where the instructions of `multiply` were detected.
                unsafe { multiply(out, write, a, first, lines) }
            });
        });
    }
}

/// Calls `f` with each piece of `len` and its number.
fn each<T: Send>(workers: Workers, data: &mut [T], len: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    match workers {
        Workers::All if rayon::current_num_threads() > 1 => {
            let pieces = data.par_chunks_mut(len).enumerate();
            pieces.for_each(|(index, piece)| f(index, piece));
        }
        _ => {
            let pieces = data.chunks_mut(len).enumerate();
            pieces.for_each(|(index, piece)| f(index, piece));
        }
    }
}

/// Rows of the result in a task: some tasks for each thread, whole panels of A.
fn chunk_rows(rows: usize, workers: Workers) -> usize {
    let threads = match workers {
        Workers::All => rayon::current_num_threads(),
        Workers::One => 1,
    };
    let even = rows / (4 * threads);
    even.clamp(CHUNK.0, CHUNK.1).next_multiple_of(PANEL)
}

/// The product over an empty inner dimension.
fn clear(out: MatrixMut<'_>, write: Write) {
    if write == Write::Over {
        for row in out.data.chunks_mut(out.row_stride).take(out.rows) {
            row[..out.columns].fill(0.0);
        }
    }
}

/// 16 pairs of bf16, the earlier of a pair in the lower half.
#[derive(Copy, Clone)]
#[repr(align(64))]
struct Line([u32; PANEL]);

thread_local! {
    /// Memory for this thread's chunk of A.
    static CHUNK_OF_A: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    /// Memory for the whole of B.
    static ALL_OF_B: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// Calls `f` with `len` lines of any values, in memory that stays with the thread between products.
fn with_lines<R>(
    kept: &'static LocalKey<Cell<Vec<Line>>>,
    len: usize,
    f: impl FnOnce(&mut [Line]) -> R,
) -> R {
    let mut lines = kept.take();
    if lines.len() < len {
        lines = vec![Line([0; PANEL]); len];
    }
    let result = f(&mut lines[..len]);
    kept.set(lines);
    result
}

/// Packs a group of panels: rows of `matrix` from `row`, and a block of columns from `column`, both as far as there are
/// any. The rest of a line is zero; lines beyond the inner dimension, and panels beyond the rows, are not written.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pack(matrix: Matrix<'_>, row: usize, column: usize, lines: &mut [Line]) {
    if matrix.column_stride == 1 {
        let rows = (row..matrix.rows).step_by(PANEL);
        for (row, lines) in rows.zip(lines.chunks_mut(BLOCK / 2)) {
            pack_along(matrix, row, column, lines);
        }
    } else {
        pack_across(matrix, row, column, lines);
    }
}

/// A panel of rows that lie along the inner dimension: squares of 16 rows by 16 pairs are transposed.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pack_along(matrix: Matrix<'_>, row: usize, column: usize, lines: &mut [Line]) {
    let rows = PANEL.min(matrix.rows - row);
    let columns = BLOCK.min(matrix.columns - column);
    for (c, lines) in (0..columns).step_by(2 * PANEL).zip(lines.chunks_mut(PANEL)) {
        let width = (2 * PANEL).min(columns - c);
        let mut square = [_mm512_setzero_si512(); PANEL];
        for (r, pairs) in square.iter_mut().enumerate().take(rows) {
            let numbers = &matrix.data[(row + r) * matrix.row_stride + column + c..][..width];
            let (low, high) = numbers.split_at(width.min(PANEL));
            *pairs = rounded(load(low), load(high));
        }
        for (line, pairs) in lines.iter_mut().zip(transposed(square)) {
            store(line, pairs);
        }
    }
}

/// Some panels of rows that lie across it: two columns are interleaved. Several panels at once, since a column's
/// neighbours in memory are the next panel's.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pack_across(matrix: Matrix<'_>, row: usize, column: usize, lines: &mut [Line]) {
    let rows = (lines.len() / (BLOCK / 2) * PANEL).min(matrix.rows - row);
    let columns = BLOCK.min(matrix.columns - column);
    let interleave = interleaving();
    for c in (0..columns).step_by(2) {
        let at = (column + c) * matrix.column_stride + row;
        let first = &matrix.data[at..][..rows];
        let second = if c + 1 < columns {
            &matrix.data[at + matrix.column_stride..][..rows]
        } else {
            &[]
        };
        for (panel, first) in first.chunks(PANEL).enumerate() {
            let second = second.get(panel * PANEL..).unwrap_or_default();
            let second = &second[..second.len().min(PANEL)];
            let pairs = _mm512_permutexvar_epi16(interleave, rounded(load(first), load(second)));
            store(&mut lines[panel * (BLOCK / 2) + c / 2], pairs);
        }
    }
}

/// All of a chunk: `out (+)= a[first..] · b`, with `b` packed.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn multiply(out: MatrixMut<'_>, write: Write, a: Matrix<'_>, first: usize, b: &[Line]) {
    let (inner, panels) = (a.columns, out.columns.div_ceil(PANEL));
    let groups = out.rows.div_ceil(TOGETHER * PANEL);
    let block_of_b = out.columns.div_ceil(TOGETHER * PANEL) * GROUP;
    with_lines(&CHUNK_OF_A, groups * GROUP, |packed| {
        for (block, b) in b.chunks_exact(block_of_b).enumerate() {
            let start = block * BLOCK;
            let pairs = BLOCK.min(inner - start).div_ceil(2);
            let starts = (first..).step_by(TOGETHER * PANEL);
            for (row, lines) in starts.zip(packed.chunks_exact_mut(GROUP)) {
                pack(a, row, start, lines);
            }
            let add = block > 0 || write == Write::Add;
            for panel in (0..panels).step_by(TILE_PANELS) {
                let tile_panels = TILE_PANELS.min(panels - panel);
                let b = &b[panel * (BLOCK / 2)..];
                for row in (0..out.rows).step_by(TILE_ROWS) {
                    let a = &packed[row / PANEL * (BLOCK / 2)..][..pairs];
                    let place = Place {
                        data: &mut out.data[row * out.row_stride + panel * PANEL..],
                        rows: TILE_ROWS.min(out.rows - row),
                        columns: (tile_panels * PANEL).min(out.columns - panel * PANEL),
                        stride: out.row_stride,
                        add,
                    };
                    let half = row % PANEL;
                    match tile_panels {
                        1 => tile::<1>(a, half, b, place),
                        2 => tile::<2>(a, half, b, place),
                        _ => tile::<3>(a, half, b, place),
                    }
                }
            }
        }
    })
}

/// Where a tile goes.
struct Place<'a> {
    data: &'a mut [f32],
    rows: usize,
    columns: usize,
    stride: usize,
    add: bool,
}

/// Rows `half..half + 8` of a panel of A times `PANELS` panels of B, which are `BLOCK / 2` lines apart.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn tile<const PANELS: usize>(a: &[Line], half: usize, b: &[Line], place: Place<'_>) {
    let pairs = a.len();
    let b: [&[Line]; PANELS] = std::array::from_fn(|panel| &b[panel * (BLOCK / 2)..][..pairs]);
    let mut sums = [[_mm512_setzero_ps(); PANELS]; TILE_ROWS];
    let half = half.min(PANEL - TILE_ROWS);
    for (pair, a) in a.iter().enumerate() {
        let mut columns = [_mm512_setzero_si512(); PANELS];
        for (columns, b) in columns.iter_mut().zip(b) {
            *columns = fetch(&b[pair]);
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            let a = _mm512_set1_epi32(a.0[half + row] as i32);
            for (sum, columns) in sums.iter_mut().zip(columns) {
                *sum = _mm512_dpbf16_ps(*sum, bits(a), bits(columns));
            }
        }
    }
    for (row, sums) in sums.iter().enumerate().take(place.rows) {
        let out = &mut place.data[row * place.stride..][..place.columns];
        for (out, sum) in out.chunks_mut(PANEL).zip(sums) {
            let sum = if place.add {
                _mm512_add_ps(load(out), *sum)
            } else {
                *sum
            };
            put(out, sum);
        }
    }
}

/// 32 numbers as bf16, `low` first.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn rounded(low: __m512, high: __m512) -> __m512i {
    // SAFETY: both types are 64 bytes of which every value is valid.
    unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(high, low)) }
}

/// The lanes as pairs of bf16.
#[target_feature(enable = "avx512f")]
fn bits(pairs: __m512i) -> __m512bh {
    // SAFETY: both types are 64 bytes of which every value is valid.
    unsafe { std::mem::transmute(pairs) }
}

/// Brings 16-bit lanes 0, 16, 1, 17, … side by side.
#[target_feature(enable = "avx512f")]
fn interleaving() -> __m512i {
    const PAIRS: Line = {
        let mut pairs = [0; PANEL];
        let mut lane = 0;
        while lane < PANEL {
            pairs[lane] = (lane | (lane + PANEL) << 16) as u32;
            lane += 1;
        }
        Line(pairs)
    };
    fetch(&PAIRS)
}

/// The transpose of a square of 32-bit lanes.
#[target_feature(enable = "avx512f")]
fn transposed(rows: [__m512i; PANEL]) -> [__m512i; PANEL] {
    // Within each 128-bit quarter: 4 x 4 squares of rows 4i..4i + 4.
    let mut quarters = rows;
    for i in (0..PANEL).step_by(4) {
        let (a, b, c, d) = (rows[i], rows[i + 1], rows[i + 2], rows[i + 3]);
        let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
        quarters[i] = _mm512_unpacklo_epi64(ab, cd);
        quarters[i + 1] = _mm512_unpackhi_epi64(ab, cd);
        let (ab, cd) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
        quarters[i + 2] = _mm512_unpacklo_epi64(ab, cd);
        quarters[i + 3] = _mm512_unpackhi_epi64(ab, cd);
    }
    // Then the quarters, as a 4 x 4 square themselves.
    let mut columns = rows;
    for i in 0..4 {
        let (a, b) = (quarters[i], quarters[i + 4]);
        let (c, d) = (quarters[i + 8], quarters[i + 12]);
        let ab = _mm512_shuffle_i32x4::<0x88>(a, b);
        let cd = _mm512_shuffle_i32x4::<0x88>(c, d);
        columns[i] = _mm512_shuffle_i32x4::<0x88>(ab, cd);
        columns[i + 8] = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
        let ab = _mm512_shuffle_i32x4::<0xdd>(a, b);
        let cd = _mm512_shuffle_i32x4::<0xdd>(c, d);
        columns[i + 4] = _mm512_shuffle_i32x4::<0x88>(ab, cd);
        columns[i + 12] = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
    }
    columns
}

/// Up to 16 numbers; the lanes beyond are zero.
#[target_feature(enable = "avx512f")]
fn load(numbers: &[f32]) -> __m512 {
    let mask = lanes(numbers.len());
    // SAFETY: the lanes of the mask lie inside the slice; the others are not read.
    unsafe { _mm512_maskz_loadu_ps(mask, numbers.as_ptr()) }
}

/// Writes the lanes for which there is room, at most 16.
#[target_feature(enable = "avx512f")]
fn put(place: &mut [f32], numbers: __m512) {
    let mask = lanes(place.len());
    // SAFETY: the lanes of the mask lie inside the slice; the others are not written.
    unsafe { _mm512_mask_storeu_ps(place.as_mut_ptr(), mask, numbers) }
}

/// The lowest `count` lanes, or all.
fn lanes(count: usize) -> u16 {
    (u32::MAX >> (32 - count.clamp(1, PANEL) as u32)) as u16 * u16::from(count > 0)
}

#[target_feature(enable = "avx512f")]
fn fetch(line: &Line) -> __m512i {
    // SAFETY: a line is 64 bytes, aligned to 64.
    unsafe { _mm512_load_si512((&raw const line.0).cast()) }
}

#[target_feature(enable = "avx512f")]
fn store(line: &mut Line, pairs: __m512i) {
    // SAFETY: a line is 64 bytes, aligned to 64.
    unsafe { _mm512_store_si512((&raw mut line.0).cast(), pairs) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{numbers, on_threads};

    /// `m x n` with an inner dimension of `k`, in each orientation of the factors: result and bound of its error.
    fn check(bf16: Bf16, m: usize, n: usize, k: usize, transposed: [bool; 2]) {
        let (a, b) = (numbers(m * (k + 3), 1), numbers(k * (n + 2), 2));
        let (at, bt) = (numbers(k * (m + 1), 3), numbers(n * (k + 5), 4));
        let a = match transposed[0] {
            false => Matrix::new(&a, m, k, k + 3),
            true => Matrix::new(&at, k, m, m + 1).t(),
        };
        let b = match transposed[1] {
            false => Matrix::new(&b, k, n, n + 2),
            true => Matrix::new(&bt, n, k, k + 5).t(),
        };
        let at = |x: &Matrix<'_>, i, j| f64::from(x.data[i * x.row_stride + j * x.column_stride]);
        let mut out = vec![1.0; m * (n + 1)];
        for write in [Write::Over, Write::Add] {
            let out = MatrixMut::new(&mut out, m, n, n + 1);
            bf16.product(out, write, a, b, Workers::One);
        }
        for (i, row) in out.chunks(n + 1).enumerate() {
            for (j, ours) in row[..n].iter().enumerate() {
                let terms = (0..k).map(|p| at(&a, i, p) * at(&b, p, j));
                let (exact, size) =
                    terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
                let unit = 2.0 / 256.0 + 1.0 / 65536.0 + (k + 2) as f64 / 8_388_608.0;
                let error = (f64::from(*ours) - 2.0 * exact).abs();
                assert!(
                    error <= 2.0 * unit * size + 1e-12,
                    "{m} {n} {k} at {i} {j}: {error} of {size}"
                );
            }
            assert_eq!(row[n], 1.0, "the gap between rows is left alone");
        }
    }

    #[test]
    fn products_keep_their_bound_at_sizes_around_tiles_panels_groups_and_blocks() {
        let Some(bf16) = Bf16::detect() else { return };
        for (m, n, k) in [
            (1, 1, 1),
            (1, 17, 5),
            (8, 16, 2),
            (9, 49, 33),
            (17, 33, 31),
            (16, 65, 64),
            (97, 12, 513),
            (129, 100, 48),
            (65, 96, BLOCK + 2),
            (33, 130, 2 * BLOCK + 1),
        ] {
            for transposed in [[false, false], [false, true], [true, false], [true, true]] {
                check(bf16, m, n, k, transposed);
            }
        }
    }

    #[test]
    fn small_integers_are_exact() {
        let Some(bf16) = Bf16::detect() else { return };
        let (m, n, k) = (19, 53, 77);
        let integers = |len, seed| -> Vec<f32> {
            let numbers = numbers(len, seed);
            numbers.iter().map(|x| (x * 50.0).round()).collect()
        };
        let (a, b) = (integers(m * k, 1), integers(k * n, 2));
        let mut out = vec![0.0; m * n];
        let (a_view, b_view) = (Matrix::new(&a, m, k, k), Matrix::new(&b, k, n, n));
        bf16.product(
            MatrixMut::new(&mut out, m, n, n),
            Write::Over,
            a_view,
            b_view,
            Workers::One,
        );
        for (ij, ours) in out.iter().enumerate() {
            let exact: f32 = (0..k).map(|p| a[ij / n * k + p] * b[p * n + ij % n]).sum();
            assert_eq!(*ours, exact);
        }
    }

    #[test]
    fn an_empty_inner_dimension_gives_zeros_and_threads_change_no_bit() {
        let Some(bf16) = Bf16::detect() else { return };
        let mut out = [3.0; 6];
        let nothing = Matrix::new(&[], 2, 0, 0);
        let out_view = MatrixMut::new(&mut out, 2, 2, 3);
        bf16.product(out_view, Write::Over, nothing, nothing.t(), Workers::One);
        assert_eq!(out, [0.0, 0.0, 3.0, 0.0, 0.0, 3.0]);

        let (m, n, k) = (500, 130, 700);
        let (a, b) = (numbers(m * k, 5), numbers(k * n, 6));
        let run = || {
            let mut out = vec![0.0; m * n];
            let (a, b) = (Matrix::new(&a, k, m, m).t(), Matrix::new(&b, k, n, n));
            bf16.product(
                MatrixMut::new(&mut out, m, n, n),
                Write::Over,
                a,
                b,
                Workers::All,
            );
            out
        };
        assert_eq!(on_threads(1, run), on_threads(2, run));
        assert_eq!(on_threads(1, run), on_threads(3, run));
    }
}

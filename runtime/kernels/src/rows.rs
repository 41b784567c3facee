//! Activations in int8: each row with a range of its own.
//!
//! `x` is about `q * scale + low`, where `low` is the row's smallest value and 255 steps of `scale`
//! lead to its largest. See NUMERICS.md, "Rows of activations".

use crate::element::{Element, Lane};
use crate::simd::{Kernel, Simd};
use crate::weights::{GROUP, SMALLEST_RANGE};
use crate::{Isa, LANES};

/// Quantized rows: `q` is `values[row * row_bytes(width) + column]`.
#[derive(Copy, Clone, Debug)]
pub struct Rows<'a> {
    width: usize,
    values: &'a [u8],
    scale: &'a [f32],
    low: &'a [f32],
}

/// Space for quantized rows.
#[derive(Debug)]
pub struct RowsMut<'a> {
    width: usize,
    values: &'a mut [u8],
    scale: &'a mut [f32],
    low: &'a mut [f32],
}

/// How many bytes a row of `width` values takes: whole groups of four.
///
/// # Panics
/// When they are more than a `usize` can count.
pub const fn row_bytes(width: usize) -> usize {
    let bytes = width.checked_next_multiple_of(GROUP);
    bytes.expect("a row whose bytes can be counted")
}

/// How many bytes `rows` rows take, or `None` when they are more than a `usize` can count.
fn bytes(width: usize, rows: usize) -> Option<usize> {
    width.checked_next_multiple_of(GROUP)?.checked_mul(rows)
}

impl<'a> RowsMut<'a> {
    /// As many rows as `scale` is long, or `None` when `low` is not as long, `values` is not
    /// [`row_bytes`] for each of them, or `width` is 0 or more than any row can have.
    pub fn new(
        width: usize,
        values: &'a mut [u8],
        scale: &'a mut [f32],
        low: &'a mut [f32],
    ) -> Option<Self> {
        let fits = width > 0
            && low.len() == scale.len()
            && Some(values.len()) == bytes(width, scale.len());
        fits.then_some(RowsMut {
            width,
            values,
            scale,
            low,
        })
    }

    /// The same rows for a shorter time, so that they are still at hand afterwards.
    pub fn reborrow(&mut self) -> RowsMut<'_> {
        RowsMut {
            width: self.width,
            values: self.values,
            scale: self.scale,
            low: self.low,
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.scale.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows, to be read for a while.
    pub fn view(&self) -> Rows<'_> {
        Rows {
            width: self.width,
            values: self.values,
            scale: self.scale,
            low: self.low,
        }
    }

    /// The rows, to be read.
    pub fn into_rows(self) -> Rows<'a> {
        Rows {
            width: self.width,
            values: self.values,
            scale: self.scale,
            low: self.low,
        }
    }
}

impl<'a> Rows<'a> {
    /// As many rows as `scale` is long; refuses what [`RowsMut::new`] refuses.
    pub fn new(width: usize, values: &'a [u8], scale: &'a [f32], low: &'a [f32]) -> Option<Self> {
        let fits = width > 0
            && low.len() == scale.len()
            && Some(values.len()) == bytes(width, scale.len());
        fits.then_some(Rows {
            width,
            values,
            scale,
            low,
        })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.scale.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values a row has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The quantized values of all rows, each padded to [`row_bytes`].
    pub fn values(&self) -> &'a [u8] {
        self.values
    }

    /// What one step of each row is worth.
    pub fn scale(&self) -> &'a [f32] {
        self.scale
    }

    /// What the quantized value 0 stands for in each row.
    pub fn low(&self) -> &'a [f32] {
        self.low
    }

    /// The first `rows` rows alone.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn first(self, rows: usize) -> Self {
        Rows {
            width: self.width,
            values: &self.values[..rows * row_bytes(self.width)],
            scale: &self.scale[..rows],
            low: &self.low[..rows],
        }
    }
}

impl Isa {
    /// Quantizes the rows of `x`, which stand behind one another. The padding becomes 0.
    ///
    /// # Panics
    /// When `x` does not have the values of just these rows.
    pub fn quantize_rows<E: Element>(self, x: &[E], rows: RowsMut<'_>) {
        let values = rows.scale.len() * rows.width;
        assert_eq!(x.len(), values, "a value for each place");
        self.run(Quantize { x, rows });
    }
}

struct Quantize<'a, E> {
    x: &'a [E],
    rows: RowsMut<'a>,
}

impl<E: Lane> Kernel for Quantize<'_, E> {
    type Output = ();
    const PRODUCTS: bool = false;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.rows.width;
        let values = self.rows.values.chunks_exact_mut(row_bytes(width));
        let ranges = self.rows.scale.iter_mut().zip(self.rows.low);
        for ((x, q), (scale, low)) in self.x.chunks_exact(width).zip(values).zip(ranges) {
            // SAFETY: all of the row is written now.
            unsafe { s.claim(q.as_mut_ptr(), q.len()) };
            (*scale, *low) = quantize_row(s, x, q);
        }
    }
}

impl RowsMut<'_> {
    /// What a step of each row is worth, and its smallest value, to be written.
    pub(crate) fn numbers(&mut self) -> impl Iterator<Item = (&mut f32, &mut f32)> {
        self.scale.iter_mut().zip(&mut *self.low)
    }

    /// The values of row `row`, to be written.
    pub(crate) fn values_of(&mut self, row: usize) -> &mut [u8] {
        let bytes = row_bytes(self.width);
        &mut self.values[row * bytes..][..bytes]
    }
}

/// Quantizes one row that is not empty, and returns its scale and its smallest value.
#[inline(always)]
fn quantize_row<S: Simd, E: Lane>(s: S, x: &[E], q: &mut [u8]) -> (f32, f32) {
    let (whole, rest) = x.as_chunks::<LANES>();
    let mut tail = [E::default(); LANES];
    let (low, high) = if rest.is_empty() {
        range(s, whole, &whole[0])
    } else {
        // Filled up with a value that is in the row anyway.
        tail = [x[0]; LANES];
        tail[..rest.len()].copy_from_slice(rest);
        range(s, whole, &tail)
    };
    let (steps, numbers) = steps_between(low, high);
    let (steps, lows) = (s.splat(steps), s.splat(low));
    let (q_whole, q_rest) = q.split_at_mut(whole.len() * LANES);
    write_steps(s, whole, q_whole, lows, steps);
    if !rest.is_empty() {
        let mut bytes = [0; LANES];
        s.store_bytes(steps_of(s, &tail, lows, steps), &mut bytes);
        bytes[rest.len()..].fill(0);
        let len = q_rest.len();
        q_rest.copy_from_slice(&bytes[..len]);
    }
    numbers
}

/// Writes whole vectors as steps.
#[inline(always)]
pub(crate) fn write_steps<S: Simd, E: Lane>(
    s: S,
    x: &[[E; LANES]],
    q: &mut [u8],
    lows: S::F32,
    steps: S::F32,
) {
    let (fours, ones) = x.as_chunks::<4>();
    let (q_fours, q_ones) = q.as_chunks_mut::<{ 4 * LANES }>();
    for (x, q) in fours.iter().zip(q_fours) {
        let [a, b, c, d] = x;
        let first = [steps_of(s, a, lows, steps), steps_of(s, b, lows, steps)];
        let second = [steps_of(s, c, lows, steps), steps_of(s, d, lows, steps)];
        s.store_steps([first[0], first[1], second[0], second[1]], q);
    }
    for (x, q) in ones.iter().zip(q_ones.as_chunks_mut().0) {
        s.store_bytes(steps_of(s, x, lows, steps), q);
    }
}

/// Quantizes a short row of whole vectors, and returns its scale and its smallest value.
///
/// # Panics
/// When there is none.
#[inline(always)]
pub(crate) fn quantize_vectors<S: Simd>(
    s: S,
    x: &[[f32; LANES]],
    q: &mut [[u8; LANES]],
) -> (f32, f32) {
    let mut low = s.load(&x[0]);
    let mut high = low;
    for x in &x[1..] {
        let x = s.load(x);
        (low, high) = (s.min(low, x), s.max(high, x));
    }
    let low = s.smallest(low) + 0.0;
    let (steps, numbers) = steps_between(low, s.largest(high) + 0.0);
    let (steps, lows) = (s.splat(steps), s.splat(low));
    for (x, q) in x.iter().zip(q) {
        s.store_bytes(steps_of(s, x, lows, steps), q);
    }
    numbers
}

/// How many steps 1 is, and what a row keeps: what one step is worth, and its smallest value.
#[inline(always)]
pub(crate) fn steps_between(low: f32, high: f32) -> (f32, (f32, f32)) {
    let range = if high - low > SMALLEST_RANGE {
        high - low
    } else {
        SMALLEST_RANGE
    };
    (255.0 / range, (range / 255.0, low))
}

/// Sixteen values as steps.
#[inline(always)]
fn steps_of<S: Simd, E: Lane>(s: S, x: &[E; LANES], lows: S::F32, steps: S::F32) -> S::I32 {
    s.round(s.mul(s.sub(E::load(s, x), lows), steps))
}

/// The smallest and the largest value of these and some more, zeros without a sign. The order of the comparisons does
/// not show, so two chains of them run side by side.
#[inline(always)]
fn range<S: Simd, E: Lane>(s: S, whole: &[[E; LANES]], more: &[E; LANES]) -> (f32, f32) {
    let more = E::load(s, more);
    let (mut low, mut high) = ([more; 2], [more; 2]);
    let (pairs, single) = whole.as_chunks::<2>();
    for pair in pairs {
        for i in 0..2 {
            let x = E::load(s, &pair[i]);
            low[i] = s.min(low[i], x);
            high[i] = s.max(high[i], x);
        }
    }
    for x in single {
        let x = E::load(s, x);
        low[0] = s.min(low[0], x);
        high[0] = s.max(high[0], x);
    }
    let low = s.smallest(s.min(low[0], low[1]));
    let high = s.largest(s.max(high[0], high[1]));
    (low + 0.0, high + 0.0)
}

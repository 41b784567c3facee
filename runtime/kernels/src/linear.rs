//! Dense layers: quantized rows times packed weights, and what follows on the way out.

use core::mem::MaybeUninit;
use core::ops::Range;

use crate::columns::{ColumnsMut, Spare};
use crate::polynomials::gelu;
use crate::rows::{Rows, row_bytes};
use crate::simd::{At, Columns, Kernel, Panels, Simd, Strip, lanes};
use crate::tile::{self, Tiles, each, unroll};
use crate::weights::GROUP;
use crate::{Isa, LANES, Linear};

/// What is applied to each output of a dense layer.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Activation {
    /// Nothing.
    None,
    /// The exact GELU, `x * Phi(x)`, within 8e-5.
    Gelu,
}

impl Isa {
    /// Computes the given panels of a dense layer for all rows:
    /// `out[row][column]` for the outputs `16 * panels.start ..`, as many as `out` has columns.
    ///
    /// # Panics
    /// When the layer's arrays are not whole, when `x` is not as wide as its inputs or has not as
    /// many rows as `out`, when there are no such panels, or when `out` has not just their columns.
    pub fn linear(
        self,
        x: Rows<'_>,
        linear: &Linear<'_>,
        panels: Range<usize>,
        activation: Activation,
        out: ColumnsMut<'_>,
    ) {
        assert_eq!(x.len(), out.rows(), "a row of outputs for each row");
        let mut parts = [Part::checked(x, linear, panels, out)];
        let (linear, parts) = (*linear, &mut parts[..]);
        match activation {
            Activation::None => self.run(Product::<false> { x, linear, parts }),
            Activation::Gelu => self.run(Product::<true> { x, linear, parts }),
        }
    }

    /// Computes several ranges of panels, each for as many of the first rows of `x` as its output has. What is
    /// made of the rows is made once where there is room for all of them.
    ///
    /// # Panics
    /// When the layer's arrays are not whole, when `x` is not as wide as its inputs or has fewer rows than an
    /// output, when there are no such panels, or when an output has not just their columns.
    pub fn linear_parts<const N: usize>(
        self,
        x: Rows<'_>,
        linear: &Linear<'_>,
        parts: [(Range<usize>, ColumnsMut<'_>); N],
    ) {
        let mut parts = parts.map(|(panels, out)| Part::checked(x, linear, panels, out));
        let (linear, parts) = (*linear, &mut parts[..]);
        self.run(Product::<false> { x, linear, parts });
    }
}

/// Some panels, and where their outputs go.
struct Part<'a> {
    panels: Range<usize>,
    out: ColumnsMut<'a>,
}

impl<'a> Part<'a> {
    /// These panels for as many rows as `out` has.
    fn checked(
        x: Rows<'_>,
        linear: &Linear<'_>,
        panels: Range<usize>,
        out: ColumnsMut<'a>,
    ) -> Self {
        assert!(linear.is_whole(), "arrays as the dimensions ask");
        assert_eq!(x.width(), linear.inputs, "rows as wide as the layer");
        assert!(out.rows() <= x.len(), "outputs of rows that there are");
        assert!(panels.start <= panels.end && panels.end <= linear.panels());
        let end = linear.outputs.min(panels.end * LANES);
        let columns = end.saturating_sub(panels.start * LANES);
        assert_eq!(columns, out.columns(), "the columns of these panels");
        Part { panels, out }
    }
}

/// A checked call of [`Isa::linear`] or [`Isa::linear_parts`].
struct Product<'a, 'p, const GELU: bool> {
    x: Rows<'a>,
    linear: Linear<'a>,
    parts: &'p mut [Part<'a>],
}

impl<const GELU: bool> Kernel for Product<'_, '_, GELU> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Product { x, linear, parts } = self;
        let groups = row_bytes(linear.inputs) / GROUP;
        let together = tile::together(s, groups);
        let mut kept = s.keep();
        let mut rows_kept = 0;
        for part in parts {
            let (rows, panels) = (part.out.rows(), part.panels.clone());
            if panels.is_empty() {
                continue; // Nothing is made of its rows.
            }
            let keeps_all = rows.div_ceil(S::ROWS) <= s.slots(groups);
            let mut running = Running::<S, GELU> {
                x,
                linear,
                groups,
                part,
                kept: &mut kept,
                keeps_all,
                have_rows: rows_kept == rows,
                slot: 0,
                first: 0,
            };
            tile::all(s, rows, panels, together, &mut running);
            rows_kept = if keeps_all { rows } else { 0 };
        }
    }
}

/// A part of a call on its way.
struct Running<'a, 'p, S: Simd, const GELU: bool> {
    x: Rows<'a>,
    linear: Linear<'a>,
    /// How many groups of four a row has.
    groups: usize,
    part: &'p mut Part<'a>,
    kept: &'p mut S::Kept,
    /// Whether there is a slot for each tile of rows.
    keeps_all: bool,
    /// Whether all of them are kept already.
    have_rows: bool,
    /// The slot of the last rows that were looked at.
    slot: usize,
    /// The first of the panels that are kept.
    first: usize,
}

impl<'a, S: Simd, const GELU: bool> Running<'a, '_, S, GELU> {
    /// The panels from `panel` on.
    ///
    /// # Safety
    /// There is such a panel.
    #[inline(always)]
    unsafe fn weights(&self, panel: usize) -> Panels {
        let stride = LANES * GROUP * self.groups;
        // SAFETY: the weights and the numbers of the columns are as long as the dimensions ask, which `is_whole` has
        // seen to.
        unsafe {
            Panels {
                start: self.linear.weights.as_ptr().add(panel * stride),
                stride,
                groups: self.groups,
                columns: Some(Columns {
                    scale: self.linear.scale.as_ptr().cast::<[f32; LANES]>().add(panel),
                    sum: self.linear.sum.as_ptr().cast::<[f32; LANES]>().add(panel),
                }),
            }
        }
    }

    /// What one step of `M` rows from `row` on is worth, and what their value 0 stands for.
    ///
    /// # Panics
    /// When there are no such rows.
    #[inline(always)]
    fn numbers<const M: usize>(&self, row: usize) -> [&'a [f32; M]; 2] {
        [self.x.scale(), self.x.low()].map(|x| x[row..].first_chunk().expect("rows that there are"))
    }

    /// The quantized values from `row` on.
    ///
    /// # Safety
    /// There is such a row.
    #[inline(always)]
    unsafe fn values(&self, row: usize) -> *const u8 {
        // SAFETY: rows are as long as the dimensions ask, which `Rows::new` has seen to.
        unsafe { self.x.values().as_ptr().add(row * GROUP * self.groups) }
    }
}

impl<S: Simd, const GELU: bool> Tiles<S> for Running<'_, '_, S, GELU> {
    #[inline(always)]
    fn begin(&mut self, s: S, panel: usize, count: usize) {
        debug_assert!(panel + count <= self.linear.panels());
        // All rows have been taken through the panels before these.
        self.have_rows |= self.keeps_all && panel > self.part.panels.start;
        self.first = panel;
        let rows = self.part.out.rows();
        // SAFETY: the panels exist, since `tile::all` does not leave its range, and each is as long as
        // the dimensions ask, which `is_whole` has seen to.
        unsafe { s.ready(self.weights(panel), count, rows, self.kept, 0) }
    }

    #[inline(always)]
    fn rows<const M: usize>(&mut self, s: S, row: usize, index: usize) {
        debug_assert!(row + M <= self.x.len());
        self.slot = if self.keeps_all { index } else { 0 };
        if !self.have_rows {
            let (groups, slot) = (self.groups, self.slot);
            // SAFETY: the rows exist, since `tile::all` does not leave them.
            unsafe { s.rows::<M>(self.values(row), GROUP * groups, groups, self.kept, slot) }
        }
    }

    #[inline(always)]
    fn tile<const M: usize, const N: usize>(&mut self, s: S, row: usize, panel: usize) {
        let (groups, linear) = (self.groups, self.linear);
        let mut sums = MaybeUninit::uninit();
        debug_assert!(row + M <= self.x.len() && panel + N <= linear.panels());
        // SAFETY: the rows and panels exist (`tile::all` leaves neither range), and each is as long
        // as the dimensions ask, which `Rows::new` and `is_whole` have seen to. `rows` and `begin` have
        // looked at them, and the panels are kept one behind the other.
        let sums: &[[S::I32; N]; M] = unsafe {
            let at = At {
                slot: self.slot,
                place: (panel - self.first) * s.places(groups),
            };
            let (a, weights) = (self.values(row), self.weights(panel));
            s.tile::<M, N>(a, GROUP * groups, weights, self.kept, at, &mut sums);
            sums.assume_init_ref()
        };
        let [x_scale, x_low] = self.numbers::<M>(row);
        each!(S, n < N {
            let scale = s.load(lanes(linear.scale, panel + n));
            let sum = s.load(lanes(linear.sum, panel + n));
            let bias = s.load(lanes(linear.bias, panel + n));
            let (mut spare, panel) = (Spare::new(), panel + n - self.part.panels.start);
            let mut out = self.part.out.panel::<M>(row, panel, &mut spare);
            each!(S, m < M {
                let (x_scale, x_low) = (x_scale[m], x_low[m]);
                let sums = s.sums(sums, m, n);
                out.put(s, m, output::<S, GELU>(s, sums, [scale, sum, bias], [x_scale, x_low]));
            });
            // SAFETY: each of the `M` rows was put.
            unsafe { out.finish() };
        });
    }

    /// What can be looked up once for all panels is, and what a panel needs lies one behind the other.
    #[inline(always)]
    fn strip<const M: usize>(&mut self, s: S, row: usize, panels: Range<usize>) {
        let (linear, first) = (self.linear, self.part.panels.start);
        // The last panel may have fewer columns.
        let whole = panels
            .start
            .max(panels.end.min(first + self.part.out.columns() / LANES));
        let [x_scale, x_low] = self.numbers::<M>(row);
        let [scale, sum, bias] = [linear.scale, linear.sum, linear.bias]
            .map(|numbers| &numbers.as_chunks::<LANES>().0[panels.start..whole]);
        let (groups, slot) = (self.groups, self.slot);
        let mut place = (panels.start - self.first) * s.places(groups);
        debug_assert!(row + M <= self.x.len() && panels.end <= linear.panels());
        // SAFETY: the rows exist, and the first of the panels, as for `tile`.
        let (a, mut weights) = unsafe { (self.values(row), self.weights(panels.start)) };
        let outputs = self
            .part
            .out
            .panels::<M>(row, panels.start - first..whole - first);
        let (out, stride) = outputs.start();
        let strip = Strip {
            panels: scale.len(),
            weights: weights.start,
            scale: scale.as_ptr().cast(),
            sum: sum.as_ptr().cast(),
            bias: bias.as_ptr().cast(),
            out,
            stride,
        };
        let at = At { slot, place };
        let done = if scale.is_empty() {
            false
        } else if S::OUTPUTS {
            // SAFETY: as for `tile`; the numbers of so many panels have just been cut off, and `panels` has seen that
            // there are so many columns of the rows.
            unsafe { s.outputs::<M>([x_scale, x_low], strip, groups, self.kept, at) }
        } else {
            for (((scale, sum), bias), mut out) in scale.iter().zip(sum).zip(bias).zip(outputs) {
                let mut sums = MaybeUninit::uninit();
                // SAFETY: as for `tile`.
                let sums: &[[S::I32; 1]; M] = unsafe {
                    let at = At { slot, place };
                    s.tile::<M, 1>(a, GROUP * groups, weights, self.kept, at, &mut sums);
                    sums.assume_init_ref()
                };
                (weights, place) = (weights.behind(), place + s.places(groups));
                let numbers = [scale, sum, bias].map(|numbers| s.load(numbers));
                unroll!(m < M {
                    let sums = s.sums(sums, m, 0);
                    out.put(s, m, output::<S, false>(s, sums, numbers, [x_scale[m], x_low[m]]));
                });
            }
            true
        };
        let left = if done { whole } else { panels.start };
        if GELU {
            let columns = (panels.start - first) * LANES..(left - first) * LANES;
            for m in 0..M {
                let outputs = &mut self.part.out.row(row + m)[columns.clone()];
                for y in outputs.as_chunks_mut().0 {
                    s.store(gelu(s, s.load(y)), y);
                }
            }
        }
        for panel in left..panels.end {
            self.tile::<M, 1>(s, row, panel);
        }
    }
}

/// Sixteen outputs of a row, of the sums and the numbers of their columns and those of the row.
#[inline(always)]
fn output<S: Simd, const GELU: bool>(
    s: S,
    sums: S::I32,
    [scale, sum, bias]: [S::F32; 3],
    [x_scale, x_low]: [f32; 2],
) -> S::F32 {
    let product = s.mul(s.mul(s.float(sums), scale), s.splat(x_scale));
    let y = s.add(product, s.add(s.mul(s.splat(x_low), sum), bias));
    if GELU { gelu(s, y) } else { y }
}

//! Dense layers: quantized rows times packed weights, and what follows on the way out.

use core::mem::MaybeUninit;
use core::ops::Range;

use half::f16;

use crate::columns::{ColumnsMut, Spare};
use crate::element::{Element, Lane, Out, halve};
use crate::polynomials::gelu;
use crate::ranges::{Inside, RowRange, widen};
use crate::rows::{Rows, RowsMut, row_bytes};
use crate::simd::{At, Columns, Groups, Kernel, MAX_ROWS, Panels, Simd, Strip, lanes, lanes_mut};
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
    pub fn linear<E: Element>(
        self,
        x: Rows<'_>,
        linear: &Linear<'_>,
        panels: Range<usize>,
        activation: Activation,
        out: ColumnsMut<'_, E>,
    ) {
        assert_eq!(x.len(), out.rows(), "a row of outputs for each row");
        self.product(Product {
            x: Source::Rows(x),
            linear: *linear,
            parts: &mut [Part::checked(x, linear, panels, out)],
            gelu: activation == Activation::Gelu,
            ranges: &mut [],
        });
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
        self.product(Product {
            x: Source::Rows(x),
            linear: *linear,
            parts: &mut parts.map(|(panels, out)| Part::checked(x, linear, panels, out)),
            gelu: false,
            ranges: &mut [],
        });
    }

    /// Computes all panels of a dense layer for all rows, with GELU, and the range of each row, for
    /// [`linear_in_ranges`](Isa::linear_in_ranges).
    ///
    /// # Panics
    /// As [`linear`](Self::linear), when there is not a range for each row, or when the outputs are no multiple of 16.
    pub fn linear_and_ranges(
        self,
        x: Rows<'_>,
        linear: &Linear<'_>,
        out: ColumnsMut<'_, f16>,
        ranges: &mut [RowRange],
    ) {
        assert_eq!(x.len(), out.rows(), "a row of outputs for each row");
        assert_eq!(x.len(), ranges.len(), "a range for each row");
        assert!(linear.outputs.is_multiple_of(LANES), "whole panels");
        ranges.fill([[f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]]);
        self.product(Product {
            x: Source::Rows(x),
            linear: *linear,
            parts: &mut [Part::checked(x, linear, 0..linear.panels(), out)],
            gelu: true,
            ranges,
        });
    }

    /// Computes all panels of a dense layer for rows that are not quantized yet, but whose ranges are known. There is
    /// room for the quantized rows in `rows`; what is written there beside the numbers of each row, and what the ranges
    /// are afterwards, means nothing.
    ///
    /// # Panics
    /// As [`linear`](Self::linear), when there is not a range for each row, when `x` does not have the values of just
    /// these rows, or when the inputs are no multiple of 16.
    pub fn linear_in_ranges(
        self,
        x: &[f16],
        ranges: &mut [RowRange],
        rows: RowsMut<'_>,
        linear: &Linear<'_>,
        out: ColumnsMut<'_, f16>,
    ) {
        assert_eq!(rows.len(), out.rows(), "a row of outputs for each row");
        let inside = Inside::checked(x, ranges, rows, linear);
        self.product(Product {
            linear: *linear,
            parts: &mut [Part::checked(
                inside.rows.view(),
                linear,
                0..linear.panels(),
                out,
            )],
            x: Source::Inside(inside),
            gelu: false,
            ranges: &mut [],
        });
    }
}

impl Isa {
    /// Not generic, so that the products are there once and not in each crate that calls a method that is.
    fn product(self, product: Product<'_, '_>) {
        self.run(product);
    }
}

/// Some panels, and where their outputs go.
struct Part<'a> {
    panels: Range<usize>,
    out: Out<'a>,
}

impl<'a> Part<'a> {
    /// These panels for as many rows as `out` has.
    fn checked<E: Lane>(
        x: Rows<'_>,
        linear: &Linear<'_>,
        panels: Range<usize>,
        out: ColumnsMut<'a, E>,
    ) -> Self {
        assert!(linear.is_whole(), "arrays as the dimensions ask");
        assert_eq!(x.width(), linear.inputs, "rows as wide as the layer");
        assert!(out.rows() <= x.len(), "outputs of rows that there are");
        assert!(panels.start <= panels.end && panels.end <= linear.panels());
        let end = linear.outputs.min(panels.end * LANES);
        let columns = end.saturating_sub(panels.start * LANES);
        assert_eq!(columns, out.columns(), "the columns of these panels");
        let out = E::out(out);
        Part { panels, out }
    }
}

/// The rows that a product is of.
enum Source<'a> {
    /// Quantized ones.
    Rows(Rows<'a>),
    /// Those of which but the ranges are known.
    Inside(Inside<'a>),
}

/// A checked call of one of the methods.
///
/// What they differ in is asked for at run time, where a tile is done: the products are most of the code, and so they
/// are there once for all of them.
struct Product<'a, 'p> {
    x: Source<'a>,
    linear: Linear<'a>,
    parts: &'p mut [Part<'a>],
    gelu: bool,
    /// One for each row, if they are asked for: then the outputs are halves, and GELU's.
    ranges: &'p mut [RowRange],
}

impl Kernel for Product<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let groups = row_bytes(self.linear.inputs) / GROUP;
        let mut kept = s.keep();
        let mut rows_kept = 0;
        let x = match self.x {
            Source::Rows(x) => x,
            Source::Inside(mut inside) => {
                // Of few rows a tier may read more than what it keeps.
                let keep = inside.len() > S::FEW_ROWS
                    && s.keeps_rows(groups)
                    && keeps_all(s, inside.len(), groups);
                inside.quantize(s, if keep { Some(&mut kept) } else { None });
                rows_kept = if keep { inside.len() } else { 0 };
                inside.rows.into_rows()
            }
        };
        let mut floats = [0.0; MAX_ROWS * FLOATS];
        for part in self.parts {
            let (rows, panels) = (part.out.rows(), part.panels.clone());
            if panels.is_empty() {
                continue; // Nothing is made of its rows.
            }
            let together = tile::together(s, groups, rows);
            let keeps_all = keeps_all(s, rows, groups);
            let mut running = Running::<S> {
                x,
                linear: self.linear,
                groups,
                part,
                gelu: self.gelu,
                ranges: self.ranges,
                floats: &mut floats,
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

/// Whether there is a slot for each tile of so many rows.
#[inline(always)]
fn keeps_all<S: Simd>(s: S, rows: usize, groups: usize) -> bool {
    rows.div_ceil(S::ROWS) <= s.slots(groups)
}

/// How many panels of a strip are computed before what follows is done with each of their outputs, where they do not go
/// to the matrix at once.
const PANELS_AT_ONCE: usize = 16;

/// How many floats these are of one row.
const FLOATS: usize = PANELS_AT_ONCE * LANES;

/// A part of a call on its way.
struct Running<'a, 'p, S: Simd> {
    x: Rows<'a>,
    linear: Linear<'a>,
    /// How many groups of four a row has.
    groups: usize,
    part: &'p mut Part<'a>,
    gelu: bool,
    ranges: &'p mut [RowRange],
    /// Room for a strip's outputs that do not go to the matrix at once.
    floats: &'p mut [f32; MAX_ROWS * FLOATS],
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

impl<'a, S: Simd> Running<'a, '_, S> {
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

impl<S: Simd> Tiles<S> for Running<'_, '_, S> {
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
            unsafe {
                let all = Groups::all(groups, self.keeps_all && self.x.len() > S::FEW_ROWS);
                s.rows::<M>(self.values(row), GROUP * groups, all, self.kept, slot)
            }
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
        let tile = Tile {
            s,
            linear: &self.linear,
            sums,
            numbers: self.numbers::<M>(row),
            row,
            panel,
            first: self.part.panels.start,
        };
        match (&mut self.part.out, self.gelu) {
            (Out::Floats(out), false) => tile.put::<f32, false, false>(out, &mut []),
            (Out::Floats(out), true) => tile.put::<f32, true, false>(out, &mut []),
            (Out::Halves(out), false) => tile.put::<f16, false, false>(out, &mut []),
            (Out::Halves(out), true) if self.ranges.is_empty() => {
                tile.put::<f16, true, false>(out, &mut []);
            }
            (Out::Halves(out), true) => tile.put::<f16, true, true>(out, self.ranges),
        }
    }

    /// What can be looked up once for all panels is, and what a panel needs lies one behind the other.
    #[inline(always)]
    fn strip<const M: usize>(&mut self, s: S, row: usize, panels: Range<usize>) {
        let first = self.part.panels.start;
        // The last panel may have fewer columns.
        let whole = panels
            .start
            .max(panels.end.min(first + self.part.out.columns() / LANES));
        let mut from = panels.start;
        if let Out::Floats(floats) = &mut self.part.out {
            let places = panels.start - first..whole - first;
            let (out, stride) = floats.panels::<M>(row, places.clone()).start();
            if self.x.len() > S::FEW_ROWS {
                let bytes = size_of::<[f32; LANES]>() * places.len();
                for m in 0..M {
                    // SAFETY: `panels` has seen that there are so many columns of the rows. They are floats, and all of
                    // them are written below.
                    unsafe { s.claim(out.add(m * stride).cast(), bytes) };
                }
            }
            // SAFETY: the panels exist, since `tile::all` does not leave its range, and `panels` has seen that there
            // are so many columns of the rows.
            if unsafe { self.outputs::<M>(s, row, from..whole, out, stride) } {
                from = whole;
                let columns = places.start * LANES..places.end * LANES;
                if self.gelu {
                    self.gelu_in_place(s, row..row + M, columns);
                }
            }
        } else {
            while from < whole {
                let next = whole.min(from + PANELS_AT_ONCE);
                let floats = self.floats.as_mut_ptr();
                const { assert!(M <= MAX_ROWS) };
                // SAFETY: as above; there is room for so many panels of all rows.
                if !unsafe { self.outputs::<M>(s, row, from..next, floats, FLOATS) } {
                    break;
                }
                let columns = (from - first) * LANES..(next - first) * LANES;
                self.finish(s, row..row + M, columns);
                from = next;
            }
        }
        for panel in from..panels.end {
            let start = (panel - first) * LANES;
            let columns = start..self.part.out.columns().min(start + LANES);
            self.one_panel::<M>(s, row, panel);
            self.finish(s, row..row + M, columns);
        }
    }
}

impl<S: Simd> Running<'_, '_, S> {
    /// Does what is left to do with outputs that do not go to the matrix at once, and brings them there: some columns
    /// of some rows.
    #[inline(always)]
    fn finish(&mut self, s: S, rows: Range<usize>, columns: Range<usize>) {
        // For all tiles alike, so that it is there once.
        s.apart(|| {
            for (row, floats) in rows.zip(self.floats.chunks_exact_mut(FLOATS)) {
                let floats = &mut floats[..columns.len().next_multiple_of(LANES)];
                if self.gelu {
                    gelu_all(s, floats);
                }
                if let Some(range) = self.ranges.get_mut(row) {
                    widen(s, floats, range);
                }
                match &mut self.part.out {
                    Out::Floats(out) => {
                        let out = &mut out.row(row)[columns.clone()];
                        out.copy_from_slice(&floats[..columns.len()]);
                    }
                    Out::Halves(out) => {
                        let out = &mut out.row(row)[columns.clone()];
                        let (whole, last) = out.as_chunks_mut::<LANES>();
                        let (floats, left) = floats.split_at(whole.len() * LANES);
                        halve(s, floats, whole.as_flattened_mut());
                        if !last.is_empty() {
                            let mut halves = [f16::ZERO; LANES];
                            halve(s, left, &mut halves);
                            last.copy_from_slice(&halves[..last.len()]);
                        }
                    }
                }
            }
        });
    }

    /// Applies GELU to outputs that went to the matrix at once.
    #[inline(always)]
    fn gelu_in_place(&mut self, s: S, rows: Range<usize>, columns: Range<usize>) {
        if let Out::Floats(out) = &mut self.part.out {
            s.apart(|| {
                for row in rows {
                    gelu_all(s, &mut out.row(row)[columns.clone()]);
                }
            });
        }
    }

    /// Writes the outputs of `M` rows and a panel to the beginning of the room for floats.
    #[inline(always)]
    fn one_panel<const M: usize>(&mut self, s: S, row: usize, panel: usize) {
        let (linear, groups) = (self.linear, self.groups);
        debug_assert!(row + M <= self.x.len() && panel < linear.panels());
        let mut sums = MaybeUninit::uninit();
        // SAFETY: the rows exist and the panel, as for `tile`, and `rows` and `begin` have looked at them.
        let sums: &[[S::I32; 1]; M] = unsafe {
            let at = At {
                slot: self.slot,
                place: (panel - self.first) * s.places(groups),
            };
            let (a, weights) = (self.values(row), self.weights(panel));
            s.tile::<M, 1>(a, GROUP * groups, weights, self.kept, at, &mut sums);
            sums.assume_init_ref()
        };
        let [x_scale, x_low] = self.numbers::<M>(row);
        let numbers = [linear.scale, linear.sum, linear.bias].map(|x| s.load(lanes(x, panel)));
        for m in 0..M {
            let y = output::<S, false>(s, s.sums(sums, m, 0), numbers, [x_scale[m], x_low[m]]);
            s.store(y, lanes_mut(&mut self.floats[m * FLOATS..], 0));
        }
    }

    /// Writes the outputs of `M` rows and some panels, as they are before an activation, to rows `stride` floats apart.
    /// Returns whether it has.
    ///
    /// # Safety
    /// The rows and panels exist, `rows` and `begin` have looked at them, and so many columns of so many rows can be
    /// written.
    #[inline(always)]
    unsafe fn outputs<const M: usize>(
        &mut self,
        s: S,
        row: usize,
        panels: Range<usize>,
        out: *mut f32,
        stride: usize,
    ) -> bool {
        let linear = self.linear;
        let numbers = self.numbers::<M>(row);
        let [scale, sum, bias] = [linear.scale, linear.sum, linear.bias]
            .map(|numbers| &numbers.as_chunks::<LANES>().0[panels.clone()]);
        let (groups, slot) = (self.groups, self.slot);
        let mut place = (panels.start - self.first) * s.places(groups);
        debug_assert!(row + M <= self.x.len() && panels.end <= linear.panels());
        if panels.is_empty() {
            return false;
        }
        // SAFETY: the caller says that there are such rows, and panels.
        let (a, mut weights) = unsafe { (self.values(row), self.weights(panels.start)) };
        if S::OUTPUTS {
            let strip = Strip {
                panels: panels.len(),
                weights: weights.start,
                scale: scale.as_ptr().cast(),
                sum: sum.as_ptr().cast(),
                bias: bias.as_ptr().cast(),
                out,
                stride,
            };
            let at = At { slot, place };
            // SAFETY: the caller grants the same; the numbers of so many panels have just been cut off.
            return unsafe { s.outputs::<M>(numbers, strip, groups, self.kept, at) };
        }
        let [x_scale, x_low] = numbers;
        for (index, ((scale, sum), bias)) in scale.iter().zip(sum).zip(bias).enumerate() {
            let mut sums = MaybeUninit::uninit();
            // SAFETY: the caller grants the same.
            let sums: &[[S::I32; 1]; M] = unsafe {
                let at = At { slot, place };
                s.tile::<M, 1>(a, GROUP * groups, weights, self.kept, at, &mut sums);
                sums.assume_init_ref()
            };
            (weights, place) = (weights.behind(), place + s.places(groups));
            let numbers = [scale, sum, bias].map(|numbers| s.load(numbers));
            unroll!(m < M {
                let sums = s.sums(sums, m, 0);
                let y = output::<S, false>(s, sums, numbers, [x_scale[m], x_low[m]]);
                // SAFETY: the caller grants the write of these columns of each row.
                s.store(y, unsafe { &mut *out.add(m * stride + index * LANES).cast() });
            });
        }
        true
    }
}

/// Applies GELU to whole vectors.
#[inline(always)]
fn gelu_all<S: Simd>(s: S, floats: &mut [f32]) {
    for y in floats.as_chunks_mut().0 {
        s.store(gelu(s, s.load(y)), y);
    }
}

/// The sums of `M` rows from `row` on and `N` panels from `panel` on, and what is needed to turn them into outputs.
struct Tile<'t, 'a, S: Simd, const M: usize, const N: usize> {
    s: S,
    linear: &'t Linear<'a>,
    sums: &'t [[S::I32; N]; M],
    /// What one step of each row is worth, and what its value 0 stands for.
    numbers: [&'t [f32; M]; 2],
    row: usize,
    panel: usize,
    /// The panel of the first columns of the output.
    first: usize,
}

impl<S: Simd, const M: usize, const N: usize> Tile<'_, '_, S, M, N> {
    /// Writes the outputs, and takes them into the ranges of their rows.
    #[inline(always)]
    fn put<E: Lane, const GELU: bool, const RANGES: bool>(
        self,
        out: &mut ColumnsMut<'_, E>,
        ranges: &mut [RowRange],
    ) {
        let Tile { s, linear, row, .. } = self;
        let [x_scale, x_low] = self.numbers;
        let mut low = [s.splat(f32::INFINITY); M];
        let mut high = [s.splat(f32::NEG_INFINITY); M];
        each!(S, n < N {
            let panel = self.panel + n;
            let scale = s.load(lanes(linear.scale, panel));
            let sum = s.load(lanes(linear.sum, panel));
            let bias = s.load(lanes(linear.bias, panel));
            let mut spare = Spare::new();
            let mut out = out.panel::<M>(row, panel - self.first, &mut spare);
            each!(S, m < M {
                let (x_scale, x_low) = (x_scale[m], x_low[m]);
                let sums = s.sums(self.sums, m, n);
                let y = output::<S, GELU>(s, sums, [scale, sum, bias], [x_scale, x_low]);
                if RANGES {
                    (low[m], high[m]) = (s.min(low[m], y), s.max(high[m], y));
                }
                out.put(s, m, y);
            });
            // SAFETY: each of the `M` rows was put.
            unsafe { out.finish() };
        });
        if RANGES {
            for m in 0..M {
                let [lows, highs] = &mut ranges[row + m];
                s.store(s.min(s.load(lows), low[m]), lows);
                s.store(s.max(s.load(highs), high[m]), highs);
            }
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

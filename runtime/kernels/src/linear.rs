//! Dense layers: quantized rows times packed weights, and what follows on the way out.

use core::ops::Range;

use crate::columns::ColumnsMut;
use crate::polynomials::gelu;
use crate::rows::{Rows, row_bytes};
use crate::simd::{Kernel, Panels, Simd, lanes};
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
        assert!(linear.is_whole(), "arrays as the dimensions ask");
        assert_eq!(x.width(), linear.inputs, "rows as wide as the layer");
        assert_eq!(x.len(), out.rows(), "a row of outputs for each row");
        assert!(panels.start <= panels.end && panels.end <= linear.panels());
        let end = linear.outputs.min(panels.end * LANES);
        let columns = end.saturating_sub(panels.start * LANES);
        assert_eq!(columns, out.columns(), "the columns of these panels");
        let linear = *linear;
        match activation {
            Activation::None => self.run(Product::<false> {
                x,
                linear,
                panels,
                out,
            }),
            Activation::Gelu => self.run(Product::<true> {
                x,
                linear,
                panels,
                out,
            }),
        }
    }
}

/// A checked call of [`Isa::linear`].
struct Product<'a, const GELU: bool> {
    x: Rows<'a>,
    linear: Linear<'a>,
    panels: Range<usize>,
    out: ColumnsMut<'a>,
}

impl<const GELU: bool> Kernel for Product<'_, GELU> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (rows, panels) = (self.x.len(), self.panels.clone());
        let together = tile::together(s, self.groups());
        let mut running = Running::<S, GELU> {
            call: self,
            kept: s.keep(),
            first: 0,
        };
        tile::all(s, rows, panels, together, &mut running);
    }
}

/// A call on its way.
struct Running<'a, S: Simd, const GELU: bool> {
    call: Product<'a, GELU>,
    kept: S::Kept,
    /// The first of the panels that are kept.
    first: usize,
}

impl<const GELU: bool> Product<'_, GELU> {
    /// How many groups of four a row has.
    #[inline(always)]
    fn groups(&self) -> usize {
        row_bytes(self.linear.inputs) / GROUP
    }

    /// The panels from `panel` on.
    ///
    /// # Safety
    /// There is such a panel.
    #[inline(always)]
    unsafe fn weights(&self, panel: usize) -> Panels {
        let groups = self.groups();
        let stride = LANES * GROUP * groups;
        Panels {
            // SAFETY: the weights are as long as the dimensions ask, which `is_whole` has seen to.
            start: unsafe { self.linear.weights.as_ptr().add(panel * stride) },
            stride,
            groups,
        }
    }

    /// The quantized values from `row` on.
    ///
    /// # Safety
    /// There is such a row.
    #[inline(always)]
    unsafe fn values(&self, row: usize) -> *const u8 {
        // SAFETY: rows are as long as the dimensions ask, which `Rows::new` has seen to.
        unsafe { self.x.values().as_ptr().add(row * GROUP * self.groups()) }
    }
}

impl<S: Simd, const GELU: bool> Tiles<S> for Running<'_, S, GELU> {
    #[inline(always)]
    fn begin(&mut self, s: S, panel: usize, count: usize) {
        debug_assert!(panel + count <= self.call.linear.panels());
        self.first = panel;
        let rows = self.call.x.len();
        // SAFETY: the panels exist, since `tile::all` does not leave its range, and each is as long as
        // the dimensions ask, which `is_whole` has seen to.
        unsafe { s.ready(self.call.weights(panel), count, rows, &mut self.kept, 0) }
    }

    #[inline(always)]
    fn rows<const M: usize>(&mut self, s: S, row: usize) {
        debug_assert!(row + M <= self.call.x.len());
        let groups = self.call.groups();
        // SAFETY: the rows exist, since `tile::all` does not leave them.
        unsafe {
            s.rows::<M>(
                self.call.values(row),
                GROUP * groups,
                groups,
                &mut self.kept,
            )
        }
    }

    #[inline(always)]
    fn tile<const M: usize, const N: usize>(&mut self, s: S, row: usize, panel: usize) {
        let call = &mut self.call;
        let groups = call.groups();
        let mut sums = [[s.round(s.splat(0.0)); N]; M];
        debug_assert!(row + M <= call.x.len() && panel + N <= call.linear.panels());
        // SAFETY: the rows and panels exist (`tile::all` leaves neither range), and each is as long
        // as the dimensions ask, which `Rows::new` and `is_whole` have seen to. `rows` and `begin` have
        // looked at them, and the panels are kept one behind the other.
        unsafe {
            let place = (panel - self.first) * s.places(groups);
            let (a, weights) = (call.values(row), call.weights(panel));
            s.tile::<M, N>(a, GROUP * groups, weights, &mut self.kept, place, &mut sums);
        }
        let [x_scale, x_low] = [call.x.scale(), call.x.low()].map(|x| {
            let rows: &[f32; M] = x[row..].first_chunk().expect("rows that there are");
            rows
        });
        each!(S, n < N {
            let scale = s.load(lanes(call.linear.scale, panel + n));
            let sum = s.load(lanes(call.linear.sum, panel + n));
            let bias = s.load(lanes(call.linear.bias, panel + n));
            let mut out = call.out.panel::<M>(row, panel + n - call.panels.start);
            each!(S, m < M {
                let product = s.mul(s.mul(s.float(sums[m][n]), scale), s.splat(x_scale[m]));
                let mut y = s.add(product, s.add(s.mul(s.splat(x_low[m]), sum), bias));
                if GELU {
                    y = gelu(s, y);
                }
                out.put(s, m, y);
            });
        });
    }
}

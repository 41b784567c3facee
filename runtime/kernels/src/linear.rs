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
        let kept = s.keep();
        tile::all(
            s,
            rows,
            panels,
            &mut Running::<S, GELU> { call: self, kept },
        );
    }
}

/// A call on its way.
struct Running<'a, S: Simd, const GELU: bool> {
    call: Product<'a, GELU>,
    kept: S::Kept,
}

impl<const GELU: bool> Product<'_, GELU> {
    /// The panels from `panel` on.
    ///
    /// # Safety
    /// There is such a panel.
    #[inline(always)]
    unsafe fn weights(&self, panel: usize) -> Panels {
        let groups = row_bytes(self.linear.inputs) / GROUP;
        let stride = LANES * GROUP * groups;
        Panels {
            // SAFETY: the weights are as long as the dimensions ask, which `is_whole` has seen to.
            start: unsafe { self.linear.weights.as_ptr().add(panel * stride) },
            stride,
            groups,
        }
    }
}

impl<S: Simd, const GELU: bool> Tiles<S> for Running<'_, S, GELU> {
    #[inline(always)]
    fn begin<const N: usize>(&mut self, s: S, panel: usize) {
        debug_assert!(panel + N <= self.call.linear.panels());
        // SAFETY: the panels exist, since `tile::all` does not leave its range, and each is as long as
        // the dimensions ask, which `is_whole` has seen to.
        unsafe { s.ready::<N>(self.call.weights(panel), &mut self.kept) }
    }

    #[inline(always)]
    fn tile<const M: usize, const N: usize>(&mut self, s: S, row: usize, panel: usize) {
        let call = &mut self.call;
        let row_len = row_bytes(call.linear.inputs);
        let mut sums = [[s.round(s.splat(0.0)); N]; M];
        debug_assert!(row + M <= call.x.len() && panel + N <= call.linear.panels());
        // SAFETY: the rows and panels exist (`tile::all` leaves neither range), and each is as long
        // as the dimensions ask, which `Rows::new` and `is_whole` have seen to. `begin` made `kept`
        // ready for these panels.
        unsafe {
            let a = call.x.values().as_ptr().add(row * row_len);
            let weights = call.weights(panel);
            s.tile::<M, N>(a, row_len, weights, &mut self.kept, &mut sums);
        }
        each!(S, n < N {
            let scale = s.load(lanes(call.linear.scale, panel + n));
            let sum = s.load(lanes(call.linear.sum, panel + n));
            let bias = s.load(lanes(call.linear.bias, panel + n));
            each!(S, m < M {
                let x_scale = s.splat(call.x.scale()[row + m]);
                let x_low = s.splat(call.x.low()[row + m]);
                let product = s.mul(s.mul(s.float(sums[m][n]), scale), x_scale);
                let mut y = s.add(product, s.add(s.mul(x_low, sum), bias));
                if GELU {
                    y = gelu(s, y);
                }
                let columns = call.out.row(row + m);
                put(s, y, columns, panel + n - call.panels.start);
            });
        });
    }
}

/// Writes one panel of a row; the last panel may have fewer than sixteen columns.
#[inline(always)]
pub(crate) fn put<S: Simd>(s: S, y: S::F32, row: &mut [f32], panel: usize) {
    let columns = &mut row[panel * LANES..];
    if let Some(columns) = columns.first_chunk_mut() {
        s.store(y, columns);
    } else {
        let mut all = [0.0; LANES];
        s.store(y, &mut all);
        let len = columns.len();
        columns.copy_from_slice(&all[..len]);
    }
}

//! Dense layers: quantized rows times packed weights, and what follows on the way out.

use core::ops::Range;

use crate::columns::ColumnsMut;
use crate::polynomials::gelu;
use crate::rows::{Rows, row_bytes};
use crate::simd::{Kernel, Simd, lanes};
use crate::tile::{self, Tiles, unroll};
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
    fn run<S: Simd>(mut self, s: S) {
        let (rows, panels) = (self.x.len(), self.panels.clone());
        tile::all(s, rows, panels, &mut self);
    }
}

impl<S: Simd, const GELU: bool> Tiles<S> for Product<'_, GELU> {
    #[inline(always)]
    fn tile<const M: usize, const N: usize>(&mut self, s: S, row: usize, panel: usize) {
        let row_len = row_bytes(self.linear.inputs);
        let panel_len = LANES * row_len;
        debug_assert!(row + M <= self.x.len() && panel + N <= self.linear.panels());
        // SAFETY: the rows and panels exist (`tile::all` leaves neither range), and each is as long
        // as the dimensions ask, which `Rows::new` and `is_whole` have seen to.
        let sums = unsafe {
            let a = self.x.values().as_ptr().add(row * row_len);
            let w = self.linear.weights.as_ptr().add(panel * panel_len);
            s.tile::<M, N>(a, row_len, w, panel_len, row_len / GROUP)
        };
        unroll!(n < N {
            let scale = s.load(lanes(self.linear.scale, panel + n));
            let sum = s.load(lanes(self.linear.sum, panel + n));
            let bias = s.load(lanes(self.linear.bias, panel + n));
            unroll!(m < M {
                let x_scale = s.splat(self.x.scale()[row + m]);
                let x_low = s.splat(self.x.low()[row + m]);
                let product = s.mul(s.mul(s.float(sums[m][n]), scale), x_scale);
                let mut y = s.add(product, s.add(s.mul(x_low, sum), bias));
                if GELU {
                    y = gelu(s, y);
                }
                let columns = self.out.row(row + m);
                put(s, y, columns, panel + n - self.panels.start);
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

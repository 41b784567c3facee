//! The two kinds of layers: int8, and floats for the few that int8 hurts. Their blocks are the same; what a
//! linear reads, what its rows are kept in and which kernels run is told here.

use core::ops::Range;

use berth_kernels::{
    Activation, Attention, AttentionScratch, ColumnsMut, Element, Isa, Linear, LinearF32, Norm,
    RowRange, Rows, f16,
};
use bytemuck::Pod;

use crate::scratch::Quantized;

/// What the rows of a layer are kept in: floats, which stay where they were, or halves, which have a place of their own;
/// and what an int8 layer does with the one and not with the other.
pub(crate) trait Value: Element + Pod {
    /// The rows that a layer begins with.
    fn begin(isa: Isa, hidden: &[f32], own: &mut [Self]);

    /// The rows, in one of two places.
    fn rows<'r>(hidden: &'r [f32], own: &'r [Self]) -> &'r [Self];

    /// Adds to the rows, and normalizes them. There is room for the sums of some.
    fn norm(
        isa: Isa,
        rows: (&mut [f32], &mut [Self]),
        out: &[Self],
        norm: &Norm<'_>,
        sums: &mut [f32],
    );

    /// The same for what the layer ends with: floats in any case.
    fn end(isa: Isa, rows: (&mut [f32], &[Self]), out: &[Self], norm: &Norm<'_>);

    /// As [`Weights::inside`], of an int8 layer.
    fn inside(
        isa: Isa,
        up: &Linear<'_>,
        x: Rows<'_>,
        out: ColumnsMut<'_, Self>,
        ranges: &mut [RowRange],
    );

    /// As [`Weights::behind`], of an int8 layer.
    fn behind(
        isa: Isa,
        down: &Linear<'_>,
        x: &[Self],
        ranges: &mut [RowRange],
        places: &mut Quantized<'_>,
        out: ColumnsMut<'_, Self>,
    );
}

impl Value for f32 {
    fn begin(_: Isa, _: &[f32], _: &mut [f32]) {}

    fn rows<'r>(hidden: &'r [f32], _: &'r [f32]) -> &'r [f32] {
        hidden
    }

    fn norm(
        isa: Isa,
        (hidden, _): (&mut [f32], &mut [f32]),
        out: &[f32],
        norm: &Norm<'_>,
        _: &mut [f32],
    ) {
        isa.add_norm(hidden, out, norm);
    }

    fn end(isa: Isa, (hidden, _): (&mut [f32], &[f32]), out: &[f32], norm: &Norm<'_>) {
        isa.add_norm(hidden, out, norm);
    }

    fn inside(isa: Isa, up: &Linear<'_>, x: Rows<'_>, out: ColumnsMut<'_>, _: &mut [RowRange]) {
        isa.linear(x, up, 0..up.panels(), Activation::Gelu, out);
    }

    fn behind(
        isa: Isa,
        down: &Linear<'_>,
        x: &[f32],
        _: &mut [RowRange],
        places: &mut Quantized<'_>,
        out: ColumnsMut<'_>,
    ) {
        let x = places.rows(isa, x, down.inputs);
        isa.linear(x, down, 0..down.panels(), Activation::None, out);
    }
}

impl Value for f16 {
    fn begin(isa: Isa, hidden: &[f32], own: &mut [f16]) {
        isa.halve(hidden, own);
    }

    fn rows<'r>(_: &'r [f32], own: &'r [f16]) -> &'r [f16] {
        own
    }

    fn norm(
        isa: Isa,
        (_, own): (&mut [f32], &mut [f16]),
        out: &[f16],
        norm: &Norm<'_>,
        sums: &mut [f32],
    ) {
        isa.add_norm_halves(own, out, norm, sums);
    }

    fn end(isa: Isa, (hidden, own): (&mut [f32], &[f16]), out: &[f16], norm: &Norm<'_>) {
        isa.add_norm_of_halves(own, out, norm, hidden);
    }

    fn inside(
        isa: Isa,
        up: &Linear<'_>,
        x: Rows<'_>,
        out: ColumnsMut<'_, f16>,
        ranges: &mut [RowRange],
    ) {
        isa.linear_and_ranges(x, up, out, ranges);
    }

    fn behind(
        isa: Isa,
        down: &Linear<'_>,
        x: &[f16],
        ranges: &mut [RowRange],
        places: &mut Quantized<'_>,
        out: ColumnsMut<'_, f16>,
    ) {
        let places = places.places(ranges.len(), down.inputs);
        isa.linear_in_ranges(x, ranges, places, down, out);
    }
}

/// A linear of one of the two kinds, in a layer whose rows are kept as `V` from one linear to the next, and to the
/// norm.
pub(crate) trait Weights<V>: Copy + Sync {
    /// Rows as it reads them.
    type Rows<'r>: Copy + Sync;

    /// How many values it writes for each row, a multiple of 16.
    fn outputs(&self) -> usize;

    /// Rows as it reads them; for what has to be made of them there is room in `places`.
    fn rows<'r>(self, isa: Isa, x: &'r [V], places: &'r mut Quantized<'_>) -> Self::Rows<'r>;

    /// All outputs, for all rows.
    fn all(self, isa: Isa, x: Self::Rows<'_>, out: ColumnsMut<'_, V>);

    /// All outputs, for all rows, with the activation that is inside of the feed-forward block. There is room to tell
    /// something of each row.
    fn inside(self, isa: Isa, x: Self::Rows<'_>, out: ColumnsMut<'_, V>, ranges: &mut [RowRange]);

    /// All outputs, for the rows that [`inside`](Self::inside) wrote and told something of.
    fn behind(
        self,
        isa: Isa,
        x: &[V],
        ranges: &mut [RowRange],
        places: &mut Quantized<'_>,
        out: ColumnsMut<'_, V>,
    );

    /// Query, key and value: some panels of each, for as many of the first rows as each output has.
    fn parts(self, isa: Isa, x: Self::Rows<'_>, parts: [(Range<usize>, ColumnsMut<'_>); 3]);

    /// The attention of a layer of this kind, all heads of the input.
    fn attention(
        isa: Isa,
        input: &Attention<'_>,
        scratch: &mut AttentionScratch<'_>,
        out: ColumnsMut<'_, V>,
    );
}

impl<V: Value> Weights<V> for Linear<'_> {
    type Rows<'r> = Rows<'r>;

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn rows<'r>(self, isa: Isa, x: &'r [V], places: &'r mut Quantized<'_>) -> Rows<'r> {
        places.rows(isa, x, self.inputs)
    }

    fn all(self, isa: Isa, x: Rows<'_>, out: ColumnsMut<'_, V>) {
        isa.linear(x, &self, 0..self.panels(), Activation::None, out);
    }

    fn inside(self, isa: Isa, x: Rows<'_>, out: ColumnsMut<'_, V>, ranges: &mut [RowRange]) {
        V::inside(isa, &self, x, out, ranges);
    }

    fn behind(
        self,
        isa: Isa,
        x: &[V],
        ranges: &mut [RowRange],
        places: &mut Quantized<'_>,
        out: ColumnsMut<'_, V>,
    ) {
        V::behind(isa, &self, x, ranges, places, out);
    }

    fn parts(self, isa: Isa, x: Rows<'_>, parts: [(Range<usize>, ColumnsMut<'_>); 3]) {
        isa.linear_parts(x, &self, parts);
    }

    fn attention(
        isa: Isa,
        input: &Attention<'_>,
        scratch: &mut AttentionScratch<'_>,
        out: ColumnsMut<'_, V>,
    ) {
        isa.attention(input, 0..input.heads, scratch, out);
    }
}

impl Weights<f32> for LinearF32<'_> {
    type Rows<'r> = &'r [f32];

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn rows<'r>(self, _: Isa, x: &'r [f32], _: &'r mut Quantized<'_>) -> &'r [f32] {
        x
    }

    fn all(self, isa: Isa, x: &[f32], out: ColumnsMut<'_>) {
        isa.linear_f32(x, &self, 0..self.panels(), Activation::None, out);
    }

    fn inside(self, isa: Isa, x: &[f32], out: ColumnsMut<'_>, _: &mut [RowRange]) {
        isa.linear_f32(x, &self, 0..self.panels(), Activation::Gelu, out);
    }

    fn behind(
        self,
        isa: Isa,
        x: &[f32],
        _: &mut [RowRange],
        _: &mut Quantized<'_>,
        out: ColumnsMut<'_>,
    ) {
        isa.linear_f32(x, &self, 0..self.panels(), Activation::None, out);
    }

    fn parts(self, isa: Isa, x: &[f32], parts: [(Range<usize>, ColumnsMut<'_>); 3]) {
        for (panels, out) in parts {
            let x = &x[..out.rows() * self.inputs];
            isa.linear_f32(x, &self, panels, Activation::None, out);
        }
    }

    fn attention(
        isa: Isa,
        input: &Attention<'_>,
        scratch: &mut AttentionScratch<'_>,
        out: ColumnsMut<'_>,
    ) {
        isa.attention_f32(input, 0..input.heads, scratch, out);
    }
}

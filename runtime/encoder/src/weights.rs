//! The two kinds of layers: int8, and floats for the few that int8 hurts. Their blocks are the same; what a
//! linear reads and which kernels run is told here.

use core::ops::Range;

use berth_kernels::{
    Activation, Attention, AttentionScratch, ColumnsMut, Isa, Linear, LinearF32, Rows,
};

use crate::scratch::Quantized;

/// A linear of one of the two kinds.
pub(crate) trait Weights: Copy + Sync {
    /// Rows as it reads them.
    type Rows<'r>: Copy + Sync;

    /// How many values it writes for each row, a multiple of 16.
    fn outputs(&self) -> usize;

    /// Rows of floats as it reads them; for what has to be made of them there is room in `places`.
    fn rows<'r>(self, isa: Isa, x: &'r [f32], places: &'r mut Quantized<'_>) -> Self::Rows<'r>;
    /// Some panels of sixteen outputs, for all rows.
    fn panels(
        self,
        isa: Isa,
        x: Self::Rows<'_>,
        panels: Range<usize>,
        activation: Activation,
        out: ColumnsMut<'_>,
    );

    /// Query, key and value: some panels of each, for as many of the first rows as each output has.
    fn parts(self, isa: Isa, x: Self::Rows<'_>, parts: [(Range<usize>, ColumnsMut<'_>); 3]);

    /// The attention of a layer of this kind, all heads of the input.
    fn attention(
        isa: Isa,
        input: &Attention<'_>,
        scratch: &mut AttentionScratch<'_>,
        out: ColumnsMut<'_>,
    );
}

impl Weights for Linear<'_> {
    type Rows<'r> = Rows<'r>;

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn rows<'r>(self, isa: Isa, x: &'r [f32], places: &'r mut Quantized<'_>) -> Rows<'r> {
        places.rows(isa, x, self.inputs)
    }

    fn panels(
        self,
        isa: Isa,
        x: Rows<'_>,
        panels: Range<usize>,
        activation: Activation,
        out: ColumnsMut<'_>,
    ) {
        isa.linear(x, &self, panels, activation, out);
    }

    fn parts(self, isa: Isa, x: Rows<'_>, parts: [(Range<usize>, ColumnsMut<'_>); 3]) {
        isa.linear_parts(x, &self, parts);
    }

    fn attention(
        isa: Isa,
        input: &Attention<'_>,
        scratch: &mut AttentionScratch<'_>,
        out: ColumnsMut<'_>,
    ) {
        isa.attention(input, 0..input.heads, scratch, out);
    }
}

impl Weights for LinearF32<'_> {
    type Rows<'r> = &'r [f32];

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn rows<'r>(self, _: Isa, x: &'r [f32], _: &'r mut Quantized<'_>) -> &'r [f32] {
        x
    }

    fn panels(
        self,
        isa: Isa,
        x: &[f32],
        panels: Range<usize>,
        activation: Activation,
        out: ColumnsMut<'_>,
    ) {
        isa.linear_f32(x, &self, panels, activation, out);
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

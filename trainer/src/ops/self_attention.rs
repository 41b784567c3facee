//! The attention half of a layer:
//!
//! ```text
//! q, k, v = x Wqᵀ + bq, x Wkᵀ + bk, x Wvᵀ + bv      one product
//! c = attention(q, k, v)                            each sequence and head by itself
//! y = norm(x + dropout(c Woᵀ + bo))
//! ```
//!
//! Where nothing above reads more than the first row of each sequence (the last layer under a `[CLS]` head), only
//! that row asks: keys and values of all rows, the rest for one row a sequence. `y` then has a row for each sequence.
//! It is exact, and saves five sixths of that layer.

use std::borrow::Cow;

use super::dense::Stack;
use super::{Dense, LayerNorm, Pass, Site};
use crate::kernels::attention::{Attention, Heads, Rows};
use crate::kernels::dropout::Dropout;
use crate::kernels::gemm::Write;
use crate::kernels::workspace::Buffer;
use crate::kernels::{linear, norm};

/// The parameters of `attention`.
pub struct SelfAttention {
    /// Which layer this is, from 0.
    pub layer: usize,
    /// `self.query`
    pub query: Dense,
    /// `self.key`
    pub key: Dense,
    /// `self.value`
    pub value: Dense,
    /// `output.dense`
    pub output: Dense,
    /// `output.LayerNorm`
    pub norm: LayerNorm,
    /// How the columns are divided.
    pub heads: Heads,
    /// Probability of dropout on the attention probabilities.
    pub probability_dropout: f64,
    /// Probability of dropout on the output.
    pub output_dropout: f64,
}

/// Which rows of the result are asked for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Asking {
    /// All.
    EveryRow,
    /// The first of each sequence.
    FirstRows,
}

/// What the backward pass needs, beside the input.
pub(super) struct Activations {
    projected: Rows<Buffer>,
    context: Buffer,
    /// What the norm reads.
    sum: Buffer,
}

impl SelfAttention {
    /// From rows of `hidden` to as many, or to one for each sequence.
    pub(super) fn forward(&self, x: &[f32], asking: Asking, pass: &Pass) -> (Buffer, Activations) {
        let residual = asking.rows(x, pass);
        let projected = self.project(x, &residual, asking, pass);
        let mut context = pass.workspace.take(residual.len());
        self.kernel(pass).forward(&projected.borrow(), &mut context);

        let dims = self.output.dims(residual.len() / self.heads.width());
        let mut sum = pass.workspace.take(residual.len());
        let weight = self.output.weight.values();
        linear::forward(pass.precision, dims, &context, &weight, None, &mut sum);
        let mut y = pass.workspace.take(residual.len());
        let (bias, mask) = (self.output.bias.values(), self.output_mask(asking, pass));
        self.norm.with(|norm| {
            norm::add_forward(pass.isa, norm, &bias, mask, &residual, &mut sum, &mut y)
        });
        let kept = Activations {
            projected,
            context,
            sum,
        };
        (y, kept)
    }

    /// The result once more, to the last bit, from what was kept.
    pub(super) fn again(&self, kept: &Activations, pass: &Pass) -> Buffer {
        self.norm.of(&kept.sum, pass)
    }

    /// The gradient of `x`, from that of the result; the parameters' are added to them.
    pub(super) fn backward(&self, x: &[f32], dy: Buffer, kept: Activations, pass: &Pass) -> Buffer {
        // The residual's gradient, to which the others are added.
        let mut dresidual = pass.workspace.take(dy.len());
        let mut doutput = pass.workspace.take(dy.len());
        let asking = match &kept.projected {
            Rows::Every(_) => Asking::EveryRow,
            Rows::First { .. } => Asking::FirstRows,
        };
        let mask = self.output_mask(asking, pass);
        let sums = self.norm.with(|norm| {
            norm::add_backward(
                pass.isa,
                norm,
                mask,
                &kept.sum,
                &dy,
                &mut dresidual,
                &mut doutput,
            )
        });
        self.norm.weight.add_values(sums.part(0));
        self.norm.bias.add_values(sums.part(1));
        self.output.bias.add_values(sums.part(2));
        let dims = self.output.dims(dy.len() / self.heads.width());
        self.output.weight.add_gradient(|dw, write| {
            linear::backward_weight(pass.precision, dims, &doutput, &kept.context, write, dw)
        });
        // The buffer of the sum is done with, and has the right size.
        let mut dcontext = kept.sum;
        let weight = self.output.weight.values();
        linear::backward_input(
            pass.precision,
            dims,
            &doutput,
            &weight,
            Write::Over,
            &mut dcontext,
        );
        drop((dy, doutput, kept.context));
        self.backward_projection(x, kept.projected, dcontext, dresidual, pass)
    }

    fn project(&self, x: &[f32], asking_rows: &[f32], asking: Asking, pass: &Pass) -> Rows<Buffer> {
        let Self {
            query, key, value, ..
        } = self;
        let all = pass.packing.rows();
        match asking {
            Asking::EveryRow => {
                Rows::Every(Stack::new(pass, &[query, key, value], all).forward(pass, x))
            }
            Asking::FirstRows => Rows::First {
                queries: Stack::new(pass, &[query], pass.packing.sequences())
                    .forward(pass, asking_rows),
                keys_values: Stack::new(pass, &[key, value], all).forward(pass, x),
            },
        }
    }

    fn backward_projection(
        &self,
        x: &[f32],
        projected: Rows<Buffer>,
        dcontext: Buffer,
        mut dresidual: Buffer,
        pass: &Pass,
    ) -> Buffer {
        let Self {
            query, key, value, ..
        } = self;
        let (kernel, all) = (self.kernel(pass), pass.packing.rows());
        match &projected {
            Rows::Every(qkv) => {
                let mut dqkv = pass.workspace.take(qkv.len());
                kernel.backward(&projected.borrow(), &dcontext, Rows::Every(&mut dqkv));
                drop((projected, dcontext));
                let layers = [query, key, value];
                let stack = Stack::new(pass, &layers, all);
                stack.backward(pass, x, &dqkv, Write::Add, &mut dresidual);
                dresidual
            }
            Rows::First {
                queries,
                keys_values,
            } => {
                let mut dq = pass.workspace.take(queries.len());
                let mut dkv = pass.workspace.take(keys_values.len());
                let gradient = Rows::First {
                    queries: &mut dq[..],
                    keys_values: &mut dkv[..],
                };
                kernel.backward(&projected.borrow(), &dcontext, gradient);
                drop((projected, dcontext));
                let firsts = Asking::FirstRows.rows(x, pass);
                Stack::new(pass, &[query], pass.packing.sequences()).backward(
                    pass,
                    &firsts,
                    &dq,
                    Write::Add,
                    &mut dresidual,
                );
                let mut dx = pass.workspace.take(x.len());
                Stack::new(pass, &[key, value], all).backward(pass, x, &dkv, Write::Over, &mut dx);
                let width = self.heads.width();
                let residuals = dresidual.chunks_exact(width);
                for (row, more) in pass.packing.firsts().iter().zip(residuals) {
                    dx[row * width..(row + 1) * width]
                        .iter_mut()
                        .zip(more)
                        .for_each(|(dx, more)| *dx += more);
                }
                dx
            }
        }
    }

    fn kernel<'a>(&self, pass: &'a Pass) -> Attention<'a> {
        Attention {
            isa: pass.isa,
            precision: pass.precision,
            workspace: &pass.workspace,
            heads: self.heads,
            starts: pass.packing.starts(),
            first: pass.before.sequences,
            dropout: pass.dropout(self.probability_dropout, Site::Attention(self.layer)),
        }
    }

    fn output_mask(&self, asking: Asking, pass: &Pass) -> Dropout {
        let site = Site::AttentionOutput(self.layer);
        let mask = |pass: &Pass| pass.row_dropout(self.output_dropout, site, self.heads.width());
        match asking {
            Asking::EveryRow => mask(pass),
            Asking::FirstRows => mask(&pass.of_first_rows()),
        }
    }
}

impl Asking {
    /// The rows of `x` that ask, which are the residual too.
    fn rows<'x>(self, x: &'x [f32], pass: &Pass) -> Cow<'x, [f32]> {
        match self {
            Asking::EveryRow => x.into(),
            Asking::FirstRows => {
                let (firsts, width) = (pass.packing.firsts(), x.len() / pass.packing.rows());
                let rows = firsts
                    .iter()
                    .flat_map(|row| &x[row * width..(row + 1) * width]);
                rows.copied().collect::<Vec<_>>().into()
            }
        }
    }
}

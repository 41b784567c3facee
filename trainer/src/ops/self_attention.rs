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

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::dense::Stack;
use super::{Dense, LayerNorm, Pass, Saved, Site, read, slice, tensor_like};
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

impl SelfAttention {
    /// From `[rows, hidden]` to as many rows, or to one for each sequence.
    ///
    /// # Errors
    /// Those of candle.
    pub fn forward(self: &Arc<Self>, x: &Tensor, asking: Asking, pass: &Pass) -> Result<Tensor> {
        x.apply_op1(Op {
            weights: self.clone(),
            asking,
            pass: pass.clone(),
            on_probabilities: pass.dropout(self.probability_dropout, Site::Attention(self.layer)),
            on_output: pass.dropout(self.output_dropout, Site::AttentionOutput(self.layer)),
            saved: Saved::empty(),
        })
    }
}

struct Op {
    weights: Arc<SelfAttention>,
    asking: Asking,
    pass: Pass,
    on_probabilities: Dropout,
    on_output: Dropout,
    saved: Saved<Activations>,
}

struct Activations {
    projected: Rows<Buffer>,
    context: Buffer,
    /// What the norm reads.
    sum: Buffer,
}

impl CustomOp1 for Op {
    fn name(&self) -> &'static str {
        "self-attention"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Self { weights, pass, .. } = self;
        let x = slice(storage, layout)?;
        let residual = self.asking_rows(x);
        let projected = self.project(x, &residual);
        let mut context = pass.workspace.take(residual.len());
        self.kernel().forward(&projected.borrow(), &mut context);

        let rows = residual.len() / weights.heads.width();
        let mut sum = pass.workspace.take(residual.len());
        let mut y = vec![0.0; residual.len()];
        linear::forward(
            weights.output.dims(rows),
            &context,
            &weights.output.weight.values(),
            None,
            &mut sum,
        );
        let bias = weights.output.bias.values();
        weights.norm.with(|norm| {
            norm::add_forward(
                pass.isa,
                norm,
                &bias,
                self.on_output,
                &residual,
                &mut sum,
                &mut y,
            )
        });
        self.saved.put(Activations {
            projected,
            context,
            sum,
        });
        Ok((CpuStorage::F32(y), (rows, weights.heads.width()).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let saved = self.saved.take()?;
        let dx = read(x, |x| read(dy, |dy| Ok(self.backward(x, dy, saved))))?;
        Ok(Some(tensor_like(dx, x)?))
    }
}

impl Op {
    fn kernel(&self) -> Attention<'_> {
        Attention {
            isa: self.pass.isa,
            workspace: &self.pass.workspace,
            heads: self.weights.heads,
            starts: self.pass.packing.starts(),
            dropout: self.on_probabilities,
        }
    }

    /// The rows of `x` that ask, which are the residual too.
    fn asking_rows<'x>(&self, x: &'x [f32]) -> std::borrow::Cow<'x, [f32]> {
        let width = self.weights.heads.width();
        match self.asking {
            Asking::EveryRow => x.into(),
            Asking::FirstRows => {
                let firsts = self.pass.packing.firsts().iter();
                firsts
                    .flat_map(|row| &x[row * width..(row + 1) * width])
                    .copied()
                    .collect::<Vec<_>>()
                    .into()
            }
        }
    }

    fn project(&self, x: &[f32], asking: &[f32]) -> Rows<Buffer> {
        let SelfAttention {
            query, key, value, ..
        } = &*self.weights;
        let all = self.pass.packing.rows();
        match self.asking {
            Asking::EveryRow => Rows::Every(
                Stack::new(&self.pass, &[query, key, value], all).forward(&self.pass, x),
            ),
            Asking::FirstRows => Rows::First {
                queries: Stack::new(&self.pass, &[query], self.pass.packing.sequences())
                    .forward(&self.pass, asking),
                keys_values: Stack::new(&self.pass, &[key, value], all).forward(&self.pass, x),
            },
        }
    }

    /// The gradient of `x`; the parameters' are added to them.
    fn backward(&self, x: &[f32], dy: &[f32], saved: Activations) -> Vec<f32> {
        let Self { weights, pass, .. } = self;
        let rows = dy.len() / weights.heads.width();
        // The residual's gradient, to which the others are added.
        let mut dresidual = vec![0.0; dy.len()];
        let mut doutput = pass.workspace.take(dy.len());
        let sums = weights.norm.with(|norm| {
            norm::add_backward(
                pass.isa,
                norm,
                self.on_output,
                &saved.sum,
                dy,
                &mut dresidual,
                &mut doutput,
            )
        });
        weights.norm.weight.add_values(sums.part(0));
        weights.norm.bias.add_values(sums.part(1));
        weights.output.bias.add_values(sums.part(2));
        let dims = weights.output.dims(rows);
        weights.output.weight.add_gradient(|dw, write| {
            linear::backward_weight(dims, &doutput, &saved.context, write, dw)
        });
        // The buffer of the sum is done with, and has the right size.
        let mut dcontext = saved.sum;
        linear::backward_input(
            dims,
            &doutput,
            &weights.output.weight.values(),
            Write::Over,
            &mut dcontext,
        );
        drop(doutput);
        self.backward_projection(x, saved.projected, &dcontext, dresidual)
    }

    fn backward_projection(
        &self,
        x: &[f32],
        projected: Rows<Buffer>,
        dcontext: &[f32],
        mut dresidual: Vec<f32>,
    ) -> Vec<f32> {
        let Self { weights, pass, .. } = self;
        let SelfAttention {
            query, key, value, ..
        } = &**weights;
        let width = weights.heads.width();
        let all = pass.packing.rows();
        match &projected {
            Rows::Every(qkv) => {
                let mut dqkv = pass.workspace.take(qkv.len());
                self.kernel()
                    .backward(&projected.borrow(), dcontext, Rows::Every(&mut dqkv));
                Stack::new(pass, &[query, key, value], all).backward(
                    pass,
                    x,
                    &dqkv,
                    Write::Add,
                    &mut dresidual,
                );
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
                self.kernel()
                    .backward(&projected.borrow(), dcontext, gradient);
                let firsts = self.asking_rows(x);
                Stack::new(pass, &[query], pass.packing.sequences()).backward(
                    pass,
                    &firsts,
                    &dq,
                    Write::Add,
                    &mut dresidual,
                );
                let mut dx = vec![0.0; x.len()];
                Stack::new(pass, &[key, value], all).backward(pass, x, &dkv, Write::Over, &mut dx);
                for (row, more) in pass
                    .packing
                    .firsts()
                    .iter()
                    .zip(dresidual.chunks_exact(width))
                {
                    dx[row * width..(row + 1) * width]
                        .iter_mut()
                        .zip(more)
                        .for_each(|(dx, more)| *dx += more);
                }
                dx
            }
        }
    }
}

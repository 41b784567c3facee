//! The attention half of a layer on the device: the road of [`crate::ops::self_attention`].

use super::encoder::Sum;
use super::kernels::{self, ColumnSums, Dropout};
use super::machine::{Address, Buffer, Operand};
use super::pass::{Dense, Output, Pass, Rows};
use crate::device::DeviceError;
use crate::kernels::attention::Rows as Asked;
use crate::ops::self_attention::{Asking, SelfAttention};
use crate::ops::{self, Site};

/// What the backward pass needs.
pub struct Kept {
    /// The rows of the layer, as products read them; with them those that ask, where those lie apart.
    x: Buffer,
    firsts: Option<Buffer>,
    /// Products without their biases.
    projected: Asked<Buffer>,
    context: Buffer,
    logsums: Buffer,
    /// What the norm reads.
    z: Buffer,
}

impl Kept {
    /// Rows of the result.
    fn asking(&self) -> Asking {
        match self.projected {
            Asked::Every(_) => Asking::EveryRow,
            Asked::First { .. } => Asking::FirstRows,
        }
    }
}

impl Pass<'_> {
    /// Rows that ask.
    fn asked(&self, asking: Asking) -> usize {
        match asking {
            Asking::EveryRow => self.rows(),
            Asking::FirstRows => self.sequences(),
        }
    }

    /// From rows of every token to as many, or to one for each sequence.
    pub fn attend(
        &self,
        layer: &SelfAttention,
        x: Rows,
        asking: Asking,
    ) -> Result<(Rows, Kept), DeviceError> {
        let (asked, width) = (self.asked(asking), layer.heads.width());
        let firsts = match asking {
            Asking::EveryRow => None,
            Asking::FirstRows => Some(self.gather_firsts(x.operand(), width)?),
        };
        let projected = self.project(layer, x.operand(), firsts.as_ref())?;
        let context = self.operands(asked * width)?;
        let logsums = self.full(asked * layer.heads.count)?;
        let argument = self.attention(layer, &projected, &context, &logsums);
        // SAFETY: `attention` gives buffers and their strides, all made for this batch.
        unsafe { self.stream.attention_forward(self.operand, argument) }?;

        let z = self.full(asked * width)?;
        let into = Output {
            at: z.at(),
            written: Operand::Full,
            add: false,
        };
        self.forward(
            self.operand,
            Dense::of(&layer.output),
            asked,
            context.at(),
            into,
        )?;
        let from = match asking {
            Asking::EveryRow => 0,
            Asking::FirstRows => self.sent.at(self.starts),
        };
        let y = self.norm_of_sum(&sum(layer), asked, &x.full, from, &z)?;
        let kept = Kept {
            x: x.into_operand(),
            firsts,
            projected,
            context,
            logsums,
            z,
        };
        Ok((y, kept))
    }

    /// The gradient of the layer's rows, from that of the result; the parameters' are added to them.
    pub fn attend_backward(
        &self,
        layer: &SelfAttention,
        kept: Kept,
        dy: &Buffer,
    ) -> Result<Buffer, DeviceError> {
        let asking = kept.asking();
        let (asked, width) = (self.asked(asking), layer.heads.width());
        let (dresidual, doutput) = self.norm_of_sum_backward(&sum(layer), asked, &kept.z, dy)?;
        let output = Dense::of(&layer.output);
        self.backward_weight(self.operand, output, asked, doutput.at(), kept.context.at())?;
        let dcontext = self.operands(asked * width)?;
        let into = Output {
            at: dcontext.at(),
            written: self.operand,
            add: false,
        };
        self.backward_input(self.operand, output, asked, doutput.at(), into)?;

        let gradient = self.room_for(layer, &kept.projected)?;
        let mut argument = self.attention(layer, &kept.projected, &kept.context, &kept.logsums);
        let deltas = self.full(asked * layer.heads.count)?;
        (argument.dcontext, argument.deltas) = (dcontext.at(), deltas.at());
        let places = self.places(&gradient, width);
        (argument.dqueries, argument.dkeys, argument.dvalues) =
            (places.queries, places.keys, places.values);
        // SAFETY: as in `attend`; the gradients lie as what they are the gradients of.
        unsafe {
            self.stream.attention_queries(self.operand, argument)?;
            self.stream.attention_keys(self.operand, argument)?;
        }
        match gradient {
            Asked::Every(dqkv) => {
                self.backward_stack(
                    &[&layer.query, &layer.key, &layer.value],
                    self.rows(),
                    &dqkv,
                    &kept.x,
                    &dresidual,
                    true,
                )?;
                Ok(dresidual)
            }
            Asked::First {
                queries,
                keys_values,
            } => {
                let firsts = kept.firsts.as_ref().unwrap_or(&kept.x);
                self.backward_stack(&[&layer.query], asked, &queries, firsts, &dresidual, true)?;
                let dx = self.full(self.rows() * width)?;
                self.backward_stack(
                    &[&layer.key, &layer.value],
                    self.rows(),
                    &keys_values,
                    &kept.x,
                    &dx,
                    false,
                )?;
                self.add_firsts(&dresidual, &dx, width)?;
                Ok(dx)
            }
        }
    }

    /// The gradients of layers whose parameters lie one after the other, and of their argument.
    fn backward_stack(
        &self,
        layers: &[&ops::Dense],
        rows: usize,
        dy: &Buffer,
        x: &Buffer,
        dx: &Buffer,
        add: bool,
    ) -> Result<(), DeviceError> {
        // The first stands for all below.
        for layer in layers {
            self.model.gradient(&layer.weight);
            self.model.gradient(&layer.bias);
        }
        let (first, dense) = (layers[0], Dense::stack(layers[0], layers.len()));
        self.backward_weight(self.operand, dense, rows, dy.at(), x.at())?;
        let partials = self.partials(rows, 1, dense.outputs)?;
        let argument = ColumnSums {
            x: dy.at(),
            partials: partials.at(),
            rows: rows as u32,
            width: dense.outputs as u32,
        };
        // SAFETY: `dy` has `rows` rows of the layers' outputs.
        unsafe { self.stream.column_sums(self.operand, argument) }?;
        // The biases lie one after the other, as the weights do.
        self.add_partials(&partials, 1, rows, dense.outputs, &[&first.bias])?;
        let into = Output {
            at: dx.at(),
            written: Operand::Full,
            add,
        };
        self.backward_input(self.operand, dense, rows, dy.at(), into)
    }

    fn project(
        &self,
        layer: &SelfAttention,
        x: Address,
        firsts: Option<&Buffer>,
    ) -> Result<Asked<Buffer>, DeviceError> {
        let product = |dense: Dense<'_>, rows: usize, x: Address| {
            let y = self.operands(rows * dense.outputs)?;
            let into = Output {
                at: y.at(),
                written: self.operand,
                add: false,
            };
            self.forward(self.operand, dense, rows, x, into)?;
            Ok::<_, DeviceError>(y)
        };
        Ok(match firsts {
            None => Asked::Every(product(Dense::stack(&layer.query, 3), self.rows(), x)?),
            Some(firsts) => Asked::First {
                queries: product(Dense::of(&layer.query), self.sequences(), firsts.at())?,
                keys_values: product(Dense::stack(&layer.key, 2), self.rows(), x)?,
            },
        })
    }

    /// Buffers for the gradients of what was projected.
    fn room_for(
        &self,
        layer: &SelfAttention,
        projected: &Asked<Buffer>,
    ) -> Result<Asked<Buffer>, DeviceError> {
        let width = layer.heads.width();
        Ok(match projected {
            Asked::Every(_) => Asked::Every(self.operands(self.rows() * 3 * width)?),
            Asked::First { .. } => Asked::First {
                queries: self.operands(self.sequences() * width)?,
                keys_values: self.operands(self.rows() * 2 * width)?,
            },
        })
    }

    fn places(&self, projected: &Asked<Buffer>, width: usize) -> Places {
        let column = (width * self.operand.size()) as u64;
        match projected {
            Asked::Every(all) => Places {
                queries: all.at(),
                keys: all.at() + column,
                values: all.at() + 2 * column,
                strides: [3 * width, 3 * width],
            },
            Asked::First {
                queries,
                keys_values,
            } => Places {
                queries: queries.at(),
                keys: keys_values.at(),
                values: keys_values.at() + column,
                strides: [width, 2 * width],
            },
        }
    }

    /// The kernels' argument, without gradients.
    fn attention(
        &self,
        layer: &SelfAttention,
        projected: &Asked<Buffer>,
        context: &Buffer,
        logsums: &Buffer,
    ) -> kernels::Attention {
        let heads = layer.heads;
        let block = kernels::block_rows(self.operand, heads.size);
        let places = self.places(projected, heads.width());
        let starts = self.batch.packing.starts();
        let longest = starts.windows(2).map(|ends| ends[1] - ends[0]).max();
        let tiles = longest.unwrap_or(0).div_ceil(block) as u32;
        let only_first = matches!(projected, Asked::First { .. });
        let mask = self.mask(layer.probability_dropout, Site::Attention(layer.layer));
        kernels::Attention {
            queries: places.queries,
            keys: places.keys,
            values: places.values,
            query_bias: self.model.value(&layer.query.bias),
            key_bias: self.model.value(&layer.key.bias),
            value_bias: self.model.value(&layer.value.bias),
            context: context.at(),
            logsums: logsums.at(),
            deltas: 0,
            dcontext: 0,
            dqueries: 0,
            dkeys: 0,
            dvalues: 0,
            starts: self.sent.at(self.starts),
            dropout: Dropout::of_parts(mask),
            query_stride: places.strides[0] as u32,
            key_stride: places.strides[1] as u32,
            heads: heads.count as u32,
            only_first: u32::from(only_first),
            scale: 1.0 / (heads.size as f32).sqrt(),
            sequences: self.sequences() as u32,
            query_tiles: if only_first { tiles.min(1) } else { tiles },
            key_tiles: tiles,
        }
    }

    /// The first row of each sequence.
    fn gather_firsts(&self, x: Address, width: usize) -> Result<Buffer, DeviceError> {
        let to = self.operands(self.sequences() * width)?;
        let argument = kernels::Rows {
            from: x,
            to: to.at(),
            ..self.first_rows(width)
        };
        // SAFETY: the places are those of first rows, one for each row of `to`.
        unsafe { self.stream.gather_rows(self.operand, argument) }?;
        Ok(to)
    }

    /// Adds a row for each sequence to the first of its rows.
    fn add_firsts(&self, more: &Buffer, sum: &Buffer, width: usize) -> Result<(), DeviceError> {
        let argument = kernels::Rows {
            more: more.at(),
            sum: sum.at(),
            ..self.first_rows(width)
        };
        // SAFETY: as in `gather_firsts`.
        unsafe { self.stream.add_rows(self.operand, argument) }
    }

    fn first_rows(&self, width: usize) -> kernels::Rows {
        kernels::Rows {
            from: 0,
            to: 0,
            more: 0,
            sum: 0,
            places: self.sent.at(self.starts),
            rows: self.sequences() as u32,
            width: width as u32,
        }
    }
}

/// Where queries, keys and values begin, and how far apart the rows lie of queries, and of keys and values.
struct Places {
    queries: Address,
    keys: Address,
    values: Address,
    strides: [usize; 2],
}

fn sum(layer: &SelfAttention) -> Sum<'_> {
    Sum {
        norm: &layer.norm,
        added: &layer.output.bias,
        dropout: layer.output_dropout,
        site: Site::AttentionOutput(layer.layer),
    }
}

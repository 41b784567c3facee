//! Operators of ONNX Runtime that are several of ONNX's in one: what its optimizer for transformers puts
//! into a graph, and what its quantizer makes of that.
//!
//! | operator | what it is |
//! |---|---|
//! | `EmbedLayerNormalization`, `QEmbedLayerNormalization` | three lookups, their sum, its norm |
//! | `Attention`, `QAttention` | queries, keys and values by one product, then attention |
//! | `SkipLayerNormalization` | bias, residual, norm |
//! | `MatMulIntegerToFloat`, `DynamicQuantizeMatMul` | a product of integers, scaled to floats |
//!
//! `BiasGelu` and `FastGelu` are with the other forms of GELU, in `rules`.

use crate::onnx::proto::Node;

use super::attention::Attention;
use super::bert::Embeddings;
use super::constant::Constant;
use super::graph::Graph;
use super::rules::{Linear, Norm, Sum, is_vector};
use super::weights::{MatrixAt, Part, VectorAt};

/// What these operators add to a variance where they don't say it.
const EPSILON: f32 = 1e-12;

impl<'m, 'a> Graph<'m, 'a> {
    /// `SkipLayerNormalization`: the norm of a product, its bias and a residual.
    pub(super) fn skip_norm(&self, value: &'a str) -> Option<Norm<'m, 'a>> {
        let node = self.made_by_runtime(value, "SkipLayerNormalization")?;
        let bias = match node.input(4) {
            Some(bias) => Some(self.vector(bias)?),
            None => None,
        };
        Some(Norm {
            input: Sum::Two(node.input(0)?, node.input(1)?, bias),
            weight: self.constant(node.input(2)?)?,
            bias: self.constant(node.input(3)?)?,
            eps: epsilon(node),
        })
    }

    /// The integer products of ONNX Runtime.
    pub(super) fn fused_product(&self, value: &'a str) -> Option<Linear<'m, 'a>> {
        let optional = |bias: Option<&'a str>| match bias {
            Some(bias) => self.vector(bias).map(Some),
            None => Some(None),
        };
        if let Some(node) = self.made_by_runtime(value, "MatMulIntegerToFloat") {
            let input = self.unquantized(node.input(0)?, node.input(2)?, node.input(4))?;
            return Some(Linear {
                input,
                weight: self.bytes(node.input(1)?, node.input(3)?, node.input(5))?,
                bias: optional(node.input(6))?,
            });
        }
        let node = self.made_by_runtime(value, "DynamicQuantizeMatMul")?;
        Some(Linear {
            input: node.input(0)?,
            weight: self.bytes(node.input(1)?, node.input(2)?, node.input(3))?,
            bias: optional(node.input(4))?,
        })
    }

    /// The floats that stand in steps of `scale` from `zero` on.
    fn unquantized(&self, steps: &str, scale: &'a str, zero: Option<&'a str>) -> Option<&'a str> {
        if let Some(node) = self.made_by(steps, "DynamicQuantizeLinear") {
            let own = node.outputs.get(1) == Some(&scale) && node.outputs.get(2).copied() == zero;
            return own.then(|| node.input(0))?;
        }
        let node = self.made_by(steps, "QuantizeLinear")?;
        let own = node.input(1) == Some(scale) && node.input(2) == zero;
        own.then(|| node.input(0))?
    }

    /// `Attention` or `QAttention` with its three linears.
    pub(super) fn fused_attention(&self, value: &'a str) -> Option<Attention<'m, 'a>> {
        let (node, input, weight, mask) = match self.made_by_runtime(value, "Attention") {
            Some(node) => {
                // Neither a past nor anything else that is added to the scores.
                let rest = node.inputs.get(4..).unwrap_or_default();
                rest.iter().all(|name| name.is_empty()).then_some(())?;
                let weight = self.constant(node.input(1)?)?;
                (node, node.input(0)?, weight, node.input(3))
            }
            None => {
                let node = self.made_by_runtime(value, "QAttention")?;
                node.input(8).is_none().then_some(())?;
                let input = self.unquantized(node.input(0)?, node.input(3)?, node.input(6))?;
                let weight = self.bytes(node.input(1)?, node.input(4)?, node.input(7))?;
                (node, input, weight.constant, node.input(5))
            }
        };
        let bias = match node.input(2) {
            Some(bias) => Some(self.vector(bias)?),
            None => None,
        };
        let [query, key, value] = [0, 1, 2].map(|index| {
            let part = Part { index, of: 3 };
            let weight = MatrixAt {
                constant: weight,
                by_row: false,
                part,
            };
            let bias = bias.map(|bias| VectorAt { part, ..bias });
            Linear {
                input,
                weight,
                bias,
            }
        });
        let heads = usize::try_from(node.int("num_heads")?).ok()?;
        let (_, outputs) = query.weight.size()?;
        let fits = heads > 0 && outputs.is_multiple_of(heads) && is_plain(node, outputs, heads);
        (fits && mask.is_none_or(|mask| self.is_mask(mask))).then_some(Attention {
            query,
            key,
            value,
            heads,
        })
    }

    /// `EmbedLayerNormalization` or its quantized form.
    pub(super) fn fused_embeddings(&self, value: &'a str) -> Option<Embeddings<'m, 'a>> {
        let value = self.through(value);
        if let Some(node) = self.made_by_runtime(value, "EmbedLayerNormalization") {
            return self.embeddings_of(node, |place| self.constant(node.input(place)?));
        }
        let node = self.made_by_runtime(value, "QEmbedLayerNormalization")?;
        // The steps of five tensors, the mask, their scales, their zeros.
        let steps = |place: usize| {
            let (scale, zero) = (node.input(place + 6)?, node.input(place + 11));
            self.steps(node.input(place)?, scale, zero, 1)
        };
        self.embeddings_of(node, steps)
    }

    fn embeddings_of(
        &self,
        node: &Node<'a>,
        constant: impl Fn(usize) -> Option<Constant<'m, 'a>>,
    ) -> Option<Embeddings<'m, 'a>> {
        let ids = self.ids(node.input(0)?) == "input_ids";
        // A DistilBERT has no token types, and neither the ids nor the table.
        let kinds = node.input(1);
        let known = kinds.is_none_or(|kinds| self.ids(kinds) == "token_type_ids");
        // The last input of the plain form may say where each token stands.
        let plain = node.op == "EmbedLayerNormalization";
        let places = node.input(8).filter(|_| plain);
        let from_zero = places.is_none_or(|places| self.counts_up(places));
        let table = |place| constant(place).filter(|constant| constant.dims().len() == 2);
        let vector = |place| constant(place).filter(is_vector);
        let kind = match kinds {
            Some(_) => Some(table(4)?),
            None => None,
        };
        let norm = Norm {
            input: Sum::Of(node.outputs.first()?),
            weight: vector(5)?,
            bias: vector(6)?,
            eps: epsilon(node),
        };
        (ids && known && from_zero).then_some(Embeddings {
            word: table(2)?,
            position: table(3)?,
            kind,
            has_one_kind: false,
            norm,
        })
    }

    /// Of an embeddings' operator whose second output `value` is: the mask that this is made of.
    pub(super) fn mask_of_embeddings(node: &Node<'a>, value: &str) -> Option<Option<&'a str>> {
        let second = node.outputs.get(1).is_some_and(|output| *output == value);
        (embeds(node) && second).then(|| node.input(7))
    }
}

/// Whether a node is an embeddings' operator. Its first output are rows, the second is a mask.
pub(super) fn embeds(node: &Node) -> bool {
    ["EmbedLayerNormalization", "QEmbedLayerNormalization"].contains(&node.op)
}

fn epsilon(node: &Node) -> f64 {
    f64::from(node.float("epsilon").unwrap_or(EPSILON))
}

/// Whether an attention's settings are those of a BERT: looking both ways, scores divided by the root of the
/// head's size, nothing turned.
fn is_plain(node: &Node, hidden: usize, heads: usize) -> bool {
    let off = |name: &str| node.int(name).unwrap_or(0) == 0;
    let sizes = node.ints("qkv_hidden_sizes");
    let usual = 1.0 / ((hidden / heads) as f32).sqrt();
    let scale = node.float("scale").filter(|scale| *scale != 0.0);
    off("unidirectional")
        && off("do_rotary")
        && sizes.is_none_or(|sizes| sizes.iter().all(|&size| size == hidden as i64))
        && scale.is_none_or(|scale| (scale / usual - 1.0).abs() < 1e-3)
}

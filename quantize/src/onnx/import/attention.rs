//! Attention in the operators of ONNX: from the heads' context back to its three linears, and the mask.

use super::graph::Graph;
use super::rules::{Linear, Match};
use crate::onnx::proto::Tensor;

/// Attention with its three linears.
#[derive(Debug)]
pub(super) struct Attention<'g, 'a> {
    pub query: Linear<'g, 'a>,
    pub key: Linear<'g, 'a>,
    pub value: Linear<'g, 'a>,
    pub heads: usize,
}

impl<'m, 'a> Graph<'m, 'a> {
    /// Attention, from the context of all heads back to its three linears.
    pub fn attention(&self, value: &'a str) -> Match<Attention<'m, 'a>> {
        let rule = "attention";
        let value = self.through(value);
        if let Ok(found) = self.attempt(|| self.fused_attention(value).ok_or(())) {
            return Ok(found);
        }
        let Some(context) = self.merged(value) else {
            return self.no(
                value,
                rule,
                "the heads' context, transposed back and reshaped",
            );
        };
        let Some((weights, values)) = self
            .made_by(context, "MatMul")
            .and_then(|node| Some((node.input(0)?, node.input(1)?)))
        else {
            return self.no(context, rule, "weights · values");
        };
        let (value_linear, size) = self.by_head(values, false)?;
        let Some(scores) = self.softmax(weights) else {
            return self.no(weights, rule, "Softmax over the last dimension");
        };
        let scores = self.unmasked(scores)?;
        let (outer, product) = self.scaled(scores, Some(size));
        let Some((query, key)) = self
            .made_by(product, "MatMul")
            .and_then(|node| Some((node.input(0)?, node.input(1)?)))
        else {
            return self.no(product, rule, "queries · keys, scaled and masked");
        };
        let ((by_query, query), (by_key, key)) =
            (self.scaled(query, Some(size)), self.scaled(key, Some(size)));
        let (query, query_size) = self.by_head(query, false)?;
        let (key, key_size) = self.by_head(key, true)?;
        let factor = outer * by_query * by_key * (size as f64).sqrt();
        if (factor - 1.0).abs() > 1e-3 {
            return self.no(product, rule, "scores divided by the root of the head size");
        }
        let outputs = query.weight.size().map_or(0, |(_, outputs)| outputs);
        if query_size != size || key_size != size || !outputs.is_multiple_of(size) {
            return self.no(product, rule, "heads of one size");
        }
        Ok(Attention {
            query,
            key,
            value: value_linear,
            heads: outputs / size,
        })
    }

    /// The heads' context behind `Transpose` and `Reshape`.
    fn merged(&self, value: &'a str) -> Option<&'a str> {
        let mut value = self.through(self.made_by(value, "Reshape")?.input(0)?);
        // Some exporters reshape twice.
        while let Some(node) = self.made_by(value, "Reshape") {
            value = self.through(node.input(0)?);
        }
        let turned = self.made_by(value, "Transpose")?;
        let fits = turned.ints("perm") == Some(&[0, 2, 1, 3]);
        let context = self.through(fits.then(|| turned.input(0))??);
        // One of them also reshapes what the product gives to the four dimensions that it has.
        match self.made_by(context, "Reshape") {
            Some(node) => Some(self.through(node.input(0)?)),
            None => Some(context),
        }
    }

    /// What `Softmax` is taken of; rows without any finite score may become zeros behind it.
    fn softmax(&self, value: &'a str) -> Option<&'a str> {
        let mut value = self.through(value);
        if let Some(node) = self.made_by(value, "Where") {
            let check = self.made_by(self.through(node.input(0)?), "IsNaN")?;
            let own = self.same(check.input(0)?, node.input(2)?);
            let zero = self.scalar(node.input(1)?, None) == Some(0.0);
            value = self.through((own && zero).then(|| node.input(2))??);
        }
        let node = self.made_by(value, "Softmax")?;
        // Before operator set 13 the axis that is not told is the second, and all behind it are one.
        let usual = if self.model.opset.is_none_or(|version| version >= 13) {
            -1
        } else {
            1
        };
        let last = [-1, 3].contains(&node.int("axis").unwrap_or(usual));
        Some(self.through(last.then(|| node.input(0))??))
    }

    /// A linear's output split into heads: `[batch, head, token, channel]`, or with the last two
    /// exchanged where it is `turned`. Also the size of a head.
    fn by_head(&self, value: &'a str, turned: bool) -> Match<(Linear<'m, 'a>, usize)> {
        let rule = "attention";
        let value = self.through(value);
        let expected = "a linear, reshaped and transposed to heads";
        let Some(split) = self.heads_first(value, turned) else {
            return self.no(value, rule, expected);
        };
        let Some(node) = self.made_by(split, "Reshape") else {
            return self.no(split, rule, expected);
        };
        let linear = self.linear(node.input(0).unwrap_or_default())?;
        let outputs = linear.weight.size().map_or(0, |(_, outputs)| outputs);
        match node
            .input(1)
            .and_then(|shape| self.head_size(shape, outputs))
        {
            Some(size) => Ok((linear, size)),
            None => self.no(split, rule, "a constant number or size of heads in Reshape"),
        }
    }

    /// What is transposed so that heads come first.
    fn heads_first(&self, value: &'a str, turned: bool) -> Option<&'a str> {
        let wanted: &[i64] = if turned { &[0, 2, 3, 1] } else { &[0, 2, 1, 3] };
        let node = self.made_by(value, "Transpose");
        if let Some(node) = node.filter(|node| node.ints("perm") == Some(wanted)) {
            return Some(self.through(node.input(0)?));
        }
        if !turned {
            return None;
        }
        if let Some(node) = node.filter(|node| node.ints("perm") == Some(&[0, 1, 3, 2])) {
            return self.heads_first(self.through(node.input(0)?), false);
        }
        // Reshape to three dimensions, exchange the last two, reshape back.
        let back = self.made_by(value, "Reshape")?;
        let node = self.made_by(self.through(back.input(0)?), "Transpose")?;
        let flat = (node.ints("perm") == Some(&[0, 2, 1])).then(|| node.input(0))??;
        let flat = self.made_by(self.through(flat), "Reshape")?;
        self.heads_first(self.through(flat.input(0)?), false)
    }

    /// The size of a head, out of the shape `[batch, tokens, heads, size]`.
    fn head_size(&self, shape: &'a str, outputs: usize) -> Option<usize> {
        let dims: Vec<Option<i64>> = match self.integers(shape) {
            Some(all) => all.into_iter().map(Some).collect(),
            None => {
                let concat = self.made_by(self.through(shape), "Concat")?;
                let parts = concat
                    .inputs
                    .iter()
                    .map(|part| match self.integers(part).as_deref() {
                        Some([one]) => Some(Some(*one)),
                        Some(_) => None,
                        None => Some(None),
                    });
                parts.collect::<Option<_>>()?
            }
        };
        let &[_, _, heads, size] = &dims[..] else {
            return None;
        };
        let positive = |dim: Option<i64>| {
            dim.and_then(|dim| usize::try_from(dim).ok())
                .filter(|&dim| dim > 0)
        };
        match (positive(size), positive(heads)) {
            (Some(size), _) => Some(size),
            (None, Some(heads)) if outputs.is_multiple_of(heads) => Some(outputs / heads),
            _ => None,
        }
        .filter(|size| *size <= outputs)
    }

    /// Scores without the mask: the device computes no padding, so the mask adds nothing there. It has
    /// to be made of `attention_mask`, shapes and constants alone, and by operators that can't tell
    /// one position from another by their order.
    fn unmasked(&self, value: &'a str) -> Match<&'a str> {
        let value = self.through(value);
        if let Some(add) = self.made_by(value, "Add") {
            for (scores, mask) in Self::either(add).into_iter().flatten() {
                if self.is_mask(mask) {
                    return Ok(scores);
                }
            }
            return self.no(value, "attention", "scores + a mask made of attention_mask");
        }
        if let Some(node) = self.made_by(value, "Where")
            && let &[condition, one, other] = &node.inputs[..]
            && self.is_mask(condition)
        {
            let low = |value| {
                self.scalar(value, None)
                    .is_some_and(|number| number <= -1e3)
            };
            for (scores, number) in [(one, other), (other, one)] {
                if low(number) {
                    return Ok(scores);
                }
            }
        }
        Ok(value)
    }

    pub(super) fn is_mask(&self, value: &'a str) -> bool {
        let (mut seen, mut next) = (std::collections::HashSet::new(), vec![value]);
        let (mut asks, mut counts) = (false, false);
        while let Some(value) = next.pop() {
            if !seen.insert(value) {
                continue;
            }
            if let Some(constant) = self.model.constants.get(value) {
                if self.varies(constant) {
                    return false;
                }
                continue;
            }
            if self.model.inputs.contains(&value) {
                if value != "attention_mask" {
                    return false;
                }
                asks = true;
                continue;
            }
            let Some(node) = self.maker(value) else {
                return false;
            };
            // What the embeddings' operator says of the mask alone.
            if let Some(mask) = Self::mask_of_embeddings(node, value) {
                next.extend(mask);
                continue;
            }
            // A shape says nothing about the values that have it.
            if node.op == "Shape" {
                continue;
            }
            counts |= node.op == "Range";
            // Places are compared with a number, never with one another.
            let compares = ["GreaterOrEqual", "Less"].contains(&node.op);
            let number = node.input(1).and_then(|number| self.scalar(number, None));
            if !MASK_OPS.contains(&node.op) || (compares && number.is_none()) {
                return false;
            }
            next.extend(node.inputs.iter().filter(|input| !input.is_empty()));
        }
        // Without the input it may be one number for all places, but nothing that counts them.
        asks || !counts
    }

    /// Whether a constant tells places apart: numbers of a table, or floats, that differ. A list of integers has
    /// dimensions or indices.
    fn varies(&self, constant: &Tensor) -> bool {
        if constant.dims.len() < 2 && !constant.is_float() {
            return false;
        }
        // What can't be read is no mask.
        match constant.is_float() {
            true => constant.floats(self.files).map_or(true, |all| differ(&all)),
            false => constant.ints(self.files).map_or(true, |all| differ(&all)),
        }
    }
}

/// Whether some number is not the first.
fn differ<T: PartialEq>(numbers: &[T]) -> bool {
    numbers.iter().any(|number| *number != numbers[0])
}

/// The arithmetic of masks. Comparisons of two positions (`Less` of both, `Trilu`) are not among
/// them: a model that looks only back has another mask.
const MASK_OPS: [&str; 37] = [
    "Add",
    "And",
    "Cast",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "DequantizeLinear",
    "Div",
    "Equal",
    "Expand",
    "Flatten",
    "Gather",
    "GatherND",
    "GreaterOrEqual",
    "Identity",
    "Less",
    "Max",
    "Min",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "QuantizeLinear",
    "Range",
    "ReduceProd",
    "ReduceSum",
    "Reshape",
    "ScatterND",
    "Size",
    "Slice",
    "Split",
    "Squeeze",
    "Sub",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Where",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{Files, Model};
    use crate::onnx::write::{self, Dim, Set};

    #[test]
    fn a_mask_tells_no_place_from_another() {
        let mut written = write::Graph::default();
        let batch = [Dim::Named("batch"), Dim::Named("tokens")];
        written.input("attention_mask", &batch);
        written.floats("low", &[], &[-1e9]);
        written.floats("even", &[1, 1, 2, 2], &[0.5; 4]);
        written.floats("near", &[1, 1, 2, 2], &[0.0, -1.0, -1.0, 0.0]);
        written.index("first", 0);
        written.index("step", 1);
        written.node("cast", "Cast", &["attention_mask"], &[("to", Set::Int(1))]);
        written.node("mask", "Mul", &["cast", "low"], &[]);
        written.node("both", "Add", &["mask", "near"], &[]);
        written.node("places", "Range", &["first", "step", "step"], &[]);
        written.node("far", "Mul", &["places", "low"], &[]);
        // What operator set 11 has for `GreaterOrEqual`, and a model that looks only back.
        written.node("asked", "Cast", &["attention_mask"], &[("to", Set::Int(9))]);
        written.node("before", "Less", &["places", "first"], &[]);
        written.node("there", "Not", &["before"], &[]);
        written.node("seen", "And", &["asked", "there"], &[]);
        written.node("back", "Less", &["places", "places"], &[]);
        written.node("behind", "And", &["asked", "back"], &[]);
        written.output("both", &batch);
        written.output("far", &batch);
        let bytes = written.finish("masks", &[]);
        let (model, files) = (Model::read(&bytes).unwrap(), Files::default());
        let graph = Graph::new(&model, &files);
        let masks = ["mask", "even", "near", "both", "far"].map(|value| graph.is_mask(value));
        assert_eq!(masks, [true, true, false, false, false]);
        let masks = ["seen", "behind"].map(|value| graph.is_mask(value));
        assert_eq!(masks, [true, false]);
    }
}

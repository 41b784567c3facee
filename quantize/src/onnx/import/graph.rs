//! A model to walk back through: who makes a value, and which values are constants.
//!
//! Walks look through what does not change a value for inference: `Identity`, `Dropout`, a `Cast`
//! between floats, and `QuantizeLinear` followed by `DequantizeLinear`, which only says how another
//! runtime rounds activations. A rule that matches writes down the nodes that it explains, so that
//! those that no rule explains can be listed.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use crate::onnx::proto::{Attribute, Files, Model, Node, ProtoError, Tensor};

use super::constant::Constant;

/// Type codes of floats, to which a cast changes nothing.
const FLOATS: [i64; 4] = [1, 10, 11, 16];
/// How deep a scalar's arithmetic may be.
const DEEPEST: usize = 8;

/// A model with an index of its values.
pub(super) struct Graph<'m, 'a> {
    pub model: &'m Model<'a>,
    pub files: &'m Files,
    makers: HashMap<&'a str, usize>,
    explained: RefCell<Vec<usize>>,
}

impl<'m, 'a> Graph<'m, 'a> {
    /// Indexes a model; `files` has what lies outside of it.
    pub fn new(model: &'m Model<'a>, files: &'m Files) -> Self {
        let nodes = model.nodes.iter().enumerate();
        let makers =
            nodes.flat_map(|(at, node)| node.outputs.iter().map(move |output| (*output, at)));
        let makers = makers.filter(|(output, _)| !output.is_empty());
        Graph {
            model,
            files,
            makers: makers.collect(),
            explained: RefCell::default(),
        }
    }

    /// How many bytes lie outside of the model.
    pub fn outside(&self) -> usize {
        self.files.values().map(Vec::len).sum()
    }

    /// The node that makes a value, if it is not an input or a constant.
    pub fn maker(&self, value: &str) -> Option<&'m Node<'a>> {
        let at = *self.makers.get(value)?;
        self.explained.borrow_mut().push(at);
        Some(&self.model.nodes[at])
    }

    /// The node that makes a value, if it is this operator of ONNX.
    pub fn made_by(&self, value: &str, op: &str) -> Option<&'m Node<'a>> {
        let at = *self.makers.get(value)?;
        let node = &self.model.nodes[at];
        let fits = node.op == op && node.domain.is_empty();
        fits.then(|| self.explained.borrow_mut().push(at))?;
        Some(node)
    }

    /// The node that makes a value, if it is this operator of ONNX Runtime's own.
    pub fn made_by_runtime(&self, value: &str, op: &str) -> Option<&'m Node<'a>> {
        let at = *self.makers.get(value)?;
        let node = &self.model.nodes[at];
        let fits = node.op == op && node.domain == "com.microsoft";
        fits.then(|| self.explained.borrow_mut().push(at))?;
        Some(node)
    }

    /// Tries a rule; what it wrote down counts only where it matches.
    pub fn attempt<T, E>(&self, rule: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let before = self.explained.borrow().len();
        let result = rule();
        if result.is_err() {
            self.explained.borrow_mut().truncate(before);
        }
        result
    }

    /// The nodes that rules have explained.
    pub fn explained(&self) -> BTreeSet<usize> {
        self.explained.borrow().iter().copied().collect()
    }

    /// The value of which this one is another name.
    pub fn through(&self, value: &'a str) -> &'a str {
        let mut value = value;
        while let Some(&at) = self.makers.get(value) {
            let node = &self.model.nodes[at];
            let Some(below) = self.below(node) else {
                break;
            };
            self.explained.borrow_mut().push(at);
            value = below;
        }
        value
    }

    /// What a node that changes nothing stands above.
    fn below(&self, node: &Node<'a>) -> Option<&'a str> {
        let input = node.input(0)?;
        match node.op {
            "Identity" | "Dropout" => Some(input),
            "Cast" => {
                let floats = node.int("to").is_some_and(|to| FLOATS.contains(&to));
                let from = self.makers.get(input).map(|&at| self.model.nodes[at].op);
                // An input is integers, and so is the product of integers.
                let counted = from == Some("MatMulInteger") || self.model.inputs.contains(&input);
                (floats && !counted).then_some(input)
            }
            "DequantizeLinear" => {
                let quantizer = &self.model.nodes[*self.makers.get(input)?];
                (quantizer.op == "QuantizeLinear").then(|| quantizer.input(0))?
            }
            _ => None,
        }
    }

    /// A tensor whose numbers stand in the file.
    pub fn tensor(&self, value: &'a str) -> Option<&'m Tensor<'a>> {
        let value = self.through(value);
        if let Some(tensor) = self.model.constants.get(value) {
            return Some(tensor);
        }
        match self.made_by(value, "Constant")?.attribute("value")? {
            Attribute::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// A constant of floats, as it stands or in steps.
    pub fn constant(&self, value: &'a str) -> Option<Constant<'m, 'a>> {
        let value = self.through(value);
        if let Some(node) = self.made_by(value, "DequantizeLinear") {
            if node.int("block_size").is_some_and(|size| size != 0) {
                return None; // Blocks of steps with a scale each are not known.
            }
            let axis = node.int("axis").unwrap_or(1);
            return self.steps(node.input(0)?, node.input(1)?, node.input(2), axis);
        }
        let tensor = self.tensor(value)?;
        tensor.is_float().then_some(Constant::Plain(tensor))
    }

    /// A constant of steps, by the names of its parts.
    pub fn steps(
        &self,
        steps: &'a str,
        scale: &'a str,
        zero: Option<&'a str>,
        axis: i64,
    ) -> Option<Constant<'m, 'a>> {
        let zero = match zero {
            Some(zero) => Some(self.tensor(zero)?),
            None => None,
        };
        Some(Constant::Steps {
            steps: self.tensor(steps)?,
            scale: self.tensor(scale)?,
            zero,
            axis,
        })
    }

    /// The numbers of a constant of floats.
    ///
    /// # Errors
    /// When its shape or its file lies.
    pub fn floats(&self, value: &'a str) -> Result<Option<Vec<f32>>, ProtoError> {
        match self.constant(value) {
            Some(constant) => constant.floats(self.files).map(Some),
            None => Ok(None),
        }
    }

    /// A number that is the same for every input. `size` is what the last dimension of an activation's
    /// shape is, where the arithmetic asks for it: the size of a head.
    pub fn scalar(&self, value: &'a str, size: Option<usize>) -> Option<f64> {
        self.scalar_at(value, size, DEEPEST)
    }

    fn scalar_at(&self, value: &'a str, size: Option<usize>, depth: usize) -> Option<f64> {
        let depth = depth.checked_sub(1)?;
        if let Some(number) = self.number(value) {
            return Some(number);
        }
        let node = self.maker(self.through(value))?;
        let of = |place: usize| self.scalar_at(node.input(place)?, size, depth);
        match node.op {
            "Sqrt" => Some(of(0)?.sqrt()),
            "Cast" | "Squeeze" | "Unsqueeze" => of(0),
            "Reciprocal" => Some(1.0 / of(0)?),
            "Div" => Some(of(0)? / of(1)?),
            "Mul" => Some(of(0)? * of(1)?),
            "Slice" | "Gather" => {
                let [at] = self.integers(node.input(1)?)?[..] else {
                    return None;
                };
                self.is_last_size(node.input(0)?, at)
                    .then_some(size? as f64)
            }
            _ => None,
        }
    }

    /// Whether element `at` of these sizes is that of the last dimension of four: of a shape, or of one whose
    /// dimensions were put into another order.
    fn is_last_size(&self, sizes: &'a str, at: i64) -> bool {
        let sizes = self.through(sizes);
        if self.made_by(sizes, "Shape").is_some() {
            return at == -1 || at == 3;
        }
        let Some(node) = self.made_by(sizes, "Gather") else {
            return false;
        };
        let order = node.input(1).and_then(|order| self.integers(order));
        let order = order.filter(|order| order.len() == 4).unwrap_or_default();
        let place = usize::try_from(if at < 0 { at + 4 } else { at });
        let dimension = place.ok().and_then(|place| order.get(place));
        let shape = node.input(0).map(|shape| self.through(shape));
        let shape = shape.and_then(|shape| self.made_by(shape, "Shape"));
        shape.is_some() && dimension.is_some_and(|&at| at == -1 || at == 3)
    }

    /// The one number of a constant that has one.
    fn number(&self, value: &'a str) -> Option<f64> {
        if let Some(constant) = self.constant(value) {
            let one = constant.dims().iter().all(|&dim| dim == 1);
            let data = one.then(|| constant.floats(self.files).ok())??;
            return data.first().map(|&number| f64::from(number));
        }
        match self.integers(value)?[..] {
            [number] => Some(number as f64),
            _ => None,
        }
    }

    /// The numbers of a constant of integers, whatever its shape.
    pub fn integers(&self, value: &'a str) -> Option<Vec<i64>> {
        let mut value = self.through(value);
        for _ in 0..DEEPEST {
            let reshaped = self.maker(value);
            let reshaped = reshaped.filter(|node| matches!(node.op, "Squeeze" | "Unsqueeze"));
            let Some(input) = reshaped.and_then(|node| node.input(0)) else {
                break;
            };
            value = self.through(input);
        }
        if let Some(node) = self.made_by(value, "Constant") {
            if let Some(one) = node.int("value_int") {
                return Some(vec![one]);
            }
            if let Some(all) = node.ints("value_ints") {
                return Some(all.to_vec());
            }
        }
        let tensor = self.tensor(value)?;
        if tensor.is_float() {
            None
        } else {
            tensor.ints(self.files).ok()
        }
    }

    /// Whether a value is this number, as nearly as a float says it.
    pub fn is(&self, value: &'a str, number: f64) -> bool {
        let found = self.scalar(value, None);
        found.is_some_and(|found| (found / number - 1.0).abs() < 1e-3)
    }

    /// Whether two names are of one value.
    pub fn same(&self, one: &'a str, other: &'a str) -> bool {
        self.through(one) == self.through(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::write::{self, Dim, Set};

    #[test]
    fn sizes_and_steps_are_read_however_a_file_writes_them() {
        let mut written = write::Graph::default();
        let sizes = ["batch", "heads", "tokens", "size"].map(Dim::Named);
        written.input("x", &sizes);
        written.node("shape", "Shape", &["x"], &[]);
        written.ints("order", &[0, 2, 1, 3]);
        written.ints("turned", &[0, 1, 3, 2]);
        written.index("last", -1);
        written.ints("axis", &[0]);
        written.node("same order", "Gather", &["shape", "order"], &[]);
        written.node("other order", "Gather", &["shape", "turned"], &[]);
        for of in ["shape", "same order", "other order"] {
            written.node(&format!("size of {of}"), "Gather", &[of, "last"], &[]);
        }
        written.index("two", 2);
        written.node("list", "Unsqueeze", &["two", "axis"], &[]);
        written.steps("steps", write::INT8, &[1, 2], [3, 4].into_iter());
        written.floats("scale", &[1, 2], &[0.5, 0.25]);
        for (name, block) in [("whole", 0), ("blocks", 1)] {
            let sets = [("axis", Set::Int(1)), ("block_size", Set::Int(block))];
            written.node(name, "DequantizeLinear", &["steps", "scale"], &sets);
        }
        written.output("list", &sizes);
        let bytes = written.finish("sizes", &[]);
        let (model, files) = (Model::read(&bytes).unwrap(), Files::default());
        let graph = Graph::new(&model, &files);
        let size = |value| graph.scalar(value, Some(32));
        assert_eq!(size("size of shape"), Some(32.0));
        assert_eq!(size("size of same order"), Some(32.0));
        assert_eq!(size("size of other order"), None);
        assert_eq!(graph.integers("list"), Some(vec![2]));
        assert_eq!(graph.floats("whole").unwrap(), Some(vec![1.5, 1.0]));
        assert_eq!(graph.floats("blocks").unwrap(), None);
    }
}

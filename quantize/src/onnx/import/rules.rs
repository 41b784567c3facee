//! The rules: what each block of a BERT looks like in a graph, whoever wrote it.
//!
//! Each rule walks back from a value and says what the block takes, or [`Mismatch`]: where it stopped
//! and what should have stood there. Rules know shapes of arithmetic, not names of nodes.
//!
//! They work on the graph as it was parsed, not on tract's typed one: there per-channel scales, the
//! casts around integer products and shapes are folded away before a `Rewriter` sees them.

use crate::onnx::proto::{Node, told};

use super::constant::Constant;
use super::graph::Graph;
use super::weights::{MatrixAt, Part, VectorAt};

/// Where no rule goes on.
#[derive(Clone, Debug)]
pub(super) struct Mismatch {
    /// The value that was looked at.
    pub value: String,
    /// The rule.
    pub rule: &'static str,
    /// What should have been there.
    pub expected: &'static str,
}

pub(super) type Match<T> = Result<T, Mismatch>;

/// A dense layer: `x · weight + bias`.
#[derive(Debug)]
pub(super) struct Linear<'g, 'a> {
    pub input: &'a str,
    pub weight: MatrixAt<'g, 'a>,
    /// What is added; none for zeros.
    pub bias: Option<VectorAt<'g, 'a>>,
}

/// A layer norm over the last dimension.
#[derive(Debug)]
pub(super) struct Norm<'g, 'a> {
    pub input: Sum<'g, 'a>,
    pub weight: Constant<'g, 'a>,
    pub bias: Constant<'g, 'a>,
    pub eps: f64,
}

/// What a layer norm is of: a value, or a sum that has no name because the operator adds it up itself.
#[derive(Copy, Clone, Debug)]
pub(super) enum Sum<'g, 'a> {
    /// A value.
    Of(&'a str),
    /// Two values, and the bias of the linear that one of them is the product of.
    Two(&'a str, &'a str, Option<VectorAt<'g, 'a>>),
}

impl<'a> Sum<'_, 'a> {
    /// A name to tell where it is.
    pub fn value(&self) -> &'a str {
        match self {
            Sum::Of(value) | Sum::Two(value, ..) => value,
        }
    }
}

/// What GELU is applied to: a value, and what it adds to it first.
#[derive(Debug)]
pub(super) struct Activated<'g, 'a> {
    pub input: &'a str,
    pub bias: Option<VectorAt<'g, 'a>>,
}

impl<'m, 'a> Graph<'m, 'a> {
    pub(super) fn no<T>(
        &self,
        value: &str,
        rule: &'static str,
        expected: &'static str,
    ) -> Match<T> {
        let value = told(value);
        Err(Mismatch {
            value,
            rule,
            expected,
        })
    }

    /// The two inputs of a node, in both orders.
    pub(super) fn either(node: &Node<'a>) -> Option<[(&'a str, &'a str); 2]> {
        let (one, other) = (node.input(0)?, node.input(1)?);
        Some([(one, other), (other, one)])
    }

    /// A dense layer, whatever its product: `MatMul`, `Gemm`, or `MatMulInteger` on values quantized at
    /// run time, with the bias before or behind.
    pub fn linear(&self, value: &'a str) -> Match<Linear<'m, 'a>> {
        let value = self.through(value);
        let rule = "linear";
        if let Ok(found) = self.attempt(|| self.by_row(value).ok_or(())) {
            return Ok(found);
        }
        if let Some(add) = self.made_by(value, "Add") {
            for (bias, product) in Self::either(add).into_iter().flatten() {
                if let Some(bias) = self.vector(bias)
                    && let Ok(found) = self.attempt(|| self.linear_and(product, Some(bias)))
                {
                    return Ok(found);
                }
            }
            return self.no(
                value,
                rule,
                "a product with constant weights, and a constant bias",
            );
        }
        self.product(value)
    }

    /// A product to which a bias is added elsewhere, so that it may have none of its own.
    pub fn linear_and(
        &self,
        value: &'a str,
        bias: Option<VectorAt<'m, 'a>>,
    ) -> Match<Linear<'m, 'a>> {
        let value = self.through(value);
        if bias.is_none() {
            return self.linear(value);
        }
        match self.product(value)? {
            found if found.bias.is_none() => Ok(Linear { bias, ..found }),
            _ => self.no(value, "linear", "a product without a bias of its own"),
        }
    }

    /// A constant vector.
    pub(super) fn vector(&self, value: &'a str) -> Option<VectorAt<'m, 'a>> {
        let constant = self.constant(value)?;
        let part = Part::WHOLE;
        is_vector(&constant).then_some(VectorAt { constant, part })
    }

    fn product(&self, value: &'a str) -> Match<Linear<'m, 'a>> {
        let rule = "linear";
        if let Some(found) = self.made_by(value, "MatMul").and_then(|node| {
            let weight = self.matrix(node.input(1)?, false)?;
            let input = node.input(0)?;
            Some(Linear {
                input,
                weight,
                bias: None,
            })
        }) {
            return Ok(found);
        }
        if let Some(found) = self.made_by(value, "Gemm").and_then(|node| self.gemm(node)) {
            return Ok(found);
        }
        if let Some(found) = self
            .made_by(value, "Mul")
            .and_then(|node| self.integers_product(node))
        {
            return Ok(found);
        }
        if let Ok(found) = self.attempt(|| self.fused_product(value).ok_or(())) {
            return Ok(found);
        }
        self.no(
            value,
            rule,
            "MatMul, Gemm or MatMulInteger with constant weights",
        )
    }

    fn gemm(&self, node: &'m Node<'a>) -> Option<Linear<'m, 'a>> {
        let one = |name: &str| node.float(name).is_none_or(|factor| factor == 1.0);
        let plain = one("alpha") && one("beta") && node.int("transA").unwrap_or(0) == 0;
        let by_row = node.int("transB").unwrap_or(0) != 0;
        let bias = match node.input(2) {
            Some(bias) => Some(self.vector(bias)?),
            None => None,
        };
        Some(Linear {
            input: plain.then(|| node.input(0))??,
            weight: self.matrix(node.input(1)?, by_row)?,
            bias,
        })
    }

    /// `Cast(MatMulInteger(q, w, zero, zero)) · (row scale · weight scale)`.
    fn integers_product(&self, node: &'m Node<'a>) -> Option<Linear<'m, 'a>> {
        Self::either(node)?.into_iter().find_map(|(sums, scales)| {
            let cast = self.made_by(sums, "Cast")?;
            let product = self.made_by(cast.input(0)?, "MatMulInteger")?;
            let rows = self.made_by(product.input(0)?, "DynamicQuantizeLinear")?;
            let zero_fits = product.input(2) == rows.outputs.get(2).copied();
            let scales = self.made_by(scales, "Mul")?;
            let mut both = Self::either(scales)?.into_iter();
            let (_, scale) = both.find(|(row, _)| Some(row) == rows.outputs.get(1))?;
            let weight = self.bytes(product.input(1)?, scale, product.input(3))?;
            zero_fits.then_some(())?;
            let input = rows.input(0)?;
            Some(Linear {
                input,
                weight,
                bias: None,
            })
        })
    }

    /// A matrix of bytes, its columns the outputs.
    pub(super) fn bytes(
        &self,
        steps: &'a str,
        scale: &'a str,
        zero: Option<&'a str>,
    ) -> Option<MatrixAt<'m, 'a>> {
        self.tensor(steps).filter(|steps| steps.is_byte())?;
        let weight = MatrixAt {
            constant: self.steps(steps, scale, zero, 1)?,
            by_row: false,
            part: Part::WHOLE,
        };
        weight.size().map(|_| weight)
    }

    /// Constant weights; `by_row` where each row is an output.
    fn matrix(&self, value: &'a str, by_row: bool) -> Option<MatrixAt<'m, 'a>> {
        let value = self.through(value);
        if let Some(turned) = self.made_by(value, "Transpose") {
            let swaps = turned.ints("perm").is_none_or(|perm| perm == [1, 0]);
            return swaps.then(|| self.matrix(turned.input(0)?, !by_row))?;
        }
        let constant = self.constant(value)?;
        let part = Part::WHOLE;
        let matrix = MatrixAt {
            constant,
            by_row,
            part,
        };
        matrix.size().map(|_| matrix)
    }

    /// GELU: one operator, by `Erf`, or by `Tanh`, which is within 5e-4 of the other. Returns what it
    /// is applied to.
    pub fn gelu(&self, value: &'a str) -> Match<Activated<'m, 'a>> {
        let value = self.through(value);
        let rule = "GELU";
        if let Some(node) = self.maker(value)
            && ["Gelu", "FastGelu", "BiasGelu", "QuickGelu"].contains(&node.op)
        {
            return match self.one_operator_gelu(node) {
                Some(found) => Ok(found),
                None => self.no(
                    value,
                    rule,
                    "Gelu, FastGelu or BiasGelu with a constant bias",
                ),
            };
        }
        let factors = self.leaves(value, "Mul");
        let (numbers, rest): (Vec<&str>, Vec<&str>) = factors
            .into_iter()
            .partition(|leaf| self.scalar(leaf, None).is_some());
        let half: f64 = numbers
            .iter()
            .filter_map(|leaf| self.scalar(leaf, None))
            .product();
        let &[one, other] = &rest[..] else {
            return self.no(
                value,
                rule,
                "0.5 · x · (1 + Erf(x / √2)), the same with Tanh, or Gelu",
            );
        };
        let found = [(one, other), (other, one)]
            .into_iter()
            .find(|(x, phi)| self.twice_phi(x, phi));
        match found.filter(|_| (half - 0.5).abs() < 1e-3) {
            Some((input, _)) => Ok(Activated { input, bias: None }),
            None => self.no(
                value,
                rule,
                "0.5 · x · (1 + Erf(x / √2)), the same with Tanh, or Gelu",
            ),
        }
    }

    fn one_operator_gelu(&self, node: &Node<'a>) -> Option<Activated<'m, 'a>> {
        let theirs = ["FastGelu", "BiasGelu"].contains(&node.op);
        let known = node.domain == "com.microsoft" || (node.domain.is_empty() && !theirs);
        let bias = match node.input(1) {
            Some(bias) => Some(self.vector(bias)?),
            None => None,
        };
        (known && node.op != "QuickGelu").then_some(Activated {
            input: node.input(0)?,
            bias,
        })
    }

    /// Whether `value` is `1 + Erf(x / √2)`, or `1 + Tanh(√(2 / π) · (x + 0.044715 · x³))`.
    fn twice_phi(&self, x: &'a str, value: &'a str) -> bool {
        let Some(add) = self.made_by(self.through(value), "Add") else {
            return false;
        };
        Self::either(add).into_iter().flatten().any(|(one, curve)| {
            let curve = self.through(curve);
            self.is(one, 1.0) && (self.is_erf(x, curve) || self.is_tanh(x, curve))
        })
    }

    fn is_erf(&self, x: &'a str, curve: &'a str) -> bool {
        let Some(input) = self.made_by(curve, "Erf").and_then(|erf| erf.input(0)) else {
            return false;
        };
        let (factor, rest) = self.scaled(input, None);
        self.same(rest, x) && (factor - std::f64::consts::FRAC_1_SQRT_2).abs() < 1e-3
    }

    fn is_tanh(&self, x: &'a str, curve: &'a str) -> bool {
        let Some(input) = self.made_by(curve, "Tanh").and_then(|tanh| tanh.input(0)) else {
            return false;
        };
        let (factor, sum) = self.scaled(input, None);
        let add = self.made_by(self.through(sum), "Add");
        let pairs = add.and_then(Self::either).into_iter().flatten();
        (factor - 0.797_884_56).abs() < 1e-3
            && pairs.into_iter().any(|(first, cube)| {
                let (factor, cube) = self.scaled(cube, None);
                self.same(first, x) && (factor - 0.044_715).abs() < 1e-4 && self.is_cube(x, cube)
            })
    }

    fn is_cube(&self, x: &'a str, value: &'a str) -> bool {
        let value = self.through(value);
        if let Some(pow) = self.made_by(value, "Pow") {
            let base = pow.input(0).is_some_and(|base| self.same(base, x));
            return base && pow.input(1).is_some_and(|power| self.is(power, 3.0));
        }
        let factors = self.leaves(value, "Mul");
        factors.len() == 3 && factors.into_iter().all(|factor| self.same(factor, x))
    }

    /// What stands at the ends of nested `Add`s or `Mul`s.
    pub fn leaves(&self, value: &'a str, op: &str) -> Vec<&'a str> {
        let (mut leaves, mut next) = (Vec::new(), vec![value]);
        while let Some(value) = next.pop() {
            let value = self.through(value);
            match self
                .made_by(value, op)
                .and_then(|node| Some((node.input(0)?, node.input(1)?)))
            {
                Some((one, other)) if leaves.len() + next.len() < 8 => next.extend([other, one]),
                _ => leaves.push(value),
            }
        }
        leaves
    }

    /// A value without the numbers that it is multiplied with or divided by, and their product.
    pub(super) fn scaled(&self, value: &'a str, size: Option<usize>) -> (f64, &'a str) {
        let (mut factor, mut value) = (1.0, self.through(value));
        loop {
            if let Some(node) = self.made_by(value, "Mul") {
                let pairs = Self::either(node).into_iter().flatten();
                let found = pairs
                    .into_iter()
                    .find_map(|(number, x)| Some((self.scalar(number, size)?, x)));
                if let Some((number, x)) = found {
                    factor *= number;
                    value = self.through(x);
                    continue;
                }
            }
            if let Some(node) = self.made_by(value, "Div")
                && let (Some(x), Some(number)) = (node.input(0), node.input(1))
                && let Some(number) = self.scalar(number, size)
            {
                factor /= number;
                value = self.through(x);
                continue;
            }
            return (factor, value);
        }
    }

    /// A layer norm: one operator, or mean, variance and root written out.
    pub fn norm(&self, value: &'a str) -> Match<Norm<'m, 'a>> {
        let value = self.through(value);
        let expected = "LayerNormalization over the last dimension, or (x − mean) / √(variance + eps) · weight + bias";
        if let Some(node) = self.made_by(value, "LayerNormalization") {
            let last = [-1, 2].contains(&node.int("axis").unwrap_or(-1));
            if let (true, &[input, weight, bias, ..]) = (last, &node.inputs[..])
                && let (Some(weight), Some(bias)) = (self.constant(weight), self.constant(bias))
            {
                let eps = f64::from(node.float("epsilon").unwrap_or(1e-5));
                return Ok(Norm {
                    input: Sum::Of(input),
                    weight,
                    bias,
                    eps,
                });
            }
        }
        if let Ok(norm) = self.attempt(|| self.skip_norm(value).ok_or(())) {
            return Ok(norm);
        }
        match self.attempt(|| self.decomposed_norm(value).ok_or(())) {
            Ok(norm) => Ok(norm),
            Err(()) => self.no(value, "layer norm", expected),
        }
    }

    fn decomposed_norm(&self, value: &'a str) -> Option<Norm<'m, 'a>> {
        let vector = |value| {
            self.constant(value)
                .is_some_and(|constant| is_vector(&constant))
        };
        let add = self.made_by(value, "Add")?;
        let (bias, product) = Self::either(add)?
            .into_iter()
            .find(|(bias, _)| vector(bias))?;
        let mul = self.made_by(self.through(product), "Mul")?;
        let (weight, normed) = Self::either(mul)?
            .into_iter()
            .find(|(weight, _)| vector(weight))?;
        let div = self.made_by(self.through(normed), "Div")?;
        let (centred, root) = (self.through(div.input(0)?), self.through(div.input(1)?));
        let inside = self.made_by(root, "Sqrt")?.input(0)?;
        let sum = self.made_by(self.through(inside), "Add")?;
        let (eps, variance) = Self::either(sum)?
            .into_iter()
            .find_map(|(eps, variance)| Some((self.scalar(eps, None)?, variance)))?;
        let square = self.mean_of(variance)?;
        let squared = match self.made_by(self.through(square), "Pow") {
            Some(pow) => self.same(pow.input(0)?, centred) && self.is(pow.input(1)?, 2.0),
            None => {
                let mul = self.made_by(self.through(square), "Mul")?;
                self.same(mul.input(0)?, centred) && self.same(mul.input(1)?, centred)
            }
        };
        let sub = self.made_by(centred, "Sub")?;
        let (input, mean) = (sub.input(0)?, sub.input(1)?);
        let fits = squared && self.same(self.mean_of(mean)?, input);
        Some(Norm {
            input: Sum::Of(fits.then_some(input)?),
            weight: self.constant(weight)?,
            bias: self.constant(bias)?,
            eps,
        })
    }

    /// What a value is the mean of, over the last dimension.
    fn mean_of(&self, value: &'a str) -> Option<&'a str> {
        let node = self.made_by(self.through(value), "ReduceMean")?;
        let axes = match node.ints("axes") {
            Some(axes) => axes.to_vec(),
            None => self.integers(node.input(1)?)?,
        };
        let last = axes == [-1] || axes == [2];
        (last && node.int("keepdims") != Some(0)).then(|| node.input(0))?
    }
}

pub(super) fn is_vector(constant: &Constant) -> bool {
    matches!(constant.dims(), [_])
}

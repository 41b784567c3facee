//! A whole BERT out of its blocks: from the outputs back, layer by layer, to the embeddings.

use crate::onnx::proto::{Node, told};

use super::attention::Attention;
use super::constant::Constant;
use super::graph::Graph;
use super::rules::{Linear, Match, Mismatch, Norm, Sum};

/// The most layers that are looked for.
const MOST_LAYERS: usize = 1 << 10;

/// All that a BERT is made of, still in the file.
#[derive(Debug)]
pub(super) struct Bert<'g, 'a> {
    pub embeddings: Embeddings<'g, 'a>,
    /// From the embeddings on.
    pub layers: Vec<Layer<'g, 'a>>,
    pub head: Head<'g, 'a>,
}

/// The tables, and the norm of their sum.
#[derive(Debug)]
pub(super) struct Embeddings<'g, 'a> {
    pub word: Constant<'g, 'a>,
    pub position: Constant<'g, 'a>,
    /// Token types; a DistilBERT has none.
    pub kind: Option<Constant<'g, 'a>>,
    /// Whether all tokens have the first of them, since the file takes none.
    pub has_one_kind: bool,
    pub norm: Norm<'g, 'a>,
}

/// A layer.
#[derive(Debug)]
pub(super) struct Layer<'g, 'a> {
    pub attention: Attention<'g, 'a>,
    pub attention_out: Linear<'g, 'a>,
    pub attention_norm: Norm<'g, 'a>,
    pub up: Linear<'g, 'a>,
    pub down: Linear<'g, 'a>,
    pub output_norm: Norm<'g, 'a>,
}

/// What the model ends in.
#[derive(Debug)]
pub(super) enum Head<'g, 'a> {
    /// Pooler and classifier on the first row, with tanh between them.
    First(Linear<'g, 'a>, Linear<'g, 'a>),
    /// The same with ReLU, as a DistilBERT has it.
    FirstRelu(Linear<'g, 'a>, Linear<'g, 'a>),
    /// A classifier on every row.
    Rows(Linear<'g, 'a>),
    /// Start and end scores on every row.
    Spans(Linear<'g, 'a>),
    /// None.
    Bare,
}

fn no<T>(value: &str, rule: &'static str, expected: &'static str) -> Match<T> {
    let value = told(value);
    Err(Mismatch {
        value,
        rule,
        expected,
    })
}

impl<'m, 'a> Graph<'m, 'a> {
    /// The whole model.
    pub fn bert(&self) -> Match<Bert<'m, 'a>> {
        let (head, mut x) = self.head()?;
        let mut layers = Vec::new();
        loop {
            let embeddings = match self.attempt(|| self.fused_embeddings(x).ok_or(())) {
                Ok(embeddings) => Ok(embeddings),
                Err(()) => {
                    let norm = self.norm(x)?;
                    self.attempt(|| self.embeddings(norm))
                }
            };
            let mismatch = match embeddings {
                Ok(embeddings) => {
                    layers.reverse();
                    return Ok(Bert {
                        embeddings,
                        layers,
                        head,
                    });
                }
                Err(mismatch) => mismatch,
            };
            // What stands below a norm that is no sum of lookups has to be a layer.
            let looks_up = mismatch.rule == "embeddings" && mismatch.expected != NO_LOOKUP;
            if looks_up || layers.len() == MOST_LAYERS {
                return Err(mismatch);
            }
            let (layer, below) = self.layer(x)?;
            layers.push(layer);
            x = below;
        }
    }

    /// The head, and the rows that it reads.
    fn head(&self) -> Match<(Head<'m, 'a>, &'a str)> {
        let outputs = &self.model.outputs;
        let output = match self.model.answers()[..] {
            [start, end] => return self.spans(outputs[start], outputs[end]),
            [one] => outputs[one],
            _ => return no("", "head", "an output"),
        };
        if self.attempt(|| self.norm(output)).is_ok() {
            return Ok((Head::Bare, output));
        }
        let classifier = self.linear(output)?;
        let input = self.through(classifier.input);
        for (op, head) in [
            ("Tanh", Head::First as fn(_, _) -> _),
            ("Relu", Head::FirstRelu),
        ] {
            let Some(curve) = self.made_by(input, op) else {
                continue;
            };
            let pooler = self.linear(curve.input(0).unwrap_or_default())?;
            let row = self.through(pooler.input);
            return match self.first_row(row) {
                Some(rows) => Ok((head(pooler, classifier), rows)),
                None => no(row, "head", "the first row, by Gather or Slice"),
            };
        }
        Ok((Head::Rows(classifier), input))
    }

    fn first_row(&self, row: &'a str) -> Option<&'a str> {
        if let Some(node) = self.made_by(row, "Gather") {
            let first = self.integers(node.input(1)?)? == [0] && node.int("axis") == Some(1);
            return first.then(|| node.input(0))?;
        }
        let squeeze = self.made_by(row, "Squeeze")?;
        let slice = self.made_by(self.through(squeeze.input(0)?), "Slice")?;
        let is =
            |place: usize, value: i64| self.integers(slice.input(place)?).map(|all| all == [value]);
        let first = is(1, 0)? && is(2, 1)? && is(3, 1)?;
        first.then(|| slice.input(0))?
    }

    /// Two outputs of one linear.
    fn spans(&self, start: &'a str, end: &'a str) -> Match<(Head<'m, 'a>, &'a str)> {
        match (self.column(start), self.column(end)) {
            (Some((both, 0)), Some((other, 1))) if self.same(both, other) => {
                let linear = self.linear(both)?;
                let rows = linear.input;
                Ok((Head::Spans(linear), rows))
            }
            _ => no(
                start,
                "head",
                "start and end as the two columns of one linear",
            ),
        }
    }

    /// The value of which this is one column, and which.
    fn column(&self, value: &'a str) -> Option<(&'a str, i64)> {
        let value = self.through(value);
        if let Some(node) = self.made_by(value, "Gather") {
            let last = [-1, 2].contains(&node.int("axis").unwrap_or(0));
            let at = self.integers(node.input(1)?)?;
            return (last && at.len() == 1).then(|| Some((node.input(0)?, at[0])))?;
        }
        let squeeze = self.made_by(value, "Squeeze")?;
        let part = self.through(squeeze.input(0)?);
        if let Some(split) = self.made_by(part, "Split") {
            let at = split.outputs.iter().position(|output| *output == part)?;
            return Some((split.input(0)?, at as i64));
        }
        let slice = self.made_by(part, "Slice")?;
        let at = self.integers(slice.input(1)?)?;
        (at.len() == 1).then(|| Some((slice.input(0)?, at[0])))?
    }

    /// A layer, and the rows that it takes.
    fn layer(&self, x: &'a str) -> Match<(Layer<'m, 'a>, &'a str)> {
        let output_norm = self.norm(x)?;
        let (down, residual) = self.residual(output_norm.input, "feed-forward")?;
        let activated = self.gelu(down.input)?;
        let up = self.linear_and(activated.input, activated.bias)?;
        if !self.same(up.input, residual) {
            return no(
                residual,
                "feed-forward",
                "the input of the block, added to its output",
            );
        }
        let attention_norm = self.norm(residual)?;
        let (attention_out, below) = self.residual(attention_norm.input, "attention")?;
        let attention = self.attention(attention_out.input)?;
        for linear in [&attention.query, &attention.key, &attention.value] {
            if !self.same(linear.input, below) {
                return no(
                    below,
                    "attention",
                    "the input of the block, added to its output",
                );
            }
        }
        let layer = Layer {
            attention,
            attention_out,
            attention_norm,
            up,
            down,
            output_norm,
        };
        Ok((layer, below))
    }

    /// The sum of a linear and of the rows that the block took.
    pub fn residual(
        &self,
        sum: Sum<'m, 'a>,
        rule: &'static str,
    ) -> Match<(Linear<'m, 'a>, &'a str)> {
        let expected = "the output of a linear, added to the block's input";
        let (one, other, bias) = match sum {
            Sum::Two(one, other, bias) => (one, other, bias),
            Sum::Of(sum) => {
                let sum = self.through(sum);
                match self.made_by(sum, "Add").map(|add| &add.inputs[..]) {
                    Some(&[one, other]) => (one, other, None),
                    _ => return no(sum, rule, expected),
                }
            }
        };
        for (out, residual) in [(one, other), (other, one)] {
            if let Ok(linear) = self.attempt(|| self.linear_and(out, bias)) {
                return Ok((linear, self.through(residual)));
            }
        }
        // Say why the one that is no residual is no linear.
        let out = match self.attempt(|| self.norm(one)) {
            Ok(_) => other,
            Err(_) => one,
        };
        self.linear_and(out, bias).map(|linear| (linear, out))
    }

    /// The sum of the tables' rows; a DistilBERT has no token types.
    pub fn embeddings(&self, norm: Norm<'m, 'a>) -> Match<Embeddings<'m, 'a>> {
        let rule = "embeddings";
        let leaves = match norm.input {
            Sum::Of(sum) => self.leaves(sum, "Add"),
            Sum::Two(one, other, _) => {
                [self.leaves(one, "Add"), self.leaves(other, "Add")].concat()
            }
        };
        let tables: Vec<_> = leaves.iter().filter_map(|leaf| self.lookup(leaf)).collect();
        let of = |wanted: Lookup| {
            let mut found = tables.iter().filter(|(_, lookup)| *lookup == wanted);
            found.next().map(|(table, _)| *table)
        };
        let first = of(Lookup::FirstKind);
        let kind = of(Lookup::Kind).or(first);
        let found = (of(Lookup::Word), of(Lookup::Position), kind);
        match (found, leaves.len()) {
            ((Some(word), Some(position), kind), count)
                if count == 2 + usize::from(kind.is_some())
                    && !matches!(norm.input, Sum::Two(_, _, Some(_))) =>
            {
                Ok(Embeddings {
                    word,
                    position,
                    kind,
                    has_one_kind: first.is_some(),
                    norm,
                })
            }
            ((None, None, None), _) => no(norm.input.value(), rule, NO_LOOKUP),
            _ => no(
                norm.input.value(),
                rule,
                "rows for input_ids, for token_type_ids and for places from 0 on",
            ),
        }
    }

    /// The table that a value is rows of, and what chooses them.
    fn lookup(&self, value: &'a str) -> Option<(Constant<'m, 'a>, Lookup)> {
        let value = self.through(value);
        // Rows of steps are made floats behind the lookup.
        if let Some(node) = self.made_by(value, "DequantizeLinear") {
            let (steps, ids) = self.picked(node.input(0)?)?;
            let table = self.steps(steps, node.input(1)?, node.input(2), 1)?;
            let Constant::Steps { scale, .. } = table else {
                return None;
            };
            return (scale.count().ok() == Some(1)).then_some((table, ids));
        }
        if let Some(node) = self.made_by(value, "Mul") {
            return self.rows_of_steps(node);
        }
        let (table, ids) = self.picked(value)?;
        Some((self.constant(table)?, ids))
    }

    /// The rows of a table, and what picks them: ids, or their places from the first on.
    pub(super) fn picked(&self, value: &'a str) -> Option<(&'a str, Lookup)> {
        let value = self.through(value);
        if let Some(gather) = self.made_by(value, "Gather") {
            return Some((gather.input(0)?, self.chosen_by(gather)?));
        }
        let slice = self.made_by(value, "Slice")?;
        let first = |place: usize| self.integers(slice.input(place)?).map(|all| all == [0]);
        (first(1)? && first(3)?).then(|| Some((slice.input(0)?, Lookup::Position)))?
    }

    fn chosen_by(&self, gather: &Node<'a>) -> Option<Lookup> {
        let ids = self.ids(gather.input(1)?);
        match (gather.int("axis").unwrap_or(0), ids) {
            (0, "input_ids") => Some(Lookup::Word),
            (0, "token_type_ids") => Some(Lookup::Kind),
            (0, ids) if self.counts_up(ids) => Some(Lookup::Position),
            (0, ids) => self.are_zeros(ids).then_some(Lookup::FirstKind),
            _ => None,
        }
    }

    /// Ids without the cast that some exporters put before a lookup.
    pub(super) fn ids(&self, value: &'a str) -> &'a str {
        let value = self.through(value);
        match self.made_by(value, "Cast").and_then(|cast| cast.input(0)) {
            Some(input) => self.through(input),
            None => value,
        }
    }

    /// Whether a value is a constant of zeros, or a part of one, in any shape: the token types of a file that takes
    /// none.
    fn are_zeros(&self, value: &'a str) -> bool {
        let all = self.integers(self.spread_from(value, |_| true));
        all.is_some_and(|all| !all.is_empty() && all.iter().all(|&kind| kind == 0))
    }

    /// The integers that a value has in another shape, where they stand in the file, else what stands below all that
    /// shapes it. It may be a slice of them where `slices` says so.
    fn spread_from(&self, value: &'a str, slices: impl Fn(&Node<'a>) -> bool) -> &'a str {
        let mut value = self.through(value);
        while self.integers(value).is_none() {
            let below = self.maker(value).and_then(|node| match node.op {
                "Unsqueeze" | "Squeeze" | "Expand" | "Cast" | "Reshape" => node.input(0),
                "Slice" if slices(node) => node.input(0),
                _ => None,
            });
            match below {
                Some(below) => value = self.through(below),
                None => break,
            }
        }
        value
    }

    /// Whether a value is 0, 1, 2 and so on.
    pub(super) fn counts_up(&self, value: &'a str) -> bool {
        let from_zero = |slice: &Node<'a>| {
            let starts = slice.input(1).and_then(|starts| self.integers(starts));
            starts.is_some_and(|starts| starts.iter().all(|&start| start == 0))
        };
        let value = self.spread_from(value, from_zero);
        if let Some(all) = self.integers(value) {
            let mut places = all.iter().enumerate();
            return places.all(|(at, &place)| place == at as i64);
        }
        self.made_by(value, "Range").is_some_and(|range| {
            let is = |place: usize, number: i64| {
                let found = range.input(place).and_then(|value| self.integers(value));
                found.is_some_and(|found| found == [number])
            };
            is(0, 0) && is(2, 1)
        })
    }
}

/// What a norm's input has to be where it is not the embeddings'.
const NO_LOOKUP: &str = "a sum of looked-up rows";

/// What chooses the rows of a table.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Lookup {
    Word,
    Position,
    Kind,
    /// Token type 0, whatever the token.
    FirstKind,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{Files, Model};
    use crate::onnx::write::{self, Dim};

    #[test]
    fn rows_are_chosen_by_ids_by_places_or_all_alike() {
        let mut written = write::Graph::default();
        let batch = [Dim::Named("batch"), Dim::Named("tokens")];
        let inputs = ["input_ids", "token_type_ids"];
        inputs.iter().for_each(|name| written.input(name, &batch));
        written.floats("table", &[4, 2], &[0.5; 8]);
        written.ints("zeros", &[0; 4]);
        written.ints("places", &[0, 1, 2, 3]);
        written.ints("others", &[0, 1, 0, 0]);
        written.node("sizes", "Shape", &["input_ids"], &[]);
        for of in ["zeros", "places", "others"] {
            written.node(&format!("wide {of}"), "Expand", &[of, "sizes"], &[]);
        }
        let ids = [
            "input_ids",
            "token_type_ids",
            "wide zeros",
            "wide places",
            "wide others",
        ];
        for ids in ids {
            written.node(&format!("rows by {ids}"), "Gather", &["table", ids], &[]);
        }
        written.output("rows by input_ids", &batch);
        let bytes = written.finish("rows", &[]);
        let (model, files) = (Model::read(&bytes).unwrap(), Files::default());
        let graph = Graph::new(&model, &files);
        let chosen = ids.map(|ids| {
            let rows = model.nodes.iter().find(|node| node.input(1) == Some(ids));
            graph.chosen_by(rows.unwrap())
        });
        let expected = [
            Some(Lookup::Word),
            Some(Lookup::Kind),
            Some(Lookup::FirstKind),
            Some(Lookup::Position),
            None,
        ];
        assert_eq!(chosen, expected);
    }
}

//! A whole BERT out of its blocks: from the outputs back, layer by layer, to the embeddings.

use crate::onnx::proto::Node;

use super::graph::{Constant, Graph};
use super::rules::{Attention, Linear, Match, Mismatch, Norm};

/// The most layers that are looked for.
const MOST_LAYERS: usize = 1 << 10;

/// All that a BERT is made of, still in the file.
#[derive(Debug)]
pub(super) struct Bert<'g, 'a> {
    pub embeddings: Embeddings<'a>,
    /// From the embeddings on.
    pub layers: Vec<Layer<'g, 'a>>,
    pub head: Head<'g, 'a>,
}

/// The tables, and the norm of their sum.
#[derive(Debug)]
pub(super) struct Embeddings<'a> {
    pub word: &'a str,
    pub position: &'a str,
    pub kind: &'a str,
    pub norm: Norm<'a>,
}

/// A layer.
#[derive(Debug)]
pub(super) struct Layer<'g, 'a> {
    pub attention: Attention<'g, 'a>,
    pub attention_out: Linear<'g, 'a>,
    pub attention_norm: Norm<'a>,
    pub up: Linear<'g, 'a>,
    pub down: Linear<'g, 'a>,
    pub output_norm: Norm<'a>,
}

/// What the model ends in.
#[derive(Debug)]
pub(super) enum Head<'g, 'a> {
    /// Pooler and classifier on the first row.
    First(Linear<'g, 'a>, Linear<'g, 'a>),
    /// A classifier on every row.
    Rows(Linear<'g, 'a>),
    /// Start and end scores on every row.
    Spans(Linear<'g, 'a>),
    /// None.
    Bare,
}

fn no<T>(value: &str, rule: &'static str, expected: &'static str) -> Match<T> {
    let value = value.to_owned();
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
            let norm = self.norm(x)?;
            let embeddings = self.attempt(|| self.embeddings(norm));
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
        let named = |name: &str| outputs.iter().copied().find(|output| *output == name);
        if let (Some(start), Some(end)) = (named("start_logits"), named("end_logits")) {
            return self.spans(start, end);
        }
        let Some(&first) = outputs.first() else {
            return no("", "head", "an output");
        };
        let output = named("logits")
            .or(named("last_hidden_state"))
            .unwrap_or(first);
        if self.attempt(|| self.norm(output)).is_ok() {
            return Ok((Head::Bare, output));
        }
        let classifier = self.linear(output)?;
        let input = self.through(classifier.input);
        if let Some(tanh) = self.made_by(input, "Tanh") {
            let pooler = self.linear(tanh.input(0).unwrap_or_default())?;
            let row = self.through(pooler.input);
            return match self.first_row(row) {
                Some(rows) => Ok((Head::First(pooler, classifier), rows)),
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
        let up = self.linear(self.gelu(down.input)?)?;
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
    pub fn residual(&self, sum: &'a str, rule: &'static str) -> Match<(Linear<'m, 'a>, &'a str)> {
        let sum = self.through(sum);
        let expected = "the output of a linear, added to the block's input";
        let Some(add) = self.made_by(sum, "Add") else {
            return no(sum, rule, expected);
        };
        let &[one, other] = &add.inputs[..] else {
            return no(sum, rule, expected);
        };
        for (out, residual) in [(one, other), (other, one)] {
            if let Ok(linear) = self.attempt(|| self.linear(out)) {
                return Ok((linear, self.through(residual)));
            }
        }
        // Say why the one that is no residual is no linear.
        let out = match self.attempt(|| self.norm(one)) {
            Ok(_) => other,
            Err(_) => one,
        };
        self.linear(out).map(|linear| (linear, sum))
    }

    /// The sum of three tables' rows.
    pub fn embeddings(&self, norm: Norm<'a>) -> Match<Embeddings<'a>> {
        let rule = "embeddings";
        let leaves = self.leaves(norm.input, "Add");
        let tables: Vec<_> = leaves.iter().filter_map(|leaf| self.lookup(leaf)).collect();
        let of = |wanted: Lookup| {
            let mut found = tables.iter().filter(|(_, lookup)| *lookup == wanted);
            found.next().map(|(table, _)| *table)
        };
        let found = (of(Lookup::Word), of(Lookup::Position), of(Lookup::Kind));
        match (found, leaves.len()) {
            ((Some(word), Some(position), Some(kind)), 3) => Ok(Embeddings {
                word,
                position,
                kind,
                norm,
            }),
            ((None, None, None), _) => no(norm.input, rule, NO_LOOKUP),
            _ => no(
                norm.input,
                rule,
                "rows for input_ids, for token_type_ids and for places from 0 on",
            ),
        }
    }

    /// The table that a value is rows of, and what chooses them.
    fn lookup(&self, value: &'a str) -> Option<(&'a str, Lookup)> {
        let value = self.through(value);
        // Rows of steps are made floats behind the lookup.
        let value = match self.made_by(value, "DequantizeLinear") {
            Some(node) => {
                let rows = node.input(0)?;
                let gather = self.made_by(rows, "Gather")?;
                let ids = self.chosen_by(gather)?;
                return Some((value, ids));
            }
            None => value,
        };
        if let Some(gather) = self.made_by(value, "Gather") {
            self.constant(gather.input(0)?)?;
            return Some((gather.input(0)?, self.chosen_by(gather)?));
        }
        let slice = self.made_by(value, "Slice")?;
        self.constant(slice.input(0)?)?;
        let first = |place: usize| self.integers(slice.input(place)?).map(|all| all == [0]);
        (first(1)? && first(3)?).then(|| Some((slice.input(0)?, Lookup::Position)))?
    }

    /// The numbers of a table: a constant, or steps that are made floats behind the lookup.
    pub fn table(&self, value: &'a str) -> Option<Constant<'m, 'a>> {
        let value = self.through(value);
        let Some(node) = self.made_by(value, "DequantizeLinear") else {
            return self.constant(value);
        };
        let Some(gather) = self.made_by(node.input(0)?, "Gather") else {
            return self.constant(value);
        };
        let zero = match node.input(2) {
            Some(zero) => Some(self.tensor(zero)?),
            None => None,
        };
        let scale = self
            .tensor(node.input(1)?)
            .filter(|scale| scale.count().ok() == Some(1))?;
        Some(Constant::Steps {
            steps: self.tensor(gather.input(0)?)?,
            scale,
            zero,
            axis: 1,
        })
    }

    fn chosen_by(&self, gather: &Node<'a>) -> Option<Lookup> {
        let ids = self.ids(gather.input(1)?);
        match (gather.int("axis").unwrap_or(0), ids) {
            (0, "input_ids") => Some(Lookup::Word),
            (0, "token_type_ids") => Some(Lookup::Kind),
            (0, ids) => self.counts_up(ids).then_some(Lookup::Position),
            _ => None,
        }
    }

    /// Ids without the cast that some exporters put before a lookup.
    fn ids(&self, value: &'a str) -> &'a str {
        let value = self.through(value);
        match self.made_by(value, "Cast").and_then(|cast| cast.input(0)) {
            Some(input) => self.through(input),
            None => value,
        }
    }

    /// Whether a value is 0, 1, 2 and so on.
    fn counts_up(&self, value: &'a str) -> bool {
        let mut value = self.through(value);
        loop {
            if let Some(all) = self.integers(value) {
                return all
                    .iter()
                    .enumerate()
                    .all(|(at, &place)| place == at as i64);
            }
            let step = self.maker(value).and_then(|node| {
                let from = |place: usize| {
                    self.integers(node.input(place)?)
                        .map(|all| all.iter().all(|&from| from == 0))
                };
                match node.op {
                    "Unsqueeze" | "Squeeze" | "Expand" | "Cast" | "Reshape" => node.input(0),
                    "Slice" => from(1).unwrap_or(false).then(|| node.input(0))?,
                    _ => None,
                }
            });
            match step {
                Some(below) => value = self.through(below),
                None => break,
            }
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
enum Lookup {
    Word,
    Position,
    Kind,
}

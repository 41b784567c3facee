//! BERT (Devlin and others, 2018) with each of its heads, formula by formula.

use super::matrix::{Matrix, Named};
use super::tape::{Tape, Var};

/// The numbers that the tensors' shapes do not tell.
#[derive(Copy, Clone, Debug)]
pub struct Dimensions {
    /// Number of layers.
    pub layers: usize,
    /// Heads of a layer.
    pub heads: usize,
    /// Added to the variance in every layer norm.
    pub norm_eps: f64,
}

/// What is right for one input; it decides the head.
#[derive(Clone, Debug)]
pub enum Gold {
    /// The label of the sequence: pooler and `classifier` on the first token.
    Class(usize),
    /// A label for each token or none: `classifier` on every token.
    Tags(Vec<Option<usize>>),
    /// The first and the last token of a span: `qa_outputs` on every token, a softmax over the tokens
    /// for each of its two columns.
    Span([usize; 2]),
}

/// One input with what is right.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Token ids, special tokens included, no padding.
    pub ids: Vec<usize>,
    /// The first position of the second text; the length where there is none.
    pub second: usize,
    /// What is right.
    pub gold: Gold,
}

/// What the model computed for one sequence.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The sum of the embeddings, normalised: `[tokens × hidden]`.
    pub embedded: Matrix,
    /// The output of each layer: `[tokens × hidden]`.
    pub layers: Vec<Matrix>,
    /// One number a label; for heads on every token so many for each of them.
    pub logits: Vec<f64>,
}

/// A model: its tensors under the names of a Hugging Face checkpoint.
#[derive(Clone, Debug)]
pub struct Bert {
    /// The tensors, by name.
    pub tensors: Named,
    /// The numbers beside them.
    pub dimensions: Dimensions,
}

impl Bert {
    /// Runs one sequence.
    pub fn forward(&self, sequence: &Sequence) -> Trace {
        let run = Run::new(self, sequence);
        let value = |x: Var| run.tape.value(x).clone();
        Trace {
            embedded: value(run.embedded),
            layers: run.layers.iter().copied().map(value).collect(),
            logits: value(run.logits).data,
        }
    }

    /// The mean cross-entropy of a batch, over everything in it that has a right answer.
    pub fn loss(&self, batch: &[Sequence]) -> f64 {
        let losses: Vec<f64> = batch.iter().flat_map(|one| self.losses(one)).collect();
        losses.iter().sum::<f64>() / losses.len() as f64
    }

    /// The mean cross-entropy of a batch, and its gradient at every tensor.
    pub fn gradients(&self, batch: &[Sequence]) -> (f64, Named) {
        let answers = |sequence: &Sequence| self.losses(sequence).len();
        let weight = 1.0 / batch.iter().map(answers).sum::<usize>() as f64;
        let mut sum = Named::new();
        for (name, tensor) in &self.tensors {
            sum.insert(name.clone(), Matrix::zeros(tensor.rows, tensor.columns));
        }
        let mut loss = 0.0;
        for sequence in batch {
            let mut run = Run::new(self, sequence);
            for at in run.losses(&sequence.gold) {
                loss += weight * run.tape.value(at).data[0];
                let gradients = run.tape.gradients(at, weight);
                for (name, var) in &run.parameters {
                    sum.get_mut(*name)
                        .expect("a tensor of the model")
                        .add(gradients.at(*var));
                }
            }
        }
        (loss, sum)
    }

    fn losses(&self, sequence: &Sequence) -> Vec<f64> {
        let mut run = Run::new(self, sequence);
        let losses = run.losses(&sequence.gold);
        let value = |at| run.tape.value(at).data[0];
        losses.into_iter().map(value).collect()
    }
}

/// One sequence on its way through the model.
struct Run<'m> {
    model: &'m Bert,
    tape: Tape,
    parameters: Vec<(&'m str, Var)>,
    embedded: Var,
    layers: Vec<Var>,
    logits: Var,
}

impl<'m> Run<'m> {
    fn new(model: &'m Bert, sequence: &Sequence) -> Self {
        let mut tape = Tape::default();
        let put =
            |(name, tensor): (&'m String, &Matrix)| (name.as_str(), tape.leaf(tensor.clone()));
        let parameters: Vec<_> = model.tensors.iter().map(put).collect();
        let nothing = parameters[0].1;
        let mut run = Run {
            model,
            tape,
            parameters,
            embedded: nothing,
            layers: Vec::new(),
            logits: nothing,
        };
        run.embedded = run.embed(sequence);
        let mut rows = run.embedded;
        for layer in 0..model.dimensions.layers {
            rows = run.layer(layer, rows);
            run.layers.push(rows);
        }
        run.logits = match sequence.gold {
            Gold::Class(_) => {
                let first = run.tape.rows(rows, &[0]);
                let dense = run.linear("bert.pooler.dense", first);
                let pooled = run.tape.tanh(dense);
                run.linear("classifier", pooled)
            }
            Gold::Tags(_) => run.linear("classifier", rows),
            Gold::Span(_) => run.linear("qa_outputs", rows),
        };
        run
    }

    /// The cross-entropy of each right answer.
    fn losses(&mut self, gold: &Gold) -> Vec<Var> {
        let logits = self.logits;
        match gold {
            Gold::Class(label) => vec![self.tape.cross_entropy(logits, *label)],
            Gold::Tags(tags) => {
                let known = tags.iter().enumerate();
                let known = known.filter_map(|(token, tag)| Some((token, (*tag)?)));
                let of = |(token, tag)| {
                    let row = self.tape.rows(logits, &[token]);
                    self.tape.cross_entropy(row, tag)
                };
                known.map(of).collect()
            }
            Gold::Span(ends) => {
                let of = |(column, &token)| {
                    let choice = self.tape.columns(logits, column, 1);
                    self.tape.cross_entropy(choice, token)
                };
                ends.iter().enumerate().map(of).collect()
            }
        }
    }

    /// LayerNorm(word + position + token type).
    fn embed(&mut self, sequence: &Sequence) -> Var {
        let length = sequence.ids.len();
        let positions: Vec<usize> = (0..length).collect();
        let types: Vec<usize> = positions
            .iter()
            .map(|position| usize::from(*position >= sequence.second))
            .collect();
        let mut look_up = |table: &str, rows: &[usize]| {
            let table = self.parameter(&format!("bert.embeddings.{table}_embeddings.weight"));
            self.tape.rows(table, rows)
        };
        let word = look_up("word", &sequence.ids);
        let position = look_up("position", &positions);
        let kind = look_up("token_type", &types);
        let sum = self.tape.add(word, position);
        let sum = self.tape.add(sum, kind);
        self.norm("bert.embeddings.LayerNorm", sum)
    }

    /// LayerNorm(x + attention(x)), then LayerNorm(x + down(gelu(up(x)))).
    fn layer(&mut self, layer: usize, rows: Var) -> Var {
        let name = |part: &str| format!("bert.encoder.layer.{layer}.{part}");
        let context = self.attention(&name("attention.self"), rows);
        let projected = self.linear(&name("attention.output.dense"), context);
        let sum = self.tape.add(rows, projected);
        let attended = self.norm(&name("attention.output.LayerNorm"), sum);
        let up = self.linear(&name("intermediate.dense"), attended);
        let up = self.tape.gelu(up);
        let down = self.linear(&name("output.dense"), up);
        let sum = self.tape.add(attended, down);
        self.norm(&name("output.LayerNorm"), sum)
    }

    /// For each head: softmax(q kᵀ / √d) v; the heads side by side.
    fn attention(&mut self, name: &str, rows: Var) -> Var {
        let query = self.linear(&format!("{name}.query"), rows);
        let key = self.linear(&format!("{name}.key"), rows);
        let value = self.linear(&format!("{name}.value"), rows);
        let heads = self.model.dimensions.heads;
        let size = self.tape.value(query).columns / heads;
        let mut contexts = Vec::new();
        for head in 0..heads {
            let mut part = |of: Var| self.tape.columns(of, head * size, size);
            let (query, key, value) = (part(query), part(key), part(value));
            let scores = self.tape.times_transposed(query, key);
            let scores = self.tape.scale(scores, 1.0 / (size as f64).sqrt());
            let chances = self.tape.softmax(scores);
            contexts.push(self.tape.times(chances, value));
        }
        self.tape.beside(&contexts)
    }

    fn linear(&mut self, name: &str, x: Var) -> Var {
        let weight = self.parameter(&format!("{name}.weight"));
        let bias = self.parameter(&format!("{name}.bias"));
        self.tape.linear(x, weight, bias)
    }

    fn norm(&mut self, name: &str, x: Var) -> Var {
        let weight = self.parameter(&format!("{name}.weight"));
        let bias = self.parameter(&format!("{name}.bias"));
        self.tape
            .layer_norm(x, weight, bias, self.model.dimensions.norm_eps)
    }

    fn parameter(&self, name: &str) -> Var {
        let found = self.parameters.iter().find(|(own, _)| *own == name);
        found
            .unwrap_or_else(|| panic!("the model has no tensor {name}"))
            .1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two layers of two heads, small enough to shake every single number, and one of the heads.
    fn small(gold: &Gold) -> Bert {
        let (hidden, inner, words, positions) = (6, 10, 9, 7);
        let mut shapes = vec![
            (
                "bert.embeddings.word_embeddings.weight".to_owned(),
                words,
                hidden,
            ),
            (
                "bert.embeddings.position_embeddings.weight".to_owned(),
                positions,
                hidden,
            ),
            (
                "bert.embeddings.token_type_embeddings.weight".to_owned(),
                2,
                hidden,
            ),
        ];
        let mut pair = |name: String, outputs: usize, inputs: usize| {
            shapes.push((format!("{name}.weight"), outputs, inputs));
            shapes.push((
                format!("{name}.bias"),
                1,
                if outputs == 1 { inputs } else { outputs },
            ));
        };
        pair("bert.embeddings.LayerNorm".to_owned(), 1, hidden);
        for layer in 0..2 {
            let name = |part: &str| format!("bert.encoder.layer.{layer}.{part}");
            for part in ["query", "key", "value"] {
                pair(name(&format!("attention.self.{part}")), hidden, hidden);
            }
            pair(name("attention.output.dense"), hidden, hidden);
            pair(name("attention.output.LayerNorm"), 1, hidden);
            pair(name("intermediate.dense"), inner, hidden);
            pair(name("output.dense"), hidden, inner);
            pair(name("output.LayerNorm"), 1, hidden);
        }
        match gold {
            Gold::Class(_) => {
                pair("bert.pooler.dense".to_owned(), hidden, hidden);
                pair("classifier".to_owned(), 3, hidden);
            }
            Gold::Tags(_) => pair("classifier".to_owned(), 3, hidden),
            Gold::Span(_) => pair("qa_outputs".to_owned(), 2, hidden),
        }
        let mut state = 1u64;
        let mut number = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        };
        let mut tensor = |rows, columns| {
            Matrix::new(
                rows,
                columns,
                (0..rows * columns).map(|_| number()).collect(),
            )
        };
        let tensors = shapes
            .into_iter()
            .map(|(name, rows, columns)| (name, tensor(rows, columns)));
        let dimensions = Dimensions {
            layers: 2,
            heads: 2,
            norm_eps: 1e-12,
        };
        Bert {
            tensors: tensors.collect(),
            dimensions,
        }
    }

    fn batch(gold: [Gold; 3]) -> Vec<Sequence> {
        let ids = [&[1, 5, 5, 2][..], &[1, 3, 2, 8, 7, 2], &[4]];
        let parts = ids.into_iter().zip([4, 3, 1]).zip(gold);
        parts
            .map(|((ids, second), gold)| Sequence {
                ids: ids.to_vec(),
                second,
                gold,
            })
            .collect()
    }

    fn classes() -> Vec<Sequence> {
        batch([2, 0, 1].map(Gold::Class))
    }

    fn tags() -> Vec<Sequence> {
        let tags = [
            vec![None, Some(2), None, Some(0)],
            vec![None; 6],
            vec![Some(1)],
        ];
        batch(tags.map(Gold::Tags))
    }

    fn spans() -> Vec<Sequence> {
        batch([[1, 2], [3, 3], [0, 0]].map(Gold::Span))
    }

    #[test]
    fn gradients_are_the_slope_of_the_loss() {
        for batch in [classes(), tags(), spans()] {
            the_slope_of(&batch);
        }
    }

    fn the_slope_of(batch: &[Sequence]) {
        let model = small(&batch[0].gold);
        let (loss, gradients) = model.gradients(batch);
        assert!((loss - model.loss(batch)).abs() < 1e-12);
        let h = 1e-3;
        for (name, gradient) in &gradients {
            let mut slope = gradient.clone();
            for i in 0..gradient.data.len() {
                let moved = |by: f64| {
                    let mut model = model.clone();
                    model.tensors.get_mut(name).expect("the same names").data[i] += by;
                    model.loss(batch)
                };
                // Central differences of fourth order.
                let (near, far) = (moved(h) - moved(-h), moved(2.0 * h) - moved(-2.0 * h));
                slope.data[i] = (8.0 * near - far) / (12.0 * h);
            }
            // A softmax does not see what all its rows have in common: the bias of the keys, and under a
            // head for spans that of the head and of the last norm.
            let spans = matches!(batch[0].gold, Gold::Span(_));
            let last = ["layer.1.output.LayerNorm.bias", "qa_outputs.bias"];
            let unseen = spans && last.iter().any(|last| name.ends_with(last));
            if name.ends_with("key.bias") || unseen {
                assert!(gradient.norm() < 1e-14, "{name}: {}", gradient.norm());
                assert!(slope.norm() < 1e-9, "{name}: {}", slope.norm());
            } else {
                let error = slope.relative_error(gradient);
                assert!(error < 1e-7, "{name}: off by {error:e}");
            }
        }
    }

    #[test]
    fn a_rows_own_order_of_ids_matters_and_the_batch_does_not() {
        let batch = classes();
        let model = small(&batch[0].gold);
        let alone = model.forward(&batch[1]).logits;
        let turned = Sequence {
            ids: vec![1, 2, 3, 8, 7, 2],
            ..batch[1].clone()
        };
        assert_ne!(model.forward(&turned).logits, alone);
        let mean = batch
            .iter()
            .map(|one| model.loss(std::slice::from_ref(one)))
            .sum::<f64>()
            / 3.0;
        assert!((mean - model.loss(&batch)).abs() < 1e-15);
    }
}

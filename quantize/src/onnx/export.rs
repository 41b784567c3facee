//! A checkpoint as an ONNX graph: in f32, or with its linears and embeddings as Berth quantizes them.
//!
//! ```text
//!  input_ids, token_type_ids ─► embeddings ─► layer ─► … ─► head ─► logits
//!  attention_mask ─► 0, or the lowest float where a token is padding ─┘  added to every score
//! ```
//!
//! Inputs, outputs and the two dimensions that a call chooses have Hugging Face's names, so that the
//! folder opens in `optimum`. The operators are those of version 17, of which every runtime has all:
//! GELU is written out in `Erf`, attention in two products and a `Softmax`.
//!
//! In the quantized graph each linear computes what `NUMERICS.md` of the kernels says, in plain
//! operators ([`linear`]), and embeddings are rows of i8. Attention stays in f32, and so does what is
//! in f32 on the device: norms, token types and the last dense layer.

mod linear;

use berth_checkpoint::{Checkpoint, Config, Family, hex, names};
use berth_task::Task;

use super::digest::{Digest, NAME, TENSORS, WEIGHTS};
use super::write::{Dim, Graph, INT8, Set};
use crate::dense::Rows;
use crate::error::QuantizeError;
use linear::Linears;

/// How the weights of linears and embeddings are written.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Form {
    /// As they are.
    F32,
    /// In eight bits, as a bundle has them.
    Int8,
}

/// What a graph ends in.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Ending {
    /// A pooler and a classifier on the first row.
    First,
    /// A classifier on every row.
    Rows,
    /// A start and an end score for every row.
    Spans,
    /// The rows themselves.
    Bare,
}

/// The two dimensions that each call chooses.
const BATCH: Dim = Dim::Named("batch_size");
const LENGTH: Dim = Dim::Named("sequence_length");

/// The checkpoint as the bytes of an ONNX file. `task` is what the head answers, where neither
/// config.json nor training_args.json says it.
///
/// # Errors
/// When a tensor is missing or not finite, nothing tells which head it is, or the file would have two
/// gigabytes or more, which the format can't hold.
pub fn export(
    checkpoint: &Checkpoint,
    task: Option<Task>,
    form: Form,
) -> Result<Vec<u8>, QuantizeError> {
    let mut export = Export {
        checkpoint,
        graph: Graph::default(),
        digest: Digest::default(),
        form,
    };
    let ending = export.ending(task)?;
    let inputs = ["input_ids", "attention_mask", "token_type_ids"];
    let inputs = match checkpoint.config.family {
        Family::Bert => &inputs[..],
        // Its token types are zeros that nobody chooses.
        Family::DistilBert => &inputs[..2],
    };
    for name in inputs {
        export.graph.input(name, &[BATCH, LENGTH]);
    }
    let mut x = export.embeddings()?;
    let mask = export.mask();
    for layer in 0..checkpoint.config.num_hidden_layers {
        x = export.layer(layer, &x, &mask)?;
    }
    export.head(ending, &x)?;
    export.finish()
}

/// A graph in the making.
struct Export<'c> {
    checkpoint: &'c Checkpoint,
    graph: Graph,
    digest: Digest,
    form: Form,
}

impl Export<'_> {
    /// What the graph is to end in.
    fn ending(&self, task: Option<Task>) -> Result<Ending, QuantizeError> {
        let Checkpoint { dir, config, .. } = self.checkpoint;
        let has = |head: &str| self.checkpoint.has(&format!("{head}.weight"));
        if !has("classifier") && !has("qa_outputs") {
            return Ok(Ending::Bare);
        }
        let remembered = self.checkpoint.training_args().map(|args| args.task);
        let task = task.or(remembered).or_else(|| task_of_class(config));
        let task = task.ok_or_else(|| QuantizeError::NoTask { dir: dir.clone() })?;
        if let Some(head) = config.other_head(task) {
            let (dir, head) = (dir.clone(), head.to_owned());
            return Err(QuantizeError::OtherHead { dir, head, task });
        }
        if task != Task::QuestionAnswering && config.id2label.is_empty() {
            return Err(QuantizeError::NoHead { dir: dir.clone() });
        }
        Ok(match task {
            Task::QuestionAnswering => Ending::Spans,
            task if task.reads_first_row_only() => Ending::First,
            _ => Ending::Rows,
        })
    }

    /// The numbers of a tensor; they become part of what the file is known by.
    fn tensor(&mut self, name: &str) -> Result<Vec<f32>, QuantizeError> {
        let data = crate::model::finite(self.checkpoint, name)?;
        self.digest.add(name, &data);
        Ok(data)
    }

    /// A tensor in f32, in the graph.
    fn floats(&mut self, name: &str) -> Result<String, QuantizeError> {
        let data = self.tensor(name)?;
        let dims = self.checkpoint.shape(name).unwrap_or_default().to_vec();
        Ok(self.graph.floats(name, &dims, &data))
    }

    fn embeddings(&mut self) -> Result<String, QuantizeError> {
        let table = |name: &str| format!("bert.embeddings.{name}_embeddings.weight");
        let word = self.lookup(&table("word"), "input_ids")?;
        let word = match self.checkpoint.config.family {
            Family::Bert => self.and_token_types(&table("token_type"), &word)?,
            Family::DistilBert => {
                self.tensor(&table("token_type"))?;
                word
            }
        };
        let shape = self
            .graph
            .node("embeddings/shape", "Shape", &["input_ids"], &[]);
        let one = self.graph.ints("one", &[1]);
        let zero = self.graph.ints("zero", &[0]);
        let length = self
            .graph
            .node("embeddings/length", "Gather", &[&shape, &one], &[]);
        let position = self.positions(&table("position"), &zero, &length)?;
        let sum = self
            .graph
            .node("embeddings/sum", "Add", &[&word, &position], &[]);
        self.norm("bert.embeddings.LayerNorm", &sum)
    }

    /// The rows of words with those of token types added.
    fn and_token_types(&mut self, table: &str, word: &str) -> Result<String, QuantizeError> {
        let types = self.floats(table)?;
        let inputs = [types.as_str(), "token_type_ids"];
        let types = self
            .graph
            .node("embeddings/token_type", "Gather", &inputs, &[]);
        let sum = [word, types.as_str()];
        Ok(self
            .graph
            .node("embeddings/word_and_type", "Add", &sum, &[]))
    }

    /// The rows of a table at the places that an input names.
    fn lookup(&mut self, table: &str, input: &str) -> Result<String, QuantizeError> {
        self.rows(table, |graph, name, part| {
            graph.node(name, "Gather", &[part, input], &[])
        })
    }

    /// The first rows of a table, as many as `length` says.
    fn positions(
        &mut self,
        table: &str,
        zero: &str,
        length: &str,
    ) -> Result<String, QuantizeError> {
        self.rows(table, |graph, name, part| {
            graph.node(name, "Slice", &[part, zero, length, zero], &[])
        })
    }

    /// Rows of a table, which `pick` takes out of each tensor that the table is made of.
    fn rows(
        &mut self,
        table: &str,
        pick: impl Fn(&mut Graph, &str, &str) -> String,
    ) -> Result<String, QuantizeError> {
        let data = self.tensor(table)?;
        let dims = self.checkpoint.shape(table).unwrap_or_default().to_vec();
        let at = |part: &str| format!("{table}/{part}");
        if self.form == Form::F32 {
            let table = self.graph.floats(table, &dims, &data);
            return Ok(pick(&mut self.graph, &at("rows"), &table));
        }
        let rows = Rows::of(&data, dims[1]);
        let bytes = rows.values.iter().map(|&step| step as u8);
        let steps = self.graph.steps(&at("steps"), INT8, &dims, bytes);
        let scale = self.graph.floats(&at("scale"), &[dims[0], 1], &rows.scale);
        let steps = pick(&mut self.graph, &at("rows_of_steps"), &steps);
        let scale = pick(&mut self.graph, &at("rows_of_scale"), &scale);
        let steps = self.graph.node(
            &at("float"),
            "Cast",
            &[&steps],
            &[("to", Set::Int(super::write::FLOAT))],
        );
        Ok(self.graph.node(&at("rows"), "Mul", &[&steps, &scale], &[]))
    }

    /// What is added to the scores of each token: 0, or the lowest float for padding.
    fn mask(&mut self) -> String {
        let graph = &mut self.graph;
        let to = [("to", Set::Int(super::write::FLOAT))];
        let mask = graph.node("mask/float", "Cast", &["attention_mask"], &to);
        let axes = graph.ints("mask/axes", &[1, 2]);
        let mask = graph.node("mask/wide", "Unsqueeze", &[&mask, &axes], &[]);
        let one = graph.scalar("1.0", 1.0);
        let lowest = graph.scalar("lowest", f32::MIN);
        let padding = graph.node("mask/padding", "Sub", &[&one, &mask], &[]);
        graph.node("mask/scores", "Mul", &[&padding, &lowest], &[])
    }

    fn layer(&mut self, index: usize, x: &str, mask: &str) -> Result<String, QuantizeError> {
        let at = |part: &str| format!("bert.encoder.layer.{index}.{part}");
        let context = self.attention(&at("attention.self"), x, mask)?;
        let out = self.linears(&context).of(&at("attention.output.dense"))?;
        let sum = self
            .graph
            .node(&at("attention.output/sum"), "Add", &[&out, x], &[]);
        let x = self.norm(&at("attention.output.LayerNorm"), &sum)?;
        let up = self.linears(&x).of(&at("intermediate.dense"))?;
        let up = self.gelu(&at("intermediate"), &up);
        let down = self.linears(&up).of(&at("output.dense"))?;
        let sum = self.graph.node(&at("output/sum"), "Add", &[&down, &x], &[]);
        self.norm(&at("output.LayerNorm"), &sum)
    }

    /// The context of every token, the heads' side by side.
    fn attention(&mut self, at: &str, x: &str, mask: &str) -> Result<String, QuantizeError> {
        let config = &self.checkpoint.config;
        let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
        let size = hidden / heads;
        let mut linears = self.linears(x);
        let parts = ["query", "key", "value"].map(|part| linears.of(&format!("{at}.{part}")));
        let [query, key, value] = parts;
        let split = self
            .graph
            .ints_once("heads", &[0, 0, heads as i64, size as i64]);
        let merge = self.graph.ints_once("hidden", &[0, 0, hidden as i64]);
        let factor = self
            .graph
            .scalar("factor", (1.0 / (size as f64).sqrt()) as f32);
        let graph = &mut self.graph;
        let mut by_head = |part: &str, x: &str, perm: &[i64]| {
            let x = graph.node(&format!("{at}/{part}_split"), "Reshape", &[x, &split], &[]);
            graph.node(
                &format!("{at}/{part}_heads"),
                "Transpose",
                &[&x],
                &[("perm", Set::Ints(perm))],
            )
        };
        let query = by_head("query", &query?, &[0, 2, 1, 3]);
        let key = by_head("key", &key?, &[0, 2, 3, 1]);
        let value = by_head("value", &value?, &[0, 2, 1, 3]);
        let mut node = |name: &str, op: &str, inputs: &[&str], sets: &[(&str, Set)]| {
            graph.node(&format!("{at}/{name}"), op, inputs, sets)
        };
        let scores = node("products", "MatMul", &[&query, &key], &[]);
        let scores = node("scores", "Mul", &[&scores, &factor], &[]);
        let scores = node("masked", "Add", &[&scores, mask], &[]);
        let weights = node("weights", "Softmax", &[&scores], &[("axis", Set::Int(-1))]);
        let context = node("context", "MatMul", &[&weights, &value], &[]);
        let context = node(
            "by_token",
            "Transpose",
            &[&context],
            &[("perm", Set::Ints(&[0, 2, 1, 3]))],
        );
        Ok(node("merged", "Reshape", &[&context, &merge], &[]))
    }

    fn gelu(&mut self, at: &str, x: &str) -> String {
        let graph = &mut self.graph;
        let root = graph.scalar("sqrt(2)", std::f32::consts::SQRT_2);
        let (one, half) = (graph.scalar("1.0", 1.0), graph.scalar("0.5", 0.5));
        let mut node = |name: &str, op: &str, inputs: &[&str]| {
            graph.node(&format!("{at}/{name}"), op, inputs, &[])
        };
        let erf = node("divided", "Div", &[x, &root]);
        let erf = node("erf", "Erf", &[&erf]);
        let erf = node("twice_phi", "Add", &[&erf, &one]);
        let product = node("product", "Mul", &[x, &erf]);
        node("gelu", "Mul", &[&product, &half])
    }

    fn norm(&mut self, name: &str, x: &str) -> Result<String, QuantizeError> {
        let weight = self.floats(&format!("{name}.weight"))?;
        let bias = self.floats(&format!("{name}.bias"))?;
        let eps = self.checkpoint.config.layer_norm_eps as f32;
        let sets = [("axis", Set::Int(-1)), ("epsilon", Set::Float(eps))];
        Ok(self
            .graph
            .node(name, "LayerNormalization", &[x, &weight, &bias], &sets))
    }

    fn linears<'e>(&'e mut self, x: &str) -> Linears<'e, Self>
    where
        Self: linear::Source,
    {
        let form = self.form;
        Linears::new(self, x, form)
    }

    fn head(&mut self, ending: Ending, x: &str) -> Result<(), QuantizeError> {
        let outputs = Dim::Size(self.checkpoint.config.id2label.len());
        match ending {
            Ending::Bare => {
                let hidden = Dim::Size(self.checkpoint.config.hidden_size);
                self.graph.node("last_hidden_state", "Identity", &[x], &[]);
                self.graph
                    .output("last_hidden_state", &[BATCH, LENGTH, hidden]);
            }
            Ending::First => {
                let first = self.graph.index("first", 0);
                let row = self.graph.node(
                    "pooler/row",
                    "Gather",
                    &[x, &first],
                    &[("axis", Set::Int(1))],
                );
                let (dense, curve) = match self.checkpoint.config.family {
                    Family::Bert => ("bert.pooler.dense", "Tanh"),
                    Family::DistilBert => (names::PRE_CLASSIFIER, "Relu"),
                };
                let pooled = self.linears(&row).of(dense)?;
                let name = format!("pooler/{}", curve.to_lowercase());
                let pooled = self.graph.node(&name, curve, &[&pooled], &[]);
                self.last("classifier", &pooled, "logits")?;
                self.graph.output("logits", &[BATCH, outputs]);
            }
            Ending::Rows => {
                self.last("classifier", x, "logits")?;
                self.graph.output("logits", &[BATCH, LENGTH, outputs]);
            }
            Ending::Spans => {
                let both = self.last("qa_outputs", x, "qa_outputs")?;
                for (index, name) in ["start_logits", "end_logits"].into_iter().enumerate() {
                    let at = self.graph.index(&format!("{name}/index"), index as i64);
                    self.graph
                        .node(name, "Gather", &[&both, &at], &[("axis", Set::Int(-1))]);
                    self.graph.output(name, &[BATCH, LENGTH]);
                }
            }
        }
        Ok(())
    }

    /// The last dense layer, which is in f32 on the device too.
    fn last(&mut self, name: &str, x: &str, output: &str) -> Result<String, QuantizeError> {
        Linears::new(self, x, Form::F32).called(name, output)
    }

    fn finish(self) -> Result<Vec<u8>, QuantizeError> {
        let dir = &self.checkpoint.dir;
        let name = self.checkpoint.name();
        let weights = hex(&self.checkpoint.sha256()?);
        let tensors = hex(&self.digest.finish());
        let about = [
            (NAME, name.as_str()),
            (WEIGHTS, weights.as_str()),
            (TENSORS, tensors.as_str()),
        ];
        let whole = match self.form {
            Form::F32 => &about[..],
            Form::Int8 => &about[..2],
        };
        let bytes = self.graph.finish("bert", whole);
        match bytes.len() <= i32::MAX as usize {
            true => Ok(bytes),
            false => Err(QuantizeError::OnnxTooLarge {
                dir: dir.clone(),
                bytes: bytes.len(),
            }),
        }
    }
}

/// A task that the head answers, where config.json names one of the classes of heads.
fn task_of_class(config: &Config) -> Option<Task> {
    let answers = |task: &Task| config.other_head(*task).is_none();
    let (yes, no): (Vec<_>, Vec<_>) = Task::ALL.into_iter().partition(answers);
    yes.first().copied().filter(|_| !no.is_empty())
}

impl linear::Source for Export<'_> {
    fn weight_and_bias(&mut self, name: &str) -> Result<(Vec<f32>, Vec<f32>), QuantizeError> {
        let weight = self.tensor(&format!("{name}.weight"))?;
        Ok((weight, self.tensor(&format!("{name}.bias"))?))
    }

    fn graph(&mut self) -> &mut Graph {
        &mut self.graph
    }
}

//! An ONNX file made elsewhere as a checkpoint: its blocks recognized, its tensors under Hugging
//! Face's names.
//!
//! ```text
//!  bytes ─[proto]─► Model ─[graph]─► values to walk back from
//!                                       │ [rules], [attention]: linear, GELU, layer norm, attention;
//!                                       │ [fused], [by_row]: as ONNX Runtime and Berth write them
//!                                       │ [bert]:  head ◄ layers ◄ embeddings
//!                                       ▼
//!                           tensors by name, int8 steps kept ([weights]) ─► Checkpoint
//! ```
//!
//! From there on everything is as for a checkpoint that was read from its folder, so an f32 export and
//! its checkpoint become the same bundle. config.json and the tokenizer come from the folder that is
//! named beside the file; what they say and what the graph says have to agree.
//!
//! A graph that holds anything else is refused, with every node that no rule explains.

mod attention;
mod bert;
mod by_row;
mod constant;
mod fused;
mod graph;
mod rules;
mod weights;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use berth_checkpoint::{Checkpoint, Config, Family, Steps, Tensor, hex, names, sha256};
use thiserror::Error;

use super::digest::{Digest, NAME, TENSORS, WEIGHTS};
use super::proto::{Files, Model, Node, ProtoError, told};
use crate::error::QuantizeError;
use bert::{Bert, Head};
use constant::Constant;
use graph::Graph;
use rules::{Linear, Mismatch, Norm, Sum};
use weights::Values;

/// How many numbers may come out of a file beyond its bytes: small tensors that are shared.
const SLACK: usize = 1 << 20;

/// How many rows of zeros stand for the token types of a DistilBERT.
const TOKEN_TYPES: usize = 2;

/// How many nodes an error lists.
const LISTED: usize = 12;

/// Why an ONNX file did not become a model.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The file can't be read.
    #[error("{0}")]
    Read(std::io::Error),
    /// It is none, or damaged.
    #[error(transparent)]
    Proto(#[from] ProtoError),
    /// It is another model.
    #[error(
        "not a BERT as Berth runs it: the rule for {rule} stops at `{value}`, where it wants {expected}; \
         {nodes}; {way_out}"
    )]
    Unmatched {
        /// Which rule.
        rule: &'static str,
        /// Where it stops.
        value: String,
        /// What it wants there.
        expected: &'static str,
        /// The nodes that no rule explains.
        nodes: String,
        /// What may help.
        way_out: &'static str,
    },
    /// The file says one thing and config.json another.
    #[error("{what}, and {} says {expected}; they don't belong together", config.display())]
    Config {
        /// What the file has.
        what: String,
        /// The config.json.
        config: PathBuf,
        /// What it says.
        expected: String,
    },
}

/// Reads `file` as a checkpoint whose config.json and tokenizer lie in `dir`.
///
/// # Errors
/// When the file is damaged, is another model than a BERT of ours, or doesn't fit what lies in `dir`.
pub fn open(file: &Path, dir: &Path) -> Result<Checkpoint, QuantizeError> {
    let error = |source| QuantizeError::Import {
        file: file.to_owned(),
        source,
    };
    let config = Config::read(dir)?;
    let bytes = fs::read(file).map_err(|source| error(ImportError::Read(source)))?;
    let parts = read(&bytes, file, &config, dir).map_err(error)?;
    let (name, weights) = match parts.origin {
        Some(origin) => origin,
        None => {
            let name = file
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            (
                name,
                sha256(file).map_err(|source| error(ImportError::Read(source)))?,
            )
        }
    };
    let tensors = (parts.tensors, parts.steps);
    Ok(Checkpoint::of_tensors(
        dir,
        file,
        config,
        tensors,
        (name, weights),
    )?)
}

/// Reads a model of bytes, as far as can go without a folder; for what is tested.
///
/// # Errors
/// As [`open`].
pub fn check(bytes: &[u8]) -> Result<(), ImportError> {
    let model = Model::read(bytes)?;
    let files = Files::new();
    let graph = Graph::new(&model, &files);
    let bert = whole(&graph)?;
    Parts::of(&graph, &bert).map(drop)
}

/// What a file holds.
#[derive(Default)]
struct Parts {
    tensors: BTreeMap<String, Tensor>,
    steps: BTreeMap<String, Steps>,
    /// Numbers in all tensors.
    numbers: usize,
    /// The checkpoint that it was exported from, where that is proved.
    origin: Option<(String, [u8; 32])>,
}

fn read(bytes: &[u8], file: &Path, config: &Config, dir: &Path) -> Result<Parts, ImportError> {
    let model = Model::read(bytes)?;
    let files = others(&model, file)?;
    let graph = Graph::new(&model, &files);
    let bert = whole(&graph)?;
    compare(&bert, config, dir)?;
    let mut parts = Parts::of(&graph, &bert)?;
    parts.origin = origin(&model, &parts);
    Ok(parts)
}

/// The files beside the model that tensors lie in. A name that leads elsewhere is not followed.
fn others(model: &Model, file: &Path) -> Result<Files, ImportError> {
    let mut files = Files::new();
    for external in model.externals() {
        let name = external.location;
        let plain = Path::new(name).file_name().is_some_and(|last| last == name);
        let path = file.with_file_name(name);
        if plain && !files.contains_key(name) && path.is_file() {
            files.insert(name.to_owned(), fs::read(path).map_err(ImportError::Read)?);
        }
    }
    Ok(files)
}

fn whole<'m, 'a>(graph: &Graph<'m, 'a>) -> Result<Bert<'m, 'a>, ImportError> {
    graph.bert().map_err(
        |Mismatch {
             value,
             rule,
             expected,
         }| ImportError::Unmatched {
            rule,
            value,
            expected,
            nodes: unexplained(graph),
            way_out: way_out(graph.model),
        },
    )
}

/// What is left to do with a file that does not become a model: tract has no operators of ONNX Runtime's
/// own.
fn way_out(model: &Model) -> &'static str {
    match model
        .nodes
        .iter()
        .any(|node| node.domain == "com.microsoft")
    {
        true => "take the file from before ONNX Runtime's optimizer put its own operators in",
        false => "berth evaluate runs the file as it is, on a workstation",
    }
}

/// The nodes on activations that no rule explains.
fn unexplained(graph: &Graph) -> String {
    let active = active(graph.model);
    for &at in &active {
        for &output in &graph.model.nodes[at].outputs {
            let _ = graph.attempt(|| graph.linear(output));
            let _ = graph.attempt(|| graph.gelu(output));
            let _ = graph.attempt(|| graph.attention(output));
            let _ = graph.attempt(|| graph.residual(Sum::Of(output), "layer"));
            let _ = graph.attempt(|| graph.fused_embeddings(output).ok_or(()));
            if let Ok(norm) = graph.attempt(|| graph.norm(output)) {
                let _ = graph.attempt(|| graph.residual(norm.input, "layer"));
                let _ = graph.attempt(|| graph.embeddings(norm));
            }
        }
    }
    let explained = graph.explained();
    let left = active.difference(&explained);
    let mut left: Vec<&Node> = left.map(|&at| &graph.model.nodes[at]).collect();
    // First those whose operator is in no rule at all.
    left.sort_by_key(|node| nearest(node.op) != NONE);
    if left.is_empty() {
        return "every node is known by itself, but they don't make a BERT".to_owned();
    }
    let mut listed: Vec<String> = left
        .iter()
        .take(LISTED)
        .map(|node| describe(node))
        .collect();
    if left.len() > LISTED {
        listed.push(format!("and {} more", left.len() - LISTED));
    }
    format!("nodes without a rule: {}", listed.join(", "))
}

fn describe(node: &Node) -> String {
    let name = [node.name, node.outputs.first().copied().unwrap_or_default()];
    let name = name
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or("?");
    let (name, op) = (told(name), told(node.op));
    format!("`{name}` ({op}, nearest rule {})", nearest(node.op))
}

/// The rule that knows an operator of this kind.
fn nearest(op: &str) -> &'static str {
    match op {
        "MatMul"
        | "Gemm"
        | "MatMulInteger"
        | "QLinearMatMul"
        | "DynamicQuantizeLinear"
        | "MatMulIntegerToFloat"
        | "DynamicQuantizeMatMul"
        | "FusedMatMul"
        | "Conv" => "linear",
        "Erf" | "Gelu" | "FastGelu" | "BiasGelu" | "QuickGelu" | "Tanh" | "Relu" | "Sigmoid"
        | "Elu" | "LeakyRelu" => "GELU",
        "LayerNormalization"
        | "SkipLayerNormalization"
        | "ReduceMean"
        | "Pow"
        | "Sqrt"
        | "Sub"
        | "Div" => "layer norm",
        "Add" | "Mul" => "linear",
        "Softmax" | "Transpose" | "Reshape" | "Where" | "IsNaN" | "Attention" | "QAttention"
        | "MultiHeadAttention" | "PackedAttention" => "attention",
        "Gather" | "Slice" | "Squeeze" | "Split" => "head",
        "EmbedLayerNormalization" | "QEmbedLayerNormalization" => "embeddings",
        _ => NONE,
    }
}

/// The rule for an operator that no rule has.
const NONE: &str = "none";

/// The nodes whose values come from looked-up rows. A shape of such a value is no such value.
fn active(model: &Model) -> BTreeSet<usize> {
    let table = |name: &&str| {
        model
            .constants
            .get(*name)
            .is_some_and(|tensor| tensor.dims.len() == 2)
    };
    let (mut values, mut nodes) = (BTreeSet::new(), BTreeSet::new());
    for (at, node) in model.nodes.iter().enumerate() {
        let embeds = fused::embeds(node);
        let looks_up = node.op == "Gather" && node.inputs.first().is_some_and(table);
        let goes_on = node.op != "Shape" && node.inputs.iter().any(|name| values.contains(name));
        if looks_up || embeds || goes_on {
            nodes.insert(at);
            let rows = if embeds { 1 } else { node.outputs.len() };
            values.extend(node.outputs.iter().take(rows).copied());
        }
    }
    nodes
}

/// Holds the graph's own sizes against config.json. Shapes of tensors are held against it later.
fn compare(bert: &Bert, config: &Config, dir: &Path) -> Result<(), ImportError> {
    let wrong = |what: String, expected: String| ImportError::Config {
        what,
        config: dir.join(berth_checkpoint::config::CONFIG_FILE),
        expected,
    };
    let layers = bert.layers.len();
    if layers != config.num_hidden_layers {
        return Err(wrong(
            format!("it has {layers} layers"),
            config.num_hidden_layers.to_string(),
        ));
    }
    let norms = bert
        .layers
        .iter()
        .flat_map(|layer| [&layer.attention_norm, &layer.output_norm]);
    for norm in norms.chain([&bert.embeddings.norm]) {
        if (norm.eps as f32) != config.layer_norm_eps as f32 {
            let what = format!("a layer norm adds {} to the variance", norm.eps as f32);
            return Err(wrong(what, config.layer_norm_eps.to_string()));
        }
    }
    let distil = config.family == Family::DistilBert;
    let says = || format!("`model_type` {:?}", config.family.name());
    match (&bert.head, bert.embeddings.kind) {
        (Head::First(..), _) if distil => {
            return Err(wrong("tanh follows its pooler".to_owned(), says()));
        }
        (Head::FirstRelu(..), _) if !distil => {
            return Err(wrong("ReLU follows its pooler".to_owned(), says()));
        }
        (_, kind) if kind.is_some() == distil => {
            let what = if distil { "it has" } else { "it has no" };
            return Err(wrong(format!("{what} token types"), says()));
        }
        _ => (),
    }
    let mut heads = bert.layers.iter().map(|layer| layer.attention.heads);
    match heads.find(|heads| *heads != config.num_attention_heads) {
        Some(heads) => Err(wrong(
            format!("a layer has {heads} heads"),
            config.num_attention_heads.to_string(),
        )),
        None => Ok(()),
    }
}

/// The checkpoint of which the file says that it comes from there, if its numbers are still the same.
fn origin(model: &Model, parts: &Parts) -> Option<(String, [u8; 32])> {
    let about = |wanted: &str| {
        let mut found = model.about.iter().filter(|(key, _)| *key == wanted);
        found.next().map(|(_, value)| *value)
    };
    let (name, weights, tensors) = (about(NAME)?, about(WEIGHTS)?, about(TENSORS)?);
    let mut digest = Digest::default();
    for (name, tensor) in &parts.tensors {
        digest.add(name, &tensor.data);
    }
    let same = parts.steps.is_empty() && hex(&digest.finish()) == tensors;
    same.then(|| Some((name.to_owned(), unhex(weights)?)))?
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let whole = text.len() == 64 && text.is_ascii();
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(whole.then(|| &text[at..at + 2])?, 16).ok()?;
    }
    Some(bytes)
}

impl Parts {
    fn of(graph: &Graph, bert: &Bert) -> Result<Self, ImportError> {
        let mut parts = Parts::default();
        let tables = &bert.embeddings;
        let embeddings = "bert.embeddings";
        for (name, table) in [
            ("word", Some(tables.word)),
            ("position", Some(tables.position)),
            ("token_type", tables.kind),
        ] {
            let name = format!("{embeddings}.{name}_embeddings.weight");
            match table {
                Some(table) => parts.table(graph, &name, table)?,
                None => parts.no_table(graph, &name, tables)?,
            }
        }
        if tables.has_one_kind {
            parts.repeat_first_row(&format!("{embeddings}.token_type_embeddings.weight"));
        }
        parts.norm(graph, &format!("{embeddings}.LayerNorm"), &tables.norm)?;
        for (index, layer) in bert.layers.iter().enumerate() {
            let at = |part: &str| format!("bert.encoder.layer.{index}.{part}");
            let attention = &layer.attention;
            for (part, linear) in [
                ("attention.self.query", &attention.query),
                ("attention.self.key", &attention.key),
                ("attention.self.value", &attention.value),
                ("attention.output.dense", &layer.attention_out),
                ("intermediate.dense", &layer.up),
                ("output.dense", &layer.down),
            ] {
                parts.linear(graph, &at(part), linear)?;
            }
            parts.norm(
                graph,
                &at("attention.output.LayerNorm"),
                &layer.attention_norm,
            )?;
            parts.norm(graph, &at("output.LayerNorm"), &layer.output_norm)?;
        }
        match &bert.head {
            Head::Bare => (),
            Head::First(pooler, classifier) => {
                parts.linear(graph, "bert.pooler.dense", pooler)?;
                parts.linear(graph, "classifier", classifier)?;
            }
            Head::FirstRelu(pooler, classifier) => {
                parts.linear(graph, names::PRE_CLASSIFIER, pooler)?;
                parts.linear(graph, "classifier", classifier)?;
            }
            Head::Rows(classifier) => parts.linear(graph, "classifier", classifier)?,
            Head::Spans(linear) => parts.linear(graph, "qa_outputs", linear)?,
        }
        Ok(parts)
    }

    /// Keeps a tensor. A few bytes of a file can be used for any number of them, so what they make
    /// together is bounded by the file's length.
    fn keep(
        &mut self,
        graph: &Graph,
        name: &str,
        shape: Vec<usize>,
        data: Vec<f32>,
    ) -> Result<(), ImportError> {
        self.numbers += data.len();
        if self.numbers > graph.model.bytes + graph.outside() + SLACK {
            return Err(ProtoError::Shared.into());
        }
        self.tensors.insert(name.to_owned(), Tensor { shape, data });
        Ok(())
    }

    /// A table; one in steps by row keeps them, as a bundle has its rows.
    fn table(&mut self, graph: &Graph, name: &str, table: Constant) -> Result<(), ImportError> {
        let &[rows, width] = table.dims() else {
            return Err(ProtoError::Shape(told(weights::name(&table))).into());
        };
        let data = table.floats(graph.files)?;
        self.keep(graph, name, vec![rows, width], data)?;
        if let Some((values, scale)) = weights::kept_by_row(&table, graph.files)? {
            self.steps.insert(name.to_owned(), Steps { values, scale });
        }
        Ok(())
    }

    /// Puts a table's first row in the place of all others.
    fn repeat_first_row(&mut self, name: &str) {
        self.steps.remove(name);
        if let Some(table) = self.tensors.get_mut(name) {
            let width = table.shape.last().copied().unwrap_or(0);
            let first = table.data.get(..width).unwrap_or_default();
            table.data = first.repeat(table.data.len() / width.max(1));
        }
    }

    /// Zeros for the token types that a DistilBERT has not.
    fn no_table(
        &mut self,
        graph: &Graph,
        name: &str,
        tables: &bert::Embeddings,
    ) -> Result<(), ImportError> {
        // The word table is read by now, so that its width is no lie.
        let width = tables.word.dims().get(1).copied().unwrap_or(0);
        let data = vec![0.0; TOKEN_TYPES * width];
        self.keep(graph, name, vec![TOKEN_TYPES, width], data)
    }

    fn norm(&mut self, graph: &Graph, name: &str, norm: &Norm) -> Result<(), ImportError> {
        for (part, vector) in [("weight", norm.weight), ("bias", norm.bias)] {
            let data = vector.floats(graph.files)?;
            self.keep(graph, &format!("{name}.{part}"), vec![data.len()], data)?;
        }
        Ok(())
    }

    fn linear(&mut self, graph: &Graph, name: &str, linear: &Linear) -> Result<(), ImportError> {
        let matrix = linear.weight.read(graph.files)?;
        let bias = match linear.bias {
            Some(vector) => vector.read(graph.files)?,
            None => vec![0.0; matrix.outputs],
        };
        let shape = vec![matrix.outputs, matrix.inputs];
        let weight = format!("{name}.weight");
        let data = match matrix.values {
            Values::Floats(data) => data,
            Values::Steps(values, scale) => {
                let rows = values.chunks_exact(matrix.inputs).zip(&scale);
                let floats = rows
                    .flat_map(|(row, scale)| row.iter().map(move |&step| f32::from(step) * scale));
                let floats = floats.collect();
                self.steps.insert(weight.clone(), Steps { values, scale });
                floats
            }
        };
        self.keep(graph, &weight, shape, data)?;
        self.keep(graph, &format!("{name}.bias"), vec![bias.len()], bias)
    }
}

//! A checkpoint's tensors, one section after another, to a bundle.

use std::f64::consts::LOG2_E;
use std::path::PathBuf;

use berth_bundle::{Embeddings, Head, Header, Layer, Provenance, Shape, WriteError, Writer};
use berth_checkpoint::{Checkpoint, Config, Family, ProblemType, TrainingArgs, names, tokenizer};
use berth_kernels::{Linear, LinearF32, Norm};
use berth_task::{Labels, SpanRules, Task};
use berth_wordpiece::Tokenizer;

use crate::card;
use crate::dense::{Dense, DenseF32, Rows, Weight};
use crate::error::QuantizeError;
use crate::golden;
use crate::smooth::{self, Ranges};
use crate::spread::Spread;

/// What the checkpoint doesn't say, or what is wanted otherwise.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Options {
    /// What the model answers; else training_args.json says it.
    pub task: Option<Task>,
    /// Other names for the labels, in their order; else those of config.json.
    pub label_names: Option<Vec<String>>,
    /// The bound on an input's tokens; else that of the training, else what the tokenizer's files
    /// and the positions allow.
    pub max_tokens: Option<usize>,
    /// How spans are chosen; else as the training settled it.
    pub spans: Option<SpanRules>,
    /// The name under which the bundle will know its model; else the folder's name.
    pub name: Option<String>,
    /// Encoder layers, counted from 0, that stay in f32, for what int8 hurts: eight times slower, four
    /// times larger.
    pub f32_layers: Vec<usize>,
    /// By what channels are made alike before they are quantized, if at all.
    pub smoothing: Option<Ranges>,
    /// Whether each output's step is the one with the least squared error of its weights, rather than the
    /// one that its largest weight asks for.
    pub clipping: bool,
}

/// Quantizes a checkpoint with a head on the `[CLS]` row or on every row (Hugging Face's
/// `BertForSequenceClassification`, `BertForTokenClassification` and `BertForQuestionAnswering`, and DistilBERT's):
/// dense layers to i8 by output channel, word and position
/// embeddings to i8 by row. Token types, layer norms, biases and the last dense layer stay f32.
///
/// Query, key and value become one layer, and the outputs of the query carry the factor
/// `log2(e) / sqrt(head size)`, so that attention's scores are exponents of 2 without another
/// multiplication on the device.
///
/// The bundle that comes back carries a few inputs with its own answers, for `berth-edge --selftest`. It
/// has no metrics yet and is in memory alone.
///
/// # Errors
/// When the checkpoint doesn't hold such a model, or one that the kernels don't run.
pub fn quantize(checkpoint: &Checkpoint, options: &Options) -> Result<Writer, QuantizeError> {
    let mut writer = draft(checkpoint, options)?;
    finish(&mut writer, checkpoint)?;
    Ok(writer)
}

/// Adds what stands behind the model itself: inputs for the self-test, and the card in short.
pub(crate) fn finish(writer: &mut Writer, checkpoint: &Checkpoint) -> Result<(), QuantizeError> {
    golden::add(writer)?;
    if let Some(card) = card::of(checkpoint) {
        writer.card(&card)?;
    }
    Ok(())
}

/// The model alone, as [`quantize`] makes it.
pub(crate) fn draft(checkpoint: &Checkpoint, options: &Options) -> Result<Writer, QuantizeError> {
    let config = &checkpoint.config;
    let heads = config.num_attention_heads;
    let mut source = Source {
        checkpoint,
        hidden: Spread::one(config.hidden_size),
        heads: Spread::parts(heads, config.hidden_size / heads),
        inside: Spread::one(config.intermediate_size),
        smoothing: options.smoothing.as_ref(),
        int8: if options.clipping {
            Dense::clipped
        } else {
            Dense::times
        },
        pools: false,
    };
    let mut writer = Writer::new(source.header(options)?)?;
    source.pools = writer.header().task.reads_first_row_only();
    source.embeddings(&mut writer)?;
    let layers = checkpoint.config.num_hidden_layers;
    if let Some(&layer) = options.f32_layers.iter().find(|&&layer| layer >= layers) {
        let config = source.config_file();
        return Err(QuantizeError::NoLayer {
            config,
            layer,
            layers,
        });
    }
    for index in 0..layers {
        if options.f32_layers.contains(&index) {
            source.layer(index, DenseF32::times, |layer| writer.layer_f32(layer))?;
        } else {
            source.layer(index, source.int8, |layer| writer.layer(layer))?;
        }
    }
    source.head(&mut writer)?;
    let tables = source.tokenizer(writer.header().shape.vocab_size)?;
    writer.tokenizer(&tables)?;
    let training = source.training(writer.header(), options);
    writer.training(&training)?;
    if source.is_multi_label() {
        writer.decisions()?;
    }
    Ok(writer)
}

/// Makes a dense layer of its weight, its bias, the number of its inputs, and a factor for each output.
type Kind<D> = fn(Weight, Vec<f32>, usize, &dyn Fn(usize) -> f32) -> D;

/// A dense layer of one of the two kinds.
trait AnyDense {
    /// As the kernels take it.
    type Linear<'d>
    where
        Self: 'd;

    fn view(&self) -> Self::Linear<'_>;
}

impl AnyDense for Dense {
    type Linear<'d> = Linear<'d>;

    fn view(&self) -> Linear<'_> {
        self.linear()
    }
}

impl AnyDense for DenseF32 {
    type Linear<'d> = LinearF32<'d>;

    fn view(&self) -> LinearF32<'_> {
        self.linear()
    }
}

/// The checkpoint that is read from.
struct Source<'c> {
    checkpoint: &'c Checkpoint,
    /// A row between the layers.
    hidden: Spread,
    /// The heads of a row.
    heads: Spread,
    /// A row inside of a feed-forward block.
    inside: Spread,
    smoothing: Option<&'c Ranges>,
    /// How a dense layer is quantized.
    int8: Kind<Dense>,
    /// Whether the head reads the first row alone, through a pooler.
    pools: bool,
}

impl Source<'_> {
    /// All that the bundle will say about itself before it is measured.
    fn header(&self, options: &Options) -> Result<Header, QuantizeError> {
        let Checkpoint { dir, config, .. } = self.checkpoint;
        let task = self.task(options)?;
        let mut shape = shape(config);
        if task == Task::QuestionAnswering {
            shape.outputs = SPAN_OUTPUTS;
        }
        if !task.takes_pair() {
            // A bundle has a type for a second text, though none of these inputs has one.
            shape.types = shape.types.max(TYPES);
        }
        let shape_error = |source| QuantizeError::Shape {
            config: self.config_file(),
            source,
        };
        shape.check().map_err(shape_error)?;
        let labels = self.labels(task, options)?;
        let training = self.checkpoint.training_args();
        let trained_with = training.map(|args| args.max_seq_length);
        let tokens = options.max_tokens.or(trained_with);
        let tokens = tokens.unwrap_or_else(|| self.checkpoint.max_length());
        let positions = config.max_position_embeddings;
        if !(3..=positions).contains(&tokens) {
            return Err(QuantizeError::MaxTokens {
                dir: dir.clone(),
                tokens,
                positions,
            });
        }
        let mut header = Header::new(shape, task, labels, tokens as u32);
        header.provenance = self.provenance(options)?;
        if task == Task::QuestionAnswering {
            let settled = training.map(TrainingArgs::span_rules);
            header.spans = options.spans.or(settled).or(header.spans);
        }
        Ok(header)
    }

    /// What the model answers, if a bundle can hold that.
    fn task(&self, options: &Options) -> Result<Task, QuantizeError> {
        let Checkpoint { dir, config, .. } = self.checkpoint;
        let dir = || dir.clone();
        let remembered = self.checkpoint.training_args().map(|args| args.task);
        let task = options.task.or(remembered);
        let heads = ["classifier.weight", "qa_outputs.weight"];
        if !heads.iter().any(|head| self.checkpoint.has(head)) {
            return Err(QuantizeError::NoHead { dir: dir() });
        }
        let task = task.ok_or_else(|| QuantizeError::NoTask { dir: dir() })?;
        if let Some(head) = config.other_head(task) {
            let head = head.to_owned();
            return Err(QuantizeError::OtherHead {
                dir: dir(),
                head,
                task,
            });
        }
        let head = head_of(task);
        if !self.checkpoint.has(&format!("{head}.weight")) {
            return Err(QuantizeError::NoHead { dir: dir() });
        }
        Ok(task)
    }

    /// Whether each label is decided by itself.
    fn is_multi_label(&self) -> bool {
        let config = &self.checkpoint.config;
        config.problem_type == Some(ProblemType::MultiLabelClassification)
    }

    /// The names of the outputs; a number has none.
    fn labels(&self, task: Task, options: &Options) -> Result<Labels, QuantizeError> {
        if task == Task::QuestionAnswering {
            return Ok(Labels::new());
        }
        let names = &self.checkpoint.config.id2label;
        let config = || self.config_file();
        if task != Task::TextPairRegression {
            let names = options.label_names.as_ref().unwrap_or(names);
            let names = Labels::of(names.iter().map(String::as_str));
            let error = |source| QuantizeError::Labels {
                config: config(),
                source,
            };
            return names.map_err(error);
        }
        match names.len() {
            1 => Ok(Labels::new()),
            outputs => Err(QuantizeError::Regression {
                config: config(),
                outputs,
            }),
        }
    }

    fn config_file(&self) -> PathBuf {
        let name = berth_checkpoint::config::CONFIG_FILE;
        self.checkpoint.dir.join(name)
    }

    fn provenance(&self, options: &Options) -> Result<Provenance, QuantizeError> {
        let config = &self.checkpoint.config;
        let name = options.name.clone();
        let name = name.unwrap_or_else(|| self.checkpoint.name());
        // A checkpoint of Berth's own keeps of `_name_or_path` what its base model has inherited.
        let trained = self.checkpoint.training_args();
        let trained = trained.and_then(|args| args.provenance.as_ref());
        let named = config.raw.get("_name_or_path");
        let base = match trained {
            Some(provenance) => &provenance.base_model,
            None => named.and_then(|value| value.as_str()).unwrap_or_default(),
        };
        Ok(Provenance {
            berth: bounded(env!("CARGO_PKG_VERSION")),
            model: bounded(&name),
            base: bounded(base),
            weights_sha256: self.checkpoint.sha256()?,
        })
    }

    fn embeddings(&self, writer: &mut Writer) -> Result<(), QuantizeError> {
        let at = |name: &str| format!("bert.embeddings.{name}.weight");
        let rows = |name: &str| -> Result<Rows, QuantizeError> {
            let rows = match self.checkpoint.steps(&at(name)) {
                Some(steps) => Rows::kept(steps),
                None => Rows::of(&self.tensor(&at(name))?, self.hidden.len()),
            };
            Ok(rows.filled(self.hidden))
        };
        let (word, position) = (rows("word_embeddings")?, rows("position_embeddings")?);
        let mut kind = self.vectors(&at("token_type_embeddings"))?;
        kind.resize(
            writer.header().shape.types as usize * self.hidden.width(),
            0.0,
        );
        let norm = self.norm("bert.embeddings.LayerNorm")?;
        writer.embeddings(&Embeddings {
            word: &word.values,
            word_scale: &word.scale,
            position: &position.values,
            position_scale: &position.scale,
            kind: &kind,
            norm: self.norm_of(&norm),
        })?;
        Ok(())
    }

    /// Hands a layer to the writer, each of its dense layers made by `kind`.
    fn layer<D, W>(&self, index: usize, kind: Kind<D>, mut write: W) -> Result<(), QuantizeError>
    where
        D: AnyDense,
        W: for<'d> FnMut(&Layer<'d, D::Linear<'d>>) -> Result<(), WriteError>,
    {
        let at = |part: &str| format!("bert.encoder.layer.{index}.{part}");
        let dense = |part: &str, outputs, inputs: Spread| {
            let (weight, bias) = self.weight_and_bias(&at(part), outputs, inputs)?;
            Ok::<_, QuantizeError>(kind(weight, bias, inputs.width(), &|_| 1.0))
        };
        let out = at("attention.output.dense");
        let (mut weight, bias) = self.weight_and_bias(&out, self.hidden, self.heads)?;
        let heads = self.heads.width();
        let smoothing = self
            .smoothing
            .map(|ranges| ranges.qkv(index, &weight.values(heads)));
        let exponents = smoothing.unwrap_or_else(|| vec![0; 3 * heads]);
        weight.make_up(&exponents[2 * heads..]);
        let qkv = self.qkv(index, kind, &exponents)?;
        let attention_out = kind(weight, bias, heads, &|_| 1.0);
        let attention_norm = self.norm(&at("attention.output.LayerNorm"))?;
        let up = dense("intermediate.dense", self.inside, self.hidden)?;
        let down = dense("output.dense", self.hidden, self.inside)?;
        let mut output_norm = self.norm(&at("output.LayerNorm"))?;
        if let Some(exponents) = self.pooled(index + 1)? {
            for values in &mut output_norm {
                let channels = values.iter_mut().zip(&exponents);
                channels.for_each(|(value, &exponent)| *value *= smooth::power(exponent));
            }
        }
        write(&Layer {
            qkv: qkv.view(),
            attention_out: attention_out.view(),
            attention_norm: self.norm_of(&attention_norm),
            up: up.view(),
            down: down.view(),
            output_norm: self.norm_of(&output_norm),
        })?;
        Ok(())
    }

    /// Query, key and value of a layer as one dense layer, each output `2^exponent` times as large.
    fn qkv<D>(&self, layer: usize, kind: Kind<D>, exponents: &[i32]) -> Result<D, QuantizeError> {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for part in ["query", "key", "value"] {
            let at = format!("bert.encoder.layer.{layer}.attention.self.{part}");
            let (of_part, bias_of_part) = self.weight_and_bias(&at, self.heads, self.hidden)?;
            weight.push(of_part);
            bias.extend(bias_of_part);
        }
        let weight = Weight::join(weight, self.hidden.width());
        let head_size = self.hidden.len() / self.checkpoint.config.num_attention_heads;
        let score = (LOG2_E / (head_size as f64).sqrt()) as f32;
        let factor = |output| {
            let is_query = output < self.heads.width();
            let score = if is_query { score } else { 1.0 };
            score * smooth::power(exponents[output])
        };
        Ok(kind(weight, bias, self.hidden.width(), &factor))
    }

    /// By which powers of two the channels that the pooler reads are made larger, where this is what the
    /// layer before `layer` returns and there is smoothing.
    fn pooled(&self, layer: usize) -> Result<Option<Vec<i32>>, QuantizeError> {
        let last = layer == self.checkpoint.config.num_hidden_layers;
        match self.smoothing {
            Some(ranges) if last && self.pools => {
                let weight = self.vectors(&format!("{}.weight", self.pooler_name()))?;
                Ok(Some(ranges.pooler(&weight)))
            }
            _ => Ok(None),
        }
    }

    fn head(&self, writer: &mut Writer) -> Result<(), QuantizeError> {
        let task = writer.header().task;
        let pooler = self.pools.then(|| self.pooler()).transpose()?;
        let head = head_of(task);
        let weight = self.vectors(&format!("{head}.weight"))?;
        let bias = self.tensor(&format!("{head}.bias"))?;
        let head = Head {
            pooler: pooler.as_ref().map(Dense::linear),
            weight: &weight,
            bias: &bias,
        };
        match self.checkpoint.config.family {
            Family::DistilBert if self.pools => writer.head_relu(&head)?,
            _ => writer.head(&head)?,
        }
        Ok(())
    }

    /// What the dense layer on the first row is called.
    fn pooler_name(&self) -> &'static str {
        match self.checkpoint.config.family {
            Family::Bert => "bert.pooler.dense",
            Family::DistilBert => names::PRE_CLASSIFIER,
        }
    }

    /// The dense layer on the first row.
    fn pooler(&self) -> Result<Dense, QuantizeError> {
        let name = self.pooler_name();
        let (mut weight, bias) = self.weight_and_bias(name, self.hidden, self.hidden)?;
        if let Some(exponents) = self.pooled(self.checkpoint.config.num_hidden_layers)? {
            weight.make_up(&exponents);
        }
        Ok((self.int8)(weight, bias, self.hidden.width(), &|_| 1.0))
    }

    /// The tokenizer's tables, if the model has an embedding for every piece.
    fn tokenizer(&self, rows: u32) -> Result<Vec<u8>, QuantizeError> {
        let dir = &self.checkpoint.dir;
        let tables = tokenizer::tables(dir)?;
        let opened = Tokenizer::new(&tables);
        let tokenizer = opened.map_err(|source| QuantizeError::Tables {
            dir: dir.clone(),
            source,
        })?;
        let pieces = tokenizer.ids();
        if pieces > rows {
            let first = (rows..pieces).find_map(|id| tokenizer.piece_text(id));
            return Err(QuantizeError::Vocabulary {
                dir: dir.clone(),
                pieces,
                rows,
                piece: first.map_or_else(String::new, |piece| piece.to_string()),
            });
        }
        Ok(tables)
    }

    /// What the workstation remembers of the training, with the task and the bound that the
    /// bundle has.
    fn training(&self, header: &Header, options: &Options) -> Vec<u8> {
        let (task, length) = (header.task, header.max_tokens as usize);
        let mut args = match self.checkpoint.training_args() {
            Some(args) => TrainingArgs {
                task,
                max_seq_length: length,
                ..args.clone()
            },
            None => TrainingArgs::new(task, length),
        };
        if let Some(spans) = &header.spans {
            args.remember_spans(spans);
        }
        // Files that know the labels by their old names can still be read.
        if options.label_names.is_some() && args.spellings().is_empty() {
            args.remember_spellings(&self.checkpoint.config.id2label);
        }
        serde_json::to_vec(&args).expect("text and numbers become JSON")
    }

    /// Weight and bias of a dense layer, in whole vectors. Weights that came in eight bits are kept as they are.
    fn weight_and_bias(
        &self,
        name: &str,
        outputs: Spread,
        inputs: Spread,
    ) -> Result<(Weight, Vec<f32>), QuantizeError> {
        let weight = format!("{name}.weight");
        let floats = self.tensor(&weight)?;
        let bias = self.tensor(&format!("{name}.bias"))?;
        let weight = match self.checkpoint.steps(&weight) {
            Some(steps) => Weight::Steps(Rows::kept(steps)),
            None => Weight::Floats(floats),
        };
        Ok((weight.spread(outputs, inputs), outputs.vectors(bias, 0.0)))
    }

    /// Weight and bias of a layer norm, in whole vectors.
    fn norm(&self, name: &str) -> Result<[Vec<f32>; 2], QuantizeError> {
        let weight = self.vectors(&format!("{name}.weight"))?;
        Ok([weight, self.vectors(&format!("{name}.bias"))?])
    }

    fn norm_of<'n>(&self, [weight, bias]: &'n [Vec<f32>; 2]) -> Norm<'n> {
        Norm {
            weight,
            bias,
            channels: self.hidden.len(),
            eps: self.checkpoint.config.layer_norm_eps as f32,
        }
    }

    fn tensor(&self, name: &str) -> Result<Vec<f32>, QuantizeError> {
        finite(self.checkpoint, name)
    }

    /// A tensor of rows between the layers, in whole vectors.
    fn vectors(&self, name: &str) -> Result<Vec<f32>, QuantizeError> {
        Ok(self.hidden.vectors(self.tensor(name)?, 0.0))
    }
}

/// The numbers of a tensor, all finite. Their count is what config.json asks for: that was
/// checked when the checkpoint was opened.
pub(crate) fn finite(checkpoint: &Checkpoint, name: &str) -> Result<Vec<f32>, QuantizeError> {
    let tensor = checkpoint.tensor(name)?;
    match tensor.data.iter().position(|value| !value.is_finite()) {
        None => Ok(tensor.data),
        Some(place) => Err(QuantizeError::NotFinite {
            dir: checkpoint.dir.clone(),
            name: name.to_owned(),
            value: tensor.data[place],
            index: unravel(place, &tensor.shape),
        }),
    }
}

/// The fewest token types of a bundle.
const TYPES: u32 = 2;

/// A start and an end.
const SPAN_OUTPUTS: u32 = 2;

/// What the last dense layer is called.
fn head_of(task: Task) -> &'static str {
    match task {
        Task::QuestionAnswering => "qa_outputs",
        _ => "classifier",
    }
}

/// The dimensions as a bundle has them. Those of an open checkpoint fit into 32 bits.
fn shape(config: &Config) -> Shape {
    Shape {
        vocab_size: config.vocab_size as u32,
        hidden: config.hidden_size as u32,
        layers: config.num_hidden_layers as u32,
        heads: config.num_attention_heads as u32,
        intermediate: config.intermediate_size as u32,
        positions: config.max_position_embeddings as u32,
        types: config.type_vocab_size as u32,
        outputs: config.id2label.len() as u32,
        norm_eps: config.layer_norm_eps as f32,
    }
}

/// The index in each dimension of the element at `place`, row by row.
fn unravel(mut place: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (at, &size) in index.iter_mut().zip(shape).rev() {
        *at = place % size;
        place /= size;
    }
    index
}

/// As much of a text as there is room for, cut between characters.
fn bounded<const N: usize>(text: &str) -> heapless::String<N> {
    let mut bounded = heapless::String::new();
    for character in text.chars() {
        if bounded.push(character).is_err() {
            break;
        }
    }
    bounded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_tensor_is_told_by_dimension() {
        assert_eq!(unravel(7, &[3, 5]), [1, 2]);
        assert_eq!(unravel(7, &[8]), [7]);
        assert_eq!(unravel(0, &[]), Vec::<usize>::new());
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(bounded::<8>("größer"), "größer");
        assert_eq!(bounded::<3>("größer"), "gr");
    }
}

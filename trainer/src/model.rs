//! BERT: the ops of [`crate::ops`] put together, with parameters named as in a Hugging Face checkpoint.

mod rows;

use std::ops::Range;
use std::sync::Arc;

use berth_checkpoint::{Checkpoint, CheckpointError, Config, Family, names};
use berth_task::Task;
use candle_core::Tensor;
use thiserror::Error;

use crate::batches::{self, Batch};
use crate::device::{Device, DeviceError, Engine, Numbers};
use crate::kernels::attention::Heads;
use crate::kernels::gemm::Precision;
use crate::kernels::isa::Isa;
use crate::kernels::loss::Weighing;
use crate::kernels::workspace::Workspace;
use crate::ops::classifier::Classifier;
use crate::ops::embeddings::Embeddings;
use crate::ops::encoder::{Encoder, Layer};
use crate::ops::feed_forward::FeedForward;
use crate::ops::loss::Targets;
use crate::ops::pooler::{Pooler, Squash};
use crate::ops::self_attention::{Asking, SelfAttention};
use crate::ops::{Before, Dense, LayerNorm, Parameter, Pass};
use crate::random::{self, Random};
use rows::Rows;

pub use rows::OldClassifier;

/// Why a model could not be made from a checkpoint.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The checkpoint could not be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// candle refused a tensor.
    #[error("{name}: {source}")]
    Tensor {
        /// Which.
        name: String,
        /// What candle said.
        source: candle_core::Error,
    },
    /// An answer is asked of a model that has never learned to give one.
    #[error("the checkpoint has no `{name}` for {outputs} outputs; fine-tune it first")]
    NoHead {
        /// What is missing.
        name: &'static str,
        /// How many outputs it should have.
        outputs: usize,
    },
}

/// What stands on the encoder.
#[derive(Clone)]
pub enum Head {
    /// One answer for a text or two: pooler and classifier on the first row of each sequence.
    Sequence {
        /// `bert.pooler`; `pre_classifier` of a DistilBERT
        pooler: Arc<Pooler>,
        /// `classifier`
        classifier: Arc<Classifier>,
    },
    /// An answer for each token: one dense layer, shared by all rows.
    Token(Arc<Classifier>),
}

/// The kind of head, and its size; each is what a class of `transformers` has.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum HeadKind {
    /// [`Head::Sequence`], as `BertForSequenceClassification`.
    Sequence {
        /// Labels, or 1 for regression.
        outputs: usize,
    },
    /// [`Head::Token`], as `BertForTokenClassification`: dropout before `classifier`.
    Token {
        /// Labels.
        outputs: usize,
    },
    /// [`Head::Token`], as `BertForQuestionAnswering`: `qa_outputs` with two outputs, the score of a beginning and that
    /// of an end; a DistilBERT has dropout before it.
    Span,
}

impl HeadKind {
    /// The head for a task with `labels` labels.
    pub fn of(task: Task, labels: usize) -> Self {
        match task {
            Task::TextClassification | Task::TextPairClassification => {
                Self::Sequence { outputs: labels }
            }
            Task::TextPairRegression => Self::Sequence { outputs: 1 },
            Task::TokenClassification => Self::Token { outputs: labels },
            Task::QuestionAnswering => Self::Span,
        }
    }

    /// How many logits a sequence of `rows` pieces has.
    pub(crate) fn logits(self, rows: usize) -> usize {
        match self {
            Self::Sequence { outputs } => outputs,
            Self::Token { outputs } => rows * outputs,
            Self::Span => 2 * rows,
        }
    }
}

/// Where parameters come from that the checkpoint lacks.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Normal draws of this seed with the deviation of config.json; biases 0.
    Seeded(u64),
    /// Nowhere: it is an error.
    Refused,
}

/// A BERT with a head.
pub struct Bert {
    parameters: Vec<Arc<Parameter>>,
    encoder: Arc<Encoder>,
    head: Head,
    workspace: Workspace,
    precision: Precision,
    /// The device that has the parameters, if it is not the CPU.
    engine: Option<Arc<dyn Engine>>,
}

impl Bert {
    /// Reads the encoder from a checkpoint, and what it has of the head.
    ///
    /// A classifier of another size than asked for counts as missing.
    ///
    /// # Errors
    /// If a tensor can't be read, or is missing and refused.
    pub fn load(
        checkpoint: &Checkpoint,
        kind: HeadKind,
        missing: Missing,
    ) -> Result<Self, ModelError> {
        Self::read(checkpoint, kind, missing, Rows::InPlace)
    }

    /// Reads the model that a run with these labels starts from: as [`Bert::load`] with parameters of `seed`, but the
    /// base's classifier is gone on with only where it is for the same labels, in any order, or either's are mere
    /// numbers; each label keeps its row. Returned with it is what became of a classifier that is not taken as it is.
    /// Without `labels`, as for a number or a span, it is.
    ///
    /// # Errors
    /// If a tensor can't be read.
    pub fn begin(
        base: &Checkpoint,
        kind: HeadKind,
        labels: &[String],
        seed: u64,
    ) -> Result<(Self, Option<OldClassifier>), ModelError> {
        let (rows, old) = Rows::of(labels, &base.config.id2label);
        let model = Self::read(base, kind, Missing::Seeded(seed), rows)?;
        Ok((model, old.filter(|_| base.has("classifier.weight"))))
    }

    fn read(
        checkpoint: &Checkpoint,
        kind: HeadKind,
        missing: Missing,
        rows: Rows,
    ) -> Result<Self, ModelError> {
        let mut loader = Loader {
            checkpoint,
            missing,
            rows,
            parameters: Vec::new(),
        };
        let config = &checkpoint.config;
        let embeddings = loader.embeddings(config)?;
        let layers = (0..config.num_hidden_layers)
            .map(|i| loader.layer(config, i))
            .collect::<Result<_, _>>()?;
        let head = loader.head(config, kind)?;
        let mut parameters = loader.parameters;
        parameters.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(Self {
            parameters,
            encoder: Arc::new(Encoder { embeddings, layers }),
            head,
            workspace: Workspace::default(),
            precision: Precision::F32,
            engine: None,
        })
    }

    /// Leaves the token types as they are from now on: a base that has no such table learns none. To be called before
    /// the optimizer is made.
    pub fn fix_token_types(&self) {
        self.encoder.embeddings.kind.fix();
    }

    /// Trains in `precision` from now on: the products of the encoder's forward and backward passes. The parameters,
    /// their gradients and everything else stay f32, and so does all of a pass without dropout's masks.
    pub fn train_in(&mut self, precision: Precision) {
        self.precision = precision;
    }

    /// Computes on a device from now on, where it is not the CPU, with products of bf16 in training if `mixed`. The
    /// parameters here are then those of the last [`Bert::fetch`].
    ///
    /// # Errors
    /// If the device can't be had, or the model does not fit it.
    pub fn move_to(&mut self, device: Device, mixed: bool) -> Result<(), DeviceError> {
        self.engine = device.engine(self, mixed)?;
        Ok(())
    }

    /// The device that has the parameters, if it is not the CPU.
    pub fn engine(&self) -> Option<&Arc<dyn Engine>> {
        self.engine.as_ref()
    }

    /// Gets the parameters from the device that has them.
    ///
    /// # Errors
    /// If the device fails.
    pub fn fetch(&self) -> candle_core::Result<()> {
        let Some(engine) = &self.engine else {
            return Ok(());
        };
        for (index, parameter) in self.parameters.iter().enumerate() {
            let values = engine.read(Numbers::Values, index).map_err(other)?;
            parameter.update(|all| all.copy_from_slice(&values))?;
        }
        Ok(())
    }

    /// Gives the parameters, changed here, to the device that is to have them.
    ///
    /// # Errors
    /// If the device fails.
    pub fn send(&self) -> Result<(), DeviceError> {
        let Some(engine) = &self.engine else {
            return Ok(());
        };
        let mut parameters = self.parameters.iter().enumerate();
        parameters.try_for_each(|(index, p)| engine.write(Numbers::Values, index, &p.values()))
    }

    /// The embeddings and layers.
    pub fn encoder(&self) -> &Arc<Encoder> {
        &self.encoder
    }

    /// What stands on them.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Adds the gradients of a batch's mean loss to the parameters', and returns the loss. `masks` is what dropout's
    /// masks depend on. On a CPU a large batch takes [several passes](batches::passes).
    ///
    /// # Errors
    /// As [`Bert::forward`], and if the targets are not those of the batch, or classes have weights, but not one for
    /// each output.
    pub fn learn(
        &self,
        batch: &Batch,
        masks: u64,
        targets: Targets,
        weighing: Option<&Arc<Weighing>>,
    ) -> candle_core::Result<f64> {
        let whole = targets.weight(weighing);
        self.learn_share(batch, masks, targets, weighing, whole)
    }

    /// As [`Bert::learn`], of the share that the batch has in the mean loss of an update of several batches, which
    /// [weigh](Targets::weight) `whole` together: the shares add up to the mean.
    ///
    /// # Errors
    /// As [`Bert::learn`].
    pub fn learn_share(
        &self,
        batch: &Batch,
        masks: u64,
        targets: Targets,
        weighing: Option<&Arc<Weighing>>,
        whole: f64,
    ) -> candle_core::Result<f64> {
        let packing = &batch.packing;
        // The rows of logits that belong to some sequences.
        let answers = |sequences: Range<usize>| match self.answers_tokens() {
            true => packing.rows_of(sequences),
            false => sequences,
        };
        let all = answers(0..packing.sequences()).len();
        targets.check(all, self.head.outputs(), weighing.map(Arc::as_ref))?;
        if let Some(engine) = &self.engine {
            let loss = engine.learn(batch, masks, &targets, weighing.map(Arc::as_ref), whole);
            return loss.map_err(other);
        }
        let mut sum = 0.0;
        for pass in batches::passes(packing.lengths()) {
            let before = Before {
                sequences: pass.start,
                rows: packing.rows_of(pass.clone()).start,
            };
            let targets = targets.part(pass.clone(), answers(pass.clone()));
            let logits = self.run(&batch.part(pass), Some(masks), before)?;
            let loss = targets.share_of_loss(&logits, weighing, whole)?;
            loss.backward()?;
            sum += f64::from(loss.to_scalar::<f32>()?);
        }
        Ok(sum)
    }

    /// All parameters, in the order of their names.
    pub fn parameters(&self) -> &[Arc<Parameter>] {
        &self.parameters
    }

    /// The name of the first parameter with a number that is not finite, where there is one.
    pub fn not_finite(&self) -> Option<&str> {
        let broken = |parameter: &&Arc<Parameter>| {
            let values = parameter.values();
            values.iter().any(|value| !value.is_finite())
        };
        self.parameters
            .iter()
            .find(broken)
            .map(|parameter| parameter.name())
    }

    /// Whether the head answers for each token rather than for each sequence.
    pub fn answers_tokens(&self) -> bool {
        matches!(self.head, Head::Token(_))
    }

    /// The logits of a batch: `[sequences, outputs]`, or `[tokens, outputs]` under a [`Head::Token`]. With `masks`,
    /// dropout is on, and on the CPU candle tracks the graph.
    ///
    /// # Errors
    /// If a token is not in the vocabulary or a sequence longer than the position table.
    pub fn forward(&self, batch: &Batch, masks: Option<u64>) -> candle_core::Result<Tensor> {
        if let Some(engine) = &self.engine {
            let logits = engine.logits(batch, masks).map_err(other)?;
            let outputs = self.head.outputs();
            let shape = (logits.len() / outputs, outputs);
            return Tensor::from_vec(logits, shape, &candle_core::Device::Cpu);
        }
        self.run(batch, masks, Before::default())
    }

    /// A pass on the CPU.
    fn run(
        &self,
        batch: &Batch,
        masks: Option<u64>,
        before: Before,
    ) -> candle_core::Result<Tensor> {
        self.workspace.begin_pass();
        let pass = Pass {
            isa: Isa::best(),
            precision: masks.map_or(Precision::F32, |_| self.precision),
            workspace: self.workspace.clone(),
            packing: batch.packing.clone(),
            masks,
            before,
        };
        let asking = self.head.asking();
        let x = self.encoder.forward(batch.tokens.clone(), asking, &pass)?;
        match &self.head {
            Head::Sequence { pooler, classifier } => {
                classifier.forward(&pooler.forward(&x, &pass)?, &pass.of_first_rows())
            }
            Head::Token(classifier) => classifier.forward(&x, &pass),
        }
    }
}

/// What a device says, as candle says it.
fn other(error: DeviceError) -> candle_core::Error {
    candle_core::Error::wrap(error)
}

impl Head {
    /// Columns of the logits.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Sequence { classifier, .. } | Self::Token(classifier) => {
                classifier.dense.outputs()
            }
        }
    }

    /// The rows of the last layer that the head reads.
    pub(crate) fn asking(&self) -> Asking {
        match self {
            Self::Sequence { .. } => Asking::FirstRows,
            Self::Token(_) => Asking::EveryRow,
        }
    }
}

/// The head that has a row for each label.
const CLASSIFIER: &str = "classifier";

/// Makes parameters from a checkpoint's tensors and remembers them.
struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    missing: Missing,
    /// Of the classifier.
    rows: Rows,
    parameters: Vec<Arc<Parameter>>,
}

type Maker = fn(&str, &[usize], Vec<f32>) -> candle_core::Result<Arc<Parameter>>;

impl Loader<'_> {
    fn embeddings(&mut self, config: &Config) -> Result<Embeddings, ModelError> {
        let mut table =
            |name: &str| self.stored(&format!("bert.embeddings.{name}.weight"), Parameter::table);
        Ok(Embeddings {
            word: table("word_embeddings")?,
            position: table("position_embeddings")?,
            kind: table("token_type_embeddings")?,
            norm: self.norm("bert.embeddings.LayerNorm", config)?,
            dropout: config.hidden_dropout_prob,
        })
    }

    fn layer(&mut self, config: &Config, layer: usize) -> Result<Layer, ModelError> {
        let at = |name: &str| format!("bert.encoder.layer.{layer}.{name}");
        let attention = SelfAttention {
            layer,
            query: self.dense(&at("attention.self.query"))?,
            key: self.dense(&at("attention.self.key"))?,
            value: self.dense(&at("attention.self.value"))?,
            output: self.dense(&at("attention.output.dense"))?,
            norm: self.norm(&at("attention.output.LayerNorm"), config)?,
            heads: Heads {
                count: config.num_attention_heads,
                size: config.hidden_size / config.num_attention_heads,
            },
            probability_dropout: config.attention_probs_dropout_prob,
            output_dropout: config.attention_output_dropout(),
        };
        let feed_forward = FeedForward {
            layer,
            intermediate: self.dense(&at("intermediate.dense"))?,
            output: self.dense(&at("output.dense"))?,
            norm: self.norm(&at("output.LayerNorm"), config)?,
            dropout: config.hidden_dropout_prob,
        };
        Ok(Layer {
            attention,
            feed_forward,
        })
    }

    fn head(&mut self, config: &Config, kind: HeadKind) -> Result<Head, ModelError> {
        let mut last = |name, outputs, dropout| {
            let dense = self.head_dense(name, outputs)?;
            Ok::<_, ModelError>(Arc::new(Classifier { dense, dropout }))
        };
        Ok(match kind {
            HeadKind::Sequence { outputs } => Head::Sequence {
                classifier: last(CLASSIFIER, outputs, config.head_dropout())?,
                pooler: Arc::new(self.pooler(config.hidden_size)?),
            },
            HeadKind::Token { outputs } => {
                Head::Token(last(CLASSIFIER, outputs, config.token_head_dropout())?)
            }
            HeadKind::Span => Head::Token(last("qa_outputs", 2, config.qa_dropout)?),
        })
    }

    /// The pooler, or what a DistilBERT has in its place.
    fn pooler(&mut self, hidden: usize) -> Result<Pooler, ModelError> {
        let (squash, name) = match self.checkpoint.config.family {
            Family::Bert => (Squash::Tanh, "bert.pooler.dense"),
            Family::DistilBert => (Squash::Relu, names::PRE_CLASSIFIER),
        };
        let dense = self.head_dense(name, hidden)?;
        Ok(Pooler { dense, squash })
    }

    fn dense(&mut self, name: &str) -> Result<Dense, ModelError> {
        Ok(Dense {
            weight: self.stored(&format!("{name}.weight"), Parameter::dense)?,
            bias: self.stored(&format!("{name}.bias"), Parameter::dense)?,
        })
    }

    /// A dense layer that the checkpoint may lack.
    fn head_dense(&mut self, name: &'static str, outputs: usize) -> Result<Dense, ModelError> {
        let config = &self.checkpoint.config;
        let shape = [outputs, config.hidden_size];
        let [weight, bias] = ["weight", "bias"].map(|part| format!("{name}.{part}"));
        let rows = match name {
            CLASSIFIER => self.rows.clone(),
            _ => Rows::InPlace,
        };
        if self.checkpoint.shape(&weight) == Some(&shape) && rows != Rows::Fresh {
            return Ok(Dense {
                weight: self.stored_rows(&weight, &rows)?,
                bias: self.stored_rows(&bias, &rows)?,
            });
        }
        let Missing::Seeded(seed) = self.missing else {
            return Err(ModelError::NoHead { name, outputs });
        };
        let mut draws = Random::new(random::key(&[seed, random::text_key(&weight)]));
        let values = (0..outputs * config.hidden_size)
            .map(|_| (draws.normal() * config.initializer_range) as f32);
        Ok(Dense {
            weight: self.made(&weight, &shape, values.collect(), Parameter::dense)?,
            bias: self.made(&bias, &[outputs], vec![0.0; outputs], Parameter::dense)?,
        })
    }

    fn norm(&mut self, name: &str, config: &Config) -> Result<LayerNorm, ModelError> {
        Ok(LayerNorm {
            weight: self.stored(&format!("{name}.weight"), Parameter::dense)?,
            bias: self.stored(&format!("{name}.bias"), Parameter::dense)?,
            eps: config.layer_norm_eps as f32,
        })
    }

    fn stored(&mut self, name: &str, make: Maker) -> Result<Arc<Parameter>, ModelError> {
        let tensor = self.checkpoint.tensor(name)?;
        self.made(name, &tensor.shape, tensor.data, make)
    }

    fn stored_rows(&mut self, name: &str, rows: &Rows) -> Result<Arc<Parameter>, ModelError> {
        let tensor = self.checkpoint.tensor(name)?;
        let data = rows.arrange(tensor.data);
        self.made(name, &tensor.shape, data, Parameter::dense)
    }

    fn made(
        &mut self,
        name: &str,
        shape: &[usize],
        data: Vec<f32>,
        make: Maker,
    ) -> Result<Arc<Parameter>, ModelError> {
        let made = make(name, shape, data).map_err(|source| ModelError::Tensor {
            name: name.to_owned(),
            source,
        })?;
        self.parameters.push(made.clone());
        Ok(made)
    }
}

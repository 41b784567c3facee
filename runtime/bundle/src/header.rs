//! What a bundle says about itself: descriptors only, in memory of fixed size.

use core::fmt;

use berth_kernels::NUMERICS_VERSION;
use berth_task::{Labels, Task};
use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::layout;
use crate::open::OpenError;
use crate::prefix::FORMAT_F32_LAYERS;
#[cfg(feature = "std")]
use crate::prefix::OLDEST_FORMAT;
use crate::shape::Shape;

/// The most sections of a bundle.
pub const MAX_SECTIONS: usize = 64;

/// The most metrics that a bundle carries.
pub const MAX_METRICS: usize = 16;

/// The longest name in a header, in bytes of UTF-8: a model's, a metric's.
pub const MAX_NAME_BYTES: usize = 128;

/// The fewest tokens that an input may be bounded to: `[CLS]`, and a `[SEP]` behind each of two
/// texts.
const FEWEST_TOKENS: u32 = 3;

/// What a bundle holds, as far as it can be told without reading its sections. About 13 KiB.
///
/// The fields are encoded in this order.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// The version of the arithmetic that the weights were quantized for.
    pub numerics: u16,
    /// The model's dimensions.
    pub shape: Shape,
    /// What the head answers.
    pub task: Task,
    /// A name for each output; none for a number or a span.
    pub labels: Labels,
    /// How many tokens the examples were cut to in training.
    pub max_tokens: u32,
    /// Where the model comes from.
    pub provenance: Provenance,
    /// What the model reached on its validation file; none where it was not measured.
    pub metrics: Vec<Metric, MAX_METRICS>,
    /// The sections, in the order of the file.
    pub sections: Vec<Section, MAX_SECTIONS>,
}

impl Header {
    /// A header of the present numerics, without provenance, metrics and sections: the last are
    /// the writer's to fill in.
    pub fn new(shape: Shape, task: Task, labels: Labels, max_tokens: u32) -> Self {
        Header {
            numerics: NUMERICS_VERSION,
            shape,
            task,
            labels,
            max_tokens,
            provenance: Provenance::default(),
            metrics: Vec::new(),
            sections: Vec::new(),
        }
    }

    /// The layers that run in floats, in order; the others run in int8.
    pub fn f32_layers(&self) -> impl Iterator<Item = usize> {
        self.sections
            .iter()
            .filter_map(|section| match section.kind {
                SectionKind::LayerF32(index) => Some(usize::from(index)),
                _ => None,
            })
    }

    /// The oldest version of the format that can hold this.
    #[cfg(feature = "std")]
    pub(crate) fn format_version(&self) -> u32 {
        match self.f32_layers().next() {
            Some(_) => FORMAT_F32_LAYERS,
            None => OLDEST_FORMAT,
        }
    }

    /// What holds for every header of the present numerics, whatever its sections.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        self.shape.check().map_err(OpenError::Shape)?;
        self.check_outputs()?;
        if !(FEWEST_TOKENS..=self.shape.positions).contains(&self.max_tokens) {
            return Err(OpenError::MaxTokens(self.max_tokens));
        }
        Ok(())
    }

    /// A label for each output; or no labels and one output for a number, two for a span.
    fn check_outputs(&self) -> Result<(), OpenError> {
        let (labels, outputs) = match self.task {
            Task::TextPairRegression => (0, 1),
            Task::QuestionAnswering => (0, 2),
            Task::TextClassification | Task::TextPairClassification | Task::TokenClassification => {
                (self.labels.len(), self.labels.len())
            }
        };
        if labels != self.labels.len() || outputs != self.shape.outputs as usize {
            return Err(OpenError::Outputs);
        }
        Ok(())
    }

    /// Whether the table names every section that the shape asks for, each as long as it must be and of
    /// a kind that this version of the format has.
    pub(crate) fn check_sections(&self, version: u32) -> Result<(), OpenError> {
        let kinds = SectionKind::all(&self.shape);
        let found = self.sections.iter().map(|section| section.kind.int8());
        if !found.eq(kinds) || self.f32_layers().next().is_some() && version < FORMAT_F32_LAYERS {
            return Err(OpenError::SectionTable);
        }
        for section in &self.sections {
            match layout::section_len(section.kind, &self.shape, self.task) {
                Some(len) if len != u64::from(section.len) => {
                    return Err(OpenError::SectionLength(section.kind));
                }
                _ => (),
            }
        }
        Ok(())
    }
}

/// Where a model comes from. For people: nothing is decided by it.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct Provenance {
    /// The version of Berth that wrote the file.
    pub berth: String<32>,
    /// The model's name.
    pub model: String<MAX_NAME_BYTES>,
    /// The model that it was fine-tuned from; empty where that is not known.
    pub base: String<MAX_NAME_BYTES>,
    /// SHA-256 of the checkpoint's `model.safetensors`.
    pub weights_sha256: [u8; 32],
}

/// One figure, before and after quantization.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Metric {
    /// As Hugging Face names it, such as `eval_accuracy`.
    pub name: String<MAX_NAME_BYTES>,
    /// What the checkpoint reached.
    pub f32: f64,
    /// What this bundle reaches.
    pub int8: f64,
}

/// A stretch of the file. It begins at the first multiple of 64 behind the one before it.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Serialize, Deserialize)]
pub struct Section {
    /// What it holds.
    pub kind: SectionKind,
    /// Its bytes, without the padding behind it.
    pub len: u32,
    /// Their CRC-32C.
    pub crc: u32,
}

/// What a section holds.
///
/// The order of the variants is part of the format: a new one is added at the end.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Serialize, Deserialize)]
pub enum SectionKind {
    /// The three embeddings and their layer norm.
    Embeddings,
    /// One encoder layer, counted from 0.
    Layer(u16),
    /// The pooler, where there is one, and the last dense layer.
    Head,
    /// The tokenizer's tables.
    Tokenizer,
    /// How the model was trained, for the workstation; empty where that is not known.
    Training,
    /// One encoder layer, counted from 0, that runs in floats; in the place of [`Layer`](Self::Layer).
    LayerF32(u16),
}

impl SectionKind {
    /// The same, where a layer of either kind is a [`Layer`](Self::Layer).
    fn int8(self) -> Self {
        match self {
            SectionKind::LayerF32(index) => SectionKind::Layer(index),
            kind => kind,
        }
    }

    /// Whether this section may stand where `expected` is due: itself, or a layer in floats.
    pub(crate) fn fits(self, expected: SectionKind) -> bool {
        self.int8() == expected
    }

    /// Every section of a model of this shape in int8, in the order of the file.
    pub(crate) fn all(shape: &Shape) -> impl Iterator<Item = SectionKind> + use<> {
        let layers = (0..shape.layers as u16).map(SectionKind::Layer);
        core::iter::once(SectionKind::Embeddings)
            .chain(layers)
            .chain([
                SectionKind::Head,
                SectionKind::Tokenizer,
                SectionKind::Training,
            ])
    }
}

impl fmt::Display for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SectionKind::Embeddings => f.pad("embeddings"),
            SectionKind::Layer(index) => write!(f, "layer {index}"),
            SectionKind::Head => f.pad("head"),
            SectionKind::Tokenizer => f.pad("tokenizer"),
            SectionKind::Training => f.pad("training"),
            SectionKind::LayerF32(index) => write!(f, "layer {index} in f32"),
        }
    }
}

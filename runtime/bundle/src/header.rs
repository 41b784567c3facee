//! What a bundle says about itself: descriptors only, in memory of fixed size.

use berth_kernels::NUMERICS_VERSION;
use berth_task::{Labels, MAX_N_BEST, SpanRules, Task, Temperature};
use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::calibration::Calibration;
use crate::error::OpenError;
use crate::layout;
use crate::section::{MAX_SECTIONS, Section, SectionKind};
use crate::shape::Shape;
use crate::version::CALIBRATION;

/// The most metrics that a bundle carries.
pub const MAX_METRICS: usize = 16;

/// The longest card, in bytes of UTF-8.
pub const MAX_CARD_BYTES: usize = 16_384;

/// The score above which a label goes where each is decided by itself.
pub const DECISION: f32 = 0.5;

/// The longest name in a header, in bytes of UTF-8: a model's, a metric's.
pub const MAX_NAME_BYTES: usize = 128;

/// The fewest tokens that an input may be bounded to: `[CLS]`, and a `[SEP]` behind each of two
/// texts.
const FEWEST_TOKENS: u32 = 3;

/// The same where windows of a passage need a piece each.
const FEWEST_TOKENS_OF_WINDOWS: u32 = 4;

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
    /// How spans are chosen, for question answering and no other task. It is there in the file for
    /// that task alone.
    #[serde(skip)]
    pub spans: Option<SpanRules>,
    /// How scores were brought near the share of right answers; none where they were not. It is there
    /// in files from version 3 on.
    #[serde(skip)]
    pub calibration: Option<Calibration>,
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
            spans: (task == Task::QuestionAnswering).then(SpanRules::default),
            calibration: None,
        }
    }

    /// What logits are divided by before they become scores.
    pub fn temperature(&self) -> Temperature {
        let fitted = self.calibration.as_ref();
        fitted.map(Calibration::temperature).unwrap_or_default()
    }

    /// How many logits an input of so many tokens has: a row of `outputs` for a head that reads the first row alone, else
    /// one for each token. No input that a bundle's shape has positions for has more than 2^25; of lengths for which they
    /// can't be counted, it is `usize::MAX`.
    pub fn logits(&self, tokens: usize) -> usize {
        let rows = match self.task.reads_first_row_only() {
            true => 1,
            false => tokens,
        };
        rows.saturating_mul(self.shape.outputs as usize)
    }

    /// The lowest version of the format that has all that this header tells.
    pub fn version(&self) -> u32 {
        let sections = self.sections.iter().map(|section| section.kind.since());
        let calibration = self.calibration.iter().map(|_| CALIBRATION);
        let shape = self.shape.since();
        sections.chain(calibration).fold(shape, u32::max)
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

    /// Whether ReLU follows the pooler, and not tanh.
    pub fn has_relu_head(&self) -> bool {
        let mut kinds = self.sections.iter().map(|section| section.kind);
        kinds.any(|kind| kind == SectionKind::HeadRelu)
    }

    /// Reads a header as a file of this version has it; what is behind it comes back too.
    pub(crate) fn decode(bytes: &[u8], version: u32) -> postcard::Result<(Self, &[u8])> {
        let (mut header, mut rest) = postcard::take_from_bytes::<Header>(bytes)?;
        if header.task == Task::QuestionAnswering {
            let (spans, behind) = postcard::take_from_bytes(rest)?;
            (header.spans, rest) = (Some(spans), behind);
        }
        if version >= CALIBRATION {
            (header.calibration, rest) = postcard::take_from_bytes(rest)?;
        }
        Ok((header, rest))
    }

    /// The bytes of the header in a file of its [`version`](Self::version).
    #[cfg(feature = "std")]
    pub fn encode(&self) -> std::vec::Vec<u8> {
        let mut bytes = postcard::to_stdvec(self).expect("every field has an encoding");
        if let Some(spans) = &self.spans {
            bytes.extend(postcard::to_stdvec(spans).expect("every field has an encoding"));
        }
        if self.version() >= CALIBRATION {
            let calibration = postcard::to_stdvec(&self.calibration);
            bytes.extend(calibration.expect("every field has an encoding"));
        }
        bytes
    }

    /// What holds for every header of the present numerics in a file of this version, whatever its sections.
    pub(crate) fn check(&self, version: u32) -> Result<(), OpenError> {
        self.shape.check().map_err(OpenError::Shape)?;
        if self.shape.since() > version {
            return Err(OpenError::PartialVectors(version));
        }
        self.check_outputs()?;
        let fewest = match self.spans {
            Some(_) => FEWEST_TOKENS_OF_WINDOWS,
            None => FEWEST_TOKENS,
        };
        if !(fewest..=self.shape.positions).contains(&self.max_tokens) {
            return Err(OpenError::MaxTokens(self.max_tokens));
        }
        self.check_spans()?;
        let fine = match &self.calibration {
            Some(calibration) => {
                calibration.is_sound()
                    && (self.has_one_distribution() || calibration.temperature == 1.0)
            }
            None => true,
        };
        fine.then_some(()).ok_or(OpenError::Calibration)
    }

    /// Whether all logits of an answer share one softmax, which a temperature divides them for.
    fn has_one_distribution(&self) -> bool {
        let mut kinds = self.sections.iter().map(|section| section.kind);
        self.task != Task::TextPairRegression && !kinds.any(|kind| kind == SectionKind::Decisions)
    }

    /// Rules for spans where the head gives spans, and rules that can be followed.
    fn check_spans(&self) -> Result<(), OpenError> {
        let fine = match self.spans {
            None => self.task != Task::QuestionAnswering,
            Some(spans) => {
                self.task == Task::QuestionAnswering
                    && (1..=MAX_N_BEST as u32).contains(&spans.n_best_size)
                    && spans.max_answer_length > 0
                    && spans.null_score_diff_threshold.is_none_or(f32::is_finite)
            }
        };
        if fine { Ok(()) } else { Err(OpenError::Spans) }
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
    /// a kind that a file of this version may have, and behind them none but those that it may have.
    pub(crate) fn check_sections(&self, version: u32) -> Result<(), OpenError> {
        let mut found = self.sections.iter().map(|section| section.kind.plain());
        let mut optional = SectionKind::OPTIONAL.iter();
        let all_there = self.shape.sections().all(|kind| found.next() == Some(kind));
        let mut may_be = |kind| optional.any(|&other| other == kind);
        let mut kinds = self.sections.iter().map(|section| section.kind);
        let fit = kinds.all(|kind| kind.since() <= version && kind.goes_with(self.task));
        if !all_there || !fit || !found.all(&mut may_be) {
            return Err(OpenError::SectionTable);
        }
        for section in &self.sections {
            match layout::section_len(section.kind, &self.shape, self.task) {
                Some(len) if len != u64::from(section.len) => {
                    return Err(OpenError::SectionLength(section.kind));
                }
                None if section.kind == SectionKind::Card
                    && section.len as usize > MAX_CARD_BYTES =>
                {
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

//! The parts of the file behind its header.

use core::fmt;

use berth_task::Task;
use serde::{Deserialize, Serialize};

use crate::version::{CALIBRATION, DECISIONS, F32_LAYERS, RELU_HEADS};

/// The most sections of a bundle.
pub const MAX_SECTIONS: usize = 67;

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
    /// Inputs with the answers that the workstation had; may be left out.
    Selftest,
    /// One encoder layer, counted from 0, that runs in floats; in the place of [`Layer`](Self::Layer).
    LayerF32(u16),
    /// A head whose pooler ReLU follows and not tanh, as DistilBERT's; in the place of
    /// [`Head`](Self::Head).
    HeadRelu,
    /// The model's card in short, for people; may be left out.
    Card,
    /// That each label is decided by itself, and from which score on it goes; may be left out.
    Decisions,
}

impl SectionKind {
    /// Whether the other stands where this one does: two of the same kind, or a layer in int8 and the same
    /// one in f32.
    pub fn is_same_place(self, other: Self) -> bool {
        self.plain() == other.plain()
    }

    /// What may stand behind the others, each once and in this order.
    pub(crate) const OPTIONAL: [SectionKind; 3] = [
        SectionKind::Decisions,
        SectionKind::Selftest,
        SectionKind::Card,
    ];

    /// The first version of the format that has such a section.
    pub(crate) fn since(self) -> u32 {
        match self {
            SectionKind::Selftest | SectionKind::LayerF32(_) => F32_LAYERS,
            SectionKind::HeadRelu => RELU_HEADS,
            SectionKind::Card => CALIBRATION,
            SectionKind::Decisions => DECISIONS,
            _ => 1,
        }
    }

    /// Whether bundles for this task may have such a section.
    pub(crate) fn goes_with(self, task: Task) -> bool {
        match self {
            SectionKind::HeadRelu => task.reads_first_row_only(),
            SectionKind::Decisions => {
                matches!(
                    task,
                    Task::TextClassification | Task::TextPairClassification
                )
            }
            _ => true,
        }
    }

    /// The same, where a layer of either kind is a [`Layer`](Self::Layer), and a head of either kind a
    /// [`Head`](Self::Head).
    pub(crate) fn plain(self) -> Self {
        match self {
            SectionKind::LayerF32(index) => SectionKind::Layer(index),
            SectionKind::HeadRelu => SectionKind::Head,
            kind => kind,
        }
    }

    /// Whether this section may stand where `expected` is due: itself, or what may take its place.
    #[cfg(feature = "std")]
    pub(crate) fn fits(self, expected: SectionKind) -> bool {
        self.plain() == expected
    }
}

impl fmt::Display for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SectionKind::Embeddings => f.pad("embeddings"),
            SectionKind::Layer(index) => write!(f, "layer {index}"),
            SectionKind::Head => f.pad("head"),
            SectionKind::HeadRelu => f.pad("head with relu"),
            SectionKind::Tokenizer => f.pad("tokenizer"),
            SectionKind::Training => f.pad("training"),
            SectionKind::LayerF32(index) => write!(f, "layer {index} in f32"),
            SectionKind::Selftest => f.pad("selftest"),
            SectionKind::Card => f.pad("card"),
            SectionKind::Decisions => f.pad("decisions"),
        }
    }
}

//! The dimensions of a model, and the bounds that make every length below computable.

use core::fmt;

use berth_kernels::LANES;
use berth_task::MAX_LABELS;
use serde::{Deserialize, Serialize};

use crate::section::{MAX_SECTIONS, SectionKind};
use crate::version::ANY_SIZE;

/// The largest hidden size, and the largest intermediate size: 65,536 products of a u8 and an s8
/// still fit into an i32.
pub const MAX_WIDTH: u32 = 65_536;

/// The most positions, for the same reason: attention sums one product for each token.
pub const MAX_POSITIONS: u32 = 65_536;

/// The most encoder layers: beside them, the section table names the embeddings, the head, the
/// tokenizer, the training, the selftest and the card.
pub const MAX_LAYERS: u32 = MAX_SECTIONS as u32 - 7;

/// The dimensions of a model.
///
/// In the arrays of a bundle, the hidden size, the size of a head and the intermediate size stand filled up
/// to whole vectors of 16 with zeros. [`width`](Self::width), [`head_width`](Self::head_width) and
/// [`inside_width`](Self::inside_width) tell how long they are then; everything that counts array elements
/// goes by those.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Shape {
    /// Rows of the word embedding.
    pub vocab_size: u32,
    /// Values that stand for a token between the layers.
    pub hidden: u32,
    /// Encoder layers.
    pub layers: u32,
    /// Attention heads; they share `hidden` equally.
    pub heads: u32,
    /// Values between the two linears of a feed-forward block.
    pub intermediate: u32,
    /// Rows of the position embedding: the most tokens that an input can have.
    pub positions: u32,
    /// Rows of the token type embedding.
    pub types: u32,
    /// Logits that the head returns.
    pub outputs: u32,
    /// What every layer norm adds to the variance.
    pub norm_eps: f32,
}

impl Shape {
    /// Values in an attention head.
    ///
    /// # Panics
    /// When there are no heads, which [`check`](Self::check) refuses.
    pub fn head_size(&self) -> u32 {
        self.hidden / self.heads
    }

    /// Elements of a row between the layers.
    pub fn width(&self) -> u32 {
        in_vectors(self.hidden)
    }

    /// Elements of an attention head.
    ///
    /// # Panics
    /// As [`head_size`](Self::head_size).
    pub fn head_width(&self) -> u32 {
        in_vectors(self.head_size())
    }

    /// Elements of all heads of a row, side by side: [`width`](Self::width) or more.
    ///
    /// # Panics
    /// As [`head_size`](Self::head_size).
    pub fn heads_width(&self) -> u32 {
        self.heads.saturating_mul(self.head_width())
    }

    /// Elements of a row inside of a feed-forward block.
    pub fn inside_width(&self) -> u32 {
        in_vectors(self.intermediate)
    }

    /// The first version of the format that has such a shape.
    pub(crate) fn since(&self) -> u32 {
        let lanes = LANES as u64;
        let whole_heads = u64::from(self.hidden).is_multiple_of(lanes * u64::from(self.heads));
        if whole_heads && u64::from(self.intermediate).is_multiple_of(lanes) {
            1
        } else {
            ANY_SIZE
        }
    }

    /// Every section that a bundle of such a model must have, its layers in int8, in the order of the file.
    pub(crate) fn sections(&self) -> impl Iterator<Item = SectionKind> + use<> {
        let layers = (0..self.layers as u16).map(SectionKind::Layer);
        core::iter::once(SectionKind::Embeddings)
            .chain(layers)
            .chain([
                SectionKind::Head,
                SectionKind::Tokenizer,
                SectionKind::Training,
            ])
    }

    /// Whether a bundle can hold such a model and the kernels can run it.
    ///
    /// # Errors
    /// Names the first dimension that can't be.
    pub fn check(&self) -> Result<(), ShapeError> {
        let sized = |size: u32| (1..=MAX_WIDTH).contains(&size);
        let rules = [
            (self.vocab_size >= 1, ShapeError::VocabSize),
            (sized(self.hidden), ShapeError::Hidden),
            ((1..=MAX_LAYERS).contains(&self.layers), ShapeError::Layers),
            (self.heads_fit(), ShapeError::Heads),
            (sized(self.intermediate), ShapeError::Intermediate),
            (
                (1..=MAX_POSITIONS).contains(&self.positions),
                ShapeError::Positions,
            ),
            (self.types >= 2, ShapeError::Types),
            (
                (1..=MAX_LABELS as u32).contains(&self.outputs),
                ShapeError::Outputs,
            ),
            (
                self.norm_eps.is_finite() && self.norm_eps > 0.0,
                ShapeError::NormEps,
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// Whether the heads share the hidden size equally, and are not too wide in whole vectors.
    fn heads_fit(&self) -> bool {
        self.heads >= 1 && self.hidden.is_multiple_of(self.heads) && self.heads_width() <= MAX_WIDTH
    }
}

/// So many elements, filled up to whole vectors; those of a size beyond all bounds are no more than a `u32` tells.
fn in_vectors(size: u32) -> u32 {
    size.checked_next_multiple_of(LANES as u32)
        .unwrap_or(u32::MAX)
}

/// The dimension of a [`Shape`] that can't be.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum ShapeError {
    /// No words.
    VocabSize,
    /// 0, or more than [`MAX_WIDTH`].
    Hidden,
    /// None, or more than [`MAX_LAYERS`].
    Layers,
    /// Not equal parts of the hidden size, or in whole vectors of 16 more than [`MAX_WIDTH`] together.
    Heads,
    /// 0, or more than [`MAX_WIDTH`].
    Intermediate,
    /// None, or more than [`MAX_POSITIONS`].
    Positions,
    /// Not two at least: one for each text of a pair.
    Types,
    /// None, or more than [`MAX_LABELS`].
    Outputs,
    /// Not a finite number above 0.
    NormEps,
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShapeError::VocabSize => f.write_str("the vocabulary is empty"),
            ShapeError::Hidden => write!(f, "the hidden size must be 1 to {MAX_WIDTH}"),
            ShapeError::Layers => write!(f, "there must be 1 to {MAX_LAYERS} layers"),
            ShapeError::Heads => write!(
                f,
                "the heads must share the hidden size equally and, each filled up to a multiple of {LANES}, have at \
                 most {MAX_WIDTH} values together"
            ),
            ShapeError::Intermediate => {
                write!(f, "the intermediate size must be 1 to {MAX_WIDTH}")
            }
            ShapeError::Positions => write!(f, "there must be 1 to {MAX_POSITIONS} positions"),
            ShapeError::Types => f.write_str("there must be 2 token types or more"),
            ShapeError::Outputs => write!(f, "there must be 1 to {MAX_LABELS} outputs"),
            ShapeError::NormEps => {
                f.write_str("the layer norm's epsilon must be a finite number above 0")
            }
        }
    }
}

impl core::error::Error for ShapeError {}

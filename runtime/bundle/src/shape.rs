//! The dimensions of a model, and the bounds that make every length below computable.

use core::fmt;

use berth_kernels::LANES;
use berth_task::MAX_LABELS;
use serde::{Deserialize, Serialize};

use crate::header::MAX_SECTIONS;

/// The largest hidden size, and the largest intermediate size: 65,536 products of a u8 and an s8
/// still fit into an i32.
pub const MAX_WIDTH: u32 = 65_536;

/// The most positions, for the same reason: attention sums one product for each token.
pub const MAX_POSITIONS: u32 = 65_536;

/// The most encoder layers: beside them, the section table names the embeddings, the head, the
/// tokenizer, the training, the selftest and the card.
pub const MAX_LAYERS: u32 = MAX_SECTIONS as u32 - 7;

/// The dimensions of a model.
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

    /// Whether a bundle can hold such a model and the kernels can run it.
    ///
    /// # Errors
    /// Names the first dimension that can't be.
    pub fn check(&self) -> Result<(), ShapeError> {
        let lanes = LANES as u32;
        let whole = |size: u32| (1..=MAX_WIDTH).contains(&size) && size.is_multiple_of(lanes);
        let rules = [
            (self.vocab_size >= 1, ShapeError::VocabSize),
            (whole(self.hidden), ShapeError::Hidden),
            ((1..=MAX_LAYERS).contains(&self.layers), ShapeError::Layers),
            (self.heads_fit(), ShapeError::Heads),
            (whole(self.intermediate), ShapeError::Intermediate),
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

    /// Whether the heads share the hidden size equally, in whole vectors.
    fn heads_fit(&self) -> bool {
        self.heads >= 1
            && self.hidden.is_multiple_of(self.heads)
            && self.head_size().is_multiple_of(LANES as u32)
    }
}

/// The dimension of a [`Shape`] that can't be.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum ShapeError {
    /// No words.
    VocabSize,
    /// Not a multiple of 16 from 16 to [`MAX_WIDTH`].
    Hidden,
    /// None, or more than [`MAX_LAYERS`].
    Layers,
    /// Not parts of the hidden size that are equal and multiples of 16.
    Heads,
    /// Not a multiple of 16 from 16 to [`MAX_WIDTH`].
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
            ShapeError::Hidden => {
                write!(
                    f,
                    "the hidden size must be a multiple of {LANES} up to {MAX_WIDTH}"
                )
            }
            ShapeError::Layers => write!(f, "there must be 1 to {MAX_LAYERS} layers"),
            ShapeError::Heads => write!(
                f,
                "the heads must share the hidden size in equal multiples of {LANES}"
            ),
            ShapeError::Intermediate => write!(
                f,
                "the intermediate size must be a multiple of {LANES} up to {MAX_WIDTH}"
            ),
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

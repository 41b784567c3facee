//! The versions of the format, and what came with each.

/// The newest version of the format that this crate reads. It writes the oldest that can hold a model.
pub const FORMAT_VERSION: u32 = 5;

/// The oldest version that is read.
pub(crate) const OLDEST_VERSION: u32 = 1;

/// The first version that has layers in floats, and inputs with known answers.
pub(crate) const F32_LAYERS: u32 = 2;

/// The first version that has heads whose pooler ReLU follows.
pub(crate) const RELU_HEADS: u32 = 3;

/// The first version whose header may tell how scores were calibrated, and that may have a card.
pub(crate) const CALIBRATION: u32 = 3;

/// The first version that may say that each label is decided by itself.
pub(crate) const DECISIONS: u32 = 4;

/// The first version whose sizes need not fill whole vectors.
pub(crate) const ANY_SIZE: u32 = 5;

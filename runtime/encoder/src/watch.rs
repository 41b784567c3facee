//! Where the time of a forward pass goes, told to whoever asks.
//!
//! The crate has no clock. A [`Watch`] is told when a part begins and when it ends, and may look at one.

use core::fmt::Debug;

/// A part of a forward pass.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Part {
    /// Rows times the weights of a linear, and what follows on the way out: bias, GELU.
    Linear,
    /// Attention of some heads, from query, key and value to their context.
    Attention,
}

/// Is told of every part, on the thread that computes it. Parts don't contain one another.
pub trait Watch: Sync + Debug {
    /// A part begins on this thread.
    fn begin(&self, part: Part);

    /// It has ended.
    fn end(&self, part: Part);
}

//! Why an input has no output.

use core::fmt;

/// What is wrong with an input.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum ForwardError {
    /// No tokens, not even `[CLS]`.
    NoTokens,
    /// More tokens than the model has positions or the scratch has room for.
    TooManyTokens {
        /// How many there are.
        tokens: usize,
        /// How many there may be.
        most: usize,
    },
    /// An id that the model has no embedding for.
    UnknownId {
        /// The id.
        id: u32,
        /// Where it stands.
        position: usize,
    },
    /// The second text begins behind the last token.
    Second {
        /// Where it is said to begin.
        second: usize,
        /// How many tokens there are.
        tokens: usize,
    },
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForwardError::NoTokens => f.write_str("no tokens"),
            ForwardError::TooManyTokens { tokens, most } => {
                write!(f, "{tokens} tokens where there is room for {most}")
            }
            ForwardError::UnknownId { id, position } => {
                write!(
                    f,
                    "token {position} is {id}, which the model has no embedding for"
                )
            }
            ForwardError::Second { second, tokens } => {
                write!(f, "the second text begins at {second} of {tokens} tokens")
            }
        }
    }
}

impl core::error::Error for ForwardError {}

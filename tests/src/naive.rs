//! BERT written for reading, in `f64`: the reference that the trainer and the runtime are held to.
//!
//! Nothing here is fast and nothing is shared with the code under test. [`Tape`] is a matrix
//! calculator that remembers what it did, so that it can run backwards; [`Bert`] writes the model's
//! formulas down on it, one sequence at a time, without batches, padding or dropout. The gradients
//! are themselves held to central finite differences of the loss.

mod bert;
mod matrix;
mod tape;

pub use bert::{Bert, Dimensions, Gold, Sequence, Trace};
pub use matrix::{Matrix, Named};
pub use tape::{Tape, Var};

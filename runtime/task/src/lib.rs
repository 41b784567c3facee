//! What a model is asked to do, and how its raw outputs become an answer.
//!
//! Training, evaluation, the quantizer and the device all decode with this crate, so an answer
//! means the same thing at every stage of the road:
//!
//! ```text
//!              Task                 which of the five applications a head was trained for
//!               |
//! logits ---> argmax                the best label alone: what accuracy is counted with
//!        \--> softmax               a probability for every label
//!        |--> classify ---> Score   every label, best first
//!        |--> classify_each > Score   the same where any number of labels may go: each by itself
//!        |--> tag --------> Score   the best label of a piece, with its probability
//!        |                    |
//!        |                 Labels   index -> name, as the training file spelt it
//!        |--> SpanDecoder -> Span   parts of a passage, from the logits of its windows
//!        \--> Merge ------> logits  one answer of the windows of a text that is too long for one
//! ```
//!
//! 1. **No allocator and no standard library.** Label names live inside [`Labels`], scores in a
//!    `heapless::Vec`; both have the fixed capacities [`MAX_LABELS`] and [`MAX_LABEL_BYTES`].
//! 2. **The same bits everywhere.** The exponential is a polynomial of our own over `+ - * /`, each
//!    rounded by itself, so a board prints the digits that a workstation printed.
//! 3. **A [`Temperature`] for every score.** Softmax divides by it; it changes no order and no answer.
//! 4. **One order.** Labels are ranked by their logits and, among equals, by their index. The
//!    first row of [`classify`] is always the label that [`argmax`] names, even where two
//!    probabilities round to the same number.
#![no_std]

mod each;
mod kind;
mod labels;
mod merge;
mod scores;
mod spans;
mod tags;
mod temperature;

pub use each::{classify_each, sigmoid};
pub use kind::{Task, UnknownTask};
pub use labels::{LabelError, Labels, MAX_LABEL_BYTES, MAX_LABELS};
pub use merge::{LongTexts, Merge, UnknownLongTexts};
pub use scores::{Score, argmax, classify, softmax};
pub use spans::{MAX_N_BEST, MAX_SPANS, Pair, Span, SpanDecoder, SpanRules, Window};
pub use tags::{
    Aggregation, OUTSIDE, UnknownAggregation, entity_name, entity_type, goes_on, is_entity_label,
    tag,
};
pub use temperature::Temperature;

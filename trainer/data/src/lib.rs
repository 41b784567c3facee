//! Data sets: from a file to examples, from examples to ids, from predictions to figures.
//!
//! ```text
//!  file --input--> text --format--> rows --table--> fields --labels--> Dataset
//!        gzip, BOM       tsv csv     cells   which        class or        |
//!        UTF-8           json(l)     lines   column       number      encode_all
//!                                                                         |
//!  Evaluation <--Evaluator-- logits <--- a model, f32 or int8 <--- Vec<Encoded>
//! ```
//!
//! 1. **One room for each step.** `input` knows bytes, [`format`](Format) lines and cells, `table`
//!    columns, `labels` what a label means, [`read`] puts them together: for tasks on one or two
//!    texts itself, for words in `read::words`. A file format that isn't a table has its module beside
//!    `format::json`.
//! 2. **Nothing is guessed.** The first thing that is wrong ends the reading, with `file:line`,
//!    what was found and the way out ([`DataError`]). No bytes make it panic.
//! 3. **The device's tokenizer.** [`encode_all`] runs `berth-wordpiece`, the very code that the
//!    device runs, on the very tables.
//! 4. **Figures as others count them.** [`metrics`] are named and defined as in Hugging Face's
//!    `evaluate` and in scikit-learn; f32 and int8 go through the same [`Evaluator`].

mod dataset;
mod encode;
mod error;
mod format;
mod input;
mod labels;
mod lengths;
pub mod metrics;
mod read;
mod source;
mod table;
mod task_name;

pub use dataset::{Dataset, Duplicates, Example, GoldAnswer, Label};
pub use encode::{
    EncodeOptions, Encoded, Target, cut_examples, cut_pieces, encode_all, unasked_words,
};
pub use error::{DataError, Place};
pub use format::{Format, UnknownFormatName};
pub use input::read_bytes;
pub use labels::{are_numbers, names_in_order, order, order_as};
pub use lengths::Lengths;
pub use metrics::{
    Answer, Decision, Evaluation, EvaluationError, Evaluator, Judged, MEASURED_FILES, SpanScoring,
    Units, expected_calibration_error, predicted_files,
};
pub use read::read;
pub use source::{Columns, Source};
pub use task_name::{TaskName, UnknownTaskName};

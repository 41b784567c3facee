//! Berth's tests: the road from a data set to an answer on the device, end to end.
//!
//! Each crate tests itself; here stands what needs several of them.
//!
//! - [`naive`]: BERT in `f64`, the reference for the forward pass and for every gradient.
//! - `tests/road/main.rs`: one program of tests, a module for each question that is asked of the whole.
//! - `reference/`: scripts that hold Berth against `transformers`, for machines that have it.
//! - `golden/`: files whose bytes must not change unnoticed.

pub mod naive;

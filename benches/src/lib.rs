//! What the benchmarks share.
//!
//! `benches/` has the criterion benchmarks, `src/bin/berth-peer` the program that stands beside other
//! engines in `peers/`, and `record/` what was measured, with its date and machine.

pub mod peaks;
pub mod profile;
pub mod scaling;

//! The arithmetic of training, on slices: each file is one fused step with its backward pass, no tensors in sight.
//!
//! Rows of a batch are packed: the sequences follow one another without padding. Loops over rows run on the threads
//! of the current rayon pool in tasks of a fixed size, so that nothing here depends on how many threads there are.

pub mod adamw;
pub mod attention;
pub mod dropout;
pub mod embed;
pub mod gelu;
pub mod gemm;
pub mod isa;
pub mod linear;
pub mod loss;
pub mod math;
pub mod norm;
pub mod parallel;
pub mod workspace;

#[cfg(test)]
pub(crate) mod testing;

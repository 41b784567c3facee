//! BERT in candle.

pub mod kernels;
pub mod ops;
pub mod random;

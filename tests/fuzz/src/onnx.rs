//! An ONNX file, as it comes, which the workstation reads: parsed, matched against the rules, its tensors
//! decoded.
//!
//! What is asserted: it is a model, or it is refused with one line of a bounded length. What it takes in memory
//! is libFuzzer's to bound.

use berth_quantize::onnx;

/// The longest line that an error may be.
const LONGEST: usize = 8 << 10;

/// Reads the file.
pub fn run(bytes: &[u8]) {
    if let Err(error) = onnx::check(bytes) {
        let line = error.to_string();
        assert!(
            !line.is_empty() && line.len() <= LONGEST,
            "{} bytes",
            line.len()
        );
    }
}

/// Small models as torch's two exporters write them, as ONNX Runtime quantizes them (at run time, with
/// `QuantizeLinear`), and as it fuses them, in floats and in integers.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    vec![
        include_bytes!("../../golden/onnx/small/plain.onnx").to_vec(),
        include_bytes!("../../golden/onnx/small/spans.onnx").to_vec(),
        include_bytes!("../../golden/onnx/small/dynamic.onnx").to_vec(),
        include_bytes!("../../golden/onnx/small/qdq.onnx").to_vec(),
        include_bytes!("../../golden/onnx/small/fused.onnx").to_vec(),
        include_bytes!("../../golden/onnx/small/fused-dynamic.onnx").to_vec(),
    ]
}

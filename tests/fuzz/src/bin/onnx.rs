//! libFuzzer on [`berth_fuzz::onnx`]: an ONNX file, as it comes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| berth_fuzz::onnx::run(data));

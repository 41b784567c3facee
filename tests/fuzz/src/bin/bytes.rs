//! libFuzzer on [`berth_fuzz::bytes`]: raw bytes as a bundle.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| berth_fuzz::bytes::run(data));

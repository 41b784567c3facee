//! libFuzzer on [`berth_fuzz::lines`]: streams of lines through the answers of berth-edge.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| berth_fuzz::lines::run(data));

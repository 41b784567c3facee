//! libFuzzer on [`berth_fuzz::checkpoint`]: a checkpoint's folder with one file of its own making.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| berth_fuzz::checkpoint::run(data));

//! libFuzzer on [`berth_fuzz::damage`]: a bundle that a script damages.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| berth_fuzz::damage::run(data));

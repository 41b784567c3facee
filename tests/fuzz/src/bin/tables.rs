//! libFuzzer on [`berth_fuzz::tables`]: raw bytes as tokenizer tables.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| berth_fuzz::tables::run(data));

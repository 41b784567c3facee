//! libFuzzer on [`berth_fuzz::text`]: texts through the tokenizer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| berth_fuzz::text::run(data));

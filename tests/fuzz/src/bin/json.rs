//! libFuzzer on [`berth_fuzz::json`]: lines of JSON, beside serde_json.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| berth_fuzz::json::run(data));

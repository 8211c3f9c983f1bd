//! Made-up ranges and conditions.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom_server::http::conditions_trial(bytes));

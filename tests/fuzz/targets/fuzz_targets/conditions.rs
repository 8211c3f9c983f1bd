//! Made-up ranges and conditions.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom_server::http::fuzz_conditions(bytes));

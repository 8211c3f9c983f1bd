//! Arbitrary bytes as range and condition headers.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom_server::http::fuzz_conditions(bytes));

//! Arbitrary bytes as request bodies.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom_server::http::fuzz_json_bodies(bytes));

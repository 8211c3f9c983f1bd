//! Arbitrary bytes as request heads.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom_server::serve::fuzz_heads(bytes));

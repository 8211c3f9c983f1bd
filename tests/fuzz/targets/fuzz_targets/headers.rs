//! Arbitrary bytes as header values.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom_fuzz::protocol::headers(bytes));

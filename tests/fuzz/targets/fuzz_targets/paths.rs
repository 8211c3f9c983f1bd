//! Arbitrary bytes as library paths.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom_fuzz::protocol::paths(bytes));

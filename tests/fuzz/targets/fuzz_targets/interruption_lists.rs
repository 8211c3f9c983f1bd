//! Arbitrary bytes as stored interruption lists.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom_server::index::fuzz_ranges(bytes));

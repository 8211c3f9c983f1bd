//! Arbitrary bytes as lists of byte ranges.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom_fuzz::protocol::ranges(bytes));

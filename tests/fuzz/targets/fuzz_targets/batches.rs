//! Arbitrary bytes as bodies with several images.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom_fuzz::protocol::batches(bytes));

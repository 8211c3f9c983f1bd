//! Arbitrary bytes as JSON messages.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom_fuzz::protocol::messages(bytes));

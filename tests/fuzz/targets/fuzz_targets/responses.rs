//! Arbitrary bytes as a server's responses.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom::remote::fuzz_responses(bytes));

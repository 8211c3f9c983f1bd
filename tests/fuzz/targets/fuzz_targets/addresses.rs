//! Arbitrary bytes as server addresses.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom::config::fuzz_addresses(bytes));

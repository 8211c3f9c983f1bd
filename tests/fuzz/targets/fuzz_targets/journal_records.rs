//! Arbitrary bytes as journal records.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom::journal::fuzz_records(bytes));

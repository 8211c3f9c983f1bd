//! Arbitrary bytes as the attribute of placeholders.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom::spool::fuzz_placeholders(bytes));

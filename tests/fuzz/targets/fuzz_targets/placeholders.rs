//! Made-up attributes of placeholders.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom::spool::placeholders_trial(bytes));

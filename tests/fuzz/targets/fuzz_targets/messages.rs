//! Made-up JSON of every message.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom_fuzz::words::messages(bytes));

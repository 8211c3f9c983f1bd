//! Made-up values of headers.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom_fuzz::words::headers(bytes));

//! Made-up paths in a library.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom_fuzz::words::paths(bytes));

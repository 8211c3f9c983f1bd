//! Made-up interruption lists as stored.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom_server::index::fuzz_ranges(bytes));

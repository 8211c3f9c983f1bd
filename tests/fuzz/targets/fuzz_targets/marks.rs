//! Made-up marks of the scrub as stored.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom_server::index::fuzz_scrub_cursor(bytes));

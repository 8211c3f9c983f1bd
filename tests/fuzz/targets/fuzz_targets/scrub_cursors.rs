//! Arbitrary bytes as the stored cursor of the scrub.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom_server::index::fuzz_scrub_cursor(bytes));

//! Made-up lists of ranges.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom_fuzz::words::ranges(bytes));

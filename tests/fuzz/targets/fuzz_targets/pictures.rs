//! Made-up kinds and ends of files.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom::intake::pictures_trial(bytes));

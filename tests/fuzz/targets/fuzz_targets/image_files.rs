//! Arbitrary bytes as image files: their formats and their ends.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom::intake::fuzz_image_files(bytes));

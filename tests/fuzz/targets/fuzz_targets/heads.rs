//! Made-up heads of requests.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom_server::serve::fuzz_heads(bytes));

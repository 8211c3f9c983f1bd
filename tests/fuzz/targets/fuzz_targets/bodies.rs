//! Made-up bodies of requests.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom_server::http::bodies_trial(bytes));

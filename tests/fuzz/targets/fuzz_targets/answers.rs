//! Made-up answers of servers.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom::remote::answers_trial(bytes));

//! Made-up addresses of servers.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom::config::addresses_trial(bytes));

//! Made-up records of the journal.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom::journal::records_trial(bytes));

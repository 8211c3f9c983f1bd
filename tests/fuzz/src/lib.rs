//! Fuzzing of every parser of outside bytes.
//!
//! A fuzz target is a function that gives bytes to one parser and panics if the result is wrong.
//! Most are in the files of their parsers, which are private (`#[cfg(any(test, fuzzing))]`, named
//! `fuzz_...`); those of the protocol are in [`protocol`]. Each target has a folder in `corpus/`
//! with well-formed and nearly well-formed inputs.
//!
//! The same targets run in two ways. `cargo test` runs each with [`replay`]: the corpus and some
//! thousand mutations of it, in a second. `scripts/torture --only fuzz` builds `targets/` with
//! libFuzzer, which looks for inputs that reach new code, for as long as you like. An input that
//! breaks a target becomes part of the corpus, and a test next to the parser.

pub mod protocol;
mod replay;

pub use replay::replay;

//! Made-up bytes for every reader of bytes from outside.
//!
//! A *trial* is a function that gives bytes to one reader and panics if what comes of them is
//! wrong. Most stand beside their readers, which are private (`#[cfg(any(test, fuzzing))]`, named
//! `trial`); those of the protocol are here, in [`words`]. Each has a folder in `corpus/` of
//! well-formed and nearly well-formed examples.
//!
//! The same trials run in two ways. `cargo test` puts each through [`replay`]: the corpus, and some
//! thousand changes to it, in a second. `scripts/torture --only fuzz` builds `targets/` with
//! libFuzzer, which looks for bytes that reach code not reached before, for as long as one likes.
//! What it finds wrong becomes an example in the corpus and a test beside the reader.

mod replay;
pub mod words;

pub use replay::replay;

//! Whole-house tests: a real mount, a real server process, the programs that people copy with.
//!
//! One binary, so that it is linked once. First the tools, then the promises, a file for each
//! family. Every test builds a house of its own in a temporary folder and leaves nothing behind.

#![expect(
    clippy::print_stdout,
    reason = "what a test prints is shown when it fails"
)]
#![expect(
    unreachable_pub,
    reason = "`pub` is what a tool offers to the tests; a test binary exports nothing"
)]

// The tools.
mod ask;
mod chance;
mod command;
mod device;
mod diary;
mod disk;
mod house;
mod link;
mod logging_in;
#[path = "../mounted/mapping.rs"]
mod mapping;
mod photo;
mod server;
mod waiting;

// The promises.
mod ailing;
mod arriving;
mod cameras;
mod company;
mod copying;
mod crashing;
mod editing;
mod faults;
mod full;
mod kills;
mod knowing;
mod malformed;
mod memory;
mod mishaps;
mod moving;
mod offline;
mod ordinary;
mod pinning;
mod power;
mod promises;
mod pushing;
mod ransom;
mod recalling;
mod refusals;
mod renaming;
mod retrying;
mod rotting;
mod soaking;
mod torture;
mod unmounting;
mod walk;

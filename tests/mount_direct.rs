//! All tests of the mounted directory once more on the direct path, which needs no privilege: every
//! byte passes through this process.

#[path = "mount/main.rs"]
mod mount;

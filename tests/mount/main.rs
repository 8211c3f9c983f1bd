//! The mounted directory, used through a real FUSE mount.
//!
//! One binary, so that it is linked once. First the fixture, then one file for each kind of kernel
//! request or property. `tests/mount_direct.rs` runs all of it once more on the direct I/O path.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its mount fails"
)]

mod fixture;

mod bytes;
mod crash;
mod files;
mod folders;
mod io_paths;
mod lifecycle;
mod locks;
mod metadata;
mod model;
mod names;
mod programs;
mod random_io;
mod renames;
mod xattrs;

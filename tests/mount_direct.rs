//! All that is asked of a mounted directory, once more on the path that needs no privilege: every byte through this process.

#![expect(clippy::duplicate_mod, reason = "each of them brings its ground with it")]

#[path = "mount_crash.rs"]
mod crash;
#[path = "mount_files.rs"]
mod files;
#[path = "mount_names.rs"]
mod names;
#[path = "mount_paths.rs"]
mod paths;
#[path = "mount_start.rs"]
mod start;

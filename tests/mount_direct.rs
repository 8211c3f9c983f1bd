//! All that is asked of a mounted directory, once more on the path that needs no privilege: every
//! byte through this process.

#![expect(
    clippy::duplicate_mod,
    reason = "each of them brings its ground with it"
)]

#[path = "mount_bytes.rs"]
mod bytes;
#[path = "mount_crash.rs"]
mod crash;
#[path = "mount_exercise/main.rs"]
mod exercise;
#[path = "mount_facts.rs"]
mod facts;
#[path = "mount_files.rs"]
mod files;
#[path = "mount_folders.rs"]
mod folders;
#[path = "mount_locks.rs"]
mod locks;
#[path = "mount_model/main.rs"]
mod model;
#[path = "mount_names.rs"]
mod names;
#[path = "mount_paths.rs"]
mod paths;
#[path = "mount_programs.rs"]
mod programs;
#[path = "mount_renames.rs"]
mod renames;
#[path = "mount_start.rs"]
mod start;
#[path = "mount_xattrs.rs"]
mod xattrs;

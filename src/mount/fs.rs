//! The file system: names, inodes, open files and their attributes, as plain functions over the
//! spool. Names no type of the crate fuser.
//!
//! `tree` holds the state. Each operation on it is in the file named for it.

pub(super) mod remote_apply;
pub(super) mod inode_reclaim;
mod attributes;
mod create;
mod remove;
mod rename;
mod read_dir;
mod read_write;
mod open_close;
mod flush;
mod placeholder;
mod remote_names;
mod xattrs;
pub(super) mod tree;
mod target;
mod handles;
pub(super) mod open_file;
mod entry_name;
mod inodes;
mod inode_limit;
pub(super) mod dir_cache;

#[cfg(test)]
mod tests;

//! The file system: names, inodes, open files and their attributes, as plain functions over the
//! spool. Names no type of the crate fuser.

pub(super) mod remote_apply;
pub(super) mod inode_reclaim;
pub(super) mod tree;
mod target;
mod handles;
pub(super) mod open_file;
mod entry_name;
mod inodes;
mod inode_limit;
pub(super) mod dir_cache;

//! The FUSE layer: the adapter from the crate fuser to the tree, replies, conversions and cache
//! invalidation. The only files of the mount that name types of fuser.

pub(super) mod session;
mod adapter;
mod deferred;
mod reply;
mod backing_reply;
mod errno;
mod init;
mod invalidate;
mod convert;

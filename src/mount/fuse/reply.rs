//! Replies to the kernel: the outcome of an operation on the tree as a FUSE reply.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use fuser::{
    Errno, ReplyAttr, ReplyCreate, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, ReplyXattr,
};

use super::backing_reply;
use super::convert::attributes;
use super::errno::{errno, is_disk_trouble};
use super::init::open_flags;
use crate::mount::fs::tree::Tree;
use crate::mount::io::passthrough::IoRoute;
use crate::mount::types::{Created, Entry, HandleId, Ino, TreeError};
use crate::spool::Metadata;

/// How long the kernel may cache an entry or attributes. Long, because changes by programs pass
/// through the kernel, and other changes are invalidated.
pub(super) const CACHE_TTL: Duration = Duration::from_hours(1);

/// Runs one request inside a tracing span. A panic becomes EIO for the program (fuser sends it when
/// a reply is dropped), and the mount lives on.
pub(super) fn run_request(operation: &'static str, ino: Ino, request: impl FnOnce()) {
    let _span = tracing::debug_span!("kernel", operation, inode = ino.0).entered();
    if catch_unwind(AssertUnwindSafe(request)).is_err() {
        tracing::error!(operation, "a kernel request panicked and failed with EIO");
    }
}

/// The errno of an error. Logs it, as a warning if the disk is in trouble.
pub(super) fn error_reply(error: &TreeError) -> Errno {
    let errno = errno(error);
    let cause = std::error::Error::source(error).map(ToString::to_string);
    // The fetch logs its own errors.
    if is_disk_trouble(errno) && !matches!(error, TreeError::Fetch(_)) {
        tracing::warn!(
            errno = errno.code(),
            cause,
            "the spool's disk returned an error"
        );
    }
    tracing::debug!(%error, cause, errno = errno.code(), "request failed");
    errno
}

pub(super) fn reply_empty(reply: ReplyEmpty, outcome: Result<(), TreeError>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error_reply(&error)),
    }
}

pub(super) fn reply_entry(reply: ReplyEntry, outcome: Result<Entry, TreeError>) {
    match outcome {
        Ok(entry) => reply.entry(
            &CACHE_TTL,
            &attributes(entry.ino, &entry.metadata),
            entry.generation.into(),
        ),
        Err(error) => reply.error(error_reply(&error)),
    }
}

/// Replies to an open: with a backing file if the kernel is to serve the handle.
pub(super) fn reply_opened(reply: ReplyOpen, tree: &Tree, outcome: Result<HandleId, TreeError>) {
    match outcome.and_then(|handle| Ok((handle, tree.open_file(handle)?))) {
        Ok((handle, open)) => match &*open.route {
            IoRoute::Kernel(backing) => {
                backing_reply::reply_opened(reply, backing, handle.into(), open_flags(&open));
            }
            IoRoute::Daemon => reply.opened(handle.into(), open_flags(&open)),
        },
        Err(error) => reply.error(error_reply(&error)),
    }
}

/// Replies to a create in the same way.
pub(super) fn reply_created(reply: ReplyCreate, tree: &Tree, outcome: Result<Created, TreeError>) {
    match outcome.and_then(|created| Ok((created, tree.open_file(created.handle)?))) {
        Ok((Created { entry, handle }, open)) => {
            let (attributes, flags) = (attributes(entry.ino, &entry.metadata), open_flags(&open));
            let (generation, handle) = (entry.generation.into(), handle.into());
            match &*open.route {
                IoRoute::Kernel(backing) => backing_reply::reply_created(
                    reply,
                    backing,
                    (&attributes, generation, &CACHE_TTL),
                    handle,
                    flags,
                ),
                IoRoute::Daemon => {
                    reply.created(&CACHE_TTL, &attributes, generation, handle, flags);
                }
            }
        }
        Err(error) => reply.error(error_reply(&error)),
    }
}

pub(super) fn reply_attr(reply: ReplyAttr, ino: Ino, outcome: Result<Metadata, TreeError>) {
    match outcome {
        Ok(metadata) => reply.attr(&CACHE_TTL, &attributes(ino, &metadata)),
        Err(error) => reply.error(error_reply(&error)),
    }
}

pub(super) fn reply_written(reply: ReplyWrite, outcome: Result<u32, TreeError>) {
    match outcome {
        Ok(bytes) => reply.written(bytes),
        Err(error) => reply.error(error_reply(&error)),
    }
}

/// Replies with an attribute's value, or with its size if the program's buffer is empty.
pub(super) fn reply_xattr(
    reply: ReplyXattr,
    buffer_bytes: u32,
    outcome: Result<Vec<u8>, TreeError>,
) {
    match outcome {
        Ok(value) => match u32::try_from(value.len()) {
            Ok(size) if buffer_bytes == 0 => reply.size(size),
            Ok(size) if size <= buffer_bytes => reply.data(&value),
            Ok(_) => reply.error(Errno::ERANGE),
            Err(_) => reply.error(Errno::E2BIG),
        },
        Err(error) => reply.error(error_reply(&error)),
    }
}

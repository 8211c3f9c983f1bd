//! Answers: what every request has in common, whatever it asks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use fuser::{
    Errno, FileHandle, INodeNo, ReplyAttr, ReplyCreate, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, ReplyXattr,
};

use super::errno::{errno, is_trouble};
use super::manner::manner;
use super::passthrough::Way;
use super::shape::attributes;
use super::tree::{Created, Entry, Tree, TreeError};
use crate::spool::Metadata;

/// How long the kernel may believe what we told it of a name or a file.
pub(super) const KNOWN_FOR: Duration = Duration::from_hours(1);

/// Answers one request inside a span. A panic is our fault and not the program's that asked: it
/// gets EIO (fuser sends that when a reply is dropped), and the mount lives on.
pub(super) fn serve(operation: &'static str, number: INodeNo, request: impl FnOnce()) {
    let _span = tracing::debug_span!("kernel", operation, inode = number.0).entered();
    if catch_unwind(AssertUnwindSafe(request)).is_err() {
        tracing::error!(
            operation,
            "a kernel request met a fault of ours and was answered with EIO"
        );
    }
}

/// The errno of a refusal, and a line in the log if the disk is in trouble.
pub(super) fn refusal(error: &TreeError) -> Errno {
    let errno = errno(error);
    let cause = std::error::Error::source(error).map(ToString::to_string);
    // What could not be fetched is told by whoever tried.
    if is_trouble(errno) && !matches!(error, TreeError::Fetch(_)) {
        tracing::warn!(errno = errno.code(), cause, "the spool's disk refuses");
    }
    tracing::debug!(%error, cause, errno = errno.code(), "refused");
    errno
}

pub(super) fn answer_empty(reply: ReplyEmpty, outcome: Result<(), TreeError>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(refusal(&error)),
    }
}

pub(super) fn answer_entry(reply: ReplyEntry, outcome: Result<Entry, TreeError>) {
    match outcome {
        Ok(entry) => reply.entry(
            &KNOWN_FOR,
            &attributes(entry.number, &entry.facts),
            entry.generation,
        ),
        Err(error) => reply.error(refusal(&error)),
    }
}

/// Tells the kernel that a file is open, and whether it serves it itself from now on.
pub(super) fn answer_open(reply: ReplyOpen, tree: &Tree, outcome: Result<FileHandle, TreeError>) {
    match outcome.and_then(|handle| Ok((handle, tree.opened(handle)?))) {
        Ok((handle, open)) => match &*open.way {
            Way::Kernel(backing) => backing.answer_open(reply, handle, manner(&open)),
            Way::Ours => reply.opened(handle, manner(&open)),
        },
        Err(error) => reply.error(refusal(&error)),
    }
}

/// The same of a file that was made.
pub(super) fn answer_created(reply: ReplyCreate, tree: &Tree, outcome: Result<Created, TreeError>) {
    match outcome.and_then(|created| Ok((created, tree.opened(created.handle)?))) {
        Ok((Created { entry, handle }, open)) => {
            let (shape, flags) = (attributes(entry.number, &entry.facts), manner(&open));
            match &*open.way {
                Way::Kernel(backing) => {
                    backing.answer_create(reply, (&shape, entry.generation), handle, flags);
                }
                Way::Ours => reply.created(&KNOWN_FOR, &shape, entry.generation, handle, flags),
            }
        }
        Err(error) => reply.error(refusal(&error)),
    }
}

pub(super) fn answer_facts(
    reply: ReplyAttr,
    number: INodeNo,
    outcome: Result<Metadata, TreeError>,
) {
    match outcome {
        Ok(facts) => reply.attr(&KNOWN_FOR, &attributes(number, &facts)),
        Err(error) => reply.error(refusal(&error)),
    }
}

pub(super) fn answer_written(reply: ReplyWrite, outcome: Result<u32, TreeError>) {
    match outcome {
        Ok(bytes) => reply.written(bytes),
        Err(error) => reply.error(refusal(&error)),
    }
}

/// An attribute's value, or its size if the program asked for that with an empty buffer.
pub(super) fn answer_xattr(reply: ReplyXattr, room: u32, outcome: Result<Vec<u8>, TreeError>) {
    match outcome {
        Ok(value) => match u32::try_from(value.len()) {
            Ok(size) if room == 0 => reply.size(size),
            Ok(size) if size <= room => reply.data(&value),
            Ok(_) => reply.error(Errno::ERANGE),
            Err(_) => reply.error(Errno::E2BIG),
        },
        Err(error) => reply.error(refusal(&error)),
    }
}

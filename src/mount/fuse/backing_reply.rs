//! Replies that hand an open file over to the kernel (FUSE passthrough).
#![expect(unsafe_code, reason = "backing ids whose lifetime fuser cannot see")]

use std::time::Duration;

use fuser::{FileAttr, FileHandle, FopenFlags, Generation, ReplyCreate, ReplyOpen};

use crate::mount::io::backing::Backing;

/// Replies to an open: the kernel reads and writes this handle through the backing file.
pub(super) fn reply_opened(
    reply: ReplyOpen,
    backing: &Backing,
    handle: FileHandle,
    flags: FopenFlags,
) {
    // SAFETY: the id is valid, because `backing` closes it only when dropped, and fuser's wrapper
    // gives it up again below.
    let id = unsafe { reply.wrap_backing(backing.id()) };
    reply.opened_passthrough(handle, flags, &id);
    id.into_raw();
}

/// Replies to a create in the same way. The entry may be cached for `ttl`.
pub(super) fn reply_created(
    reply: ReplyCreate,
    backing: &Backing,
    (attributes, generation, ttl): (&FileAttr, Generation, &Duration),
    handle: FileHandle,
    flags: FopenFlags,
) {
    // SAFETY: as in `reply_opened`.
    let id = unsafe { reply.wrap_backing(backing.id()) };
    reply.created_passthrough(ttl, attributes, generation, handle, flags, &id);
    id.into_raw();
}

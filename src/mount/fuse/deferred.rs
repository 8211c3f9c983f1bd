//! Deferred replies: requests that wait for bytes from the server.
//!
//! Each request runs again when the bytes have arrived, on a thread of the fetch, so that the
//! threads that answer the kernel never wait. A file that is evicted in the moment between fails
//! the request rather than being fetched again.

use std::ffi::OsString;
use std::sync::Arc;

use fuser::{ReplyAttr, ReplyCreate, ReplyData, ReplyOpen};

use super::reply::{error_reply, reply_attr, reply_created, reply_opened, run_request};
use crate::fetch::{FetchError, InterruptProbe, OpenPlaceholder};
use crate::mount::fs::tree::Tree;
use crate::mount::types::{AttributeChange, Existing, HandleId, Ino, TreeError, Truncate};
use crate::spool::OpenOptions;

/// A request that waits for the missing bytes of a file.
pub(super) struct DeferredReply {
    pub(super) tree: Arc<Tree>,
    pub(super) placeholder: OpenPlaceholder,
    pub(super) probe: InterruptProbe,
}

/// The arguments of a `CREATE` request.
pub(super) struct CreateRequest {
    pub(super) folder: Ino,
    pub(super) name: OsString,
    pub(super) mode: u16,
}

impl DeferredReply {
    /// Fetches `size` bytes at `offset`, then reads them.
    pub(super) fn read(self, ino: Ino, handle: HandleId, offset: u64, size: u32, reply: ReplyData) {
        let tree = self.tree;
        let read = move |fetched: Result<(), FetchError>| {
            run_request("read", ino, || {
                let mut buffer = vec![0; size as usize];
                let read = fetched
                    .map_err(TreeError::from)
                    .and_then(|()| tree.read(handle, offset, &mut buffer));
                match read {
                    Ok(count) => reply.data(&buffer[..count]),
                    Err(error) => reply.error(error_reply(&error)),
                }
            });
        };
        self.placeholder
            .fetch(offset, u64::from(size), self.probe, read);
    }

    /// Fetches the whole file, then opens it for writing.
    pub(super) fn open(self, ino: Ino, options: OpenOptions, reply: ReplyOpen) {
        let tree = self.tree;
        self.placeholder.fetch_all(self.probe, move |fetched| {
            run_request("open", ino, || {
                let opened = fetched
                    .map_err(TreeError::from)
                    .and_then(|()| tree.open(ino, options, Truncate::No));
                reply_opened(reply, &tree, opened);
            });
        });
    }

    /// Fetches the whole file, then opens it for writing: the kernel asked to create it, but it
    /// exists.
    pub(super) fn create(self, request: CreateRequest, options: OpenOptions, reply: ReplyCreate) {
        let tree = self.tree;
        self.placeholder.fetch_all(self.probe, move |fetched| {
            let CreateRequest { folder, name, mode } = request;
            run_request("create", folder, || {
                let existing = Existing::Open(Truncate::No);
                let created = fetched
                    .map_err(TreeError::from)
                    .and_then(|()| tree.create(folder, &name, mode, options, existing));
                reply_created(reply, &tree, created);
            });
        });
    }

    /// Fetches the whole file, then changes its size and attributes.
    pub(super) fn set_attributes(self, ino: Ino, change: AttributeChange, reply: ReplyAttr) {
        let tree = self.tree;
        self.placeholder.fetch_all(self.probe, move |fetched| {
            run_request("setattr", ino, || {
                let changed = fetched
                    .map_err(TreeError::from)
                    .and_then(|()| tree.set_attributes(ino, None, &change));
                reply_attr(reply, ino, changed);
            });
        });
    }
}

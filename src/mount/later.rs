//! Later: requests that have to wait for the server, with their answers.
//!
//! Each is carried out again when the bytes are here, on a thread of its own kind: those that
//! answer the kernel go on answering. A photo that is hollowed out in the moment between is refused
//! rather than waited for again.

use std::ffi::OsString;
use std::sync::Arc;

use fuser::{FileHandle, INodeNo, ReplyAttr, ReplyCreate, ReplyData, ReplyOpen};

use super::answer::{answer_created, answer_facts, answer_open, refusal, serve};
use super::tree::{Change, Existing, Tree, TreeError, Truncate};
use crate::fetch::{InterruptProbe, OpenPlaceholder};
use crate::spool::OpenOptions;

/// What waits for which bytes, and for whom.
pub(super) struct Later {
    pub(super) tree: Arc<Tree>,
    pub(super) absent: OpenPlaceholder,
    pub(super) asker: InterruptProbe,
}

/// A file to be made, or opened.
pub(super) struct Creation {
    pub(super) folder: INodeNo,
    pub(super) name: OsString,
    pub(super) mode: u16,
}

impl Later {
    pub(super) fn read(
        self,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        reply: ReplyData,
    ) {
        let Self {
            tree,
            absent,
            asker,
        } = self;
        absent.fetch(offset, u64::from(size), asker, move |held| {
            serve("read", number, || {
                let mut buffer = vec![0; size as usize];
                let read = held
                    .map_err(TreeError::from)
                    .and_then(|()| tree.read(handle, offset, &mut buffer));
                match read {
                    Ok(count) => reply.data(&buffer[..count]),
                    Err(error) => reply.error(refusal(&error)),
                }
            });
        });
    }

    /// Opens for writing, once all is here.
    pub(super) fn open(self, number: INodeNo, how: OpenOptions, reply: ReplyOpen) {
        let Self {
            tree,
            absent,
            asker,
        } = self;
        absent.fetch_all(asker, move |held| {
            serve("open", number, || {
                let opened = held
                    .map_err(TreeError::from)
                    .and_then(|()| tree.open(number, how, Truncate::No));
                answer_open(reply, &tree, opened);
            });
        });
    }

    /// Opens for writing what was thought to be missing, once all is here.
    pub(super) fn create(self, creation: Creation, how: OpenOptions, reply: ReplyCreate) {
        let Self {
            tree,
            absent,
            asker,
        } = self;
        absent.fetch_all(asker, move |held| {
            let Creation { folder, name, mode } = creation;
            serve("create", folder, || {
                let existing = Existing::Open(Truncate::No);
                let made = held
                    .map_err(TreeError::from)
                    .and_then(|()| tree.create(folder, &name, mode, how, existing));
                answer_created(reply, &tree, made);
            });
        });
    }

    /// Resizes, once all is here.
    pub(super) fn change(self, number: INodeNo, change: Change, reply: ReplyAttr) {
        let Self {
            tree,
            absent,
            asker,
        } = self;
        absent.fetch_all(asker, move |held| {
            serve("setattr", number, || {
                let changed = held
                    .map_err(TreeError::from)
                    .and_then(|()| tree.change(number, None, &change));
                answer_facts(reply, number, changed);
            });
        });
    }
}

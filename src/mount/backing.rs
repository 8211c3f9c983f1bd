//! Backings: files of the spool that the kernel was lent, to read and write them for programs
//! without us (FUSE passthrough).
//!
//! A backing is a number that means an open file to one mount. The kernel counts it as the mount's
//! until it is taken back or the mount ends.
#![expect(unsafe_code, reason = "numbers whose lifetime fuser cannot see")]

use std::fs::File;
use std::io;
use std::sync::{Arc, Weak};

use fuser::{FileAttr, FileHandle, FopenFlags, Generation, ReplyCreate, ReplyOpen};

use super::answer::KNOWN_FOR;
use crate::passthrough_helper::Lender;
use crate::spool::{self, Access, Durability, OpenOptions};

const READING: OpenOptions = OpenOptions {
    access: Access::Read,
    durability: Durability::Lazy,
};

/// One file that the kernel has. Taken back when dropped, unless the mount has ended.
#[derive(Debug)]
pub(super) struct Backing {
    number: u32,
    lender: Weak<Lender>,
}

impl Backing {
    /// Lends the kernel a file.
    ///
    /// What the kernel gets is open for reading only, whatever it then opens for programs: it keeps
    /// it until the mount is gone, also of a process that was killed, and whoever asks then whether
    /// the file is still being written must not meet it.
    pub(super) fn of(file: &File, lender: &Arc<Lender>) -> io::Result<Self> {
        let number = lender.lend(&spool::reopen(file, READING)?)?;
        Ok(Self {
            number,
            lender: Arc::downgrade(lender),
        })
    }

    /// Answers an open: the kernel serves this handle from now on.
    pub(super) fn answer_open(&self, reply: ReplyOpen, handle: FileHandle, flags: FopenFlags) {
        // SAFETY: the number is good, for `self` gives it back only when dropped, and it is taken
        // out again below.
        let id = unsafe { reply.wrap_backing(self.number) };
        reply.opened_passthrough(handle, flags, &id);
        id.into_raw();
    }

    /// The same for a create.
    pub(super) fn answer_create(
        &self,
        reply: ReplyCreate,
        (shape, generation): (&FileAttr, Generation),
        handle: FileHandle,
        flags: FopenFlags,
    ) {
        // SAFETY: as in `answer_open`.
        let id = unsafe { reply.wrap_backing(self.number) };
        reply.created_passthrough(&KNOWN_FOR, shape, generation, handle, flags, &id);
        id.into_raw();
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        let Some(lender) = self.lender.upgrade() else {
            return;
        };
        if let Err(error) = lender.take_back(self.number) {
            tracing::warn!(%error, "the kernel does not take a file back");
        }
    }
}

//! Invalidation of the kernel's caches.

use std::ffi::OsStr;

use fuser::{INodeNo, Notifier};

use crate::mount::types::{Ino, Invalidator};

/// Sends invalidations to the kernel. An error means that it has nothing cached, or that the mount
/// has ended.
#[derive(Debug)]
pub(super) struct KernelInvalidator {
    notifier: Notifier,
}

impl KernelInvalidator {
    pub(super) fn new(notifier: Notifier) -> Self {
        Self { notifier }
    }

    /// Drops the attributes, and the pages from `offset` on; none if `offset` is negative.
    fn invalidate_inode(&self, ino: Ino, offset: i64) {
        if let Err(error) = self.notifier.inval_inode(INodeNo(ino.0), offset, 0) {
            tracing::trace!(%error, inode = ino.0, "the kernel has nothing cached of this inode");
        }
    }
}

impl Invalidator for KernelInvalidator {
    fn invalidate_name(&self, folder: Ino, name: &OsStr) {
        if let Err(error) = self.notifier.inval_entry(INodeNo(folder.0), name) {
            tracing::trace!(%error, folder = folder.0, "the kernel has not cached this name");
        }
    }
    fn invalidate_attributes(&self, ino: Ino) {
        self.invalidate_inode(ino, -1);
    }
    fn invalidate_folder(&self, folder: Ino) {
        self.invalidate_inode(folder, 0);
    }
}

//! The file that a request on an inode is about.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::open_file::OpenFile;
use crate::mount::types::TreeError;
use crate::spool::{self, Access, Durability, OpenOptions};

/// A file, opened for one request or by a program.
pub(super) enum Target {
    /// Held by a descriptor that reads and writes nothing (`O_PATH`).
    Pinned(OwnedFd),
    /// Open through a handle.
    Open(Arc<OpenFile>),
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Pinned(pinned) => pinned.as_fd(),
            Self::Open(open) => open.file.as_fd(),
        }
    }
}

impl Target {
    pub(super) fn resize(&self, size: u64) -> Result<(), TreeError> {
        match self {
            Self::Open(open) if open.access.can_write() => open.file.set_len(size),
            Self::Open(_) | Self::Pinned(_) => {
                let options = OpenOptions {
                    access: Access::Write,
                    durability: Durability::Lazy,
                };
                spool::reopen(self, options).and_then(|file| file.set_len(size))
            }
        }
        .map_err(TreeError::during("resize"))?;
        // Bytes beyond the new end that the disk had refused are not missing any more.
        if let Self::Open(open) = self
            && let Some(write_handle) = &open.write_handle
        {
            write_handle.clear_torn(size..u64::MAX);
        }
        Ok(())
    }
}

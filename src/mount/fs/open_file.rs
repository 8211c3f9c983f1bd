//! An open regular file.
//!
//! It is an open file of the spool, and stays usable when its name is gone, as programs expect of a
//! file that they removed while it was open.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::fs::SeekFrom;

use crate::fetch::{OpenGuard, OpenPlaceholder};
use crate::journal::FileId;
use crate::mount::io::passthrough::IoRoute;
use crate::mount::io::write_tracking::WriteHandle;
use crate::mount::types::TreeError;
use crate::spool::{Access, Metadata};

/// A regular file that the kernel has open.
#[derive(Debug)]
pub(in crate::mount) struct OpenFile {
    pub(in crate::mount) file: File,
    pub(in crate::mount) id: FileId,
    pub(in crate::mount) access: Access,
    /// Whether this handle created the file and its name may not be durable yet.
    pub(super) name_is_new: AtomicBool,
    /// Tracks the writes through this handle, if it can write.
    pub(super) write_handle: Option<WriteHandle>,
    /// Protects the local bytes from eviction, and knows which are missing.
    pub(super) eviction_guard: Option<OpenGuard>,
    /// Whether the kernel or the daemon reads and writes it.
    pub(in crate::mount) route: Arc<IoRoute>,
    /// Whether the file was marked as open before it got its name.
    pub(super) is_marked: bool,
}

impl OpenFile {
    /// The missing bytes of a placeholder; `None` if the file is complete. Only a complete file may
    /// be served by the kernel.
    pub(super) fn placeholder(&self) -> Option<&OpenPlaceholder> {
        self.eviction_guard
            .as_ref()
            .and_then(OpenGuard::placeholder)
            .filter(|placeholder| !placeholder.is_complete())
    }

    /// Fails with [`TreeError::NeedsFetch`] if this handle can write and bytes are missing: a file
    /// must be complete before its first byte changes.
    pub(super) fn require_complete(&self) -> Result<(), TreeError> {
        match self.placeholder() {
            Some(placeholder) if self.access.can_write() => {
                Err(TreeError::NeedsFetch(placeholder.clone()))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Gives up the bytes that are only on the server, because the file is about to be emptied. It
    /// must be marked as open already.
    pub(super) fn discard_remote(&self) -> Result<(), TreeError> {
        self.placeholder().map_or(Ok(()), |placeholder| {
            placeholder.discard().map_err(TreeError::during("truncate"))
        })
    }

    /// The next data or hole of a placeholder; `None` for a complete file. The whole placeholder
    /// counts as data: a program that skipped its holes would copy zeros in place of a photo.
    pub(super) fn seek_in_placeholder(&self, to: SeekFrom) -> Option<Result<u64, TreeError>> {
        self.placeholder()?;
        let size = match Metadata::of(&self.file).map_err(TreeError::during("seek in")) {
            Ok(metadata) => metadata.size,
            Err(error) => return Some(Err(error)),
        };
        match to {
            SeekFrom::Data(offset) if offset < size => Some(Ok(offset)),
            SeekFrom::Hole(offset) if offset < size => Some(Ok(size)),
            SeekFrom::Data(_) | SeekFrom::Hole(_) => Some(Err(TreeError::during("seek in")(
                rustix::io::Errno::NXIO.into(),
            ))),
            SeekFrom::Start(_) | SeekFrom::End(_) | SeekFrom::Current(_) => None,
        }
    }
}

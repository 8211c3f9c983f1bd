//! Changes: what must happen to a file's mark before its bytes change, and when they are all there.

use std::io;

use fuser::{FileHandle, LockOwner};

use super::{OpenFile, Tree, TreeError, during};
use crate::mount::marks::{Hand, Marks};

impl Tree {
    /// Marks the file before its bytes change through this handle. Nothing to do for one that
    /// cannot write: the disk refuses.
    pub(super) fn begin_change(&self, open: &OpenFile, hand: Hand) -> Result<(), TreeError> {
        let marked = open
            .pen
            .as_ref()
            .map_or(Ok(()), |pen| self.marks.change(pen, &open.file, hand));
        marked.map_err(during("mark"))
    }

    /// A close(2), the last of this handle or not: what the closer wrote so far is meant. Must be
    /// answered before close(2) returns, so that a kill right after it finds the file whole.
    pub(in crate::mount) fn flush(
        &self,
        handle: FileHandle,
        closer: LockOwner,
    ) -> Result<(), TreeError> {
        self.end_change(&*self.opened(handle)?, Hand::Of(closer))
    }

    /// Notes that the file is whole, once nobody is changing it any more.
    pub(super) fn end_change(&self, open: &OpenFile, closer: Hand) -> Result<(), TreeError> {
        let marked = open
            .pen
            .as_ref()
            .map_or(Ok(()), |pen| self.marks.finish(pen, &open.file, closer));
        marked.map_err(during("mark"))
    }

    /// Syncs the bytes, and remembers that the close need not wait for anybody to make them last.
    pub(super) fn sync_bytes(
        open: &OpenFile,
        sync: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), TreeError> {
        match &open.pen {
            Some(pen) => Marks::sync(pen, &open.file, sync),
            None => sync(),
        }
        .map_err(during("sync"))
    }
}

//! Write state and durability of open files: what happens before their bytes change, at close(2)
//! and at fsync(2).

use std::io;
use std::sync::atomic::Ordering;

use super::open_file::OpenFile;
use super::tree::Tree;
use crate::mount::types::{HandleId, LockOwner, SyncScope, TreeError, Writer};
use crate::spool::SpoolPath;

impl Tree {
    /// Marks the file before its bytes change through this handle. Does nothing for a handle that
    /// cannot write: the disk refuses the change.
    pub(super) fn begin_write(&self, open: &OpenFile, writer: Writer) -> Result<(), TreeError> {
        let marked = open.write_handle.as_ref().map_or(Ok(()), |handle| {
            self.write_tracker.begin_write(handle, &open.file, writer)
        });
        marked.map_err(TreeError::during("mark"))
    }

    /// A close(2), of this descriptor or a duplicate of it: ends what the closer has written so
    /// far. The reply must come after the mark, so that a kill right after close(2) finds the file
    /// complete.
    pub(in crate::mount) fn flush(
        &self,
        handle: HandleId,
        closer: LockOwner,
    ) -> Result<(), TreeError> {
        self.finish_write(&*self.open_file(handle)?, Writer::Owner(closer))
    }

    /// Marks the file as complete, once no writer is left.
    pub(super) fn finish_write(&self, open: &OpenFile, closer: Writer) -> Result<(), TreeError> {
        let marked = open.write_handle.as_ref().map_or(Ok(()), |handle| {
            self.write_tracker.finish(handle, &open.file, closer)
        });
        marked.map_err(TreeError::during("mark"))
    }

    /// Returns when the bytes, and the name if this handle created the file, survive a power cut.
    pub(in crate::mount) fn sync(
        &self,
        handle: HandleId,
        scope: SyncScope,
    ) -> Result<(), TreeError> {
        let open = self.open_file(handle)?;
        sync_bytes(&open, || match scope {
            SyncScope::Data => open.file.sync_data(),
            SyncScope::All => open.file.sync_all(),
        })?;
        if open.name_is_new.load(Ordering::Acquire) {
            self.sync_name(&open)?;
            open.name_is_new.store(false, Ordering::Release);
        }
        Ok(())
    }

    fn sync_name(&self, open: &OpenFile) -> Result<(), TreeError> {
        let names = self.lock_names();
        let folder = match self.path(open.id) {
            Ok(SpoolPath::Entry(path)) => self.spool.read_folder(&SpoolPath::parent_of(&path))?,
            // A file without a name has none to lose.
            Ok(SpoolPath::Root) | Err(_) => return Ok(()),
        };
        // A sync takes long, and renames need the lock.
        drop(names);
        folder
            .sync()
            .map_err(TreeError::during("sync the folder of"))
    }
}

/// Syncs the bytes, and remembers it, so that the close can seal the file.
fn sync_bytes(open: &OpenFile, sync: impl FnOnce() -> io::Result<()>) -> Result<(), TreeError> {
    match &open.write_handle {
        Some(handle) => handle.sync(&open.file, sync),
        None => sync(),
    }
    .map_err(TreeError::during("sync"))
}

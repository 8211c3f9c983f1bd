//! Removing files, folders and links.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;

use heirloom_protocol::LibraryPath;

use super::entry_name::EntryName;
use super::tree::Tree;
use crate::mount::types::{Ino, TreeError};
use crate::spool::{Kind, Metadata, SpoolError, SpoolPath};

/// A file, folder or link whose name is about to be removed or replaced. It is held open, so that
/// its inode number is not reused before the inode table is updated.
pub(super) struct RemovedEntry {
    pub(super) metadata: Metadata,
    _held_open: OwnedFd,
}

impl Tree {
    /// Removes a file or link. Programs that have it open can go on using it.
    pub(in crate::mount) fn remove_file(&self, folder: Ino, name: &OsStr) -> Result<(), TreeError> {
        self.remove(folder, name, |path| self.spool.remove_file(path))
    }

    /// Removes an empty folder.
    pub(in crate::mount) fn remove_folder(
        &self,
        folder: Ino,
        name: &OsStr,
    ) -> Result<(), TreeError> {
        self.remove(folder, name, |path| self.spool.remove_folder(path))
    }

    fn remove(
        &self,
        folder: Ino,
        name: &OsStr,
        remove: impl FnOnce(&LibraryPath) -> Result<(), SpoolError>,
    ) -> Result<(), TreeError> {
        let name = EntryName::new(name)?;
        let names = self.lock_names_exclusive();
        let path = self.child_path(folder, name)?;
        let victim = self.open_removed_entry(&path)?;
        remove(&path)?;
        self.unlink_inode(&victim);
        if victim.metadata.kind == Kind::File {
            self.listener.removed(victim.metadata.id, &path);
        }
        drop(names);
        // The disk frees the bytes only when nothing holds the file. That takes long for a large
        // one, and other requests need the lock.
        drop(victim);
        Ok(())
    }

    pub(super) fn open_removed_entry(&self, path: &LibraryPath) -> Result<RemovedEntry, TreeError> {
        let descriptor = self.spool.open_path(&SpoolPath::Entry(path.clone()))?;
        Ok(RemovedEntry {
            metadata: Metadata::of(&descriptor).map_err(TreeError::during("stat"))?,
            _held_open: descriptor,
        })
    }

    pub(super) fn unlink_inode(&self, victim: &RemovedEntry) {
        let mut inodes = self.inodes.lock();
        // The link count of a folder counts its subfolders. A file of the spool may have been linked
        // from outside.
        if victim.metadata.nlink > 1 && victim.metadata.kind != Kind::Folder {
            inodes.mark_unlinked(victim.metadata.id);
        } else {
            inodes.mark_deleted(victim.metadata.id);
        }
    }
}

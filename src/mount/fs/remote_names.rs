//! Changes of names that come from other devices, through the library.

use std::os::fd::OwnedFd;

use heirloom_protocol::LibraryPath;

use super::tree::Tree;
use crate::journal::{FileId, Stamp};
use crate::mount::types::{Ino, RemovedName};
use crate::spool::{
    self, Access, Durability, Metadata, OpenOptions, Placeholder, SpoolError, SpoolPath,
};

/// A placeholder that was created.
#[derive(Debug)]
pub(in crate::mount) struct CreatedPlaceholder {
    pub(in crate::mount) id: FileId,
    /// The folders that have a new name in them.
    pub(in crate::mount) changed_folders: Vec<Ino>,
}

/// The mode of a folder that is created for a photo of another device: that of any new folder.
const FOLDER_MODE: u16 = 0o755;

impl Tree {
    /// Creates a placeholder, and its missing parent folders; `None` if the name is taken.
    pub(in crate::mount) fn create_placeholder(
        &self,
        path: &LibraryPath,
        placeholder: &Placeholder,
    ) -> Result<Option<CreatedPlaceholder>, SpoolError> {
        let _names = self.lock_names_exclusive();
        let mut changed_folders = Vec::new();
        let mut created = self.spool.create_placeholder(path, placeholder);
        if let Err(error) = &created
            && error.is_missing()
        {
            self.create_folders(&SpoolPath::parent_of(path), &mut changed_folders)?;
            created = self.spool.create_placeholder(path, placeholder);
        }
        match created {
            Ok(id) => {
                if let Some(fetcher) = &self.fetcher {
                    fetcher.placeholder_added(id, path);
                }
                self.add_parent(path, &mut changed_folders);
                Ok(Some(CreatedPlaceholder {
                    id,
                    changed_folders,
                }))
            }
            Err(error) if error.source.kind() == std::io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates missing folders; adds their parents to `changed`.
    fn create_folders(&self, place: &SpoolPath, changed: &mut Vec<Ino>) -> Result<(), SpoolError> {
        let SpoolPath::Entry(path) = place else {
            return Ok(());
        };
        let mut created = self.spool.create_folder(path, FOLDER_MODE);
        if let Err(error) = &created
            && error.is_missing()
        {
            self.create_folders(&SpoolPath::parent_of(path), changed)?;
            created = self.spool.create_folder(path, FOLDER_MODE);
        }
        match created {
            Err(error) if error.source.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
            created => created?,
        }
        self.add_parent(path, changed);
        Ok(())
    }

    /// Removes a file if it still has this id and stamp and no handle can write to it; returns the
    /// removed names: its own, then those of the folders that became empty.
    pub(in crate::mount) fn remove_unchanged(
        &self,
        path: &LibraryPath,
        id: FileId,
        stamp: Stamp,
    ) -> Result<Vec<RemovedName>, SpoolError> {
        let _names = self.lock_names_exclusive();
        let place = SpoolPath::Entry(path.clone());
        // Pinned, so that its inode number is not reused before the inode table knows.
        let pinned = self.spool.open_path(&place)?;
        if !self.is_unchanged(&pinned, path, id, stamp)? {
            return Ok(Vec::new());
        }
        let mut removed = vec![self.removed_name(path)?];
        self.spool.remove_file(path)?;
        self.inodes.lock().mark_deleted(id);
        self.remove_empty_folders(&SpoolPath::parent_of(path), &mut removed)?;
        Ok(removed)
    }

    /// Sets the modification time of a file if it still has this id and stamp and no handle can
    /// write to it; returns its inode number and its new stamp.
    pub(in crate::mount) fn set_mtime_if_unchanged(
        &self,
        path: &LibraryPath,
        id: FileId,
        stamp: Stamp,
        mtime_ns: i64,
    ) -> Result<Option<(Ino, Stamp)>, SpoolError> {
        let _names = self.lock_names_exclusive();
        let pinned = self.spool.open_path(&SpoolPath::Entry(path.clone()))?;
        if !self.is_unchanged(&pinned, path, id, stamp)? {
            return Ok(None);
        }
        let failed = |source| SpoolError::of("set the time of", path, source);
        spool::set_times(&pinned, &spool::modified_at(mtime_ns)).map_err(failed)?;
        let options = OpenOptions {
            access: Access::Read,
            durability: Durability::Lazy,
        };
        let file = spool::reopen(&pinned, options).map_err(failed)?;
        if let Some(fetcher) = &self.fetcher {
            fetcher
                .set_mtime(id, &file, Stamp { mtime_ns, ..stamp })
                .map_err(failed)?;
        }
        let metadata = self.shown(Metadata::of(&file).map_err(failed)?);
        Ok(Some((self.inodes.lock().ino(id), metadata.stamp())))
    }

    /// Whether a file still has this id and stamp, and no handle can write to it.
    fn is_unchanged(
        &self,
        pinned: &OwnedFd,
        path: &LibraryPath,
        id: FileId,
        stamp: Stamp,
    ) -> Result<bool, SpoolError> {
        let metadata =
            Metadata::of(pinned).map_err(|source| SpoolError::of("stat", path, source))?;
        let metadata = self.shown(metadata);
        let is_written = self
            .handles
            .file_with_id(id)
            .is_some_and(|open| open.access.can_write());
        Ok(metadata.id == id && metadata.stamp() == stamp && !is_written)
    }

    fn remove_empty_folders(
        &self,
        place: &SpoolPath,
        removed: &mut Vec<RemovedName>,
    ) -> Result<(), SpoolError> {
        let SpoolPath::Entry(path) = place else {
            return Ok(());
        };
        let (id, name) = (self.spool.metadata(place)?.id, self.removed_name(path)?);
        if self.spool.remove_folder(path).is_err() {
            // Most likely it is not empty. An empty folder that stays does no harm.
            return Ok(());
        }
        self.inodes.lock().mark_deleted(id);
        removed.push(name);
        self.remove_empty_folders(&SpoolPath::parent_of(path), removed)
    }

    /// Adds the folder of a new name. If that fails, the kernel notices the change when the folder
    /// is next opened.
    fn add_parent(&self, path: &LibraryPath, changed: &mut Vec<Ino>) {
        match self.folder_of(path) {
            Ok(folder) => changed.push(folder),
            Err(error) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the folder of a new placeholder could not be read"
            ),
        }
    }

    fn removed_name(&self, path: &LibraryPath) -> Result<RemovedName, SpoolError> {
        Ok(RemovedName {
            folder: self.folder_of(path)?,
            name: path.name().to_owned(),
        })
    }

    /// The inode number of the folder of a name.
    fn folder_of(&self, path: &LibraryPath) -> Result<Ino, SpoolError> {
        let folder = self.spool.metadata(&SpoolPath::parent_of(path))?.id;
        Ok(self.inodes.lock().ino(folder))
    }
}

//! Listing folders, with or without the attributes of each entry.

use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::dir_cache::DirCacheState;
use super::entry_name::EntryName;
use super::handles::OpenFolder;
use super::tree::Tree;
use crate::mount::types::{DirEntry, Entry, FillResult, HandleId, Ino, TreeError};
use crate::spool::{FolderEntry, FolderReader, Kind};

impl Tree {
    /// Opens a folder for listing; also returns whether the kernel's cached listing is current.
    pub(in crate::mount) fn open_folder(
        &self,
        ino: Ino,
    ) -> Result<(HandleId, DirCacheState), TreeError> {
        let _names = self.lock_names();
        let id = self.id(ino);
        let reader = self.spool.read_folder(&self.path(id)?)?;
        let metadata = reader.own_metadata().map_err(TreeError::during("stat"))?;
        let cache = self
            .dir_cache
            .opened(id, metadata.changed, SystemTime::now());
        let handle = self.handles.insert_folder(OpenFolder {
            id,
            reader: Mutex::new(reader),
        });
        Ok((handle, cache))
    }

    /// Lists names from `position` on, until `fill` says that the reply is full.
    pub(in crate::mount) fn list(
        &self,
        handle: HandleId,
        position: u64,
        mut fill: impl FnMut(&DirEntry) -> FillResult,
    ) -> Result<(), TreeError> {
        let open = self.open_folder_of(handle)?;
        let mut reader = open.reader.lock();
        let mut at = position;
        while let Some(found) = reader.read(at).map_err(TreeError::during("list"))? {
            at = found.next;
            let Some(listed) = self.listed(&open, &reader, found)? else {
                continue;
            };
            if fill(&listed) == FillResult::Full {
                break;
            }
        }
        Ok(())
    }

    /// Lists names with their entries. Has the effect of a lookup of each: the kernel holds the
    /// inodes of the entries that were added. `.` and `..` come without an entry.
    pub(in crate::mount) fn list_entries(
        &self,
        handle: HandleId,
        position: u64,
        mut fill: impl FnMut(&DirEntry, Option<&Entry>) -> FillResult,
    ) -> Result<(), TreeError> {
        let open = self.open_folder_of(handle)?;
        let folder = self.inodes.lock().ino(open.id);
        let mut reader = open.reader.lock();
        let mut at = position;
        while let Some(found) = reader.read(at).map_err(TreeError::during("list"))? {
            at = found.next;
            let Some(listed) = self.listed(&open, &reader, found)? else {
                continue;
            };
            let result = if is_dots(&listed.name) {
                fill(&listed, None)
            } else {
                let _names = self.lock_names();
                // It was removed since its name was read.
                let Ok(metadata) = reader.metadata(&listed.name) else {
                    continue;
                };
                let entry = self.add_lookup(folder, EntryName(&listed.name), metadata)?;
                let result = fill(&listed, Some(&entry));
                if result == FillResult::Full {
                    self.forget(entry.ino, 1);
                }
                result
            };
            if result == FillResult::Full {
                break;
            }
        }
        Ok(())
    }

    pub(in crate::mount) fn close_folder(&self, handle: HandleId) {
        self.handles.remove_folder(handle);
    }

    /// Returns when the names in the folder survive a power cut.
    pub(in crate::mount) fn sync_folder(&self, handle: HandleId) -> Result<(), TreeError> {
        let open = self.open_folder_of(handle)?;
        let synced = open.reader.lock().sync();
        synced.map_err(TreeError::during("sync"))
    }

    fn open_folder_of(&self, handle: HandleId) -> Result<Arc<OpenFolder>, TreeError> {
        self.handles
            .folder(handle)
            .ok_or(TreeError::BadHandle(handle))
    }

    /// The entry to show for a name on the disk; `None` for what the mount hides.
    fn listed(
        &self,
        open: &OpenFolder,
        reader: &FolderReader,
        mut found: FolderEntry,
    ) -> Result<Option<DirEntry>, TreeError> {
        if found.kind == Kind::Special {
            match reader.metadata(&found.name) {
                Ok(metadata) if metadata.kind != Kind::Special => found.kind = metadata.kind,
                Ok(_) => return Ok(None),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(TreeError::during("list")(error)),
            }
        }
        let inodes = self.inodes.lock();
        let own = inodes.ino(open.id);
        // The parent of the root lies outside the mount.
        let ino = if found.name == "." || (found.name == ".." && own == Ino::ROOT) {
            own
        } else {
            inodes.ino(found.id)
        };
        Ok(Some(DirEntry {
            name: found.name,
            ino,
            kind: found.kind,
            next: found.next,
        }))
    }
}

fn is_dots(name: &str) -> bool {
    matches!(name, "." | "..")
}

//! Folders: listing names, with or without what is known of each.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use fuser::{FileHandle, INodeNo};

use super::super::handles::OpenFolder;
use super::super::listings::KernelsList;
use super::{Entry, Name, Tree, TreeError, during, locked};
use crate::spool::{FolderEntry, FolderReader, Kind};

/// One name of a folder, as it is told to the kernel.
#[derive(Clone, Debug)]
pub(in crate::mount) struct Listed {
    pub(in crate::mount) name: String,
    pub(in crate::mount) number: INodeNo,
    pub(in crate::mount) kind: Kind,
    /// Where to go on after it.
    pub(in crate::mount) next: u64,
}

/// What the receiver of a listing says after each name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mount) enum Room {
    /// There is room for another.
    Left,
    /// There was none for this one: it was not taken.
    None,
}

impl Tree {
    /// Opens a folder for listing; also tells what a list is worth that the kernel has of it.
    pub(in crate::mount) fn open_folder(
        &self,
        number: INodeNo,
    ) -> Result<(FileHandle, KernelsList), TreeError> {
        let _names = self.walking();
        let id = self.id(number);
        let reader = self.spool.read_folder(&self.place(id)?)?;
        let facts = reader.own_metadata().map_err(during("look at"))?;
        let list = self.listings.opened(id, facts.changed, SystemTime::now());
        Ok((
            self.handles.open_folder(OpenFolder {
                id,
                reader: Mutex::new(reader),
            }),
            list,
        ))
    }

    /// Lists names from `position` on until `take` has no room.
    pub(in crate::mount) fn list(
        &self,
        handle: FileHandle,
        position: u64,
        mut take: impl FnMut(&Listed) -> Room,
    ) -> Result<(), TreeError> {
        let open = self.opened_folder(handle)?;
        let mut reader = locked(&open.reader);
        let mut at = position;
        while let Some(found) = reader.read(at).map_err(during("list"))? {
            at = found.next;
            let Some(listed) = self.listed(&open, &reader, found)? else {
                continue;
            };
            if take(&listed) == Room::None {
                break;
            }
        }
        Ok(())
    }

    /// Lists names with what a lookup of each would answer, and with the same effect: the kernel
    /// holds what was taken. `.` and `..` come without.
    pub(in crate::mount) fn list_entries(
        &self,
        handle: FileHandle,
        position: u64,
        mut take: impl FnMut(&Listed, Option<&Entry>) -> Room,
    ) -> Result<(), TreeError> {
        let open = self.opened_folder(handle)?;
        let folder = locked(&self.inodes).number(open.id);
        let mut reader = locked(&open.reader);
        let mut at = position;
        while let Some(found) = reader.read(at).map_err(during("list"))? {
            at = found.next;
            let Some(listed) = self.listed(&open, &reader, found)? else {
                continue;
            };
            let room = if is_dots(&listed.name) {
                take(&listed, None)
            } else {
                let _names = self.walking();
                // Gone since its name was read: there is nothing to tell.
                let Ok(facts) = reader.metadata(&listed.name) else {
                    continue;
                };
                let entry = self.tell(folder, Name(&listed.name), facts)?;
                let room = take(&listed, Some(&entry));
                if room == Room::None {
                    self.forget(entry.number, 1);
                }
                room
            };
            if room == Room::None {
                break;
            }
        }
        Ok(())
    }

    pub(in crate::mount) fn close_folder(&self, handle: FileHandle) {
        self.handles.close_folder(handle);
    }

    /// Returns when the names in the folder survive a power cut.
    pub(in crate::mount) fn sync_folder(&self, handle: FileHandle) -> Result<(), TreeError> {
        let open = self.opened_folder(handle)?;
        let synced = locked(&open.reader).sync();
        synced.map_err(during("sync folder"))
    }

    fn opened_folder(&self, handle: FileHandle) -> Result<Arc<OpenFolder>, TreeError> {
        self.handles
            .folder(handle)
            .ok_or(TreeError::NotOpen(handle))
    }

    /// None for what the mount does not show.
    fn listed(
        &self,
        open: &OpenFolder,
        reader: &FolderReader,
        mut found: FolderEntry,
    ) -> Result<Option<Listed>, TreeError> {
        if found.kind == Kind::Special {
            match reader.metadata(&found.name) {
                Ok(facts) if facts.kind != Kind::Special => found.kind = facts.kind,
                Ok(_) => return Ok(None),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(during("list")(error)),
            }
        }
        let inodes = locked(&self.inodes);
        let own = inodes.number(open.id);
        // Above the top is not ours to show.
        let number = if found.name == "." || (found.name == ".." && own == INodeNo::ROOT) {
            own
        } else {
            inodes.number(found.id)
        };
        Ok(Some(Listed {
            name: found.name,
            number,
            kind: found.kind,
            next: found.next,
        }))
    }
}

fn is_dots(name: &str) -> bool {
    matches!(name, "." | "..")
}

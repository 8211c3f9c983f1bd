//! Names: making, renaming and removing.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use fuser::INodeNo;
use heirloom_protocol::LibraryPath;

use super::{Entry, Name, Tree, TreeError, during, locked};
use crate::journal::FileId;
use crate::spool::{
    Access, Durability, Kind, Metadata, OpenOptions, Replace, SpoolError, SpoolPath,
};

impl Tree {
    pub(in crate::mount) fn create_folder(
        &self,
        folder: INodeNo,
        name: &OsStr,
        mode: u16,
    ) -> Result<Entry, TreeError> {
        self.create_name(folder, name, |path| self.spool.create_folder(path, mode))
    }

    pub(in crate::mount) fn create_link(
        &self,
        folder: INodeNo,
        name: &OsStr,
        target: &Path,
    ) -> Result<Entry, TreeError> {
        self.create_name(folder, name, |path| self.spool.create_link(path, target))
    }

    /// A regular file that nobody opens for now (mknod(2)).
    pub(in crate::mount) fn create_empty_file(
        &self,
        folder: INodeNo,
        name: &OsStr,
        mode: u16,
    ) -> Result<Entry, TreeError> {
        let opening = OpenOptions {
            access: Access::Write,
            durability: Durability::Lazy,
        };
        self.create_name(folder, name, |path| {
            self.spool.create_file(path, opening, mode).map(drop)
        })
    }

    fn create_name(
        &self,
        folder: INodeNo,
        name: &OsStr,
        create: impl FnOnce(&LibraryPath) -> Result<(), SpoolError>,
    ) -> Result<Entry, TreeError> {
        let name = Name::new(name)?;
        let _names = self.renaming();
        let path = self.path_in(folder, name)?;
        create(&path)?;
        let entry = self.tell(folder, name, self.spool.metadata(&SpoolPath::Entry(path))?)?;
        self.note(entry.facts, |id, path| self.notes.changed(id, path));
        Ok(entry)
    }

    /// Removes a file or link; what has it open keeps it.
    pub(in crate::mount) fn remove_file(
        &self,
        folder: INodeNo,
        name: &OsStr,
    ) -> Result<(), TreeError> {
        self.remove(folder, name, |path| self.spool.remove_file(path))
    }

    /// Removes an empty folder.
    pub(in crate::mount) fn remove_folder(
        &self,
        folder: INodeNo,
        name: &OsStr,
    ) -> Result<(), TreeError> {
        self.remove(folder, name, |path| self.spool.remove_folder(path))
    }

    fn remove(
        &self,
        folder: INodeNo,
        name: &OsStr,
        remove: impl FnOnce(&LibraryPath) -> Result<(), SpoolError>,
    ) -> Result<(), TreeError> {
        let name = Name::new(name)?;
        let names = self.renaming();
        let path = self.path_in(folder, name)?;
        let victim = self.hold(&path)?;
        remove(&path)?;
        self.settle_removed(&victim);
        if victim.facts.kind == Kind::File {
            self.notes.removed(victim.facts.id, &path);
        }
        drop(names);
        // The disk frees the bytes only when nothing holds the file. That takes long for a large
        // one, and others need the lock.
        drop(victim);
        Ok(())
    }

    /// Gives something another name, in one step.
    pub(in crate::mount) fn rename(
        &self,
        (old_folder, old): (INodeNo, &OsStr),
        (new_folder, new): (INodeNo, &OsStr),
        replace: Replace,
    ) -> Result<(), TreeError> {
        let (old, new) = (Name::new(old)?, Name::new(new)?);
        let names = self.renaming();
        let (from, to) = (
            self.path_in(old_folder, old)?,
            self.path_in(new_folder, new)?,
        );
        let moved = self.spool.metadata(&SpoolPath::Entry(from.clone()))?;
        let other = match self.hold(&to) {
            Ok(other) => Some(other).filter(|other| other.facts.id != moved.id),
            Err(TreeError::Spool(error)) if error.is_missing() => None,
            Err(error) => return Err(error),
        };
        self.spool.rename(&from, &to, replace)?;
        self.settle_renamed(moved.id, new_folder, new);
        match (&other, replace) {
            (Some(other), Replace::Exchange) => {
                self.settle_renamed(other.facts.id, old_folder, old);
                self.note_exchange((moved, &from), (other.facts, &to));
            }
            (other, Replace::Allow | Replace::Refuse | Replace::Exchange) => {
                if let Some(other) = other {
                    self.settle_removed(other);
                }
                self.note_rename(moved, &from, &to, other.as_ref().map(|other| other.facts));
            }
        }
        drop(names);
        drop(other);
        Ok(())
    }

    fn hold(&self, path: &LibraryPath) -> Result<Held, TreeError> {
        let held = self.spool.open_path(&SpoolPath::Entry(path.clone()))?;
        Ok(Held {
            facts: Metadata::of(&held).map_err(during("stat"))?,
            _held: held,
        })
    }

    fn settle_removed(&self, victim: &Held) {
        let mut inodes = locked(&self.inodes);
        // A folder's link count is about what is in it; a file in the spool may have been linked
        // from outside.
        if victim.facts.nlink > 1 && !is_folder(&victim.facts) {
            inodes.lost_a_name(victim.facts.id);
        } else {
            inodes.removed(victim.facts.id);
        }
    }

    fn settle_renamed(&self, id: FileId, folder: INodeNo, name: Name<'_>) {
        let mut inodes = locked(&self.inodes);
        let folder = inodes.id(folder);
        inodes.moved(id, folder, name.0);
    }

    fn note_rename(
        &self,
        moved: Metadata,
        from: &LibraryPath,
        to: &LibraryPath,
        replaced: Option<Metadata>,
    ) {
        let replaced = replaced
            .filter(|facts| facts.kind == Kind::File)
            .map(|facts| facts.id);
        match (moved.kind, replaced) {
            (Kind::File, replaced) => self.notes.file_renamed(moved.id, from, to, replaced),
            (Kind::Folder, _) => self.notes.folder_renamed(from, to),
            (Kind::Link | Kind::Special, Some(replaced)) => self.notes.removed(replaced, to),
            (Kind::Link | Kind::Special, None) => {}
        }
    }

    /// Links are nobody's photos: what changes places with one is told as renamed.
    fn note_exchange(
        &self,
        (one, from): (Metadata, &LibraryPath),
        (two, to): (Metadata, &LibraryPath),
    ) {
        match (is_told(&one), is_told(&two)) {
            (true, true) => self.notes.exchanged(from, to),
            (true, false) => self.note_rename(one, from, to, None),
            (false, true) => self.note_rename(two, to, from, None),
            (false, false) => {}
        }
    }
}

/// Something whose name is about to go, held so that its number cannot come back before we have
/// noted that.
struct Held {
    facts: Metadata,
    _held: OwnedFd,
}

fn is_folder(facts: &Metadata) -> bool {
    facts.kind == Kind::Folder
}

fn is_told(facts: &Metadata) -> bool {
    matches!(facts.kind, Kind::File | Kind::Folder)
}

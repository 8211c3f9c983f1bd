//! Renaming and exchanging names.

use std::ffi::OsStr;

use heirloom_protocol::LibraryPath;

use super::entry_name::EntryName;
use super::tree::Tree;
use crate::journal::FileId;
use crate::mount::types::{Ino, TreeError};
use crate::spool::{Kind, Metadata, Replace, SpoolPath};

impl Tree {
    /// Renames atomically; `replace` says what happens if the new name exists.
    pub(in crate::mount) fn rename(
        &self,
        (old_folder, old): (Ino, &OsStr),
        (new_folder, new): (Ino, &OsStr),
        replace: Replace,
    ) -> Result<(), TreeError> {
        let (old, new) = (EntryName::new(old)?, EntryName::new(new)?);
        let names = self.lock_names_exclusive();
        let (from, to) = (
            self.child_path(old_folder, old)?,
            self.child_path(new_folder, new)?,
        );
        let moved = self.spool.metadata(&SpoolPath::Entry(from.clone()))?;
        let other = match self.open_removed_entry(&to) {
            Ok(other) => Some(other).filter(|other| other.metadata.id != moved.id),
            Err(TreeError::Spool(error)) if error.is_missing() => None,
            Err(error) => return Err(error),
        };
        self.spool.rename(&from, &to, replace)?;
        self.relink_inode(moved.id, new_folder, new);
        match (&other, replace) {
            (Some(other), Replace::Exchange) => {
                self.relink_inode(other.metadata.id, old_folder, old);
                self.notify_exchanged((moved, &from), (other.metadata, &to));
            }
            (other, Replace::Allow | Replace::Refuse | Replace::Exchange) => {
                if let Some(other) = other {
                    self.unlink_inode(other);
                }
                self.notify_renamed(
                    moved,
                    &from,
                    &to,
                    other.as_ref().map(|other| other.metadata),
                );
            }
        }
        drop(names);
        drop(other);
        Ok(())
    }

    fn relink_inode(&self, id: FileId, folder: Ino, name: EntryName<'_>) {
        let mut inodes = self.inodes.lock();
        let folder = inodes.id(folder);
        inodes.relink(id, folder, name.0);
    }

    fn notify_renamed(
        &self,
        moved: Metadata,
        from: &LibraryPath,
        to: &LibraryPath,
        replaced: Option<Metadata>,
    ) {
        let replaced = replaced
            .filter(|metadata| metadata.kind == Kind::File)
            .map(|metadata| metadata.id);
        match (moved.kind, replaced) {
            (Kind::File, replaced) => self.listener.file_renamed(moved.id, from, to, replaced),
            (Kind::Folder, _) => self.listener.folder_renamed(from, to),
            (Kind::Link | Kind::Special, Some(replaced)) => self.listener.removed(replaced, to),
            (Kind::Link | Kind::Special, None) => {}
        }
    }

    /// Reports an exchange. Links are not reported: what is exchanged with one is reported as
    /// renamed.
    fn notify_exchanged(
        &self,
        (one, from): (Metadata, &LibraryPath),
        (two, to): (Metadata, &LibraryPath),
    ) {
        match (is_reported(&one), is_reported(&two)) {
            (true, true) => self.listener.exchanged(from, to),
            (true, false) => self.notify_renamed(one, from, to, None),
            (false, true) => self.notify_renamed(two, to, from, None),
            (false, false) => {}
        }
    }
}

fn is_reported(metadata: &Metadata) -> bool {
    matches!(metadata.kind, Kind::File | Kind::Folder)
}

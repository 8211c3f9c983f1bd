//! Names that the library puts here and takes away, not a program.

use std::os::fd::OwnedFd;

use fuser::INodeNo;
use heirloom_protocol::LibraryPath;

use super::{SpoolPath, Tree, locked};
use crate::journal::{FileId, Stamp};
use crate::mount::shelf::{Gone, Put};
use crate::spool::{self, Access, Durability, Metadata, OpenOptions, Placeholder, SpoolError};

/// What a folder may be used for that is made for a photo of another device, as any new folder.
const FOLDER_MODE: u16 = 0o755;

impl Tree {
    /// Makes a placeholder, and the folders on the way; nothing if something stands there.
    pub(in crate::mount) fn put_placeholder(
        &self,
        path: &LibraryPath,
        placeholder: &Placeholder,
    ) -> Result<Option<Put>, SpoolError> {
        let _names = self.renaming();
        let (mut made, mut folders) =
            (self.spool.create_placeholder(path, placeholder), Vec::new());
        if let Err(error) = &made
            && error.is_missing()
        {
            self.make_folders(&SpoolPath::parent_of(path), &mut folders)?;
            made = self.spool.create_placeholder(path, placeholder);
        }
        match made {
            Ok(id) => {
                self.fetcher
                    .iter()
                    .for_each(|fetcher| fetcher.placeholder_added(id, path));
                self.note_changed(path, &mut folders);
                Ok(Some(Put { id, folders }))
            }
            Err(error) if error.source.kind() == std::io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds the folders that have a name more.
    fn make_folders(
        &self,
        place: &SpoolPath,
        changed: &mut Vec<INodeNo>,
    ) -> Result<(), SpoolError> {
        let SpoolPath::Entry(path) = place else {
            return Ok(());
        };
        let mut made = self.spool.create_folder(path, FOLDER_MODE);
        if let Err(error) = &made
            && error.is_missing()
        {
            self.make_folders(&SpoolPath::parent_of(path), changed)?;
            made = self.spool.create_folder(path, FOLDER_MODE);
        }
        match made {
            Err(error) if error.source.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
            made => made?,
        }
        self.note_changed(path, changed);
        Ok(())
    }

    /// Removes a file that is still this one, with this content, and that nobody may write to;
    /// answers the names that are gone: its own, then those of folders that it was the last in.
    pub(in crate::mount) fn take_away(
        &self,
        path: &LibraryPath,
        id: FileId,
        stamp: Stamp,
    ) -> Result<Vec<Gone>, SpoolError> {
        let _names = self.renaming();
        let place = SpoolPath::Entry(path.clone());
        // Held, so that its number cannot come back as another file before this is noted.
        let held = self.spool.open_path(&place)?;
        if !self.is_left_alone(&held, path, id, stamp)? {
            return Ok(Vec::new());
        }
        let mut gone = vec![self.gone(path)?];
        self.spool.remove_file(path)?;
        locked(&self.inodes).removed(id);
        self.remove_empty_folders(&SpoolPath::parent_of(path), &mut gone)?;
        Ok(gone)
    }

    /// Gives a file another time that is still this one, with this content, and that nobody may
    /// write to; answers its number and its stamp afterwards.
    pub(in crate::mount) fn retime(
        &self,
        path: &LibraryPath,
        id: FileId,
        stamp: Stamp,
        mtime_ns: i64,
    ) -> Result<Option<(INodeNo, Stamp)>, SpoolError> {
        let _names = self.renaming();
        let held = self.spool.open_path(&SpoolPath::Entry(path.clone()))?;
        if !self.is_left_alone(&held, path, id, stamp)? {
            return Ok(None);
        }
        let failed = |source| SpoolError::of("set the time of", path, source);
        spool::set_times(&held, &spool::modified_at(mtime_ns)).map_err(failed)?;
        let opening = OpenOptions {
            access: Access::Read,
            durability: Durability::Lazy,
        };
        let file = spool::reopen(&held, opening).map_err(failed)?;
        if let Some(fetcher) = &self.fetcher {
            fetcher
                .set_mtime(id, &file, Stamp { mtime_ns, ..stamp })
                .map_err(failed)?;
        }
        let facts = self.shown(Metadata::of(&file).map_err(failed)?);
        Ok(Some((locked(&self.inodes).number(id), facts.stamp())))
    }

    /// Whether it is what it was, and nobody may write to it.
    fn is_left_alone(
        &self,
        held: &OwnedFd,
        path: &LibraryPath,
        id: FileId,
        stamp: Stamp,
    ) -> Result<bool, SpoolError> {
        let facts = self
            .shown(Metadata::of(held).map_err(|source| SpoolError::of("look at", path, source))?);
        let is_written = self
            .handles
            .file_of(id)
            .is_some_and(|open| open.access.can_write());
        Ok(facts.id == id && facts.stamp() == stamp && !is_written)
    }

    fn remove_empty_folders(
        &self,
        place: &SpoolPath,
        gone: &mut Vec<Gone>,
    ) -> Result<(), SpoolError> {
        let SpoolPath::Entry(path) = place else {
            return Ok(());
        };
        let (id, name) = (self.spool.metadata(place)?.id, self.gone(path)?);
        if self.spool.remove_folder(path).is_err() {
            // Something is in it, most likely; an empty folder that stays hurts nobody.
            return Ok(());
        }
        locked(&self.inodes).removed(id);
        gone.push(name);
        self.remove_empty_folders(&SpoolPath::parent_of(path), gone)
    }

    /// The folder of a name that was just made. If it is lost, the kernel finds out when the folder
    /// is opened next.
    fn note_changed(&self, path: &LibraryPath, changed: &mut Vec<INodeNo>) {
        match self.folder_of(path) {
            Ok(folder) => changed.push(folder),
            Err(error) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "a folder could not be looked at"
            ),
        }
    }

    fn gone(&self, path: &LibraryPath) -> Result<Gone, SpoolError> {
        Ok(Gone {
            folder: self.folder_of(path)?,
            name: path.name().to_owned(),
        })
    }

    /// The folder that a name stands in, as the kernel numbers it.
    fn folder_of(&self, path: &LibraryPath) -> Result<INodeNo, SpoolError> {
        let folder = self.spool.metadata(&SpoolPath::parent_of(path))?.id;
        Ok(locked(&self.inodes).number(folder))
    }
}

//! Names that the library puts here and takes away, not a program.

use heirloom_protocol::LibraryPath;

use super::{Place, Tree, locked};
use crate::journal::{FileId, Stamp};
use crate::mount::shelf::Gone;
use crate::spool::{Facts, Placeholder, SpoolError};

/// What a folder may be used for that is made for a photo of another device, as any new folder.
const FOLDER_MODE: u16 = 0o755;

impl Tree {
    /// Makes a placeholder, and the folders on the way; nothing if something stands there.
    pub(in crate::mount) fn put_placeholder(
        &self,
        path: &LibraryPath,
        placeholder: &Placeholder,
    ) -> Result<Option<FileId>, SpoolError> {
        let _names = self.renaming();
        let mut made = self.spool.create_placeholder(path, placeholder);
        if let Err(error) = &made
            && error.is_missing()
        {
            self.make_folders(&Place::above(path))?;
            made = self.spool.create_placeholder(path, placeholder);
        }
        match made {
            Ok(id) => {
                self.recall.iter().for_each(|recall| recall.arrived(id, path));
                Ok(Some(id))
            }
            Err(error) if error.source.kind() == std::io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn make_folders(&self, place: &Place) -> Result<(), SpoolError> {
        let Place::At(path) = place else { return Ok(()) };
        match self.spool.create_folder(path, FOLDER_MODE) {
            Err(error) if error.is_missing() => {
                self.make_folders(&Place::above(path))?;
                self.spool.create_folder(path, FOLDER_MODE)
            }
            Err(error) if error.source.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }

    /// Removes a file that is still this one, with this content, and that nobody may write to; answers the names that are gone: its own,
    /// then those of folders that it was the last in.
    pub(in crate::mount) fn take_away(
        &self,
        path: &LibraryPath,
        id: FileId,
        stamp: Stamp,
    ) -> Result<Vec<Gone>, SpoolError> {
        let _names = self.renaming();
        let place = Place::At(path.clone());
        // Held, so that its number cannot come back as another file before this is noted.
        let held = self.spool.pin(&place)?;
        let facts = self.shown(Facts::of(&held).map_err(|source| SpoolError::of("look at", path, source))?);
        let is_written = self.handles.file_of(id).is_some_and(|open| open.access.can_write());
        if facts.id != id || facts.stamp() != stamp || is_written {
            return Ok(Vec::new());
        }
        let mut gone = vec![self.gone(path)?];
        self.spool.remove_file(path)?;
        locked(&self.inodes).removed(id);
        self.remove_empty_folders(&Place::above(path), &mut gone)?;
        Ok(gone)
    }

    fn remove_empty_folders(&self, place: &Place, gone: &mut Vec<Gone>) -> Result<(), SpoolError> {
        let Place::At(path) = place else { return Ok(()) };
        let (id, name) = (self.spool.facts(place)?.id, self.gone(path)?);
        if self.spool.remove_folder(path).is_err() {
            // Something is in it, most likely; an empty folder that stays hurts nobody.
            return Ok(());
        }
        locked(&self.inodes).removed(id);
        gone.push(name);
        self.remove_empty_folders(&Place::above(path), gone)
    }

    fn gone(&self, path: &LibraryPath) -> Result<Gone, SpoolError> {
        let folder = self.spool.facts(&Place::above(path))?.id;
        Ok(Gone { folder: locked(&self.inodes).number(folder), name: path.name().to_owned() })
    }
}

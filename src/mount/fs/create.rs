//! Creating files, folders and links.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use heirloom_protocol::LibraryPath;

use super::entry_name::EntryName;
use super::open_close::{Origin, SpoolFile};
use super::tree::Tree;
use crate::mount::io::backing::Backing;
use crate::mount::io::spare_pool::SpareFile;
use crate::mount::io::write_tracking::WritePath;
use crate::mount::types::{Created, Entry, Existing, Ino, TreeError, Truncate};
use crate::passthrough_helper::BackingBroker;
use crate::spool::{Access, Durability, Metadata, OpenOptions, Spool, SpoolError, SpoolPath};

/// The mode that spare files are created with, and most programs ask for.
const SPARE_MODE: u16 = 0o644;

/// How spare files are open, whatever a program wants to do with them.
const SPARE_OPENING: OpenOptions = OpenOptions {
    access: Access::ReadWrite,
    durability: Durability::Lazy,
};

impl Tree {
    pub(in crate::mount) fn create_folder(
        &self,
        folder: Ino,
        name: &OsStr,
        mode: u16,
    ) -> Result<Entry, TreeError> {
        self.create_entry(folder, name, |path| self.spool.create_folder(path, mode))
    }

    pub(in crate::mount) fn create_symlink(
        &self,
        folder: Ino,
        name: &OsStr,
        target: &Path,
    ) -> Result<Entry, TreeError> {
        self.create_entry(folder, name, |path| self.spool.create_link(path, target))
    }

    /// Creates a regular file without opening it (mknod(2)).
    pub(in crate::mount) fn create_empty_file(
        &self,
        folder: Ino,
        name: &OsStr,
        mode: u16,
    ) -> Result<Entry, TreeError> {
        let options = OpenOptions {
            access: Access::Write,
            durability: Durability::Lazy,
        };
        self.create_entry(folder, name, |path| {
            self.spool.create_file(path, options, mode).map(drop)
        })
    }

    fn create_entry(
        &self,
        folder: Ino,
        name: &OsStr,
        create: impl FnOnce(&LibraryPath) -> Result<(), SpoolError>,
    ) -> Result<Entry, TreeError> {
        let name = EntryName::new(name)?;
        let _names = self.lock_names_exclusive();
        let path = self.child_path(folder, name)?;
        create(&path)?;
        let entry = self.add_lookup(folder, name, self.spool.metadata(&SpoolPath::Entry(path))?)?;
        self.notify(entry.metadata, |id, path| self.listener.changed(id, path));
        Ok(entry)
    }

    /// Creates and opens a file; opens the existing one if `existing` permits that.
    pub(in crate::mount) fn create(
        &self,
        folder: Ino,
        name: &OsStr,
        mode: u16,
        options: OpenOptions,
        existing: Existing,
    ) -> Result<Created, TreeError> {
        let name = EntryName::new(name)?;
        let _names = self.lock_names_exclusive();
        let path = self.child_path(folder, name)?;
        let (file, truncate, origin) =
            match (self.create_spool_file(&path, mode, options), existing) {
                (Ok(file), _) => (file, Truncate::No, Origin::Created),
                (Err(error), Existing::Open(truncate)) if already_exists(&error) => (
                    SpoolFile::unmarked(self.spool.open_file(&path, options)?)?,
                    truncate,
                    Origin::Existing,
                ),
                (Err(error), Existing::Open(_) | Existing::Refuse) => return Err(error.into()),
            };
        let guard = match origin {
            Origin::Created => self.pin_new_file(file.id),
            Origin::Existing => self.pin_data(file.id, &file.file)?,
        };
        let handle = self.notify_opened(
            self.on_open(file, options.access, origin, guard),
            Some(&path),
            truncate,
        )?;
        let metadata = self
            .open_file(handle)
            .and_then(|open| Metadata::of(&open.file).map_err(TreeError::during("stat")));
        match metadata.and_then(|metadata| self.add_lookup(folder, name, metadata)) {
            Ok(entry) => Ok(Created { entry, handle }),
            Err(error) => {
                // The kernel does not close a handle that it did not get.
                if let Some(open) = self.handles.remove_file(handle) {
                    self.abort_open(open, Some(&path))?;
                }
                Err(error)
            }
        }
    }

    /// Creates a file: a spare one with a new name, if there is one and it suits. Whatever keeps
    /// the spare file from its name, the ordinary creation reports it better.
    ///
    /// A file is marked before it gets its name, so that no power cut leaves the name of a photo
    /// without a mark: an empty file without a mark is one that its program left empty. Only on a
    /// disk without nameless files, and in setgid folders, is it the other way round.
    fn create_spool_file(
        &self,
        path: &LibraryPath,
        mode: u16,
        options: OpenOptions,
    ) -> Result<SpoolFile, SpoolError> {
        let is_plain = options.durability == Durability::Lazy && options.access.can_write();
        if let Some(spare) = is_plain.then(|| self.passthrough.take_spare()).flatten() {
            if self.has_space() && self.spool.link_spare(&spare.file, path, mode).is_ok() {
                let SpareFile { file, id, backing } = spare;
                return Ok(SpoolFile {
                    file,
                    id,
                    marked_route: Some(self.passthrough.route_of_spare(id, backing)),
                });
            }
            self.passthrough.return_spare(spare);
        }
        if options.access.can_write()
            && let Some(file) = self.create_marked(path, mode, options)
        {
            return Ok(file);
        }
        let file = self.spool.create_file(path, options, mode)?;
        let stat = |source| SpoolError {
            doing: "stat spooled file",
            path: path.as_str().into(),
            source,
        };
        let id = Metadata::of(&file).map_err(stat)?.id;
        Ok(SpoolFile {
            file,
            id,
            marked_route: None,
        })
    }

    /// Creates a nameless file with the wanted mode and flags, marks it and names it: for a program
    /// that a spare file does not suit, or when there is none.
    fn create_marked(
        &self,
        path: &LibraryPath,
        mode: u16,
        options: OpenOptions,
    ) -> Option<SpoolFile> {
        let file = self.spool.create_spare(options, mode).ok()?;
        let id = Metadata::of(&file).ok()?.id;
        let preference = self.route_preference(options.access, None);
        let route = self.passthrough.route(id, &file, preference);
        let marked = mark_new(&self.spool, &file, route.write_path());
        if marked.is_err() || self.spool.link_spare(&file, path, mode).is_err() {
            drop(route);
            self.passthrough.forget(id);
            return None;
        }
        Some(SpoolFile {
            file,
            id,
            marked_route: Some(route),
        })
    }

    /// A function that creates a spare file, with a backing if it is given a broker.
    pub(in crate::mount) fn spare_file_maker(
        &self,
    ) -> impl Fn(Option<&Arc<dyn BackingBroker>>) -> io::Result<SpareFile> + Send + 'static {
        let spool = self.spool.clone();
        move |broker| {
            let file = spool
                .create_spare(SPARE_OPENING, SPARE_MODE)
                .map_err(|error| error.source)?;
            let backing = broker
                .map(|broker| Backing::open(&file, broker))
                .transpose()?;
            let path = backing
                .as_ref()
                .map_or(WritePath::Daemon, |_| WritePath::Kernel);
            mark_new(&spool, &file, path)?;
            Ok(SpareFile {
                id: Metadata::of(&file)?.id,
                file,
                backing,
            })
        }
    }
}

/// Marks a file without a name as one that a program will write.
fn mark_new(spool: &Spool, file: &File, path: WritePath) -> io::Result<()> {
    match path {
        WritePath::Kernel => spool.marker().mark_open_passthrough(file),
        WritePath::Daemon => spool.marker().mark_open(file),
    }
}

fn already_exists(error: &SpoolError) -> bool {
    error.source.kind() == io::ErrorKind::AlreadyExists
}

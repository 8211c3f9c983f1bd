//! Where the files come from: a directory tree whose files are to be backed up.
//!
//! The mount's spool is the only source today. The trait holds what the intake asks of one, so that
//! a watched folder can be another.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::time::SystemTime;

use heirloom_protocol::LibraryPath;

use crate::journal::{FileId, Stamp};
use crate::spool::{Metadata, Spool, SpoolError, SpoolPath, WalkStep, WriteState};

/// An open file with its identity and stamp at the time of opening.
#[derive(Debug)]
pub(super) struct SourceFile {
    pub(super) file: File,
    pub(super) id: FileId,
    pub(super) stamp: Stamp,
}

/// Tells a folder from a later one of the same name: inode number and creation time.
pub(super) type FolderIdentity = (u64, SystemTime);

/// A directory tree that the intake reads: opening, identity and completeness of its files.
pub(super) trait Source: fmt::Debug + Send + Sync {
    /// Opens a regular file for reading. Never follows a symbolic link.
    fn open(&self, path: &LibraryPath) -> Result<SourceFile, SpoolError>;

    /// Metadata of whatever has this path now.
    fn metadata(&self, path: &LibraryPath) -> Result<Metadata, SpoolError>;

    /// Visits every regular file in and below `folder` until the callback breaks off.
    fn walk(&self, folder: SpoolPath, visit: &mut dyn FnMut(WalkStep) -> ControlFlow<()>);

    /// Whether the writer of an open file finished it, as far as the source recorded that.
    fn write_state(&self, file: &File) -> io::Result<WriteState>;

    /// Whether the source recorded anything about the writing of this file. If not, only its own
    /// bytes can tell whether it is complete.
    fn has_write_state(&self, file: &File) -> io::Result<bool>;

    /// Records that the file counts as finished.
    fn mark_closed(&self, file: &File) -> io::Result<()>;

    /// Forgets what was recorded about the writing of this file: its bytes are durable.
    fn clear_write_state(&self, file: &File) -> io::Result<()>;

    /// Makes the names in a folder survive a power cut.
    fn sync_folder(&self, folder: &SpoolPath) -> Result<(), SpoolError>;

    /// Identity of a folder; `None` where the file system does not record creation times.
    fn folder_identity(&self, folder: &LibraryPath) -> io::Result<Option<FolderIdentity>>;

    /// Which file has this path now. `None` also when that cannot be determined.
    fn id_at(&self, path: &LibraryPath) -> Option<FileId> {
        self.metadata(path).ok().map(|metadata| metadata.id)
    }
}

impl Source for Spool {
    fn open(&self, path: &LibraryPath) -> Result<SourceFile, SpoolError> {
        let file = self.open_read(path)?;
        let (id, stamp) = Self::identify(&file)
            .map_err(|source| SpoolError::of("read metadata of", path, source))?;
        Ok(SourceFile { file, id, stamp })
    }

    fn metadata(&self, path: &LibraryPath) -> Result<Metadata, SpoolError> {
        Self::metadata(self, &SpoolPath::Entry(path.clone()))
    }

    fn walk(&self, folder: SpoolPath, visit: &mut dyn FnMut(WalkStep) -> ControlFlow<()>) {
        self.walk_below(folder, visit);
    }

    fn write_state(&self, file: &File) -> io::Result<WriteState> {
        self.marker().write_state(file)
    }

    fn has_write_state(&self, file: &File) -> io::Result<bool> {
        self.marker().is_marked(file)
    }

    fn mark_closed(&self, file: &File) -> io::Result<()> {
        self.marker().mark_closed(file)
    }

    fn clear_write_state(&self, file: &File) -> io::Result<()> {
        self.marker().clear(file)
    }

    fn sync_folder(&self, folder: &SpoolPath) -> Result<(), SpoolError> {
        Self::sync_folder(self, folder)
    }

    fn folder_identity(&self, folder: &LibraryPath) -> io::Result<Option<FolderIdentity>> {
        let folder = self
            .open_path(&SpoolPath::Entry(folder.clone()))
            .map_err(|error| error.source)?;
        let metadata = File::from(folder).metadata()?;
        Ok(metadata.created().ok().map(|born| (metadata.ino(), born)))
    }
}

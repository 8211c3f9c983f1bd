//! The ordinary directory tree behind the mount: one file for one file.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use heirloom_protocol::LibraryPath;

use crate::journal::{FileId, Stamp};

#[derive(Clone, Debug)]
pub struct Spool {
    root: PathBuf,
}

#[derive(Debug, thiserror::Error)]
#[error("{doing} {path:?}")]
pub struct SpoolError {
    pub doing: &'static str,
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

impl Spool {
    pub fn open(root: &Path) -> Result<Self, SpoolError> {
        todo!()
    }
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// Where a path lies on the local disk.
    pub fn locate(&self, path: &LibraryPath) -> PathBuf {
        self.root.join(path.as_str())
    }
    /// Opens a regular file for reading; never follows a symbolic link.
    pub fn read(&self, path: &LibraryPath) -> Result<File, SpoolError> {
        todo!()
    }
    /// Which file this is, and its stamp, by fstat.
    pub fn identify(file: &File) -> io::Result<(FileId, Stamp)> {
        todo!()
    }
    /// Calls back for every regular file of the tree, depth first. Errors of single folders are handed to the callback, not fatal.
    pub fn walk(&self, visit: &mut dyn FnMut(Result<(LibraryPath, FileId, Stamp), SpoolError>)) {
        todo!()
    }
}

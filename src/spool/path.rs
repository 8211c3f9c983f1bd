//! Paths in the spool, its root included.

use heirloom_protocol::LibraryPath;
use heirloom_protocol::path::PathError;

/// Path of something in the spool: its root, which has no library path, or an entry below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpoolPath {
    /// The root directory of the tree.
    Root,
    /// A file, folder or other entry in it.
    Entry(LibraryPath),
}

impl SpoolPath {
    /// The path of `name` in this folder.
    pub fn join(&self, name: &str) -> Result<LibraryPath, PathError> {
        match self {
            Self::Root => LibraryPath::new(name),
            Self::Entry(folder) => folder.join(name),
        }
    }

    /// The folder that contains `path`.
    pub fn parent_of(path: &LibraryPath) -> Self {
        path.parent().map_or(Self::Root, Self::Entry)
    }
}

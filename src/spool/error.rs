//! Errors of the spool.

use std::io;
use std::path::PathBuf;

use heirloom_protocol::LibraryPath;

use super::path::SpoolPath;

/// An operation on the spool failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {path:?}")]
pub struct SpoolError {
    /// The operation, as a verb with its object: "open spooled file".
    pub doing: &'static str,
    /// What it was done to: a path relative to the tree (empty: its root), or the tree itself.
    pub path: PathBuf,
    /// Error of the operating system.
    #[source]
    pub source: io::Error,
}

impl SpoolError {
    /// Whether nothing has this name (any more).
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// The error of an operation of another module on a file of the spool.
    pub fn of(doing: &'static str, path: &LibraryPath, source: io::Error) -> Self {
        Self::at(doing, path, source)
    }

    pub(super) fn at(
        doing: &'static str,
        path: &LibraryPath,
        source: impl Into<io::Error>,
    ) -> Self {
        Self {
            doing,
            path: PathBuf::from(path.as_str()),
            source: source.into(),
        }
    }

    pub(super) fn within(
        doing: &'static str,
        path: &SpoolPath,
        source: impl Into<io::Error>,
    ) -> Self {
        let path = match path {
            SpoolPath::Root => PathBuf::new(),
            SpoolPath::Entry(path) => PathBuf::from(path.as_str()),
        };
        Self {
            doing,
            path,
            source: source.into(),
        }
    }
}

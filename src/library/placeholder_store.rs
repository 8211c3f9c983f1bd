//! The interface through which changes of other devices are applied: to the mount, or to a test's
//! stand-in.

use heirloom_protocol::LibraryPath;

use crate::journal::{FileId, Stamp};
use crate::spool::{Placeholder, SpoolError};

/// Creates and removes files for the library, and sets their times. Each change is complete and
/// visible when the call returns, and is not reported to intake.
pub trait PlaceholderStore: Send + Sync + 'static {
    /// Creates a placeholder, with its parent folders, and returns its id; nothing, and without a
    /// change, if the name is taken.
    fn create(
        &self,
        path: &LibraryPath,
        placeholder: &Placeholder,
    ) -> Result<Option<FileId>, SpoolError>;

    /// Removes a file, with the parent folders that this leaves empty. Nothing changes unless the
    /// file still has this id and this stamp and is not open for writing; returns whether it was
    /// removed.
    fn remove(&self, path: &LibraryPath, id: FileId, stamp: Stamp) -> Result<bool, SpoolError>;

    /// Sets a file's modification time, in nanoseconds. Nothing changes unless the file still has
    /// this id and this stamp and is not open for writing; returns its stamp afterwards if it was
    /// changed.
    fn set_mtime(
        &self,
        path: &LibraryPath,
        id: FileId,
        stamp: Stamp,
        mtime_ns: i64,
    ) -> Result<Option<Stamp>, SpoolError>;
}

//! What the mount reports to the rest of the program as files change.

use heirloom_protocol::LibraryPath;

use crate::intake::{FileStatus, Intake};
use crate::journal::FileId;

/// Receiver of file events from the mount: the intake, or a recorder in a test.
///
/// Methods are called on the threads that serve the kernel, in the order in which the events of one
/// file happened, and with locks of the mount held. They must return quickly and must not call back
/// into the mount. Only `status` may look something up. Events of symbolic links are not reported.
pub trait ChangeListener: Send + Sync + 'static {
    /// A handle that can write was opened, or created the file. No byte has changed yet.
    fn opened_for_write(&self, id: FileId, path: &LibraryPath);
    /// That handle was released. Not called for a file that was removed or replaced meanwhile.
    fn closed_after_write(&self, id: FileId, path: &LibraryPath);
    /// Content or times changed without a handle, or an empty file was created without one.
    fn changed(&self, id: FileId, path: &LibraryPath);
    /// A file was renamed. `replaced` is the file that had the name `to` before, if there was one.
    fn file_renamed(
        &self,
        id: FileId,
        from: &LibraryPath,
        to: &LibraryPath,
        replaced: Option<FileId>,
    );
    /// A folder was renamed, with everything in it.
    fn folder_renamed(&self, from: &LibraryPath, to: &LibraryPath);
    /// Two names were exchanged (`RENAME_EXCHANGE`), with everything below them. Each is a file or
    /// a folder.
    fn exchanged(&self, one: &LibraryPath, other: &LibraryPath);
    /// The last name of a file was removed.
    fn removed(&self, id: FileId, path: &LibraryPath);
    /// The backup state of one file, now.
    fn status(&self, id: FileId, path: &LibraryPath) -> FileStatus;
}

impl ChangeListener for Intake {
    fn opened_for_write(&self, id: FileId, path: &LibraryPath) {
        Self::opened_for_write(self, id, path);
    }
    fn closed_after_write(&self, id: FileId, path: &LibraryPath) {
        Self::closed_after_write(self, id, path);
    }
    fn changed(&self, id: FileId, path: &LibraryPath) {
        Self::changed(self, id, path);
    }
    fn file_renamed(
        &self,
        id: FileId,
        from: &LibraryPath,
        to: &LibraryPath,
        replaced: Option<FileId>,
    ) {
        Self::file_renamed(self, id, from, to, replaced);
    }
    fn folder_renamed(&self, from: &LibraryPath, to: &LibraryPath) {
        Self::folder_renamed(self, from, to);
    }
    fn exchanged(&self, one: &LibraryPath, other: &LibraryPath) {
        Self::exchanged(self, one, other);
    }
    fn removed(&self, id: FileId, path: &LibraryPath) {
        Self::removed(self, id, path);
    }
    fn status(&self, id: FileId, path: &LibraryPath) -> FileStatus {
        Self::status(self, id, path)
    }
}

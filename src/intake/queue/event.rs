//! Changes of names that the mount reported and the journal does not show yet.

use heirloom_protocol::LibraryPath;

use crate::journal::FileId;

/// A change of names. Events are applied in the order reported, because each is only true after the
/// one before.
#[derive(Clone, Debug)]
pub(in crate::intake) enum NameEvent {
    /// A file was renamed; `replaced` had the name before.
    FileRenamed {
        id: FileId,
        from: LibraryPath,
        to: LibraryPath,
        replaced: Option<FileId>,
    },
    /// A folder was renamed, with everything in it.
    FolderRenamed { from: LibraryPath, to: LibraryPath },
    /// Two names were exchanged, with everything below them.
    Exchanged {
        one: LibraryPath,
        other: LibraryPath,
    },
    /// A file was removed.
    Removed { id: FileId, path: LibraryPath },
    /// The comparison of tree and journal found a file under another name than the journal's.
    Discovered { id: FileId, path: LibraryPath },
}

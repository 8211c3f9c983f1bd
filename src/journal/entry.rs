//! Types of the journal's entries and of the changes to them.

use heirloom_protocol::message::Receipt;
use heirloom_protocol::{Fingerprint, LibraryPath};

/// Id of a file: its inode number in the spool, which renames keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u64);

/// Size and modification time of a file: while they are the same, the content is taken to be the
/// same.
///
/// ctime is left out on purpose: it moves with every rename and chmod, which leave the content
/// alone. A program may set mtime back, but not without a request that the mount sees and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Length in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since the epoch.
    pub mtime_ns: i64,
}

/// The record of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// Its path in the mount.
    pub path: LibraryPath,
    /// Stamp of the content that `state` is about.
    pub stamp: Stamp,
    /// Its backup state.
    pub state: FileState,
}

/// Backup state of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileState {
    /// Durable here, and to be uploaded.
    Pending {
        /// Fingerprint of its content.
        fingerprint: Fingerprint,
    },
    /// The server has it: receipt in the sync list, name in (or on its way to) the library.
    BackedUp {
        /// Fingerprint of its content.
        fingerprint: Fingerprint,
    },
    /// The server has it, and the local file is a placeholder. Recorded before the file becomes one
    /// and until after it is complete again, so that no placeholder is ever recorded as anything
    /// else.
    Placeholder {
        /// Fingerprint of its content.
        fingerprint: Fingerprint,
    },
    /// Stays here, by its kind.
    Local {
        /// For the person: "not an image".
        why: String,
    },
    /// Cannot be backed up as it is; needs the person.
    Failed {
        /// Fingerprint of its content; `None` if it could not be read.
        fingerprint: Option<Fingerprint>,
        /// Reason, for the owner.
        why: String,
    },
}

/// The outcome of the upload of one file.
#[derive(Clone, Debug)]
pub struct FinishedUpload {
    /// The file that was uploaded.
    pub id: FileId,
    /// Its stamp then. If the file has another one now, the outcome says nothing about it.
    pub stamp: Stamp,
    /// Fingerprint of the uploaded content.
    pub fingerprint: Fingerprint,
    /// The outcome.
    pub outcome: UploadOutcome,
}

/// A compare-and-set change of a file's state, for a file whose content is the same as before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateUpdate {
    /// The file.
    pub id: FileId,
    /// Expected stamp; if the record has another one, nothing changes.
    pub stamp: Stamp,
    /// Expected state; if the record has another one, nothing changes.
    pub from: FileState,
    /// New state.
    pub to: FileState,
}

/// Changes to the journal that a page of the library's change feed led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteChanges {
    /// Files that were added.
    pub records: Vec<(FileId, FileRecord)>,
    /// Files that were removed.
    pub forgotten: Vec<FileId>,
    /// Current versions of paths (`None`: the path does not exist).
    pub versions: Vec<(LibraryPath, Option<u64>)>,
    /// Changes to send to the library in turn.
    pub puts: Vec<NameChange>,
    /// Position at which the feed goes on.
    pub position: u64,
}

/// Whether an upload succeeded.
#[derive(Clone, Debug)]
pub enum UploadOutcome {
    /// The server has the image. Its name goes into the outbox in the same transaction.
    BackedUp {
        /// The server's receipt.
        receipt: Receipt,
    },
    /// The file cannot be backed up.
    Failed {
        /// Reason, for the owner.
        why: String,
    },
}

/// A change of the library's names that the server has not confirmed yet: an entry of the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameChange {
    /// Puts a photo at `path`.
    Put {
        /// Its path.
        path: LibraryPath,
        /// Fingerprint of its content.
        fingerprint: Fingerprint,
        /// Its modification time in nanoseconds since the epoch.
        mtime_ns: i64,
    },
    /// Renames a photo, or a folder with everything in it.
    Move {
        /// Old path.
        from: LibraryPath,
        /// New path.
        to: LibraryPath,
    },
    /// Moves a photo to the server's trash.
    Remove {
        /// Old path.
        path: LibraryPath,
    },
}

/// A rename or removal of a local file, for
/// [`Journal::update_names`](super::Journal::update_names).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameUpdate {
    /// Renamed, without a change of the library: one of the two names is not a photo's.
    Rename {
        /// The file.
        id: FileId,
        /// New path.
        to: LibraryPath,
    },
    /// Renamed; if its old path is in the library, that entry moves.
    Move {
        /// The file.
        id: FileId,
        /// New path.
        to: LibraryPath,
    },
    /// Renamed, and another file has its old path: if it is backed up, its new path is put into the
    /// library.
    Put {
        /// The file.
        id: FileId,
        /// New path.
        to: LibraryPath,
    },
    /// Gone. The library's entry under its path stays.
    Forget {
        /// The file.
        id: FileId,
    },
    /// Removed; if its path is in the library, that entry goes to the trash.
    Remove {
        /// The file.
        id: FileId,
    },
}

impl NameUpdate {
    /// The file that was renamed or removed.
    pub const fn id(&self) -> FileId {
        match self {
            Self::Rename { id, .. }
            | Self::Move { id, .. }
            | Self::Put { id, .. }
            | Self::Forget { id }
            | Self::Remove { id } => *id,
        }
    }
}

/// What the journal was bound to before [`Journal::bind_server`](super::Journal::bind_server).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindOutcome {
    /// To no server yet.
    First,
    /// To the same server and user.
    Same,
    /// To another one, whose data was forgotten.
    Other,
}

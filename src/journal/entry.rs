//! The words of the journal: what is said of a file, and what may become of it.

use heirloom_protocol::message::Receipt;
use heirloom_protocol::{Fingerprint, LibraryPath};

/// A file of the spool under whatever name: its inode number there. Renaming keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u64);

/// What `stat` tells about a file's content: while this is the same, the content is taken to be the
/// same.
///
/// ctime is left out on purpose: it moves with every rename and chmod, which leave the content
/// alone. Anybody may set mtime back, but not without a request that the mount sees and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Length in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since the epoch.
    pub mtime_ns: i64,
}

/// What we know of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// Where it stands in the mount.
    pub path: LibraryPath,
    /// The content that `state` speaks of.
    pub stamp: Stamp,
    /// How far it is.
    pub state: FileState,
}

/// How far a file is on its way to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileState {
    /// Promised: durable here, to be backed up.
    Pending {
        /// Its content.
        fingerprint: Fingerprint,
    },
    /// The server has it: receipt in the sync list, name in (or on its way to) the library.
    BackedUp {
        /// Its content.
        fingerprint: Fingerprint,
    },
    /// The server has it, and this disk only its name: a placeholder of the spool. Said before the
    /// file becomes one and until after it is whole again, so that no placeholder is ever known as
    /// anything else.
    Placeholder {
        /// Its content.
        fingerprint: Fingerprint,
    },
    /// Stays here, by its kind.
    Local {
        /// For the person: "not an image".
        why: String,
    },
    /// Cannot be backed up as it is; needs the person.
    Failed {
        /// Its content; none when it could not be read.
        fingerprint: Option<Fingerprint>,
        /// For the person.
        why: String,
    },
}

/// The end of one delivery.
#[derive(Clone, Debug)]
pub struct FinishedUpload {
    /// The file that was delivered.
    pub id: FileId,
    /// What it was like then; if it is not any more, the delivery says nothing about the file.
    pub stamp: Stamp,
    /// The content that was delivered.
    pub fingerprint: Fingerprint,
    /// How it ended.
    pub outcome: UploadOutcome,
}

/// Another word for a file whose content is the same as before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateUpdate {
    /// The file.
    pub id: FileId,
    /// Its content; if the journal speaks of another, nothing changes.
    pub stamp: Stamp,
    /// What the journal says of it; if it says something else by now, nothing changes.
    pub from: FileState,
    /// What it is to say.
    pub to: FileState,
}

/// What a page of the change feed made of the tree and the names known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteChanges {
    /// Files that came.
    pub records: Vec<(FileId, FileRecord)>,
    /// Files that went.
    pub forgotten: Vec<FileId>,
    /// The versions that paths have now (None: nothing stands there).
    pub versions: Vec<(LibraryPath, Option<u64>)>,
    /// Changes that the library has to hear of in turn.
    pub puts: Vec<NameChange>,
    /// Where the feed goes on.
    pub position: u64,
}

/// How a delivery ended.
#[derive(Clone, Debug)]
pub enum UploadOutcome {
    /// Backed up. The name put to the library goes into the outbox in the same transaction.
    BackedUp {
        /// The server's word for it.
        receipt: Receipt,
    },
    /// It cannot be done.
    Failed {
        /// For the person.
        why: String,
    },
}

/// A change of names that the server has not confirmed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameChange {
    /// A photo stands at `path`.
    Put {
        /// Where.
        path: LibraryPath,
        /// What.
        fingerprint: Fingerprint,
        /// Its modification time in nanoseconds since the epoch.
        mtime_ns: i64,
    },
    /// A photo, or a folder with all that is in it, has another name.
    Move {
        /// Where it stood.
        from: LibraryPath,
        /// Where it stands now.
        to: LibraryPath,
    },
    /// A photo was removed: to the server's trash.
    Remove {
        /// Where it stood.
        path: LibraryPath,
    },
}

/// A change of names as it was seen in the mount, for [`Journal::update_names`](super::Journal::update_names).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameUpdate {
    /// It has another name, which the library need not know: one of the two names is no photo's.
    Rename {
        /// Which file.
        id: FileId,
        /// Its name now.
        to: LibraryPath,
    },
    /// It has another name, and if its old one is in the library, that one moves.
    Move {
        /// Which file.
        id: FileId,
        /// Its name now.
        to: LibraryPath,
    },
    /// It has another name, and another file has its old one: if it is backed up, its name is put
    /// to the library anew.
    Put {
        /// Which file.
        id: FileId,
        /// Its name now.
        to: LibraryPath,
    },
    /// It is gone. What the library has under its name stays.
    Forget {
        /// Which file.
        id: FileId,
    },
    /// It was removed, and if its name is in the library, that goes to the trash.
    Remove {
        /// Which file.
        id: FileId,
    },
}

impl NameUpdate {
    /// The file whose name changed.
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

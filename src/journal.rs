//! What is remembered, in redb: files and their states, the queue, the sync list with receipts (M3), the shard list (M6),
//! the outbox of library changes. An index over the spool, never the only copy of a photo: it may be deleted, at the cost of time.

use std::collections::HashSet;
use std::path::Path;

use heirloom_protocol::message::Receipt;
use heirloom_protocol::{ByteRange, Fingerprint, LibraryPath, RangeSet};

/// A file of the spool under whatever name: its inode number there. Renaming keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u64);

/// What `stat` tells about a file's content: if this is the same, the content is taken to be the same.
/// (mtime alone may be set by anybody; ctime moves with every rename. Both are here; see the journal's docs for how each is used.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub size: u64,
    pub mtime_ns: i64,
}

/// What we know of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    pub path: LibraryPath,
    pub stamp: Stamp,
    pub state: FileState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileState {
    /// Promised: durable here, to be backed up.
    Pending { fingerprint: Fingerprint },
    /// The server has it: receipt in the sync list, name in (or on its way to) the library.
    BackedUp { fingerprint: Fingerprint },
    /// Stays here, by its kind; `why` is for the person ("not an image", "temporary name").
    Local { why: String },
    /// Cannot be backed up as it is; needs the person ("fingerprint is None" when it could not be read).
    Failed { fingerprint: Option<Fingerprint>, why: String },
}

/// Counts and bytes of files by state, kept up to date in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub pending: Amount,
    pub backed_up: Amount,
    pub local: Amount,
    pub failed: Amount,
}
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub files: u64,
    pub bytes: u64,
}

/// A change of names that the server has not confirmed yet (see the library room).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameChange {
    Put { path: LibraryPath, fingerprint: Fingerprint, mtime_ns: i64 },
    Move { from: LibraryPath, to: LibraryPath },
    Remove { path: LibraryPath },
}

#[derive(Debug)]
pub struct Journal {}

#[derive(Debug, thiserror::Error)]
pub enum JournalError {}

/// Every write is durable when it returns (`Durability::Immediate`); writes from several threads are committed in groups by one writer thread.
/// All functions block on the disk: async callers use `spawn_blocking`.
impl Journal {
    /// Opens, or makes under a temporary name and renames. One that cannot be read is moved aside (`journal.redb.damaged-N`), reported by
    /// `was_rebuilt`, and a new one begun: it is derived data.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        todo!()
    }
    pub fn was_rebuilt(&self) -> bool {
        todo!()
    }

    // files and queue
    pub fn file(&self, id: FileId) -> Result<Option<FileRecord>, JournalError> {
        todo!()
    }
    /// Replaces what is known of these files. A pending one goes to the newest end of the queue.
    pub fn record(&self, files: Vec<(FileId, FileRecord)>) -> Result<(), JournalError> {
        todo!()
    }
    /// Changes the state only if the file still has this stamp and a pending promise of this fingerprint; answers for each whether it did.
    /// With `receipt`, it also enters the sync list and the shard list's entry goes. ONE durable transaction for all of it.
    pub fn settle(&self, settled: Vec<Settled>) -> Result<Vec<bool>, JournalError> {
        todo!()
    }
    pub fn renamed(&self, id: FileId, to: &LibraryPath) -> Result<(), JournalError> {
        todo!()
    }
    pub fn forget(&self, ids: Vec<FileId>) -> Result<(), JournalError> {
        todo!()
    }
    /// All files, a page at a time, by ascending id.
    pub fn files_after(&self, after: Option<FileId>, limit: usize) -> Result<Vec<(FileId, FileRecord)>, JournalError> {
        todo!()
    }
    /// From the queue: up to `newest` from its newest end and `oldest` from its oldest, none of `except`, none twice.
    pub fn pending(
        &self,
        newest: usize,
        oldest: usize,
        except: &HashSet<FileId>,
    ) -> Result<Vec<(FileId, FileRecord)>, JournalError> {
        todo!()
    }
    pub fn tally(&self) -> Tally {
        todo!()
    }

    // sync list (M3)
    pub fn receipt(&self, fingerprint: Fingerprint) -> Result<Option<Receipt>, JournalError> {
        todo!()
    }
    pub fn forget_receipt(&self, fingerprint: Fingerprint) -> Result<(), JournalError> {
        todo!()
    }

    // shard list (M6)
    pub fn shards(&self, fingerprint: Fingerprint) -> Result<RangeSet, JournalError> {
        todo!()
    }
    /// Adds a range that the server acknowledged.
    pub fn note_shard(&self, fingerprint: Fingerprint, range: ByteRange) -> Result<(), JournalError> {
        todo!()
    }
    /// The server's word, which wins.
    pub fn replace_shards(&self, fingerprint: Fingerprint, received: &RangeSet) -> Result<(), JournalError> {
        todo!()
    }

    // library outbox and what the server confirmed
    pub fn queue_names(&self, changes: Vec<NameChange>) -> Result<(), JournalError> {
        todo!()
    }
    /// The oldest ones with their sequence numbers.
    pub fn queued_names(&self, limit: usize) -> Result<Vec<(u64, NameChange)>, JournalError> {
        todo!()
    }
    /// Takes confirmed ones out of the outbox and writes the versions that paths have now (None: nothing stands there).
    pub fn confirm_names(&self, done: Vec<u64>, versions: Vec<(LibraryPath, Option<u64>)>) -> Result<(), JournalError> {
        todo!()
    }
    pub fn name_version(&self, path: &LibraryPath) -> Result<Option<u64>, JournalError> {
        todo!()
    }
    pub fn names_queued(&self) -> u64 {
        todo!()
    }
}

/// The end of one delivery.
#[derive(Clone, Debug)]
pub struct Settled {
    pub id: FileId,
    pub stamp: Stamp,
    pub fingerprint: Fingerprint,
    pub outcome: Outcome,
}
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Backed up. The name put to the library goes into the outbox in the same transaction.
    BackedUp {
        receipt: Receipt,
    },
    Failed {
        why: String,
    },
}

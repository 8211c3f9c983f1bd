//! What can go wrong with the journal, and whether trying again may help.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::record::RecordError;

/// What can go wrong with the journal.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has it open: redb locks the file.
    #[error("the journal {path:?} is open in another process")]
    InUse {
        /// The journal.
        path: PathBuf,
    },
    /// Its disk is full, to the last of what was kept for that.
    #[error(
        "there is no room for the journal {path:?}: free some megabytes on its disk, then start again"
    )]
    Full {
        /// The journal.
        path: PathBuf,
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// It is there, seems sound, and cannot be opened.
    #[error("open the journal {path:?}")]
    Open {
        /// The journal.
        path: PathBuf,
        /// Why.
        source: Arc<redb::Error>,
    },
    /// A step around the file failed: making it, moving it aside, making its name durable.
    #[error("{doing} {path:?}")]
    File {
        /// The step.
        doing: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The thread that writes could not be started.
    #[error("start the journal's writer thread")]
    Thread(#[source] Arc<io::Error>),
    /// Something could not be read from it.
    #[error("read the journal")]
    Read(#[source] Arc<redb::Error>),
    /// A group of writes could not be committed; none of them holds. Everyone who waited for the
    /// group hears it.
    #[error("write to the journal")]
    Write(#[source] Arc<redb::Error>),
    /// A single record does not make sense to this program. The others do.
    #[error("understand the journal's record of {what}")]
    Record {
        /// Which record.
        what: String,
        /// What is wrong with it.
        source: RecordError,
    },
    /// The file contradicts itself. It is replaced at the next start; no photo depends on it.
    #[error("the journal is damaged; it will be made anew at the next start")]
    Damaged,
    /// It was closed.
    #[error("the journal is closed")]
    Closed,
}

impl JournalError {
    /// Whether the same call may succeed later, without anybody repairing anything: a full disk
    /// gets room, and after a disk error the file is opened again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Read(_) | Self::Write(_) => true,
            Self::InUse { .. }
            | Self::Full { .. }
            | Self::Open { .. }
            | Self::File { .. }
            | Self::Thread(_)
            | Self::Record { .. }
            | Self::Damaged
            | Self::Closed => false,
        }
    }
}

/// What can go wrong inside one transaction, before it is known whether it was to read or to write.
#[derive(Debug)]
pub(super) enum Fault {
    /// The database failed: the whole transaction is void.
    Storage(redb::Error),
    /// One record makes no sense: what was asked of it cannot be done, other requests can.
    Record { what: String, source: RecordError },
}

impl From<redb::StorageError> for Fault {
    fn from(source: redb::StorageError) -> Self {
        Self::Storage(source.into())
    }
}

impl From<redb::TableError> for Fault {
    fn from(source: redb::TableError) -> Self {
        Self::Storage(source.into())
    }
}

impl From<redb::TransactionError> for Fault {
    fn from(source: redb::TransactionError) -> Self {
        Self::Storage(source.into())
    }
}

impl From<redb::CommitError> for Fault {
    fn from(source: redb::CommitError) -> Self {
        Self::Storage(source.into())
    }
}

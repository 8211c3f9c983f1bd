//! Errors of the journal.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::record::RecordError;

/// A journal operation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has it open: redb locks the file.
    #[error("the journal {path:?} is open in another process")]
    InUse {
        /// The journal.
        path: PathBuf,
    },
    /// Its disk is full, including the reserve.
    #[error(
        "no space left for the journal {path:?}: free a few megabytes on its disk, then start again"
    )]
    Full {
        /// The journal.
        path: PathBuf,
        /// Error of the disk.
        source: Arc<io::Error>,
    },
    /// It exists, seems sound, and cannot be opened.
    #[error("open the journal {path:?}")]
    Open {
        /// The journal.
        path: PathBuf,
        /// Cause.
        source: Arc<redb::Error>,
    },
    /// A file operation failed: creating it, setting it aside, making its name durable.
    #[error("{doing} {path:?}")]
    File {
        /// The operation.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Cause.
        source: Arc<io::Error>,
    },
    /// The writer thread could not be started.
    #[error("start the journal's writer thread")]
    Thread(#[source] Arc<io::Error>),
    /// A read failed.
    #[error("read the journal")]
    Read(#[source] Arc<redb::Error>),
    /// A group of writes could not be committed; none of them is stored. Every caller of the group
    /// gets this error.
    #[error("write to the journal")]
    Write(#[source] Arc<redb::Error>),
    /// A single record cannot be decoded. Others can.
    #[error("decode the journal's record of {what}")]
    Record {
        /// The record.
        what: String,
        /// Decoding error.
        source: RecordError,
    },
    /// The file is corrupt. It is replaced at the next start; no photo depends on it.
    #[error("the journal is corrupt and will be rebuilt at the next start; no photo is affected")]
    Corrupt,
    /// It was closed.
    #[error("the journal is closed")]
    Closed,
}

impl JournalError {
    /// Whether the same call may succeed later without a repair: a full disk may get space again,
    /// and after a disk error the file is reopened.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Read(_) | Self::Write(_) => true,
            Self::InUse { .. }
            | Self::Full { .. }
            | Self::Open { .. }
            | Self::File { .. }
            | Self::Thread(_)
            | Self::Record { .. }
            | Self::Corrupt
            | Self::Closed => false,
        }
    }
}

/// Error inside a transaction, whether it reads or writes.
#[derive(Debug)]
pub(super) enum QueryError {
    /// The database failed: the whole transaction is void.
    Storage(redb::Error),
    /// A record cannot be decoded: the request that needs it fails, others of the group do not.
    Record { what: String, source: RecordError },
}

impl From<redb::StorageError> for QueryError {
    fn from(source: redb::StorageError) -> Self {
        Self::Storage(source.into())
    }
}

impl From<redb::TableError> for QueryError {
    fn from(source: redb::TableError) -> Self {
        Self::Storage(source.into())
    }
}

impl From<redb::TransactionError> for QueryError {
    fn from(source: redb::TransactionError) -> Self {
        Self::Storage(source.into())
    }
}

impl From<redb::CommitError> for QueryError {
    fn from(source: redb::CommitError) -> Self {
        Self::Storage(source.into())
    }
}

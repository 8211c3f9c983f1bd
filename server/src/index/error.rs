//! Errors of the index.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use heirloom_protocol::possession::UserId;

/// Why the index failed or refused a write. The first six are refusals, and nothing was written;
/// the rest are failures.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The name belongs to another user or device.
    #[error("the name {0} is already taken")]
    NameTaken(String),
    /// The user does not exist.
    #[error("there is no user {0}")]
    NoSuchUser(UserId),
    /// The shard announces another image length than the first shard of its upload.
    #[error("the upload was started for an image of {begun} bytes, not {announced} bytes")]
    SizeMismatch {
        /// The length that the first shard announced, in bytes.
        begun: u64,
        /// The length that this shard announces, in bytes.
        announced: u64,
    },
    /// The upload's shards are so scattered that its entry would grow without bound.
    #[error("the upload consists of more than {max} separate ranges; send adjacent shards")]
    TooScattered {
        /// The most ranges an entry may have.
        max: usize,
    },
    /// The image exceeds the user's quota.
    #[error("{more} bytes exceed the quota: {held} of {quota} bytes are used")]
    OverQuota {
        /// The user's quota in bytes.
        quota: u64,
        /// The bytes in use.
        held: u64,
        /// The bytes to be added.
        more: u64,
    },
    /// The index was closed.
    #[error("the index is closed")]
    Closed,
    /// The database file could not be created.
    #[error("create the index {path}")]
    CreateFile {
        /// The database file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The database could not be opened.
    #[error("open the index")]
    Open(#[source] sqlx::Error),
    /// The index was written by a newer server.
    #[error(
        "the index has schema version {found}, but this server knows versions up to {known} only; \
         run the newer server"
    )]
    NewerSchema {
        /// The schema version of the index.
        found: i64,
        /// The newest version that this server knows.
        known: i64,
    },
    /// A statement failed.
    #[error("{doing}")]
    Statement {
        /// The failed operation, as a verb.
        doing: &'static str,
        /// The database's error.
        source: sqlx::Error,
    },
    /// A transaction could not be begun or committed: none of its writes took effect.
    #[error("commit to the index")]
    Commit(#[source] Arc<sqlx::Error>),
    /// A row has a value that no server version writes.
    #[error("the index contains a corrupt {0}")]
    Corrupt(&'static str),
    /// The system returned no random bytes.
    #[error("get random bytes from the system")]
    Random(#[source] getrandom::Error),
}

impl IndexError {
    /// Maps the error of a statement that is `doing` something.
    pub(super) fn statement(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| match source {
            sqlx::Error::PoolClosed => Self::Closed,
            source => Self::Statement { doing, source },
        }
    }

    /// Whether the same request may succeed later: the database was busy or not reachable.
    pub fn is_transient(&self) -> bool {
        self.database_error().is_some_and(|error| match error {
            sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => true,
            // SQLite's result codes, the extended ones above the low byte
            // (sqlite.org/rescode.html): BUSY, LOCKED.
            _ => matches!(sqlite_code(error), Some(5 | 6)),
        })
    }

    /// Whether there is no space left for the index.
    pub fn is_full(&self) -> bool {
        // SQLite: FULL. PostgreSQL (appendix A of its manual): `disk_full`.
        let full = |error: &sqlx::Error| {
            let code = error
                .as_database_error()
                .and_then(sqlx::error::DatabaseError::code);
            sqlite_code(error) == Some(13) || code.as_deref() == Some("53100")
        };
        self.database_error().is_some_and(full)
    }

    /// Whether the write itself was refused: nothing was written, and the other writes of its
    /// transaction are not affected.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::NameTaken(_)
            | Self::NoSuchUser(_)
            | Self::SizeMismatch { .. }
            | Self::TooScattered { .. }
            | Self::OverQuota { .. }
            | Self::Closed => true,
            Self::CreateFile { .. }
            | Self::Open(_)
            | Self::NewerSchema { .. }
            | Self::Statement { .. }
            | Self::Commit(_)
            | Self::Corrupt(_)
            | Self::Random(_) => false,
        }
    }

    fn database_error(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Open(source) | Self::Statement { source, .. } => Some(source),
            Self::Commit(source) => Some(source),
            Self::NameTaken(_)
            | Self::NoSuchUser(_)
            | Self::SizeMismatch { .. }
            | Self::TooScattered { .. }
            | Self::OverQuota { .. }
            | Self::Closed
            | Self::CreateFile { .. }
            | Self::NewerSchema { .. }
            | Self::Corrupt(_)
            | Self::Random(_) => None,
        }
    }
}

/// SQLite's primary result code. Its codes have at most four digits, PostgreSQL's always five
/// characters.
fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    let code: u32 = code.parse().ok().filter(|_| code.len() < 5)?;
    Some(code & 0xff)
}

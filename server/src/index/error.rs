//! What can go wrong with the index.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use heirloom_protocol::possession::UserId;

/// What can go wrong with the index. The first six are answers, and nothing was written; the rest
/// are faults.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// There is a user of that name.
    #[error("there is a user named {0} already")]
    NameTaken(String),
    /// There is no such user.
    #[error("there is no user {0}")]
    NoSuchUser(UserId),
    /// A shard announced another length than the first shard of its upload.
    #[error("the upload was begun with {begun} bytes, not {announced}")]
    SizeMismatch {
        /// What the first shard said, in bytes.
        begun: u64,
        /// What this one says, in bytes.
        announced: u64,
    },
    /// An upload's shards lie so scattered that its entry would grow without bound.
    #[error("the upload is in more than {max} pieces")]
    TooScattered {
        /// How many pieces an entry may have.
        max: usize,
    },
    /// The user may not hold so much more.
    #[error("the quota is {quota} bytes, {held} of them are taken, and {more} more do not fit")]
    OverQuota {
        /// The most that the user may hold, in bytes.
        quota: u64,
        /// What they hold, in bytes.
        held: u64,
        /// What was to be added, in bytes.
        more: u64,
    },
    /// The index was closed.
    #[error("the index is closed")]
    Closed,
    /// A database file could not be made.
    #[error("make the index {path}")]
    CreateFile {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The database could not be opened.
    #[error("open the index")]
    Open(#[source] sqlx::Error),
    /// A newer server has been here.
    #[error(
        "the index has schema {found}, this server knows schemas up to {known}: run the newer server again"
    )]
    NewerSchema {
        /// What the index says.
        found: i64,
        /// What this server was built for.
        known: i64,
    },
    /// A statement failed.
    #[error("{doing}")]
    Statement {
        /// What we were about to do.
        doing: &'static str,
        /// The database's word.
        source: sqlx::Error,
    },
    /// A transaction could not be begun or committed: none of its writes holds.
    #[error("commit to the index")]
    Commit(#[source] Arc<sqlx::Error>),
    /// A row is not what this server or an older one writes.
    #[error("the index holds a damaged {0}")]
    Corrupt(&'static str),
    /// The system gave no random bytes.
    #[error("ask the system for random bytes")]
    Random(#[source] getrandom::Error),
}

impl IndexError {
    /// A statement that failed while `doing` something.
    pub(super) fn statement(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| match source {
            sqlx::Error::PoolClosed => Self::Closed,
            source => Self::Statement { doing, source },
        }
    }

    /// Whether the same request may succeed later: the database was busy or away.
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

    /// Whether this is an answer to the write itself: nothing was written, and the writes beside it
    /// are not touched.
    pub(super) fn is_answer(&self) -> bool {
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

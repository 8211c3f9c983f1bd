//! SQLite: creating its file in private, and the settings of its connections.

use std::io;
use std::path::Path;
use std::str::FromStr as _;

use heirloom_support::file;
use sqlx::Executor as _;
use sqlx::any::AnyPoolOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::task::spawn_blocking;

use super::error::IndexError;

/// The purpose of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionRole {
    /// Runs queries only.
    Reader,
    /// Runs all writes.
    Writer,
}

impl ConnectionRole {
    /// The settings of a connection (sqlite.org/pragma.html).
    ///
    /// FULL syncs the log at every commit, so that acknowledged writes survive a power cut. The
    /// timeout is for the moments when another process (`user add`) writes. Caches are small: the
    /// kernel caches the file anyway, and with ten million images larger ones made lookups slower.
    /// The log is truncated after a burst, so that it does not keep the size of the largest one.
    const fn settings(self) -> &'static str {
        match self {
            Self::Writer => {
                "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; \
                 PRAGMA synchronous = FULL; PRAGMA cache_size = -4096; PRAGMA journal_size_limit = 33554432;"
            }
            Self::Reader => {
                "PRAGMA busy_timeout = 10000; PRAGMA synchronous = FULL; PRAGMA cache_size = -512; \
                 PRAGMA query_only = ON;"
            }
        }
    }
}

/// Creates the database's file if it is missing, with mode 0600: SQLite would create it readable by
/// everybody. Its log and its shared memory take their mode from it.
pub(super) async fn create_file(url: &str) -> Result<(), IndexError> {
    let options = SqliteConnectOptions::from_str(url).map_err(IndexError::Open)?;
    let path = options.get_filename().to_owned();
    let created = spawn_blocking({
        let path = path.clone();
        move || create_file_blocking(&path)
    });
    created
        .await
        .map_err(io::Error::other)
        .flatten()
        .map_err(|source| IndexError::CreateFile { path, source })
}

fn create_file_blocking(path: &Path) -> io::Result<()> {
    // Opened here only if it is new: closing a second descriptor of a database in use would release
    // SQLite's own locks (sqlite.org/howtocorrupt.html, 2.2).
    match file::create_private(path, &[]) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        created => created,
    }
}

/// Applies the settings of a role to every connection of a pool.
pub(super) fn configure(pool: AnyPoolOptions, role: ConnectionRole) -> AnyPoolOptions {
    pool.after_connect(move |connection, _| {
        Box::pin(async move {
            connection.execute(sqlx::raw_sql(role.settings())).await?;
            Ok(())
        })
    })
}

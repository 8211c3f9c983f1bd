//! What only SQLite needs: a file that nobody else may read, and its settings.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::str::FromStr as _;

use sqlx::Executor as _;
use sqlx::any::AnyPoolOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::task::spawn_blocking;

use super::error::IndexError;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Reader,
    Writer,
}

impl Role {
    /// The settings of a connection (sqlite.org/pragma.html).
    ///
    /// FULL syncs the log at every commit: what was answered survives a power cut. The timeout is
    /// for the moments when another process (`user add`) writes. Caches are small: the kernel
    /// caches the file anyway, and with ten million images larger ones made lookups slower. The log
    /// is cut back after a burst, so that it does not keep the size of the largest one.
    const fn settings(self) -> &'static str {
        match self {
            Self::Writer => {
                "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                 PRAGMA cache_size = -4096; PRAGMA journal_size_limit = 33554432;"
            }
            Self::Reader => {
                "PRAGMA busy_timeout = 10000; PRAGMA synchronous = FULL; PRAGMA cache_size = -512; \
                 PRAGMA query_only = ON;"
            }
        }
    }
}

/// Makes the database's file if it is missing, mode 0600: SQLite would make it for everybody to
/// read. Its log and its shared memory take their mode from it.
pub(super) async fn make(url: &str) -> Result<(), IndexError> {
    let options = SqliteConnectOptions::from_str(url).map_err(IndexError::Open)?;
    let path = options.get_filename().to_owned();
    let made = spawn_blocking({
        let path = path.clone();
        move || make_file(&path)
    });
    made.await
        .map_err(io::Error::other)
        .flatten()
        .map_err(|source| IndexError::CreateFile { path, source })
}

fn make_file(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Only ever opened here when it is new: closing a second handle to a database that is in use
    // would take SQLite's own locks away (sqlite.org/howtocorrupt.html, 2.2).
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(made) => {
            drop(made);
            File::open(folder)?.sync_all()
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives every connection of a pool the settings of its role.
pub(super) fn tune(pool: AnyPoolOptions, role: Role) -> AnyPoolOptions {
    pool.after_connect(move |connection, _| {
        Box::pin(async move {
            connection.execute(sqlx::raw_sql(role.settings())).await?;
            Ok(())
        })
    })
}

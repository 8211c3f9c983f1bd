//! The database behind the URL: several connections for reading, one for writing.

use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyPool, ConnectOptions as _};

use super::error::IndexError;
use super::sqlite;

/// Connections for reading. Each costs a thread and a cache; lookups take microseconds, so a few
/// serve many callers.
const READERS: u32 = 4;

/// How long a read waits for a connection before it fails as overloaded.
const CONNECTION_WAIT: Duration = Duration::from_secs(10);

/// The kinds of database that a URL can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Sqlite,
}

/// An open database. Its schema may still be missing or old (see `schema.rs`).
#[derive(Clone, Debug)]
pub(super) struct Database {
    dialect: Dialect,
    reads: AnyPool,
    writes: AnyPool,
    /// How many reads there were so far.
    #[cfg(test)]
    read_count: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl Database {
    /// Opens the database, creating the file of an embedded one if it is missing.
    pub(super) async fn open(url: &str) -> Result<Self, IndexError> {
        sqlx::any::install_default_drivers();
        // sqlx would log every statement. What matters is logged elsewhere, and the parameters do
        // not belong in a log.
        let options = url
            .parse::<AnyConnectOptions>()
            .map_err(IndexError::Open)?
            .disable_statement_logging();
        sqlite::create_file(url).await?;
        Ok(Self {
            dialect: Dialect::Sqlite,
            reads: sqlite::configure(pool(READERS), sqlite::ConnectionRole::Reader)
                .connect_lazy_with(options.clone()),
            writes: sqlite::configure(pool(1), sqlite::ConnectionRole::Writer)
                .connect_lazy_with(options),
            #[cfg(test)]
            read_count: std::sync::Arc::default(),
        })
    }

    /// The connections for reading.
    pub(super) fn read_pool(&self) -> &AnyPool {
        #[cfg(test)]
        self.read_count
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        &self.reads
    }

    /// How many reads there were so far.
    #[cfg(test)]
    pub(super) fn read_count(&self) -> u64 {
        self.read_count.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The single connection for writing.
    pub(super) fn write_pool(&self) -> &AnyPool {
        &self.writes
    }

    /// The statement that begins a write transaction.
    pub(super) fn begin(&self) -> &'static str {
        match self.dialect {
            // Takes the write lock at once, waiting for it if another process has it. A plain BEGIN
            // would take it at the first write, and fail there without waiting if another process
            // wrote since the transaction's first read.
            Dialect::Sqlite => "BEGIN IMMEDIATE",
        }
    }

    /// Closes all connections; closing the last one writes SQLite's log back to its file.
    pub(super) async fn close(&self) {
        self.reads.close().await;
        self.writes.close().await;
    }
}

fn pool(connections: u32) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(CONNECTION_WAIT)
        // An embedded database does not disconnect.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
}

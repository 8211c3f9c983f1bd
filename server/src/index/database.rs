//! The database behind the URL: connections to read with, and one to write with.

use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyPool, ConnectOptions as _};

use super::error::IndexError;
use super::{schema, sqlite};

/// Connections for reading. Each costs a thread and a cache; lookups take microseconds, so few
/// serve many.
const READERS: u32 = 4;

/// How long a read waits for a connection before it is told that the database is overloaded.
const WAIT: Duration = Duration::from_secs(10);

/// The databases that a URL can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sqlite,
}

/// An open database with a current schema.
#[derive(Clone, Debug)]
pub(super) struct Database {
    kind: Kind,
    reads: AnyPool,
    writes: AnyPool,
    /// How often somebody read: what an answer costs, in a test that must not depend on time.
    #[cfg(test)]
    questions: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl Database {
    /// Connects, and makes the tables that are missing.
    pub(super) async fn open(url: &str) -> Result<Self, IndexError> {
        sqlx::any::install_default_drivers();
        // sqlx would log every statement; the story is told elsewhere, and the parameters are none
        // of a log's business.
        let options = url
            .parse::<AnyConnectOptions>()
            .map_err(IndexError::Open)?
            .disable_statement_logging();
        sqlite::make(url).await?;
        let database = Self {
            kind: Kind::Sqlite,
            reads: sqlite::tune(pool(READERS), sqlite::Role::Reader)
                .connect_lazy_with(options.clone()),
            writes: sqlite::tune(pool(1), sqlite::Role::Writer).connect_lazy_with(options),
            #[cfg(test)]
            questions: std::sync::Arc::default(),
        };
        schema::prepare(&database).await?;
        Ok(database)
    }

    /// Where to read.
    pub(super) fn reads(&self) -> &AnyPool {
        #[cfg(test)]
        self.questions
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        &self.reads
    }

    /// How often somebody read.
    #[cfg(test)]
    pub(super) fn questions(&self) -> u64 {
        self.questions.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Where to write; one connection.
    pub(super) fn writes(&self) -> &AnyPool {
        &self.writes
    }

    /// What begins a transaction that is going to write.
    pub(super) fn begin(&self) -> &'static str {
        match self.kind {
            // Takes the write lock at once, waiting for it if another process has it. A plain BEGIN
            // would take it at the first write, and fail there without waiting if anybody wrote
            // since the transaction's first read.
            Kind::Sqlite => "BEGIN IMMEDIATE",
        }
    }

    /// Closes all connections; the last one writes what is in SQLite's log back to its file.
    pub(super) async fn close(&self) {
        self.reads.close().await;
        self.writes.close().await;
    }
}

fn pool(connections: u32) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(WAIT)
        // An embedded database does not hang up.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
}

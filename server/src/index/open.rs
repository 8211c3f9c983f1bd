//! Opening and closing the index.

use super::database::Database;
use super::error::IndexError;
use super::schema;
use super::writer::Writer;

/// The index. Every write is durable when it returns, and may be sent twice. A write completes even
/// if its caller stops waiting. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Index {
    pub(super) database: Database,
    pub(super) writer: Writer,
}

impl Index {
    /// Opens the index, creating or migrating its tables. Must run inside a tokio runtime.
    pub async fn open(url: &str) -> Result<Self, IndexError> {
        let database = Database::open(url).await?;
        schema::prepare(database.write_pool(), database.begin()).await?;
        let writer = Writer::start(database.clone());
        Ok(Self { database, writer })
    }

    /// Completes the queued writes, and closes. Later calls fail with `Closed`.
    pub async fn close(&self) {
        self.writer.stop().await;
        self.database.close().await;
    }

    /// How many reads and writes there were so far: the cost of an operation, for tests that must
    /// not depend on time.
    #[cfg(test)]
    pub(crate) fn query_counts(&self) -> (u64, u64) {
        (self.database.read_count(), self.writer.write_count())
    }

    /// 32 random bytes, generated once per installation and kept in the index so that every server
    /// process has the same.
    pub async fn secret(&self) -> Result<[u8; 32], IndexError> {
        schema::secret(self.database.read_pool()).await
    }
}

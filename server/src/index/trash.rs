//! The trash: photos that were removed from a library or overwritten in it. Their images stay held and stored.

use async_trait::async_trait;
use sqlx::AnyConnection;

use super::error::IndexError;
use super::writer::Write;
use super::{Index, row};

impl Index {
    /// Forgets trash older than `before_ms`, the oldest first, some at a time; answers how many.
    pub async fn purge_trash(&self, before_ms: i64, limit: u32) -> Result<u64, IndexError> {
        self.writer.write(Purge { before_ms, limit }).await
    }
}

struct Purge {
    before_ms: i64,
    limit: u32,
}

#[async_trait]
impl Write for Purge {
    type Answer = u64;

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<u64, IndexError> {
        let old = sqlx::query(
            "SELECT user_id, path, version FROM trash WHERE removed_at_ms < $1 ORDER BY removed_at_ms LIMIT $2",
        )
        .bind(self.before_ms)
        .bind(i64::from(self.limit))
        .fetch_all(&mut *rows)
        .await
        .map_err(IndexError::statement("look for old trash"))?;
        for row in &old {
            sqlx::query("DELETE FROM trash WHERE user_id = $1 AND path = $2 AND version = $3")
                .bind(row::integer(row, 0)?)
                .bind(row::text(row, 1)?)
                .bind(row::integer(row, 2)?)
                .execute(&mut *rows)
                .await
                .map_err(IndexError::statement("forget old trash"))?;
        }
        Ok(old.len() as u64)
    }
}

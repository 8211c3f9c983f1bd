//! The interruption list: for each unfinished upload, which bytes have arrived.

use std::collections::HashMap;

use async_trait::async_trait;
use heirloom_protocol::possession::UserId;
use heirloom_protocol::{ByteRange, Fingerprint, RangeSet};
use sqlx::AnyConnection;

use super::error::IndexError;
use super::open::Index;
use super::writer::Write;
use super::{ranges, row};
use crate::clock::system_now_ms;

/// An entry of the interruption list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterruptedUpload {
    /// The length that the first shard announced, in bytes.
    pub size: u64,
    /// The bytes that have arrived, durably.
    pub received: RangeSet,
}

impl Index {
    /// The user's entries for those of `fingerprints` that have one. One statement.
    pub async fn interrupted_uploads(
        &self,
        user: UserId,
        fingerprints: &[Fingerprint],
    ) -> Result<HashMap<Fingerprint, InterruptedUpload>, IndexError> {
        if fingerprints.is_empty() {
            return Ok(HashMap::new());
        }
        let query = row::in_list(
            "SELECT fingerprint, size, received FROM uploads WHERE user_id = ? AND fingerprint IN",
            user.0,
            fingerprints,
            row::bind_fingerprint,
        );
        let rows = query.fetch_all(self.database.read_pool()).await;
        let rows = rows.map_err(IndexError::statement("look up interrupted uploads"))?;
        rows.iter()
            .map(|row| {
                let entry = InterruptedUpload {
                    size: row::count(row, 1)?,
                    received: ranges::decode(row::bytes(row, 2)?)?,
                };
                Ok((row::fingerprint(row, 0)?, entry))
            })
            .collect()
    }

    /// Adds a range to the entry, creating it if missing, and returns the updated entry.
    /// `SizeMismatch` if the upload was started with another size.
    pub async fn record_shard(
        &self,
        user: UserId,
        fingerprint: Fingerprint,
        size: u64,
        range: ByteRange,
    ) -> Result<InterruptedUpload, IndexError> {
        self.writer
            .write(RecordShard {
                user,
                fingerprint,
                size,
                range,
            })
            .await
    }

    /// Deletes an entry. Succeeds if there is none.
    pub async fn delete_upload(
        &self,
        user: UserId,
        fingerprint: Fingerprint,
    ) -> Result<(), IndexError> {
        self.writer.write(DeleteUpload { user, fingerprint }).await
    }

    /// Uploads without a new shard since `before_ms`, oldest first, at most `limit`.
    pub async fn stale_uploads(
        &self,
        before_ms: i64,
        limit: u32,
    ) -> Result<Vec<(UserId, Fingerprint)>, IndexError> {
        let rows = sqlx::query(
            "SELECT user_id, fingerprint FROM uploads WHERE touched_ms < $1
                ORDER BY touched_ms LIMIT $2",
        )
        .bind(before_ms)
        .bind(i64::from(limit))
        .fetch_all(self.database.read_pool())
        .await
        .map_err(IndexError::statement("look up stale uploads"))?;
        rows.iter()
            .map(|row| Ok((UserId(row::integer(row, 0)?), row::fingerprint(row, 1)?)))
            .collect()
    }
}

/// Deletes entries of the interruption list, where they exist.
pub(super) async fn delete(
    rows: &mut AnyConnection,
    user: UserId,
    fingerprints: &[Fingerprint],
) -> Result<(), IndexError> {
    let head = "DELETE FROM uploads WHERE user_id = ? AND fingerprint IN";
    let done = row::in_list(head, user.0, fingerprints, row::bind_fingerprint)
        .execute(rows)
        .await;
    done.map(drop)
        .map_err(IndexError::statement("delete interrupted uploads"))
}

struct DeleteUpload {
    user: UserId,
    fingerprint: Fingerprint,
}

#[async_trait]
impl Write for DeleteUpload {
    type Output = ();

    async fn apply(&self, rows: &mut AnyConnection) -> Result<(), IndexError> {
        delete(rows, self.user, &[self.fingerprint]).await
    }
}

struct RecordShard {
    user: UserId,
    fingerprint: Fingerprint,
    size: u64,
    range: ByteRange,
}

#[async_trait]
impl Write for RecordShard {
    type Output = InterruptedUpload;

    async fn apply(&self, rows: &mut AnyConnection) -> Result<InterruptedUpload, IndexError> {
        let mut received = self.insert_or_touch(rows).await?;
        if !received.contains(self.range) {
            received.insert(self.range);
            self.update_received(rows, &received).await?;
        }
        Ok(InterruptedUpload {
            size: self.size,
            received,
        })
    }
}

impl RecordShard {
    /// Inserts or touches the row and returns the ranges received before. This also locks the row,
    /// so that of two servers that record shards of one upload the second reads what the first
    /// wrote.
    async fn insert_or_touch(&self, rows: &mut AnyConnection) -> Result<RangeSet, IndexError> {
        let entry = sqlx::query(
            "INSERT INTO uploads (user_id, fingerprint, size, received, touched_ms)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (user_id, fingerprint) DO UPDATE SET touched_ms = excluded.touched_ms
             WHERE uploads.size = excluded.size RETURNING received",
        )
        .bind(self.user.0)
        .bind(self.fingerprint.as_bytes().as_slice())
        .bind(row::to_column(self.size))
        .bind(ranges::encode(&RangeSet::from(self.range))?)
        .bind(system_now_ms())
        .fetch_optional(&mut *rows)
        .await
        .map_err(IndexError::statement("record a shard"))?;
        match entry {
            Some(row) => ranges::decode(row::bytes(&row, 0)?),
            None => Err(self.size_mismatch(rows).await?),
        }
    }

    async fn size_mismatch(&self, rows: &mut AnyConnection) -> Result<IndexError, IndexError> {
        let row = sqlx::query("SELECT size FROM uploads WHERE user_id = $1 AND fingerprint = $2")
            .bind(self.user.0)
            .bind(self.fingerprint.as_bytes().as_slice())
            .fetch_one(rows)
            .await
            .map_err(IndexError::statement("read the size of an upload"))?;
        Ok(IndexError::SizeMismatch {
            begun: row::count(&row, 0)?,
            announced: self.size,
        })
    }

    async fn update_received(
        &self,
        rows: &mut AnyConnection,
        received: &RangeSet,
    ) -> Result<(), IndexError> {
        let done =
            sqlx::query("UPDATE uploads SET received = $3 WHERE user_id = $1 AND fingerprint = $2")
                .bind(self.user.0)
                .bind(self.fingerprint.as_bytes().as_slice())
                .bind(ranges::encode(received)?)
                .execute(rows)
                .await;
        done.map(drop)
            .map_err(IndexError::statement("record a shard"))
    }
}

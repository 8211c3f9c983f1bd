//! The interruption list (M6): for each upload that is not whole, which bytes have arrived.

use std::collections::HashMap;

use async_trait::async_trait;
use heirloom_protocol::possession::UserId;
use heirloom_protocol::{ByteRange, Fingerprint, RangeSet};
use sqlx::AnyConnection;

use super::error::IndexError;
use super::writer::Write;
use super::{Index, InterruptedUpload, now_ms, ranges, row};

impl Index {
    /// The entries of those of `fingerprints` that this user's uploads were interrupted of. One
    /// statement.
    pub async fn interrupted_uploads(
        &self,
        user: UserId,
        fingerprints: &[Fingerprint],
    ) -> Result<HashMap<Fingerprint, InterruptedUpload>, IndexError> {
        if fingerprints.is_empty() {
            return Ok(HashMap::new());
        }
        let query = row::among(
            "SELECT fingerprint, size, received FROM uploads WHERE user_id = ? AND fingerprint IN",
            user.0,
            fingerprints,
            row::bind_fingerprint,
        );
        let rows = query.fetch_all(self.database.reads()).await;
        let rows = rows.map_err(IndexError::statement("look for interrupted uploads"))?;
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

    /// Adds a range to the entry, making it if missing; answers the entry as it is then.
    /// `SizeMismatch` if it was begun with another size.
    pub async fn record_shard(
        &self,
        user: UserId,
        fingerprint: Fingerprint,
        size: u64,
        range: ByteRange,
    ) -> Result<InterruptedUpload, IndexError> {
        self.writer
            .write(NoteShard {
                user,
                fingerprint,
                size,
                range,
            })
            .await
    }

    /// Removes an entry. Fine if there is none.
    pub async fn delete_upload(
        &self,
        user: UserId,
        fingerprint: Fingerprint,
    ) -> Result<(), IndexError> {
        self.writer.write(Forget { user, fingerprint }).await
    }

    /// Uploads without a new shard since `before_ms`, the oldest first, some at a time.
    pub async fn stale_uploads(
        &self,
        before_ms: i64,
        limit: u32,
    ) -> Result<Vec<(UserId, Fingerprint)>, IndexError> {
        let rows =
            sqlx::query("SELECT user_id, fingerprint FROM uploads WHERE touched_ms < $1 ORDER BY touched_ms LIMIT $2")
                .bind(before_ms)
                .bind(i64::from(limit))
                .fetch_all(self.database.reads())
                .await
                .map_err(IndexError::statement("look for stale uploads"))?;
        rows.iter()
            .map(|row| Ok((UserId(row::integer(row, 0)?), row::fingerprint(row, 1)?)))
            .collect()
    }
}

/// Removes entries of the interruption list. Fine where there are none.
pub(super) async fn forget(
    rows: &mut AnyConnection,
    user: UserId,
    fingerprints: &[Fingerprint],
) -> Result<(), IndexError> {
    let head = "DELETE FROM uploads WHERE user_id = ? AND fingerprint IN";
    let done = row::among(head, user.0, fingerprints, row::bind_fingerprint)
        .execute(rows)
        .await;
    done.map(drop)
        .map_err(IndexError::statement("forget interrupted uploads"))
}

struct Forget {
    user: UserId,
    fingerprint: Fingerprint,
}

#[async_trait]
impl Write for Forget {
    type Answer = ();

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<(), IndexError> {
        forget(rows, self.user, &[self.fingerprint]).await
    }
}

struct NoteShard {
    user: UserId,
    fingerprint: Fingerprint,
    size: u64,
    range: ByteRange,
}

#[async_trait]
impl Write for NoteShard {
    type Answer = InterruptedUpload;

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<InterruptedUpload, IndexError> {
        let mut received = self.begin_or_touch(rows).await?;
        if !received.contains(self.range) {
            received.insert(self.range);
            self.keep(rows, &received).await?;
        }
        Ok(InterruptedUpload {
            size: self.size,
            received,
        })
    }
}

impl NoteShard {
    /// What had arrived before. Making or touching the row also locks it, so that of two servers
    /// that note shards of one upload the second reads what the first wrote.
    async fn begin_or_touch(&self, rows: &mut AnyConnection) -> Result<RangeSet, IndexError> {
        let entry = sqlx::query(
            "INSERT INTO uploads (user_id, fingerprint, size, received, touched_ms) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (user_id, fingerprint) DO UPDATE SET touched_ms = excluded.touched_ms
             WHERE uploads.size = excluded.size RETURNING received",
        )
        .bind(self.user.0)
        .bind(self.fingerprint.as_bytes().as_slice())
        .bind(row::number(self.size))
        .bind(ranges::encode(&RangeSet::from(self.range))?)
        .bind(now_ms())
        .fetch_optional(&mut *rows)
        .await
        .map_err(IndexError::statement("note a shard"))?;
        match entry {
            Some(row) => ranges::decode(row::bytes(&row, 0)?),
            None => Err(self.size_differs(rows).await?),
        }
    }

    async fn size_differs(&self, rows: &mut AnyConnection) -> Result<IndexError, IndexError> {
        let row = sqlx::query("SELECT size FROM uploads WHERE user_id = $1 AND fingerprint = $2")
            .bind(self.user.0)
            .bind(self.fingerprint.as_bytes().as_slice())
            .fetch_one(rows)
            .await
            .map_err(IndexError::statement("read how an upload was begun"))?;
        Ok(IndexError::SizeMismatch {
            begun: row::count(&row, 0)?,
            announced: self.size,
        })
    }

    async fn keep(&self, rows: &mut AnyConnection, received: &RangeSet) -> Result<(), IndexError> {
        let done =
            sqlx::query("UPDATE uploads SET received = $3 WHERE user_id = $1 AND fingerprint = $2")
                .bind(self.user.0)
                .bind(self.fingerprint.as_bytes().as_slice())
                .bind(ranges::encode(received)?)
                .execute(rows)
                .await;
        done.map(drop)
            .map_err(IndexError::statement("note a shard"))
    }
}

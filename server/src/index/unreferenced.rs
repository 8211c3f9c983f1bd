//! Unreferenced images: candidates for garbage collection. An image becomes one when a user stops
//! holding it; once nobody has referred to it for a while, its row is deleted, then its bytes (by
//! the garbage collector).
//!
//! A reference is a holding (every photo in a library or in the trash has one) or an upload.
//!
//! A row is deleted only in a transaction that has locked it and then finds it unreferenced; a link
//! locks it as well. (SQLite has one writer at a time anyway.)
//!
//! The table is called `released`.

use std::collections::HashSet;

use async_trait::async_trait;
use heirloom_protocol::Fingerprint;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::error::IndexError;
use super::open::Index;
use super::row;
use super::writer::Write;
use crate::clock::system_now_ms;

/// The most fingerprints in one query.
const QUERY_MAX: usize = 512;

/// Counts of the images that wait for garbage collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnreferencedStats {
    /// Unreferenced images.
    pub images: u64,
    /// Bytes of those images.
    pub bytes: u64,
}

impl Index {
    /// Candidates since `until_ms` or earlier, in ascending order after the fingerprint `after`, at
    /// most `limit`. Somebody may still refer to them.
    pub async fn unreferenced(
        &self,
        until_ms: i64,
        after: Option<Fingerprint>,
        limit: usize,
    ) -> Result<Vec<Fingerprint>, IndexError> {
        let rows = sqlx::query(
            "SELECT fingerprint FROM released WHERE since_ms <= $1 AND fingerprint > $2
             ORDER BY fingerprint LIMIT $3",
        )
        .bind(until_ms)
        .bind(after.map_or_else(Vec::new, |after| after.as_bytes().to_vec()))
        .bind(row::to_column(limit as u64))
        .fetch_all(self.database.read_pool())
        .await
        .map_err(IndexError::statement("look up unreferenced images"))?;
        rows.iter().map(|row| row::fingerprint(row, 0)).collect()
    }

    /// Deletes the rows of those of `images` that are candidates since `until_ms` or earlier and
    /// that nobody refers to, and returns them. They are then unknown, and their bytes may be
    /// removed.
    pub async fn delete_unreferenced(
        &self,
        images: Vec<Fingerprint>,
        until_ms: i64,
    ) -> Result<Vec<Fingerprint>, IndexError> {
        self.writer
            .write(DeleteUnreferenced { images, until_ms })
            .await
    }

    /// Those of `images` that the index does not know: no row, and no upload that may have become
    /// an image just before its record.
    pub async fn unknown_images(
        &self,
        images: &[Fingerprint],
    ) -> Result<Vec<Fingerprint>, IndexError> {
        let mut known = HashSet::new();
        for group in images.chunks(QUERY_MAX).flat_map(row::power_of_two_chunks) {
            let keys = row::value_list(group.len(), |row| format!("${}", row + 1));
            let statement = format!(
                "SELECT fingerprint FROM images WHERE fingerprint IN ({keys})
                 UNION SELECT fingerprint FROM uploads WHERE fingerprint IN ({keys})"
            );
            let found = group
                .iter()
                .fold(row::query(statement), row::bind_fingerprint);
            let found = found.fetch_all(self.database.read_pool()).await;
            for row in &found.map_err(IndexError::statement("look up unknown images"))? {
                known.insert(row::fingerprint(row, 0)?);
            }
        }
        Ok(images
            .iter()
            .filter(|image| !known.contains(image))
            .copied()
            .collect())
    }

    /// Counts the images that wait for garbage collection.
    pub async fn unreferenced_stats(&self) -> Result<UnreferencedStats, IndexError> {
        let row = sqlx::query(
            "SELECT COUNT(*), CAST(COALESCE(SUM(images.size), 0) AS BIGINT)
             FROM released JOIN images ON images.fingerprint = released.fingerprint
             WHERE NOT EXISTS (SELECT 1 FROM holdings
             WHERE holdings.fingerprint = released.fingerprint)",
        )
        .fetch_one(self.database.read_pool())
        .await
        .map_err(IndexError::statement("count unreferenced images"))?;
        Ok(UnreferencedStats {
            images: row::count(&row, 0)?,
            bytes: row::count(&row, 1)?,
        })
    }
}

/// Records that a user stopped holding an image, now. It does not check for other holders: two
/// users who stop at once, in two transactions, would each see the other as a holder.
pub(super) async fn mark(
    rows: &mut AnyConnection,
    fingerprint: Fingerprint,
) -> Result<(), IndexError> {
    let done = sqlx::query(
        "INSERT INTO released (fingerprint, since_ms) VALUES ($1, $2)
         ON CONFLICT (fingerprint) DO UPDATE SET since_ms = excluded.since_ms",
    )
    .bind(fingerprint.as_bytes().as_slice())
    .bind(system_now_ms())
    .execute(rows)
    .await;
    done.map(drop).map_err(IndexError::statement(
        "mark an image as a candidate for garbage collection",
    ))
}

struct DeleteUnreferenced {
    images: Vec<Fingerprint>,
    until_ms: i64,
}

#[async_trait]
impl Write for DeleteUnreferenced {
    type Output = Vec<Fingerprint>;

    async fn apply(&self, rows: &mut AnyConnection) -> Result<Vec<Fingerprint>, IndexError> {
        let mut deleted = Vec::new();
        for fingerprint in &self.images {
            if self.delete(rows, *fingerprint).await? {
                deleted.push(*fingerprint);
            }
        }
        Ok(deleted)
    }
}

impl DeleteUnreferenced {
    /// Takes each lock before the check it protects: a database with several writers shows what
    /// others committed only to statements that begin afterwards.
    async fn delete(
        &self,
        rows: &mut AnyConnection,
        fingerprint: Fingerprint,
    ) -> Result<bool, IndexError> {
        let locked = sqlx::query(
            "UPDATE released SET since_ms = since_ms WHERE fingerprint = $1 AND since_ms <= $2
             RETURNING since_ms",
        )
        .bind(fingerprint.as_bytes().as_slice())
        .bind(self.until_ms)
        .fetch_optional(&mut *rows)
        .await
        .map_err(IndexError::statement(
            "lock a candidate for garbage collection",
        ))?;
        if locked.is_none() {
            return Ok(false);
        }
        run(
            rows,
            "UPDATE images SET state = state WHERE fingerprint = $1 RETURNING size",
            fingerprint,
        )
        .await?;
        let held = run(
            rows,
            "SELECT user_id FROM holdings WHERE fingerprint = $1 LIMIT 1",
            fingerprint,
        )
        .await?;
        let begun = run(
            rows,
            "SELECT user_id FROM uploads WHERE fingerprint = $1 LIMIT 1",
            fingerprint,
        )
        .await?;
        if held.is_none() && begun.is_some() {
            // It becomes a holding or expires, and is checked again then.
            return Ok(false);
        }
        run(
            rows,
            "DELETE FROM released WHERE fingerprint = $1 RETURNING since_ms",
            fingerprint,
        )
        .await?;
        if held.is_some() {
            return Ok(false);
        }
        run(
            rows,
            "DELETE FROM images WHERE fingerprint = $1 RETURNING size",
            fingerprint,
        )
        .await?;
        Ok(true)
    }
}

/// Runs one statement about one image.
async fn run(
    rows: &mut AnyConnection,
    statement: &'static str,
    fingerprint: Fingerprint,
) -> Result<Option<AnyRow>, IndexError> {
    let row = sqlx::query(statement)
        .bind(fingerprint.as_bytes().as_slice())
        .fetch_optional(rows)
        .await;
    row.map_err(IndexError::statement("delete an unreferenced image"))
}

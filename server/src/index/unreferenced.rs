//! Released images: those that somebody let go of. They are cleared away once nobody refers to them
//! for a while: their row first, then their bytes (by whoever asked for it).
//!
//! To refer to an image is to hold it (which whoever has it in the library or in the trash does),
//! or to be uploading it.
//!
//! A row leaves only in a transaction that has locked it and sees then that nobody refers to it; a
//! link locks it, too. (SQLite has one writer at a time anyway.)

use std::collections::HashSet;

use async_trait::async_trait;
use heirloom_protocol::Fingerprint;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::error::IndexError;
use super::writer::Write;
use super::{Index, now_ms, row};

/// Fingerprints in one question, at most.
const ASKED_MAX: usize = 512;

/// Images that nobody refers to, and that are still here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnreferencedStats {
    /// How many.
    pub images: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Index {
    /// Images that were let go of at `until_ms` or before, by ascending fingerprint behind `after`,
    /// at most `limit`. Somebody may still refer to them.
    pub async fn unreferenced(
        &self,
        until_ms: i64,
        after: Option<Fingerprint>,
        limit: usize,
    ) -> Result<Vec<Fingerprint>, IndexError> {
        let rows = sqlx::query(
            "SELECT fingerprint FROM released WHERE since_ms <= $1 AND fingerprint > $2 ORDER BY fingerprint LIMIT $3",
        )
        .bind(until_ms)
        .bind(after.map_or_else(Vec::new, |after| after.as_bytes().to_vec()))
        .bind(row::number(limit as u64))
        .fetch_all(self.database.reads())
        .await
        .map_err(IndexError::statement("look for released images"))?;
        rows.iter().map(|row| row::fingerprint(row, 0)).collect()
    }

    /// Forgets those of `images` that were let go of at `until_ms` or before and that nobody refers
    /// to; answers which. From then on they are unknown here, and their bytes may go.
    pub async fn delete_unreferenced(
        &self,
        images: Vec<Fingerprint>,
        until_ms: i64,
    ) -> Result<Vec<Fingerprint>, IndexError> {
        self.writer.write(ForgetImages { images, until_ms }).await
    }

    /// Those of `images` that are unknown here: no row, and no upload that has become an image
    /// short of its record.
    pub async fn unknown_images(
        &self,
        images: &[Fingerprint],
    ) -> Result<Vec<Fingerprint>, IndexError> {
        let mut known = HashSet::new();
        for group in images.chunks(ASKED_MAX).flat_map(row::groups) {
            let keys = row::values(group.len(), |row| format!("${}", row + 1));
            let statement = format!(
                "SELECT fingerprint FROM images WHERE fingerprint IN ({keys})
                 UNION SELECT fingerprint FROM uploads WHERE fingerprint IN ({keys})"
            );
            let found = group
                .iter()
                .fold(row::query(statement), row::bind_fingerprint);
            let found = found.fetch_all(self.database.reads()).await;
            for row in &found.map_err(IndexError::statement("look for unknown images"))? {
                known.insert(row::fingerprint(row, 0)?);
            }
        }
        Ok(images
            .iter()
            .filter(|image| !known.contains(image))
            .copied()
            .collect())
    }

    /// What waits to be cleared away.
    pub async fn unreferenced_stats(&self) -> Result<UnreferencedStats, IndexError> {
        let row = sqlx::query(
            "SELECT COUNT(*), CAST(COALESCE(SUM(images.size), 0) AS BIGINT)
             FROM released JOIN images ON images.fingerprint = released.fingerprint
             WHERE NOT EXISTS (SELECT 1 FROM holdings WHERE holdings.fingerprint = released.fingerprint)",
        )
        .fetch_one(self.database.reads())
        .await
        .map_err(IndexError::statement("count released images"))?;
        Ok(UnreferencedStats {
            images: row::count(&row, 0)?,
            bytes: row::count(&row, 1)?,
        })
    }
}

/// Notes that somebody has let go of an image, now. Whoever else holds it is not looked for: two
/// who let go at once, in two transactions, would each take the other for a holder.
pub(super) async fn release(
    rows: &mut AnyConnection,
    fingerprint: Fingerprint,
) -> Result<(), IndexError> {
    let done = sqlx::query(
        "INSERT INTO released (fingerprint, since_ms) VALUES ($1, $2)
         ON CONFLICT (fingerprint) DO UPDATE SET since_ms = excluded.since_ms",
    )
    .bind(fingerprint.as_bytes().as_slice())
    .bind(now_ms())
    .execute(rows)
    .await;
    done.map(drop)
        .map_err(IndexError::statement("release an image"))
}

struct ForgetImages {
    images: Vec<Fingerprint>,
    until_ms: i64,
}

#[async_trait]
impl Write for ForgetImages {
    type Answer = Vec<Fingerprint>;

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<Vec<Fingerprint>, IndexError> {
        let mut forgotten = Vec::new();
        for fingerprint in &self.images {
            if self.forget(rows, *fingerprint).await? {
                forgotten.push(*fingerprint);
            }
        }
        Ok(forgotten)
    }
}

impl ForgetImages {
    /// Each lock before the look that it is for: a database with several writers shows what others
    /// committed only to statements that begin afterwards.
    async fn forget(
        &self,
        rows: &mut AnyConnection,
        fingerprint: Fingerprint,
    ) -> Result<bool, IndexError> {
        let locked = sqlx::query(
            "UPDATE released SET since_ms = since_ms WHERE fingerprint = $1 AND since_ms <= $2 RETURNING since_ms",
        )
        .bind(fingerprint.as_bytes().as_slice())
        .bind(self.until_ms)
        .fetch_optional(&mut *rows)
        .await
        .map_err(IndexError::statement("look for a released image"))?;
        if locked.is_none() {
            return Ok(false);
        }
        ask(
            rows,
            "UPDATE images SET state = state WHERE fingerprint = $1 RETURNING size",
            fingerprint,
        )
        .await?;
        let held = ask(
            rows,
            "SELECT user_id FROM holdings WHERE fingerprint = $1 LIMIT 1",
            fingerprint,
        )
        .await?;
        let begun = ask(
            rows,
            "SELECT user_id FROM uploads WHERE fingerprint = $1 LIMIT 1",
            fingerprint,
        )
        .await?;
        if held.is_none() && begun.is_some() {
            // It becomes theirs, or the upload expires: looked at again then.
            return Ok(false);
        }
        ask(
            rows,
            "DELETE FROM released WHERE fingerprint = $1 RETURNING since_ms",
            fingerprint,
        )
        .await?;
        if held.is_some() {
            return Ok(false);
        }
        ask(
            rows,
            "DELETE FROM images WHERE fingerprint = $1 RETURNING size",
            fingerprint,
        )
        .await?;
        Ok(true)
    }
}

/// One statement about one image.
async fn ask(
    rows: &mut AnyConnection,
    statement: &'static str,
    fingerprint: Fingerprint,
) -> Result<Option<AnyRow>, IndexError> {
    let row = sqlx::query(statement)
        .bind(fingerprint.as_bytes().as_slice())
        .fetch_optional(rows)
        .await;
    row.map_err(IndexError::statement("clear an image away"))
}

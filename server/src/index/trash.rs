//! The trash: photos that were removed from a library or overwritten in it. Their images stay held
//! and stored until the trash is purged; the user then stops holding those that nothing else of
//! theirs refers to. Unreferenced images are garbage collected (see `unreferenced.rs`).

use async_trait::async_trait;
use heirloom_crash::CrashPoint;
use heirloom_protocol::message::{LibraryPhoto, TrashedPhoto};
use heirloom_protocol::possession::UserId;
use heirloom_protocol::{Fingerprint, LibraryPath};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::error::IndexError;
use super::open::Index;
use super::row;
use super::writer::Write;
use super::{quota, unreferenced};

/// A page of a user's trash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trash {
    /// The photos, by ascending version.
    pub photos: Vec<TrashedPhoto>,
    /// Whether more photos follow.
    pub more: bool,
}

impl Index {
    /// A user's trash after the version `after`, at most `limit` entries.
    pub async fn trash(&self, user: UserId, after: u64, limit: usize) -> Result<Trash, IndexError> {
        // One row more than requested shows whether there is more.
        let rows = sqlx::query(
            "SELECT trash.path, trash.version, trash.fingerprint, trash.size, trash.mtime_ns,
                 trash.removed_at_ms,
                 CASE WHEN library.fingerprint IS NULL THEN 0 ELSE library.version END
             FROM trash LEFT JOIN library ON library.user_id = trash.user_id
             AND library.path = trash.path
             WHERE trash.user_id = $1 AND trash.version > $2 ORDER BY trash.version LIMIT $3",
        )
        .bind(user.0)
        .bind(row::to_column(after))
        .bind(row::to_column(limit as u64).saturating_add(1))
        .fetch_all(self.database.read_pool())
        .await
        .map_err(IndexError::statement("list a user's trash"))?;
        let photos = rows
            .iter()
            .take(limit)
            .map(trashed_photo)
            .collect::<Result<_, _>>()?;
        Ok(Trash {
            photos,
            more: rows.len() > limit,
        })
    }

    /// Deletes trash older than `before_ms`, oldest first, at most `limit` entries, and returns how
    /// many. Without a user, of all users.
    pub async fn purge_trash(
        &self,
        user: Option<UserId>,
        before_ms: i64,
        limit: u32,
    ) -> Result<u64, IndexError> {
        let purged = self
            .writer
            .write(Purge {
                user,
                before_ms,
                limit,
            })
            .await;
        heirloom_crash::reached(CrashPoint::TrashPurged);
        purged
    }
}

fn trashed_photo(row: &AnyRow) -> Result<TrashedPhoto, IndexError> {
    Ok(TrashedPhoto {
        path: LibraryPath::new(row::text(row, 0)?)
            .map_err(|_| IndexError::Corrupt("path in the trash"))?,
        version: row::count(row, 1)?,
        photo: LibraryPhoto {
            fingerprint: row::fingerprint(row, 2)?,
            size: row::count(row, 3)?,
            mtime_ns: row::integer(row, 4)?,
        },
        removed_at_ms: row::integer(row, 5)?,
        current_version: row::count(row, 6)?,
    })
}

struct Purge {
    user: Option<UserId>,
    before_ms: i64,
    limit: u32,
}

#[async_trait]
impl Write for Purge {
    type Output = u64;

    async fn apply(&self, rows: &mut AnyConnection) -> Result<u64, IndexError> {
        let expired = self.expired(rows).await?;
        for row in &expired {
            let user = UserId(row::integer(row, 0)?);
            sqlx::query("DELETE FROM trash WHERE user_id = $1 AND path = $2 AND version = $3")
                .bind(user.0)
                .bind(row::text(row, 1)?)
                .bind(row::integer(row, 2)?)
                .execute(&mut *rows)
                .await
                .map_err(IndexError::statement("delete expired trash"))?;
            release(rows, user, row::fingerprint(row, 3)?, row::count(row, 4)?).await?;
        }
        Ok(expired.len() as u64)
    }
}

impl Purge {
    async fn expired(&self, rows: &mut AnyConnection) -> Result<Vec<AnyRow>, IndexError> {
        let query = match self.user {
            None => sqlx::query(
                "SELECT user_id, path, version, fingerprint, size FROM trash
                 WHERE removed_at_ms < $1 ORDER BY removed_at_ms LIMIT $2",
            ),
            Some(_) => sqlx::query(
                "SELECT user_id, path, version, fingerprint, size FROM trash
                 WHERE removed_at_ms < $1 AND user_id = $3 ORDER BY version LIMIT $2",
            ),
        };
        let query = query.bind(self.before_ms).bind(i64::from(self.limit));
        let query = match self.user {
            None => query,
            Some(user) => query.bind(user.0),
        };
        query
            .fetch_all(rows)
            .await
            .map_err(IndexError::statement("look up expired trash"))
    }
}

/// Ends the user's holding of an image, unless their library or their trash still refers to it. A
/// device that relies on the holding learns of it when it puts the photo somewhere, and uploads it
/// again.
async fn release(
    rows: &mut AnyConnection,
    user: UserId,
    fingerprint: Fingerprint,
    size: u64,
) -> Result<(), IndexError> {
    let ended = sqlx::query(
        "DELETE FROM holdings WHERE user_id = $1 AND fingerprint = $2
         AND NOT EXISTS (SELECT 1 FROM library WHERE user_id = $1 AND fingerprint = $2)
         AND NOT EXISTS (SELECT 1 FROM trash WHERE user_id = $1 AND fingerprint = $2)
         RETURNING user_id",
    )
    .bind(user.0)
    .bind(fingerprint.as_bytes().as_slice())
    .fetch_optional(&mut *rows)
    .await
    .map_err(IndexError::statement("end the holding of an image"))?;
    match ended {
        Some(_) => {
            quota::subtract_held_bytes(rows, user, size).await?;
            unreferenced::mark(rows, fingerprint).await
        }
        None => Ok(()),
    }
}

//! The trash: photos that were removed from a library or overwritten in it. Their images stay held
//! and stored until the trash is purged, and are let go with it if nothing else of the user's names
//! them. What nobody holds then is cleared away (see `released.rs`).

use async_trait::async_trait;
use heirloom_crash::CrashPoint;
use heirloom_protocol::message::{LibraryPhoto, TrashedPhoto};
use heirloom_protocol::possession::UserId;
use heirloom_protocol::{Fingerprint, LibraryPath};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::error::IndexError;
use super::writer::Write;
use super::{Index, row};
use super::{quota, unreferenced};

/// Some of a user's trash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trash {
    /// By ascending version.
    pub photos: Vec<TrashedPhoto>,
    /// Whether there is more behind them.
    pub more: bool,
}

impl Index {
    /// A user's trash behind the version `after`, at most `limit` entries.
    pub async fn trash(&self, user: UserId, after: u64, limit: usize) -> Result<Trash, IndexError> {
        // One more than asked for tells whether there is more.
        let rows = sqlx::query(
            "SELECT trash.path, trash.version, trash.fingerprint, trash.size, trash.mtime_ns, trash.removed_at_ms,
                 CASE WHEN library.fingerprint IS NULL THEN 0 ELSE library.version END
             FROM trash LEFT JOIN library ON library.user_id = trash.user_id AND library.path = trash.path
             WHERE trash.user_id = $1 AND trash.version > $2 ORDER BY trash.version LIMIT $3",
        )
        .bind(user.0)
        .bind(row::number(after))
        .bind(row::number(limit as u64).saturating_add(1))
        .fetch_all(self.database.reads())
        .await
        .map_err(IndexError::statement("list a user's trash"))?;
        let photos = rows
            .iter()
            .take(limit)
            .map(trashed)
            .collect::<Result<_, _>>()?;
        Ok(Trash {
            photos,
            more: rows.len() > limit,
        })
    }

    /// Forgets trash older than `before_ms`, the oldest first, some at a time; answers how many.
    /// Without a user, it is everybody's.
    pub async fn purge_trash(
        &self,
        whose: Option<UserId>,
        before_ms: i64,
        limit: u32,
    ) -> Result<u64, IndexError> {
        let purged = self
            .writer
            .write(Purge {
                whose,
                before_ms,
                limit,
            })
            .await;
        heirloom_crash::reached(CrashPoint::TrashPurged);
        purged
    }
}

fn trashed(row: &AnyRow) -> Result<TrashedPhoto, IndexError> {
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
    whose: Option<UserId>,
    before_ms: i64,
    limit: u32,
}

#[async_trait]
impl Write for Purge {
    type Answer = u64;

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<u64, IndexError> {
        let old = self.old(rows).await?;
        for row in &old {
            let user = UserId(row::integer(row, 0)?);
            sqlx::query("DELETE FROM trash WHERE user_id = $1 AND path = $2 AND version = $3")
                .bind(user.0)
                .bind(row::text(row, 1)?)
                .bind(row::integer(row, 2)?)
                .execute(&mut *rows)
                .await
                .map_err(IndexError::statement("forget old trash"))?;
            let_go(rows, user, row::fingerprint(row, 3)?, row::count(row, 4)?).await?;
        }
        Ok(old.len() as u64)
    }
}

impl Purge {
    async fn old(&self, rows: &mut AnyConnection) -> Result<Vec<AnyRow>, IndexError> {
        let query = match self.whose {
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
        let query = match self.whose {
            None => query,
            Some(user) => query.bind(user.0),
        };
        query
            .fetch_all(rows)
            .await
            .map_err(IndexError::statement("look for old trash"))
    }
}

/// The user does not hold the image any more, unless their library or their trash names it. A
/// device that still counts on it is told so when it puts it somewhere, and sends it again.
async fn let_go(
    rows: &mut AnyConnection,
    user: UserId,
    fingerprint: Fingerprint,
    size: u64,
) -> Result<(), IndexError> {
    let gone = sqlx::query(
        "DELETE FROM holdings WHERE user_id = $1 AND fingerprint = $2
         AND NOT EXISTS (SELECT 1 FROM library WHERE user_id = $1 AND fingerprint = $2)
         AND NOT EXISTS (SELECT 1 FROM trash WHERE user_id = $1 AND fingerprint = $2) RETURNING user_id",
    )
    .bind(user.0)
    .bind(fingerprint.as_bytes().as_slice())
    .fetch_optional(&mut *rows)
    .await
    .map_err(IndexError::statement("let an image go"))?;
    match gone {
        Some(_) => {
            quota::count_out(rows, user, size).await?;
            unreferenced::release(rows, fingerprint).await
        }
        None => Ok(()),
    }
}

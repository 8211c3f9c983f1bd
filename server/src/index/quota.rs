//! Quotas: how many bytes a user may hold, and how many they hold.
//!
//! Every image that the user holds counts once, whether it is in their library or in their trash
//! (docs/decisions/0009). The count is a column that changes in the same transaction as the
//! holding, so it stays right under concurrent changes.

use async_trait::async_trait;
use heirloom_protocol::Fingerprint;
use heirloom_protocol::possession::UserId;
use sqlx::{AnyConnection, Row as _};

use super::error::IndexError;
use super::open::Index;
use super::row;
use super::writer::Write;

/// A user's quota and what they use of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaUsage {
    /// The quota in bytes; `None` for no limit.
    pub quota: Option<u64>,
    /// Bytes of the images that the user holds.
    pub held: u64,
    /// Bytes announced by their unfinished uploads of other images.
    pub uploading: u64,
    /// Whether the user holds the image in question, whatever its state.
    pub is_held: bool,
}

impl QuotaUsage {
    /// Whether the image, with this many bytes, fits in addition to what is held and being
    /// uploaded. An image that the user holds always fits: sending it again repairs a corrupt copy.
    pub fn fits(&self, size: u64) -> bool {
        let all = self
            .held
            .saturating_add(self.uploading)
            .saturating_add(size);
        self.is_held || self.quota.is_none_or(|quota| all <= quota)
    }
}

impl Index {
    /// A user's quota usage, with respect to an image they want to upload.
    pub async fn quota_usage(
        &self,
        user: UserId,
        fingerprint: Fingerprint,
    ) -> Result<QuotaUsage, IndexError> {
        let found = sqlx::query(
            "SELECT quota_bytes, held_bytes,
                 (SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM uploads WHERE user_id = $1
                 AND fingerprint <> $2),
                 (SELECT COUNT(*) FROM holdings WHERE user_id = $1 AND fingerprint = $2)
             FROM users WHERE id = $1",
        )
        .bind(user.0)
        .bind(fingerprint.as_bytes().as_slice())
        .fetch_optional(self.database.read_pool())
        .await
        .map_err(IndexError::statement("read a user's quota"))?;
        let row = found.ok_or(IndexError::NoSuchUser(user))?;
        let is_held = row::count(&row, 3)? > 0;
        Ok(QuotaUsage {
            quota: quota(&row)?,
            held: row::count(&row, 1)?,
            uploading: row::count(&row, 2)?,
            is_held,
        })
    }

    /// Sets a user's quota; `None` removes the limit. What they hold already stays, even if it
    /// exceeds the quota.
    pub async fn set_quota(&self, user: UserId, quota: Option<u64>) -> Result<(), IndexError> {
        self.writer.write(SetQuota { user, quota }).await
    }
}

/// Adds the bytes of images that the user does not hold yet to their count. `OverQuota` if they do
/// not fit.
pub(super) async fn add_held_bytes(
    rows: &mut AnyConnection,
    user: UserId,
    bytes: u64,
) -> Result<(), IndexError> {
    let counted = sqlx::query(
        "UPDATE users SET held_bytes = held_bytes + $2
         WHERE id = $1 AND (quota_bytes IS NULL OR held_bytes + $2 <= quota_bytes) RETURNING id",
    )
    .bind(user.0)
    .bind(row::to_column(bytes))
    .fetch_optional(&mut *rows)
    .await;
    match counted.map_err(IndexError::statement("count what a user holds"))? {
        Some(_) => Ok(()),
        None => Err(refusal(rows, user, bytes).await?),
    }
}

/// Subtracts the size of an image that the user does not hold any more from their count.
pub(super) async fn subtract_held_bytes(
    rows: &mut AnyConnection,
    user: UserId,
    size: u64,
) -> Result<(), IndexError> {
    let done = sqlx::query("UPDATE users SET held_bytes = held_bytes - $2 WHERE id = $1")
        .bind(user.0)
        .bind(row::to_column(size))
        .execute(rows)
        .await;
    done.map(drop)
        .map_err(IndexError::statement("count what a user holds"))
}

/// The reason why no bytes were added.
async fn refusal(
    rows: &mut AnyConnection,
    user: UserId,
    size: u64,
) -> Result<IndexError, IndexError> {
    let found = sqlx::query("SELECT quota_bytes, held_bytes FROM users WHERE id = $1")
        .bind(user.0)
        .fetch_optional(rows)
        .await
        .map_err(IndexError::statement("read a user's quota"))?;
    let Some(row) = found else {
        return Ok(IndexError::NoSuchUser(user));
    };
    let quota = quota(&row)?.unwrap_or(u64::MAX);
    Ok(IndexError::OverQuota {
        quota,
        held: row::count(&row, 1)?,
        more: size,
    })
}

/// Reads a quota from the first column.
pub(super) fn quota(row: &sqlx::any::AnyRow) -> Result<Option<u64>, IndexError> {
    let quota: Option<i64> = row
        .try_get(0)
        .map_err(IndexError::statement("read a quota"))?;
    quota
        .map(|quota| u64::try_from(quota).map_err(|_| IndexError::Corrupt("quota")))
        .transpose()
}

struct SetQuota {
    user: UserId,
    quota: Option<u64>,
}

#[async_trait]
impl Write for SetQuota {
    type Output = ();

    async fn apply(&self, rows: &mut AnyConnection) -> Result<(), IndexError> {
        let set = sqlx::query("UPDATE users SET quota_bytes = $2 WHERE id = $1 RETURNING id")
            .bind(self.user.0)
            .bind(self.quota.map(row::to_column))
            .fetch_optional(rows)
            .await;
        match set.map_err(IndexError::statement("set a quota"))? {
            Some(_) => Ok(()),
            None => Err(IndexError::NoSuchUser(self.user)),
        }
    }
}

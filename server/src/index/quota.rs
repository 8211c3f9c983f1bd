//! Quotas: how many bytes a user may hold, and how many they do.
//!
//! What counts is every image that the user holds, once, whether it stands in their library or in
//! their trash (docs/decisions/0009). The count is a column that changes in the same transaction as
//! the holding, so it is right whoever adds and removes at once.

use async_trait::async_trait;
use heirloom_protocol::Fingerprint;
use heirloom_protocol::possession::UserId;
use sqlx::{AnyConnection, Row as _};

use super::error::IndexError;
use super::writer::Write;
use super::{Index, row};

/// What a user may hold, and what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaUsage {
    /// At most, in bytes; none if there is no limit.
    pub quota: Option<u64>,
    /// Bytes of the images that they hold.
    pub held: u64,
    /// Bytes announced by their interrupted uploads of other images.
    pub begun: u64,
    /// Whether they hold the image that was asked about, whatever state it is in.
    pub holds: bool,
}

impl QuotaUsage {
    /// Whether the image, of so many bytes, fits beside what is held and what is on its way. One
    /// that they hold always does: sent again, it heals what is damaged.
    pub fn fits(&self, size: u64) -> bool {
        let all = self.held.saturating_add(self.begun).saturating_add(size);
        self.holds || self.quota.is_none_or(|quota| all <= quota)
    }
}

impl Index {
    /// How much room a user has for an image.
    pub async fn quota_usage(
        &self,
        user: UserId,
        fingerprint: Fingerprint,
    ) -> Result<QuotaUsage, IndexError> {
        let found = sqlx::query(
            "SELECT quota_bytes, held_bytes,
                 (SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM uploads WHERE user_id = $1 AND fingerprint <> $2),
                 (SELECT COUNT(*) FROM holdings WHERE user_id = $1 AND fingerprint = $2)
             FROM users WHERE id = $1",
        )
        .bind(user.0)
        .bind(fingerprint.as_bytes().as_slice())
        .fetch_optional(self.database.reads())
        .await
        .map_err(IndexError::statement("look for a user's room"))?;
        let row = found.ok_or(IndexError::NoSuchUser(user))?;
        let holds = row::count(&row, 3)? > 0;
        Ok(QuotaUsage {
            quota: quota(&row)?,
            held: row::count(&row, 1)?,
            begun: row::count(&row, 2)?,
            holds,
        })
    }

    /// Sets the most that a user may hold; none takes the limit away. What they hold already stays,
    /// however much it is.
    pub async fn set_quota(&self, user: UserId, quota: Option<u64>) -> Result<(), IndexError> {
        self.writer.write(SetQuota { user, quota }).await
    }
}

/// Counts images in that the user does not hold yet, of so many bytes in all. `OverQuota` if they
/// do not fit.
pub(super) async fn count_in(
    rows: &mut AnyConnection,
    user: UserId,
    bytes: u64,
) -> Result<(), IndexError> {
    let counted = sqlx::query(
        "UPDATE users SET held_bytes = held_bytes + $2
         WHERE id = $1 AND (quota_bytes IS NULL OR held_bytes + $2 <= quota_bytes) RETURNING id",
    )
    .bind(user.0)
    .bind(row::number(bytes))
    .fetch_optional(&mut *rows)
    .await;
    match counted.map_err(IndexError::statement("count what a user holds"))? {
        Some(_) => Ok(()),
        None => Err(refusal(rows, user, bytes).await?),
    }
}

/// Takes what a user does not hold any more out of their count.
pub(super) async fn count_out(
    rows: &mut AnyConnection,
    user: UserId,
    size: u64,
) -> Result<(), IndexError> {
    let done = sqlx::query("UPDATE users SET held_bytes = held_bytes - $2 WHERE id = $1")
        .bind(user.0)
        .bind(row::number(size))
        .execute(rows)
        .await;
    done.map(drop)
        .map_err(IndexError::statement("count what a user holds"))
}

/// Why nothing was counted in.
async fn refusal(
    rows: &mut AnyConnection,
    user: UserId,
    size: u64,
) -> Result<IndexError, IndexError> {
    let found = sqlx::query("SELECT quota_bytes, held_bytes FROM users WHERE id = $1")
        .bind(user.0)
        .fetch_optional(rows)
        .await
        .map_err(IndexError::statement("look for a user's room"))?;
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

/// Reads the first column.
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
    type Answer = ();

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<(), IndexError> {
        let set = sqlx::query("UPDATE users SET quota_bytes = $2 WHERE id = $1 RETURNING id")
            .bind(self.user.0)
            .bind(self.quota.map(row::number))
            .fetch_optional(rows)
            .await;
        match set.map_err(IndexError::statement("set a quota"))? {
            Some(_) => Ok(()),
            None => Err(IndexError::NoSuchUser(self.user)),
        }
    }
}

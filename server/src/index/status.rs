//! Counts of a user's photos on the server.

use heirloom_protocol::message::ServerStatus;
use heirloom_protocol::possession::UserId;
use sqlx::any::AnyRow;

use super::error::IndexError;
use super::open::Index;
use super::{quota, row};

impl Index {
    /// Counts the user's photos, images and uploads.
    pub async fn status(&self, user: UserId) -> Result<ServerStatus, IndexError> {
        let images = self
            .count(
                user,
                "SELECT COUNT(*), CAST(COALESCE(SUM(images.size), 0) AS BIGINT)
                 FROM holdings JOIN images ON images.fingerprint = holdings.fingerprint
                 AND images.state = 0
                 WHERE holdings.user_id = $1",
            )
            .await?;
        let quota = self
            .count(
                user,
                "SELECT quota_bytes, held_bytes FROM users WHERE id = $1",
            )
            .await?;
        let library = "SELECT COUNT(*) FROM library WHERE user_id = $1 AND fingerprint IS NOT NULL";
        let library = self.count(user, library).await?;
        let trash = self
            .count(user, "SELECT COUNT(*) FROM trash WHERE user_id = $1")
            .await?;
        let uploads = self
            .count(user, "SELECT COUNT(*) FROM uploads WHERE user_id = $1")
            .await?;
        Ok(ServerStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            images: row::count(&images, 0)?,
            image_bytes: row::count(&images, 1)?,
            library_photos: row::count(&library, 0)?,
            trashed_photos: row::count(&trash, 0)?,
            interrupted_uploads: row::count(&uploads, 0)?,
            held_bytes: row::count(&quota, 1)?,
            quota_bytes: quota::quota(&quota)?,
            damaged_images: self.corrupt_count_of(user).await?,
        })
    }

    async fn count(&self, user: UserId, statement: &'static str) -> Result<AnyRow, IndexError> {
        let row = sqlx::query(statement)
            .bind(user.0)
            .fetch_one(self.database.read_pool())
            .await;
        row.map_err(IndexError::statement("count a user's photos"))
    }
}

//! Corrupt images: those whose stored bytes do not match their fingerprint (any more). They are
//! few, so a partial index finds them among millions. Their holders are asked to upload them again.

use heirloom_protocol::Fingerprint;
use heirloom_protocol::possession::UserId;

use super::error::IndexError;
use super::open::Index;
use super::row;

impl Index {
    /// The user's corrupt images in ascending order after the fingerprint `after`, at most `limit`.
    pub async fn corrupt_images_of(
        &self,
        user: UserId,
        after: Option<Fingerprint>,
        limit: usize,
    ) -> Result<Vec<Fingerprint>, IndexError> {
        let rows = sqlx::query(
            "SELECT images.fingerprint FROM images
             JOIN holdings ON holdings.fingerprint = images.fingerprint AND holdings.user_id = $1
             WHERE images.state = 1 AND images.fingerprint > $2 ORDER BY images.fingerprint
             LIMIT $3",
        )
        .bind(user.0)
        .bind(after.map_or_else(Vec::new, |after| after.as_bytes().to_vec()))
        .bind(row::to_column(limit as u64))
        .fetch_all(self.database.read_pool())
        .await
        .map_err(IndexError::statement("look up corrupt images"))?;
        rows.iter().map(|row| row::fingerprint(row, 0)).collect()
    }

    /// Counts the user's corrupt images.
    pub async fn corrupt_count_of(&self, user: UserId) -> Result<u64, IndexError> {
        let found = sqlx::query(
            "SELECT COUNT(*) FROM images
             JOIN holdings ON holdings.fingerprint = images.fingerprint AND holdings.user_id = $1
             WHERE images.state = 1",
        )
        .bind(user.0)
        .fetch_one(self.database.read_pool())
        .await;
        row::count(
            &found.map_err(IndexError::statement("count corrupt images"))?,
            0,
        )
    }

    /// Counts all users' corrupt images.
    pub async fn corrupt_count(&self) -> Result<u64, IndexError> {
        let found = sqlx::query("SELECT COUNT(*) FROM images WHERE state = 1")
            .fetch_one(self.database.read_pool())
            .await;
        row::count(
            &found.map_err(IndexError::statement("count corrupt images"))?,
            0,
        )
    }
}

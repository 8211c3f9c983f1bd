//! Damaged images: those whose stored bytes are not (any more) what their fingerprint says. They
//! are few, so a partial index finds them among millions; whoever holds one is asked for it again.

use heirloom_protocol::Fingerprint;
use heirloom_protocol::possession::UserId;

use super::error::IndexError;
use super::{Index, row};

impl Index {
    /// Damaged images that this user holds, by ascending fingerprint behind `after`, at most
    /// `limit`.
    pub async fn corrupt_images_of(
        &self,
        user: UserId,
        after: Option<Fingerprint>,
        limit: usize,
    ) -> Result<Vec<Fingerprint>, IndexError> {
        let rows = sqlx::query(
            "SELECT images.fingerprint FROM images
             JOIN holdings ON holdings.fingerprint = images.fingerprint AND holdings.user_id = $1
             WHERE images.state = 1 AND images.fingerprint > $2 ORDER BY images.fingerprint LIMIT $3",
        )
        .bind(user.0)
        .bind(after.map_or_else(Vec::new, |after| after.as_bytes().to_vec()))
        .bind(row::number(limit as u64))
        .fetch_all(self.database.reads())
        .await
        .map_err(IndexError::statement("look for damaged images"))?;
        rows.iter().map(|row| row::fingerprint(row, 0)).collect()
    }

    /// How many there are of this user's.
    pub async fn corrupt_count_of(&self, user: UserId) -> Result<u64, IndexError> {
        let found = sqlx::query(
            "SELECT COUNT(*) FROM images
             JOIN holdings ON holdings.fingerprint = images.fingerprint AND holdings.user_id = $1
             WHERE images.state = 1",
        )
        .bind(user.0)
        .fetch_one(self.database.reads())
        .await;
        row::count(
            &found.map_err(IndexError::statement("count damaged images"))?,
            0,
        )
    }

    /// How many there are in all.
    pub async fn corrupt_count(&self) -> Result<u64, IndexError> {
        let found = sqlx::query("SELECT COUNT(*) FROM images WHERE state = 1")
            .fetch_one(self.database.reads())
            .await;
        row::count(
            &found.map_err(IndexError::statement("count damaged images"))?,
            0,
        )
    }
}

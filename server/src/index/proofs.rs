//! Counts of failed proofs per user and day: beyond a limit the user's proofs are not verified, and
//! their images are uploaded instead.

use async_trait::async_trait;
use heirloom_protocol::possession::UserId;
use sqlx::AnyConnection;

use super::error::IndexError;
use super::open::Index;
use super::row;
use super::writer::Write;

impl Index {
    /// How many of this user's proofs failed on `day` (days since the epoch).
    pub async fn proof_failures(&self, user: UserId, day: i64) -> Result<u32, IndexError> {
        let found =
            sqlx::query("SELECT failures FROM proof_failures WHERE user_id = $1 AND day = $2")
                .bind(user.0)
                .bind(day)
                .fetch_optional(self.database.read_pool())
                .await
                .map_err(IndexError::statement("read how many proofs failed"))?;
        let failures = found.map_or(Ok(0), |row| row::count(&row, 0))?;
        // Clamped: both values are far beyond the limit.
        Ok(u32::try_from(failures).unwrap_or(u32::MAX))
    }

    /// Counts a failed proof and deletes the counts of earlier days.
    pub async fn count_proof_failure(&self, user: UserId, day: i64) -> Result<(), IndexError> {
        self.writer.write(CountProofFailure { user, day }).await
    }
}

struct CountProofFailure {
    user: UserId,
    day: i64,
}

#[async_trait]
impl Write for CountProofFailure {
    type Output = ();

    async fn apply(&self, rows: &mut AnyConnection) -> Result<(), IndexError> {
        for statement in [
            "DELETE FROM proof_failures WHERE user_id = $1 AND day < $2",
            "INSERT INTO proof_failures (user_id, day, failures) VALUES ($1, $2, 1)
             ON CONFLICT (user_id, day) DO UPDATE SET failures = proof_failures.failures + 1",
        ] {
            let done = sqlx::query(statement)
                .bind(self.user.0)
                .bind(self.day)
                .execute(&mut *rows)
                .await;
            done.map_err(IndexError::statement("count a failed proof"))?;
        }
        Ok(())
    }
}

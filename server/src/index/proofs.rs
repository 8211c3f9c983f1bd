//! How often a user's proofs failed on a day (M9): beyond a limit their images are simply uploaded.

use async_trait::async_trait;
use heirloom_protocol::possession::UserId;
use sqlx::AnyConnection;

use super::error::IndexError;
use super::writer::Write;
use super::{Index, row};

impl Index {
    /// How many proofs of this user failed on `day` (days since the epoch).
    pub async fn proof_failures(&self, user: UserId, day: i64) -> Result<u32, IndexError> {
        let found =
            sqlx::query("SELECT failures FROM proof_failures WHERE user_id = $1 AND day = $2")
                .bind(user.0)
                .bind(day)
                .fetch_optional(self.database.reads())
                .await
                .map_err(IndexError::statement("read how many proofs failed"))?;
        let failures = found.map_or(Ok(0), |row| row::count(&row, 0))?;
        // More than fits is as good as the largest that does: both are far beyond the limit.
        Ok(u32::try_from(failures).unwrap_or(u32::MAX))
    }

    /// Counts one more. Earlier days of this user are forgotten.
    pub async fn count_proof_failure(&self, user: UserId, day: i64) -> Result<(), IndexError> {
        self.writer.write(CountFailure { user, day }).await
    }
}

struct CountFailure {
    user: UserId,
    day: i64,
}

#[async_trait]
impl Write for CountFailure {
    type Answer = ();

    async fn carry_out(&self, rows: &mut AnyConnection) -> Result<(), IndexError> {
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

//! Libraries: which photo has which path, for each user, and what changed since.

use async_trait::async_trait;
use heirloom_crash::CrashPoint;
use heirloom_protocol::message::{LibraryChange, LibraryFeed, LibraryOutcome};
use heirloom_protocol::possession::UserId;
use sqlx::AnyConnection;

use super::error::IndexError;
use super::open::Index;
use super::writer::Write;
use ledger::AllowedChanges;
use sql::SqlLibrary;
use store::{LibraryStore as _, apply_changes};

mod sql;
mod store;
mod ledger;

#[cfg(test)]
mod tests;

impl Index {
    /// Applies changes in order, each on its own, in one transaction. A change's version is the
    /// user's count of changes.
    pub async fn change_library(
        &self,
        user: UserId,
        changes: Vec<LibraryChange>,
    ) -> Result<Vec<LibraryOutcome>, IndexError> {
        let outcomes = self
            .writer
            .write(ChangeLibrary {
                user,
                allowed: AllowedChanges::All,
                changes,
            })
            .await;
        heirloom_crash::reached(CrashPoint::LibraryRecorded);
        outcomes
    }

    /// Like [`Self::change_library`], for a caller who may only add photos: changes that would
    /// replace, move or remove a photo are refused.
    pub async fn add_to_library(
        &self,
        user: UserId,
        changes: Vec<LibraryChange>,
    ) -> Result<Vec<LibraryOutcome>, IndexError> {
        self.writer
            .write(ChangeLibrary {
                user,
                allowed: AllowedChanges::AddOnly,
                changes,
            })
            .await
    }

    /// The change feed after the version `since`, at most `limit` entries.
    pub async fn library_changes(
        &self,
        user: UserId,
        since: u64,
        limit: usize,
    ) -> Result<LibraryFeed, IndexError> {
        let connection = self.database.read_pool().acquire().await;
        let mut connection = connection.map_err(IndexError::statement("read the change feed"))?;
        SqlLibrary::new(&mut connection)
            .changes_since(user, since, limit)
            .await
    }
}

struct ChangeLibrary {
    user: UserId,
    allowed: AllowedChanges,
    changes: Vec<LibraryChange>,
}

#[async_trait]
impl Write for ChangeLibrary {
    type Output = Vec<LibraryOutcome>;

    async fn apply(&self, rows: &mut AnyConnection) -> Result<Vec<LibraryOutcome>, IndexError> {
        let mut library = SqlLibrary::new(rows);
        apply_changes(&mut library, self.user, self.allowed, &self.changes).await
    }
}

//! The journal as the intake uses it.

use std::fmt;

use crate::journal::{FileId, FileRecord, Journal, JournalError, NameChange, NameUpdate, Tally};

/// The part of the journal that the intake reads and writes, so that its decisions can be tested
/// against a journal in memory. Every write is durable when it returns.
pub(super) trait JournalWriter: fmt::Debug + Send + Sync {
    /// The record of a file; `None` also for a record that this program cannot read, so that the
    /// file is scanned again.
    fn file(&self, id: FileId) -> Result<Option<FileRecord>, JournalError>;

    /// A page of all records, by ascending id.
    fn files_after(
        &self,
        after: Option<FileId>,
        limit: usize,
    ) -> Result<Vec<(FileId, FileRecord)>, JournalError>;

    /// A page of the records of failed files, by ascending id.
    fn failed_after(
        &self,
        after: Option<FileId>,
        limit: usize,
    ) -> Result<Vec<(FileId, FileRecord)>, JournalError>;

    /// Counts and sizes by state.
    fn tally(&self) -> Tally;

    /// Replaces records.
    fn record(&self, files: Vec<(FileId, FileRecord)>) -> Result<(), JournalError>;

    /// Removes records.
    fn forget(&self, ids: Vec<FileId>) -> Result<(), JournalError>;

    /// Applies renames and removals in their order. Returns whether the outbox has changes of names
    /// to send now.
    fn update_names(&self, updates: Vec<NameUpdate>) -> Result<bool, JournalError>;

    /// Adds changes of names to the outbox.
    fn queue_names(&self, changes: Vec<NameChange>) -> Result<(), JournalError>;
}

impl JournalWriter for Journal {
    fn file(&self, id: FileId) -> Result<Option<FileRecord>, JournalError> {
        match Self::file(self, id) {
            Err(JournalError::Record { .. }) => Ok(None),
            other => other,
        }
    }

    fn files_after(
        &self,
        after: Option<FileId>,
        limit: usize,
    ) -> Result<Vec<(FileId, FileRecord)>, JournalError> {
        Self::files_after(self, after, limit)
    }

    fn failed_after(
        &self,
        after: Option<FileId>,
        limit: usize,
    ) -> Result<Vec<(FileId, FileRecord)>, JournalError> {
        Self::failed_after(self, after, limit)
    }

    fn tally(&self) -> Tally {
        Self::tally(self)
    }

    fn record(&self, files: Vec<(FileId, FileRecord)>) -> Result<(), JournalError> {
        Self::record(self, files)
    }

    fn forget(&self, ids: Vec<FileId>) -> Result<(), JournalError> {
        Self::forget(self, ids)
    }

    fn update_names(&self, updates: Vec<NameUpdate>) -> Result<bool, JournalError> {
        Self::update_names(self, updates)?;
        Ok(self.names_queued() > 0)
    }

    fn queue_names(&self, changes: Vec<NameChange>) -> Result<(), JournalError> {
        Self::queue_names(self, changes)
    }
}

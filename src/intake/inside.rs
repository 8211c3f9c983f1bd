//! *Inside*: what the room's threads share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::desk::Desk;
use super::folders::Folders;
use super::neighbours::Neighbours;
use crate::config::Accept;
use crate::journal::{FileId, FileRecord, Journal, JournalError};
use crate::spool::{Spool, WriteStateMarker};

/// The right to change files and names in the journal. Whoever holds it first follows all names
/// that were told, so that the journal goes from one true state to the next in the order in which
/// things happened, although several threads write.
#[derive(Debug)]
pub(super) struct Ledger(());

/// The rooms below, and what is on the desk.
#[derive(Debug)]
pub(super) struct Inside {
    pub(super) spool: Spool,
    pub(super) marker: WriteStateMarker,
    pub(super) journal: Arc<Journal>,
    pub(super) neighbours: Box<dyn Neighbours>,
    pub(super) accept: Accept,
    pub(super) desk: Desk,
    pub(super) folders: Folders,
    ledger: Mutex<Ledger>,
}

impl Inside {
    pub(super) fn new(
        spool: Spool,
        marker: WriteStateMarker,
        journal: Arc<Journal>,
        neighbours: Box<dyn Neighbours>,
        accept: Accept,
        notes_max: usize,
    ) -> Self {
        let (desk, folders) = (Desk::new(notes_max), Folders::default());
        Self {
            spool,
            marker,
            journal,
            neighbours,
            accept,
            desk,
            folders,
            ledger: Mutex::new(Ledger(())),
        }
    }

    /// It guards an order, not data: a thread that panicked holding it has left nothing half done.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the journal knows of a file. A record that it cannot understand is none: the file is
    /// looked at anew.
    pub(super) fn known(&self, id: FileId) -> Result<Option<FileRecord>, JournalError> {
        match self.journal.file(id) {
            Err(JournalError::Record { .. }) => Ok(None),
            other => other,
        }
    }
}

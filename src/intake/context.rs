//! The context that the intake's threads share: its dependencies, the queue, and the lock on the
//! order of journal writes.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::clock::Clock;
use super::downstream::Downstream;
use super::folder_sync::FolderSync;
use super::journal_writer::JournalWriter;
use super::queue::IngestQueue;
use super::source::Source;
use crate::config::Accept;

/// The right to change files and names in the journal.
///
/// Its holder first applies all queued name events ([`super::rename::Renamer::catch_up`]), so that
/// the journal follows the order in which things happened although several threads write to it.
/// The lock guards this order, not data.
#[derive(Debug)]
pub(super) struct JournalWriteGuard<'a> {
    _lock: MutexGuard<'a, ()>,
}

/// The context of the intake's threads: the modules that it uses, and its own shared state.
#[derive(Debug)]
pub(super) struct IntakeContext {
    pub(super) source: Box<dyn Source>,
    pub(super) journal: Arc<dyn JournalWriter>,
    pub(super) downstream: Box<dyn Downstream>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) accept: Accept,
    pub(super) queue: IngestQueue,
    pub(super) folder_sync: FolderSync,
    journal_order: Mutex<()>,
}

impl IntakeContext {
    pub(super) fn new(
        source: Box<dyn Source>,
        journal: Arc<dyn JournalWriter>,
        downstream: Box<dyn Downstream>,
        clock: Arc<dyn Clock>,
        accept: Accept,
        pending_max: usize,
    ) -> Self {
        Self {
            source,
            journal,
            downstream,
            queue: IngestQueue::new(Arc::clone(&clock), pending_max),
            clock,
            accept,
            folder_sync: FolderSync::default(),
            journal_order: Mutex::new(()),
        }
    }

    /// Waits for the right to write to the journal.
    pub(super) fn lock_journal(&self) -> JournalWriteGuard<'_> {
        JournalWriteGuard {
            _lock: self.journal_order.lock(),
        }
    }
}

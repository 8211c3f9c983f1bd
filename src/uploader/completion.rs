//! Completion: the outcomes of uploads, written to the journal in groups. While other images are
//! being uploaded, a group is collected for a moment, so that a thousand small photos cost a few
//! commits; the last outcome, or a single one, does not wait.

use std::sync::Arc;

use heirloom_crash::CrashPoint;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::interfaces::{UploadJournal, UploadLibrary};
use super::limits::{COMMIT_DELAY, COMPLETIONS_PER_COMMIT_MAX};
use super::state::SharedState;
use super::types::{Candidate, DeferReason};
use crate::background::run_blocking;
use crate::journal::{FileId, FinishedUpload, UploadOutcome};

/// The outcome of one file.
#[derive(Debug)]
pub(super) struct Completion {
    pub(super) file: Candidate,
    pub(super) outcome: UploadOutcome,
}

/// The queue to the writer. When the last sender is dropped, the writer writes what is left and
/// ends.
pub(super) type CompletionQueue = mpsc::Sender<Completion>;

/// Writes completions to the journal until all senders are gone.
pub(super) struct CompletionWriter {
    pub(super) journal: Arc<dyn UploadJournal>,
    pub(super) library: Arc<dyn UploadLibrary>,
    pub(super) state: Arc<SharedState>,
}

impl CompletionWriter {
    /// The queue, and its receiver for [`Self::run`].
    pub(super) fn queue() -> (CompletionQueue, mpsc::Receiver<Completion>) {
        mpsc::channel(COMPLETIONS_PER_COMMIT_MAX)
    }

    pub(super) async fn run(self, mut queue: mpsc::Receiver<Completion>) {
        let mut group = Vec::new();
        while queue
            .recv_many(&mut group, COMPLETIONS_PER_COMMIT_MAX)
            .await
            > 0
        {
            self.collect(&mut group, &mut queue).await;
            self.commit(std::mem::take(&mut group)).await;
        }
    }

    /// Adds completions that arrive soon, as long as images are being uploaded.
    async fn collect(&self, group: &mut Vec<Completion>, queue: &mut mpsc::Receiver<Completion>) {
        let until = Instant::now() + COMMIT_DELAY;
        while group.len() < COMPLETIONS_PER_COMMIT_MAX && !self.state.lock().jobs.is_empty() {
            let places = COMPLETIONS_PER_COMMIT_MAX - group.len();
            match timeout_at(until, queue.recv_many(group, places)).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    async fn commit(&self, group: Vec<Completion>) {
        let outcomes: Vec<FinishedUpload> = group.iter().map(Completion::to_journal).collect();
        let journal = Arc::clone(&self.journal);
        heirloom_crash::reached(CrashPoint::ReceiptReceived);
        match run_blocking(move || journal.finish_uploads(outcomes)).await {
            Ok(applied) => {
                heirloom_crash::reached(CrashPoint::ReceiptRecorded);
                self.publish(&group, &applied);
                self.library.wake();
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "cannot write receipts to the journal; the files are checked again later"
                );
                self.defer(group.iter().map(|completion| completion.file.id));
            }
        }
        self.state.notify_changed();
    }

    fn publish(&self, group: &[Completion], applied: &[bool]) {
        let mut state = self.state.lock();
        for (completion, applied) in group.iter().zip(applied) {
            let Completion { file, outcome } = completion;
            state.jobs.release([file.id]);
            match outcome {
                _ if !*applied => {
                    tracing::debug!(path = %file.path, "the file changed; it is queued again");
                }
                UploadOutcome::BackedUp { .. } => {
                    state.remove_failure(&file.path);
                    tracing::debug!(
                        path = %file.path, fingerprint = %file.fingerprint, "backed up"
                    );
                }
                UploadOutcome::Failed { why } => {
                    tracing::warn!(
                        fingerprint = %file.fingerprint, why, "a file cannot be backed up"
                    );
                    state.add_failure(&file.path, why.clone());
                }
            }
        }
        drop(state);
        let count = applied.iter().filter(|applied| **applied).count();
        tracing::info!(files = count, "outcomes recorded");
    }

    /// Returns files to the queue for later. Nothing is lost: the server has the images, and the
    /// next check says so.
    fn defer(&self, ids: impl Iterator<Item = FileId>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        ids.for_each(|id| state.jobs.defer(id, DeferReason::Upload, now));
    }
}

impl Completion {
    fn to_journal(&self) -> FinishedUpload {
        FinishedUpload {
            id: self.file.id,
            stamp: self.file.stamp,
            fingerprint: self.file.fingerprint,
            outcome: self.outcome.clone(),
        }
    }
}

//! The upload context: what the scheduler and its tasks share, and the ways in which a job ends.

use std::error::Error;
use std::sync::Arc;

use heirloom_protocol::Fingerprint;
use heirloom_support::error_chain::display_chain;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::completion::{Completion, CompletionQueue};
use super::interfaces::{UploadJournal, UploadLibrary};
use super::limits::{LARGE_FILE_PROOFS_MAX, UPLOAD_SLOTS};
use super::state::{SharedState, UnsentBytes};
use super::transport::Transport;
use super::types::{Candidate, DeferReason, OpenError};
use crate::journal::UploadOutcome;
use crate::spool::Spool;

/// Shared by the scheduler and its tasks.
#[derive(Debug)]
pub(super) struct UploadContext {
    pub(super) spool: Spool,
    pub(super) journal: Arc<dyn UploadJournal>,
    pub(super) library: Arc<dyn UploadLibrary>,
    pub(super) transport: Transport,
    pub(super) state: Arc<SharedState>,
    /// Held by each image that is being uploaded.
    pub(super) slots: Semaphore,
    /// Held while a large file is read for its proof.
    pub(super) large_file_proofs: Semaphore,
    pub(super) completions: CompletionQueue,
}

impl UploadContext {
    pub(super) fn new(
        spool: Spool,
        journal: Arc<dyn UploadJournal>,
        library: Arc<dyn UploadLibrary>,
        transport: Transport,
        state: Arc<SharedState>,
        completions: CompletionQueue,
    ) -> Self {
        Self {
            spool,
            journal,
            library,
            transport,
            state,
            slots: Semaphore::new(UPLOAD_SLOTS),
            large_file_proofs: Semaphore::new(LARGE_FILE_PROOFS_MAX),
            completions,
        }
    }

    /// Ends a job: all files of the image are backed up, and no bytes were sent. `saved` selects
    /// the counter for them.
    pub(super) async fn complete_unsent(
        &self,
        image: Fingerprint,
        outcome: &UploadOutcome,
        saved: impl Fn(&mut UnsentBytes) -> &mut u64,
    ) {
        let files = {
            let mut state = self.state.lock();
            let files = state.jobs.finish(image);
            *saved(&mut state.saved) += files.iter().map(Candidate::size).sum::<u64>();
            files
        };
        self.complete(files, outcome).await;
    }

    /// Ends a job: all files of the image are backed up, and the bytes were sent once, for the
    /// first of them.
    pub(super) async fn complete_sent(&self, image: Fingerprint, outcome: &UploadOutcome) {
        let files = {
            let mut state = self.state.lock();
            let files = state.jobs.finish(image);
            state.saved.sync_list += files.iter().skip(1).map(Candidate::size).sum::<u64>();
            files
        };
        self.complete(files, outcome).await;
    }

    /// Ends a job: the image cannot be backed up.
    pub(super) async fn fail(&self, image: Fingerprint, why: String) {
        let files = self.state.lock().jobs.finish(image);
        self.complete(files, &UploadOutcome::Failed { why }).await;
    }

    async fn complete(&self, files: Vec<Candidate>, outcome: &UploadOutcome) {
        for file in files {
            let completion = Completion {
                file,
                outcome: outcome.clone(),
            };
            if self.completions.send(completion).await.is_err() {
                tracing::error!("the completion writer has ended; files stay pending");
            }
        }
    }

    /// Ends a job: its files return to the queue for later.
    pub(super) fn defer(&self, image: Fingerprint, why: &str, reason: DeferReason) {
        let now = Instant::now();
        let mut state = self.state.lock();
        for file in state.jobs.finish(image) {
            state.jobs.defer(file.id, reason, now);
            if reason == DeferReason::Upload {
                state.add_failure(&file.path, why.to_owned());
            }
        }
    }

    /// Ends a job: its files return to the queue as if nothing had happened.
    pub(super) fn requeue(&self, image: Fingerprint) {
        let mut state = self.state.lock();
        let files = state.jobs.finish(image);
        state.jobs.requeue(&files);
    }

    /// Defers one file of a job, because it is not what was queued (if it still exists, intake
    /// queues it again), or because the disk cannot read it (which is reported).
    pub(super) fn defer_source(&self, file: &Candidate, error: &OpenError) {
        let cause: &(dyn Error + 'static) = error;
        let mut state = self.state.lock();
        if error.is_disk_error() {
            tracing::warn!(fingerprint = %file.fingerprint, error = cause, "cannot read a file");
            state.add_failure(&file.path, display_chain(cause));
        } else {
            tracing::debug!(path = %file.path, error = cause, "the file is not sent now");
        }
        state.jobs.remove_source(file.id);
        state
            .jobs
            .defer(file.id, DeferReason::Upload, Instant::now());
    }
}

//! The desk: what every part of the line works with, and the ways in which a job leaves it.

use std::error::Error;
use std::sync::Arc;

use heirloom_protocol::Fingerprint;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::check::OpenError;
use super::completion::{Completion, CompletionQueue};
use super::job_table::{Candidate, Reason};
use super::state::{Saved, SharedState};
use super::transport::Transport;
use crate::journal::{Journal, UploadOutcome};
use crate::library::Library;
use crate::spool::Spool;
use heirloom_support::error_chain::display_chain;

/// Images being sent at a time: open files, and turns wanted from the budget.
pub(super) const LANES: usize = 16;

/// Shared by the line and its tasks.
#[derive(Debug)]
pub(super) struct UploadContext {
    pub(super) spool: Spool,
    pub(super) journal: Arc<Journal>,
    pub(super) library: Library,
    pub(super) transport: Transport,
    pub(super) board: Arc<SharedState>,
    pub(super) lanes: Semaphore,
    /// One film at a time is read for its proof: two would only keep the disk from the photos.
    pub(super) film_proofs: Semaphore,
    pub(super) ends: CompletionQueue,
}

impl UploadContext {
    /// All files of an image are backed up; `saved` says whose merit it is that the bytes were not
    /// sent.
    pub(super) async fn settle_all(
        &self,
        image: Fingerprint,
        outcome: &UploadOutcome,
        saved: impl Fn(&mut Saved) -> &mut u64,
    ) {
        let files = {
            let mut state = self.board.lock();
            let files = state.roster.finish(image);
            *saved(&mut state.saved) += files.iter().map(Candidate::size).sum::<u64>();
            files
        };
        self.end(files, outcome).await;
    }

    /// All files of an image are backed up after their bytes were sent: once, for the first of
    /// them.
    pub(super) async fn settle_sent(&self, image: Fingerprint, outcome: &UploadOutcome) {
        let files = {
            let mut state = self.board.lock();
            let files = state.roster.finish(image);
            state.saved.sync_list += files.iter().skip(1).map(Candidate::size).sum::<u64>();
            files
        };
        self.end(files, outcome).await;
    }

    /// No file of this content can be backed up.
    pub(super) async fn fail_all(&self, image: Fingerprint, why: String) {
        let files = self.board.lock().roster.finish(image);
        self.end(files, &UploadOutcome::Failed { why }).await;
    }

    async fn end(&self, files: Vec<Candidate>, outcome: &UploadOutcome) {
        for file in files {
            let end = Completion {
                file,
                outcome: outcome.clone(),
            };
            if self.ends.send(end).await.is_err() {
                tracing::error!("the settler is gone; files stay pending");
            }
        }
    }

    /// A job goes back to the queue, for later.
    pub(super) fn put_off_all(&self, image: Fingerprint, why: &str, reason: Reason) {
        let now = Instant::now();
        let mut state = self.board.lock();
        for file in state.roster.finish(image) {
            state.roster.put_off(file.id, reason, now);
            if reason == Reason::Own {
                state.note_failure(&file.path, why.to_owned());
            }
        }
    }

    /// A job goes back to the queue as if nothing had happened.
    pub(super) fn give_back_all(&self, image: Fingerprint) {
        let mut state = self.board.lock();
        let files = state.roster.finish(image);
        state.roster.give_back(&files);
    }

    /// A file is not what was queued: intake will see to it, if it is still there. Or the disk does
    /// not give it: then its owner is told.
    pub(super) fn put_off_source(&self, file: &Candidate, error: &OpenError) {
        let cause: &(dyn Error + 'static) = error;
        let mut state = self.board.lock();
        if error.is_of_the_disk() {
            tracing::warn!(fingerprint = %file.fingerprint, error = cause, "a file cannot be read now");
            state.note_failure(&file.path, display_chain(cause));
        } else {
            tracing::debug!(path = %file.path, error = cause, "not sent from this file now");
        }
        state.roster.let_go(file.id);
        state.roster.put_off(file.id, Reason::Own, Instant::now());
    }
}

//! Settling: the ends of deliveries, written to the journal in groups. While other images are under
//! way a group gathers for a moment, so a thousand small photos cost a few commits; the last one,
//! or a single one, does not wait.

use std::sync::Arc;
use std::time::Duration;

use heirloom_crash::CrashPoint;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::job_table::{Candidate, Reason};
use super::state::SharedState;
use crate::background::run_blocking;
use crate::journal::{FileId, FinishedUpload, Journal, UploadOutcome};
use crate::library::Library;

/// CompletionQueue written in one transaction, at most, and ends that may wait for it.
const GROUP_MAX: usize = 500;

/// How long a group gathers while other images are under way. A commit syncs the disk, and so
/// delays every shard that is just being read or stored there; nobody misses the receipt meanwhile,
/// and a crash costs one check.
const GATHERING: Duration = Duration::from_millis(200);

/// The way to the settler. When the last one is dropped, what is left is written and the settler
/// ends.
pub(super) type CompletionQueue = mpsc::Sender<Completion>;

/// How one file ended.
#[derive(Debug)]
pub(super) struct Completion {
    pub(super) file: Candidate,
    pub(super) outcome: UploadOutcome,
}

/// Settles until all senders are gone.
pub(super) struct CompletionWriter {
    pub(super) journal: Arc<Journal>,
    pub(super) library: Library,
    pub(super) board: Arc<SharedState>,
}

impl CompletionWriter {
    /// The settler, to be spawned, and the way to it.
    pub(super) fn open() -> (CompletionQueue, mpsc::Receiver<Completion>) {
        mpsc::channel(GROUP_MAX)
    }

    pub(super) async fn run(self, mut ends: mpsc::Receiver<Completion>) {
        let mut group = Vec::new();
        while ends.recv_many(&mut group, GROUP_MAX).await > 0 {
            self.gather(&mut group, &mut ends).await;
            self.settle(std::mem::take(&mut group)).await;
        }
    }

    /// Adds what ends soon, as long as there is more to come.
    async fn gather(&self, group: &mut Vec<Completion>, ends: &mut mpsc::Receiver<Completion>) {
        let until = Instant::now() + GATHERING;
        while group.len() < GROUP_MAX && self.board.lock().roster.jobs() > 0 {
            match timeout_at(until, ends.recv_many(group, GROUP_MAX - group.len())).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    async fn settle(&self, group: Vec<Completion>) {
        let settled: Vec<FinishedUpload> = group.iter().map(Completion::settled).collect();
        let journal = Arc::clone(&self.journal);
        heirloom_crash::reached(CrashPoint::ReceiptReceived);
        match run_blocking(move || journal.finish_uploads(settled)).await {
            Ok(done) => {
                heirloom_crash::reached(CrashPoint::ReceiptRecorded);
                self.announce(&group, &done);
                self.library.wake();
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the journal did not take receipts"
                );
                self.put_off(group.iter().map(|end| end.file.id));
            }
        }
        self.board.changed();
    }

    fn announce(&self, group: &[Completion], done: &[bool]) {
        let mut state = self.board.lock();
        for (end, done) in group.iter().zip(done) {
            state.roster.release([end.file.id]);
            match &end.outcome {
                _ if !*done => {
                    tracing::debug!(path = %end.file.path, "changed since; it is queued again");
                }
                UploadOutcome::BackedUp { .. } => {
                    state.forget_failure(&end.file.path);
                    tracing::debug!(path = %end.file.path, fingerprint = %end.file.fingerprint, "backed up");
                }
                UploadOutcome::Failed { why } => {
                    tracing::warn!(fingerprint = %end.file.fingerprint, why, "a file cannot be backed up");
                    state.note_failure(&end.file.path, why.clone());
                }
            }
        }
        drop(state);
        let count = done.iter().filter(|done| **done).count();
        tracing::info!(files = count, "settled");
    }

    /// Nothing is lost: the server has the images, and the next check says so.
    fn put_off(&self, ids: impl Iterator<Item = FileId>) {
        let now = tokio::time::Instant::now();
        let mut state = self.board.lock();
        ids.for_each(|id| state.roster.put_off(id, Reason::Own, now));
    }
}

impl Completion {
    fn settled(&self) -> FinishedUpload {
        FinishedUpload {
            id: self.file.id,
            stamp: self.file.stamp,
            fingerprint: self.file.fingerprint,
            outcome: self.outcome.clone(),
        }
    }
}

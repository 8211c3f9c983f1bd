//! The scheduler: one task that decides what happens next, and many tasks that do it. The next
//! check runs while images of the last one are being uploaded; every result comes back here.

use std::collections::HashMap;
use std::sync::Arc;

use heirloom_protocol::message::{CheckedImage, Limits, Receipt, Session};
use heirloom_protocol::{ErrorCode, Fingerprint};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::batch::{BatchPlan, FinishedBatch, upload_batch};
use super::check::CheckBatch;
use super::context::UploadContext;
use super::job::{JobOutcome, upload_image, upload_large_file};
use super::limits::{
    CHECK_FILES_FIRST, CHECK_FILES_MAX, CLAIMED_BYTES_LOW, CLAIMED_IMAGES_LOW, IDLE_BEFORE_FREEING,
    JOURNAL_RETRY_DELAY, NOTHING_DUE,
};
use super::offline::OfflineState;
use super::types::{Candidate, CheckError, Connection, DeferReason, UploadError};
use crate::journal::UploadOutcome;
use crate::remote::{Backoff, RemoteError};

/// The result of a task.
#[derive(Debug)]
enum TaskResult {
    Checked(Result<CheckBatch, CheckError>),
    JobEnded(Fingerprint, JobOutcome),
    BatchEnded(FinishedBatch, Limits),
    Probed(Result<Session, RemoteError>),
}

/// Starts checks, uploads and probes, and acts on their results.
pub(super) struct Scheduler {
    context: Arc<UploadContext>,
    wake: Arc<Notify>,
    tasks: JoinSet<TaskResult>,
    /// Whether a check is running.
    checking: bool,
    /// Whether the queue may have files for us.
    queue_changed: bool,
    /// How many files the next check may have.
    check_files: usize,
    /// Set after the journal failed: no check before this.
    journal_retry_at: Option<Instant>,
    /// Set while the server cannot be used.
    offline: Option<OfflineState>,
    /// Whether a probe is running.
    probing: bool,
    backoff: Backoff,
}

impl Scheduler {
    pub(super) fn new(context: Arc<UploadContext>, wake: Arc<Notify>) -> Self {
        Self {
            context,
            wake,
            tasks: JoinSet::new(),
            checking: false,
            queue_changed: true,
            check_files: CHECK_FILES_FIRST,
            journal_retry_at: None,
            offline: None,
            probing: false,
            backoff: Backoff::default(),
        }
    }

    /// Works until dropped; the tasks are dropped with it.
    pub(super) async fn run(mut self) {
        let wake = Arc::clone(&self.wake);
        let mut requeued = self.context.library.requeued();
        loop {
            self.start_due_tasks();
            let deadline = self.next_deadline();
            let buffers = self.context.transport.buffers().clone();
            let idle = self.tasks.is_empty() && !buffers.is_empty();
            tokio::select! {
                Some(result) = self.tasks.join_next(), if !self.tasks.is_empty() => match result {
                    Ok(result) => self.on_result(result).await,
                    Err(error) => self.on_task_panic(&error),
                },
                () = wake.notified() => {
                    self.queue_changed = true;
                    if let Some(offline) = &mut self.offline {
                        offline.probe_soon();
                    }
                }
                Ok(()) = requeued.changed() => self.queue_changed = true,
                () = sleep_until(deadline) => self.queue_changed = true,
                () = sleep(IDLE_BEFORE_FREEING), if idle => buffers.free_idle(),
            }
        }
    }

    /// Starts a probe while offline, or else the next check.
    fn start_due_tasks(&mut self) {
        let now = Instant::now();
        if let Some(offline) = &self.offline {
            if offline.probe_at <= now && !self.probing {
                self.probing = true;
                let context = Arc::clone(&self.context);
                self.tasks.spawn(async move {
                    TaskResult::Probed(context.transport.server().renewed_session().await)
                });
            }
            return;
        }
        let journal_ready = self.journal_retry_at.is_none_or(|until| until <= now);
        if self.queue_changed && !self.checking && journal_ready && self.has_capacity() {
            self.checking = true;
            self.queue_changed = false;
            let (context, files) = (Arc::clone(&self.context), self.check_files);
            self.tasks
                .spawn(async move { TaskResult::Checked(CheckBatch::run(context, files).await) });
        }
    }

    /// Whether so little is claimed that the next check should start.
    fn has_capacity(&self) -> bool {
        let jobs = &self.context.state.lock().jobs;
        jobs.len() < CLAIMED_IMAGES_LOW || jobs.claimed_bytes() < CLAIMED_BYTES_LOW
    }

    /// When something is due even if nothing happens until then.
    fn next_deadline(&self) -> Instant {
        let now = Instant::now();
        let probe = self
            .offline
            .as_ref()
            .filter(|_| !self.probing)
            .map(|offline| offline.probe_at);
        // Once the queue is to be read, no deadline can bring that about again.
        let retry = self
            .context
            .state
            .lock()
            .jobs
            .next_retry()
            .filter(|_| self.offline.is_none() && !self.queue_changed);
        let journal = self.journal_retry_at.filter(|until| *until > now);
        [probe, retry, journal]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(now + NOTHING_DUE)
    }

    async fn on_result(&mut self, result: TaskResult) {
        match result {
            TaskResult::Checked(checked) => {
                self.checking = false;
                match checked {
                    Ok(batch) => self.dispatch(batch).await,
                    Err(CheckError::Remote(error)) => self.go_offline(&error),
                    Err(CheckError::Journal(error)) => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "cannot read the upload queue from the journal; trying again soon"
                        );
                        self.journal_retry_at = Some(Instant::now() + JOURNAL_RETRY_DELAY);
                    }
                }
            }
            TaskResult::JobEnded(image, outcome) => {
                self.queue_changed = true;
                self.finish_job(image, outcome).await;
            }
            TaskResult::BatchEnded(outcome, limits) => {
                self.queue_changed = true;
                self.finish_batch(outcome, limits).await;
            }
            TaskResult::Probed(session) => self.on_probed(session).await,
        }
    }

    /// Starts the upload of the images that the server does not have, and completes the others.
    async fn dispatch(&mut self, batch: CheckBatch) {
        self.queue_changed |= batch.made_progress;
        self.check_files = if batch.queue_has_more {
            (self.check_files * 2).min(CHECK_FILES_MAX)
        } else {
            CHECK_FILES_FIRST
        };
        self.context.state.set_connection(&Connection::Online);
        for file in batch.large_files {
            self.start_large_file(file, batch.session.clone());
        }
        let limits = batch.session.limits;
        let (absent, others): (Vec<_>, Vec<_>) = batch
            .checked
            .into_iter()
            .partition(|(_, checked)| matches!(checked, CheckedImage::Absent { .. }));
        let photos = absent.into_iter().map(|(photo, _)| photo);
        // If one photo makes a batch fail, it must not make the others fail a second time.
        let (deferred_before, fresh) = {
            let jobs = &self.context.state.lock().jobs;
            photos.partition::<Vec<_>, _>(|photo| jobs.was_deferred(photo.id))
        };
        let plan = BatchPlan::new(fresh, self.context.transport.shard_bytes(), limits);
        for photos in plan.batches {
            self.start_batch(photos, limits);
        }
        for photo in plan.alone.into_iter().chain(deferred_before) {
            self.start_upload(photo, limits);
        }
        for (photo, checked) in others {
            match checked {
                CheckedImage::Owned { receipt } => {
                    let outcome = JobOutcome::AlreadyStored(receipt);
                    self.finish_job(photo.fingerprint, outcome).await;
                }
                CheckedImage::Linked { receipt } => {
                    let outcome = JobOutcome::Linked(receipt);
                    self.finish_job(photo.fingerprint, outcome).await;
                }
                CheckedImage::Interrupted { .. } | CheckedImage::Absent { .. } => {
                    self.start_job(photo, checked, limits);
                }
            }
        }
    }

    fn start_large_file(&mut self, file: Candidate, session: Session) {
        let (context, image) = (Arc::clone(&self.context), file.fingerprint);
        self.tasks.spawn(async move {
            TaskResult::JobEnded(image, upload_large_file(context, file, session).await)
        });
    }

    fn start_batch(&mut self, photos: Vec<Candidate>, limits: Limits) {
        let context = Arc::clone(&self.context);
        self.tasks.spawn(async move {
            TaskResult::BatchEnded(upload_batch(context, photos).await, limits)
        });
    }

    /// Starts the upload of an image of which the server has nothing.
    fn start_upload(&mut self, photo: Candidate, limits: Limits) {
        let fingerprint = photo.fingerprint;
        self.start_job(photo, CheckedImage::Absent { fingerprint }, limits);
    }

    fn start_job(&mut self, photo: Candidate, checked: CheckedImage, limits: Limits) {
        let (context, image) = (Arc::clone(&self.context), photo.fingerprint);
        self.tasks.spawn(async move {
            TaskResult::JobEnded(image, upload_image(context, photo, checked, limits).await)
        });
    }

    /// Ends a batch. Photos that did not arrive in it are sent alone, unless the network or the
    /// server is at fault.
    async fn finish_batch(&mut self, batch: FinishedBatch, limits: Limits) {
        let photos = batch.photos.into_iter();
        match batch.receipts {
            Ok(receipts) => {
                let receipts: HashMap<Fingerprint, Receipt> = receipts
                    .into_iter()
                    .map(|receipt| (receipt.fingerprint, receipt))
                    .collect();
                for photo in photos {
                    match receipts.get(&photo.fingerprint) {
                        Some(receipt) => {
                            self.finish_job(photo.fingerprint, JobOutcome::Sent(*receipt))
                                .await;
                        }
                        None => self.start_upload(photo, limits),
                    }
                }
            }
            // Not all of them fit into what is left of the user's quota; some may.
            Err(error) if error.code() == Some(ErrorCode::QuotaExceeded) => {
                photos.for_each(|photo| self.start_upload(photo, limits));
            }
            Err(error) if error.is_transient() => {
                photos.for_each(|photo| self.retry_later(photo.fingerprint, &error));
            }
            Err(error) => {
                tracing::warn!(
                    why = error.chain(),
                    "the server refused a batch; its photos are sent one by one"
                );
                photos.for_each(|photo| self.start_upload(photo, limits));
            }
        }
    }

    /// Ends a job: completes, defers or fails its files.
    async fn finish_job(&mut self, image: Fingerprint, outcome: JobOutcome) {
        match outcome {
            JobOutcome::Sent(receipt) => {
                self.backoff.succeeded();
                self.context
                    .complete_sent(image, &UploadOutcome::BackedUp { receipt })
                    .await;
            }
            JobOutcome::AlreadyStored(receipt) => {
                let outcome = UploadOutcome::BackedUp { receipt };
                self.context
                    .complete_unsent(image, &outcome, |saved| &mut saved.check)
                    .await;
            }
            JobOutcome::Linked(receipt) => {
                let outcome = UploadOutcome::BackedUp { receipt };
                self.context
                    .complete_unsent(image, &outcome, |saved| &mut saved.instant_upload)
                    .await;
            }
            JobOutcome::NoSource => self.context.requeue(image),
            JobOutcome::Failed(UploadError::Remote(error))
                if error.is_transient() || error.is_corrupted_in_transit() =>
            {
                self.retry_later(image, &error);
            }
            JobOutcome::Failed(error) => {
                let why = match &error {
                    UploadError::Remote(error) => error.chain(),
                    other => other.to_string(),
                };
                self.context.fail(image, why).await;
            }
        }
    }

    fn retry_later(&mut self, image: Fingerprint, error: &RemoteError) {
        let why = error.chain();
        if error.is_server_wide() || matches!(error, RemoteError::LoginNeeded) {
            self.context.requeue(image);
            self.go_offline(error);
        } else if error.is_offline() {
            self.context.defer(image, &why, DeferReason::Network);
            self.go_offline(error);
        } else {
            tracing::warn!(%image, why, "cannot upload an image now; trying again later");
            self.context.defer(image, &why, DeferReason::Upload);
        }
    }

    /// Stops new work until a probe succeeds.
    fn go_offline(&mut self, error: &RemoteError) {
        self.queue_changed = true;
        if self.offline.is_some() {
            return;
        }
        let offline = OfflineState::new(error, &mut self.backoff);
        tracing::warn!(
            why = error.chain(),
            "the server cannot be used now; everything stays queued"
        );
        self.context.state.set_connection(&offline.connection);
        self.offline = Some(offline);
    }

    /// Takes in the result of a probe: stays offline, or goes online again.
    async fn on_probed(&mut self, session: Result<Session, RemoteError>) {
        self.probing = false;
        let Some(offline) = &mut self.offline else {
            return;
        };
        if let Err(error) = session {
            offline.on_probe_failed(&error, &mut self.backoff);
            self.context.state.set_connection(&offline.connection);
            return;
        }
        if offline.confirmed {
            self.context.state.lock().jobs.reset_network_backoff();
            self.backoff.succeeded();
        }
        self.go_online().await;
    }

    async fn go_online(&mut self) {
        self.offline = None;
        self.queue_changed = true;
        self.context.transport.detect_link().await;
        self.context.state.set_connection(&Connection::Online);
        tracing::info!("the server can be used again");
        self.context.library.wake();
    }

    /// Goes on after a task panicked, which is a bug. Its image stays claimed, and is tried again
    /// after a restart.
    fn on_task_panic(&mut self, error: &tokio::task::JoinError) {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "an upload task panicked; its file is tried again after a restart"
        );
        self.checking = false;
        self.probing = false;
    }
}

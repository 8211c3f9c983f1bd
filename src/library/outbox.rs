//! Sends the journal's outbox to the server while it can be reached: in order, one batch at a time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use heirloom_crash::CrashPoint;
use heirloom_protocol::route::LIBRARY_CHANGES_MAX;
use heirloom_protocol::{ErrorCode, Fingerprint, LibraryPath};
use heirloom_support::backoff::Backoff;
use heirloom_support::error_chain::display_chain;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::change_batch::{ChangeBatch, ChangeOutcomes, base_path};
use super::error::LibraryError;
use super::requeue::{find_files, requeue_images};
use super::server_binding::ServerBinding;
use crate::background::run_blocking;
use crate::journal::{FileState, Journal, NameChange};
use crate::remote::{Remote, RemoteError};

/// How often the outbox is checked for more changes before a batch is sent.
const BURST_POLL: Duration = Duration::from_millis(50);
/// The longest wait for more changes before a batch is sent. It pays because the headers of a
/// request are as long as three names.
const BURST_WAIT_MAX: Duration = Duration::from_secs(2);
/// How often a change may conflict, while two devices overwrite each other's, before ours is
/// dropped.
const CONFLICTS_MAX: u32 = 5;
/// While the server does not answer, new changes cause a request, but not more often than this.
const RETRY_GAP: Duration = Duration::from_secs(3);
/// Batches of at least this many changes pause the change feed, which would bring each of them
/// back. For fewer, requesting the feed again costs more than that.
const PAUSE_FEED_FROM: usize = 4;

/// Sends the outbox.
pub(super) struct Outbox {
    journal: Arc<Journal>,
    binding: Arc<ServerBinding>,
    remote: Remote,
    wake: Arc<Notify>,
    signals: OutboxSignals,
    feed: FeedFlag,
    backoff: Backoff,
    /// How often each change has conflicted, by its number in the outbox.
    conflicts: HashMap<u64, u32>,
    /// Maximum number of changes in the next batch: fewer after a batch that the server rejected.
    batch_max: usize,
}

/// Whether the change feed is followed on this device.
#[derive(Clone, Debug, Default)]
pub(super) struct FeedFlag(pub(super) Arc<AtomicBool>);

/// Signals to other tasks.
pub(super) struct OutboxSignals {
    /// Changed when files were queued for upload again.
    pub(super) requeued: watch::Sender<u64>,
    /// Changed when changes have left the outbox.
    pub(super) confirmed: watch::Sender<u64>,
    /// Whether a large batch is being sent.
    pub(super) sending: watch::Sender<bool>,
}

impl Outbox {
    pub(super) fn new(
        journal: Arc<Journal>,
        binding: Arc<ServerBinding>,
        remote: Remote,
        wake: Arc<Notify>,
        signals: OutboxSignals,
        feed: FeedFlag,
    ) -> Self {
        Self {
            journal,
            binding,
            remote,
            wake,
            signals,
            feed,
            backoff: Backoff::default(),
            conflicts: HashMap::new(),
            batch_max: usize::MAX,
        }
    }

    /// Sends until dropped. Cancel safe.
    pub(super) async fn run(mut self) {
        loop {
            match self.send_batch().await {
                Ok(0) => self.wake.notified().await,
                Ok(_) => self.backoff.succeeded(),
                Err(error) => self.pause_after(&error).await,
            }
            self.wait_for_burst().await;
        }
    }

    /// Waits while more changes are to be expected, until a batch is full.
    async fn wait_for_burst(&self) {
        let until = Instant::now() + BURST_WAIT_MAX;
        loop {
            let queued = self.journal.names_queued();
            sleep(BURST_POLL).await;
            let more_expected =
                self.journal.names_queued() > queued || self.journal.tally().pending.files > 0;
            if !more_expected || queued >= LIBRARY_CHANGES_MAX as u64 || Instant::now() >= until {
                return;
            }
        }
    }

    /// Waits until trying again makes sense.
    async fn pause_after(&mut self, error: &LibraryError) {
        let retry_after = match error {
            LibraryError::Remote(error) => error.retry_after(),
            LibraryError::Journal(_) => None,
        };
        let pause = self.backoff.failed(retry_after);
        tracing::debug!(
            error = error as &dyn std::error::Error,
            pause_s = pause.as_secs(),
            "could not send changes of names"
        );
        let now = Instant::now();
        let (due, early) = (
            now + pause,
            now + pause.min(retry_after.map_or(RETRY_GAP, |_| pause)),
        );
        tokio::select! {
            () = sleep_until(due) => {}
            () = async { self.wake.notified().await; sleep_until(early).await } => {}
        }
    }

    /// Sends the next batch; returns how many changes it had.
    async fn send_batch(&mut self) -> Result<usize, LibraryError> {
        let sent = self.send_next().await;
        self.signals.sending.send_if_modified(std::mem::take);
        sent
    }

    async fn send_next(&mut self) -> Result<usize, LibraryError> {
        if self.journal.names_queued() == 0 {
            return Ok(0);
        }
        let limit = self
            .binding
            .session()
            .await?
            .limits
            .library_changes_max
            .min(self.batch_max);
        let binding = Arc::clone(&self.binding);
        let _exchange = binding.lock_exchange().await;
        let journal = Arc::clone(&self.journal);
        let batch = run_blocking(move || ChangeBatch::from_outbox(&journal, limit)).await?;
        if batch.is_empty() {
            return Ok(0);
        }
        let count = batch.len();
        if count >= PAUSE_FEED_FROM {
            self.signals.sending.send_replace(true);
        }
        match self.remote.change_library(&batch.message()).await {
            Ok(outcomes) => {
                heirloom_crash::reached(CrashPoint::NamesAcknowledged);
                self.apply_outcomes(batch.classify(outcomes.outcomes))
                    .await?;
                self.batch_max = usize::MAX;
            }
            Err(error) if is_about_content(&error) => self.shrink_batch(&batch, &error).await?,
            Err(error) => return Err(error.into()),
        }
        Ok(count)
    }

    /// The server rejected the whole batch: halves it until the one bad change is found, and drops
    /// that.
    async fn shrink_batch(
        &mut self,
        batch: &ChangeBatch,
        error: &RemoteError,
    ) -> Result<(), LibraryError> {
        self.batch_max = (batch.len() / 2).max(1);
        let Some((number, change)) = batch.single() else {
            return Ok(());
        };
        tracing::error!(
            why = display_chain(error),
            "the server cannot read a change of a name; the change is dropped"
        );
        tracing::debug!(?change, "dropped");
        self.batch_max = usize::MAX;
        self.confirm(vec![number], Vec::new()).await
    }

    async fn apply_outcomes(&mut self, mut outcomes: ChangeOutcomes) -> Result<(), LibraryError> {
        let mut requeued = Vec::new();
        for (number, change, current) in std::mem::take(&mut outcomes.conflicts) {
            self.rebase(number, change, current, &mut outcomes, &mut requeued)
                .await?;
        }
        for (number, change, code) in std::mem::take(&mut outcomes.refused) {
            self.drop_refused(&change, code).await?;
            outcomes.done.push(number);
        }
        for number in &outcomes.done {
            self.conflicts.remove(number);
        }
        if !outcomes.done.is_empty() {
            tracing::info!(names = outcomes.done.len(), "the library has new names");
        }
        if !requeued.is_empty() {
            let journal = Arc::clone(&self.journal);
            run_blocking(move || journal.queue_names(requeued)).await?;
        }
        if self.feed.0.load(Ordering::Acquire) && !outcomes.own_versions.is_empty() {
            let (journal, own_versions) = (
                Arc::clone(&self.journal),
                std::mem::take(&mut outcomes.own_versions),
            );
            run_blocking(move || journal.skip_own_changes(own_versions)).await?;
        }
        self.confirm(outcomes.done, outcomes.versions).await
    }

    async fn confirm(
        &self,
        done: Vec<u64>,
        versions: Vec<(LibraryPath, Option<u64>)>,
    ) -> Result<(), LibraryError> {
        let journal = Arc::clone(&self.journal);
        run_blocking(move || journal.confirm_names(done, versions)).await?;
        heirloom_crash::reached(CrashPoint::NamesDequeued);
        self.signals.confirmed.send_modify(|count| *count += 1);
        Ok(())
    }

    /// A change was based on an outdated version: bases it on the current one, to be sent again.
    /// Changes that replace it are added to `requeued`.
    async fn rebase(
        &mut self,
        number: u64,
        change: NameChange,
        current: u64,
        outcomes: &mut ChangeOutcomes,
        requeued: &mut Vec<NameChange>,
    ) -> Result<(), LibraryError> {
        if matches!(change, NameChange::Put { .. }) && self.must_be_applied_first(current).await? {
            return Ok(());
        }
        outcomes
            .versions
            .push((base_path(&change).clone(), (current > 0).then_some(current)));
        let conflicts = self.conflicts.entry(number).or_insert(0);
        *conflicts += 1;
        if *conflicts > CONFLICTS_MAX {
            tracing::warn!("another device keeps changing the same name; our change is dropped");
            tracing::debug!(?change, "dropped");
            outcomes.done.push(number);
            return Ok(());
        }
        match change {
            // Sent again with the version just learned.
            NameChange::Put { .. } => {}
            NameChange::Move { .. } | NameChange::Remove { .. } if current > 0 => {}
            // The path does not exist any more, which is what was wanted.
            NameChange::Remove { .. } => outcomes.done.push(number),
            // There is nothing to move; the file here is put under the new name instead.
            NameChange::Move { to, .. } => {
                outcomes.done.push(number);
                requeued.extend(self.put_of(&to).await?);
            }
        }
        Ok(())
    }

    /// Whether the library's current version has to be applied here, under whatever name, before
    /// our change replaces it: otherwise it would never be seen again. Until then, the change is
    /// sent again.
    async fn must_be_applied_first(&self, current: u64) -> Result<bool, LibraryError> {
        if current == 0 || !self.feed.0.load(Ordering::Acquire) {
            return Ok(false);
        }
        let journal = Arc::clone(&self.journal);
        Ok(run_blocking(move || journal.feed_position()).await? < current)
    }

    /// The server refused a change for good.
    async fn drop_refused(&self, change: &NameChange, code: ErrorCode) -> Result<(), LibraryError> {
        match change {
            NameChange::Put { fingerprint, .. } if code == ErrorCode::ImageNotHeld => {
                self.requeue_lost(*fingerprint).await
            }
            NameChange::Put { .. } | NameChange::Move { .. } | NameChange::Remove { .. } => {
                tracing::error!(%code, "the server refused a change of a name; it is dropped");
                tracing::debug!(?change, "dropped");
                Ok(())
            }
        }
    }

    /// The server does not hold an image for which it has given us a receipt. The receipt is
    /// forgotten and its files are queued for upload again; their names follow after the upload.
    async fn requeue_lost(&self, image: Fingerprint) -> Result<(), LibraryError> {
        tracing::error!(%image, "the server lost an image that it had confirmed; sending it again");
        let journal = Arc::clone(&self.journal);
        run_blocking(move || requeue_images(&journal, &HashSet::from([image]))).await?;
        self.signals.requeued.send_modify(|count| *count += 1);
        Ok(())
    }

    /// The change that puts the file at `path` into the library; nothing if there is no backed-up
    /// file.
    async fn put_of(&self, path: &LibraryPath) -> Result<Option<NameChange>, LibraryError> {
        let (journal, path) = (Arc::clone(&self.journal), path.clone());
        let found =
            run_blocking(move || find_files(&journal, |record| record.path == path)).await?;
        Ok(found
            .into_iter()
            .find_map(|(_, record)| match record.state {
                FileState::BackedUp { fingerprint } | FileState::Placeholder { fingerprint } => {
                    Some(NameChange::Put {
                        path: record.path,
                        fingerprint,
                        mtime_ns: record.stamp.mtime_ns,
                    })
                }
                // Its name follows when it is uploaded, if it ever is.
                FileState::Pending { .. } | FileState::Local { .. } | FileState::Failed { .. } => {
                    None
                }
            }))
    }
}

/// Whether the server rejected the content of the request, so that sending it again is useless.
fn is_about_content(error: &RemoteError) -> bool {
    matches!(
        error.code(),
        Some(
            ErrorCode::MalformedBody
                | ErrorCode::MalformedPath
                | ErrorCode::MalformedFingerprint
                | ErrorCode::BodyTooLarge
                | ErrorCode::BatchTooLarge
        )
    )
}

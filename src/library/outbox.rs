//! The outbox: empties itself while the server is there, in order, one batch at a time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use heirloom_crash::CrashPoint;
use heirloom_protocol::route::LIBRARY_CHANGES_MAX;
use heirloom_protocol::{ErrorCode, Fingerprint, LibraryPath};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::LibraryError;
use super::change_batch::{Batch, Verdict, based_on};
use super::requeue::{promise_anew, search};
use super::server_binding::Bond;
use crate::background::run_blocking;
use crate::journal::{FileState, Journal, NameChange};
use crate::remote::{Backoff, Remote, RemoteError};

/// How often it is looked whether more changes came.
const LULL: Duration = Duration::from_millis(50);
/// Changes are let come together for no longer than this: a request's headers are as long as three
/// names.
const GATHERING: Duration = Duration::from_secs(2);
/// Changes that two devices may take turns in overwriting each other's, before ours is dropped.
const CONFLICTS_MAX: u32 = 5;
/// While the server is away, new changes make us look, but not more often than this.
const LOOK_GAP: Duration = Duration::from_secs(3);
/// From so many changes in a batch on, the change feed is not followed meanwhile: it would bring
/// each of them back. For fewer, asking the feed anew costs more than that.
const QUIET_FROM: usize = 4;

/// Sends the outbox.
pub(super) struct Outbox {
    journal: Arc<Journal>,
    bond: Arc<Bond>,
    remote: Remote,
    wake: Arc<Notify>,
    bells: Bells,
    following: Following,
    backoff: Backoff,
    /// How often each change met something else than it was based on.
    conflicts: HashMap<u64, u32>,
    /// Changes in the next batch, at most: fewer after one that the server could not read.
    batch_max: usize,
}

/// Whether what other devices change is shown here.
#[derive(Clone, Debug, Default)]
pub(super) struct Following(pub(super) Arc<AtomicBool>);

/// What is rung for others.
pub(super) struct Bells {
    /// Files went back to the upload queue.
    pub(super) requeued: watch::Sender<u64>,
    /// Changes left the outbox.
    pub(super) confirmed: watch::Sender<u64>,
    /// Whether many changes are just being sent.
    pub(super) sending: watch::Sender<bool>,
}

impl Outbox {
    pub(super) fn new(
        journal: Arc<Journal>,
        bond: Arc<Bond>,
        remote: Remote,
        wake: Arc<Notify>,
        bells: Bells,
        following: Following,
    ) -> Self {
        Self {
            journal,
            bond,
            remote,
            wake,
            bells,
            following,
            backoff: Backoff::default(),
            conflicts: HashMap::new(),
            batch_max: usize::MAX,
        }
    }

    /// Sends until dropped. May be dropped at any point.
    pub(super) async fn run(mut self) {
        loop {
            match self.send_batch().await {
                Ok(0) => self.wake.notified().await,
                Ok(_) => self.backoff.succeeded(),
                Err(error) => self.rest(&error).await,
            }
            self.gather().await;
        }
    }

    /// Lets a burst come together: until a batch is full, or no more is to be expected soon.
    async fn gather(&self) {
        let until = Instant::now() + GATHERING;
        loop {
            let queued = self.journal.names_queued();
            sleep(LULL).await;
            let more_to_come =
                self.journal.names_queued() > queued || self.journal.tally().pending.files > 0;
            if !more_to_come || queued >= LIBRARY_CHANGES_MAX as u64 || Instant::now() >= until {
                return;
            }
        }
    }

    /// Waits until it makes sense to try again.
    async fn rest(&mut self, error: &LibraryError) {
        let asked = match error {
            LibraryError::Remote(error) => error.retry_after(),
            LibraryError::Journal(_) => None,
        };
        let wait = self.backoff.failed(asked);
        tracing::debug!(
            error = error as &dyn std::error::Error,
            wait_s = wait.as_secs(),
            "names wait"
        );
        let now = Instant::now();
        let (due, early) = (now + wait, now + wait.min(asked.map_or(LOOK_GAP, |_| wait)));
        tokio::select! {
            () = sleep_until(due) => {}
            () = async { self.wake.notified().await; sleep_until(early).await } => {}
        }
    }

    /// Sends the next batch; how many changes it had.
    async fn send_batch(&mut self) -> Result<usize, LibraryError> {
        let sent = self.send_next().await;
        self.bells.sending.send_if_modified(std::mem::take);
        sent
    }

    async fn send_next(&mut self) -> Result<usize, LibraryError> {
        if self.journal.names_queued() == 0 {
            return Ok(0);
        }
        let limit = self
            .bond
            .session()
            .await?
            .limits
            .library_changes_max
            .min(self.batch_max);
        let bond = Arc::clone(&self.bond);
        let _turn = bond.turn().await;
        let journal = Arc::clone(&self.journal);
        let batch = run_blocking(move || Batch::gather(&journal, limit)).await?;
        if batch.is_empty() {
            return Ok(0);
        }
        let count = batch.len();
        if count >= QUIET_FROM {
            self.bells.sending.send_replace(true);
        }
        match self.remote.change_library(&batch.message()).await {
            Ok(outcomes) => {
                heirloom_crash::reached(CrashPoint::NamesAcknowledged);
                self.carry_out(batch.judge(outcomes.outcomes)).await?;
                self.batch_max = usize::MAX;
            }
            Err(error) if is_about_content(&error) => self.narrow(&batch, &error).await?,
            Err(error) => return Err(error.into()),
        }
        Ok(count)
    }

    /// The server could not read the batch: halves it until the one change is found, and drops
    /// that.
    async fn narrow(&mut self, batch: &Batch, error: &RemoteError) -> Result<(), LibraryError> {
        self.batch_max = (batch.len() / 2).max(1);
        let Some((number, change)) = batch.only() else {
            return Ok(());
        };
        tracing::error!(
            why = error.chain(),
            "the server cannot read a change of a name; it is dropped"
        );
        tracing::debug!(?change, "dropped");
        self.batch_max = usize::MAX;
        self.confirm(vec![number], Vec::new()).await
    }

    async fn carry_out(&mut self, mut verdict: Verdict) -> Result<(), LibraryError> {
        let mut again = Vec::new();
        for (number, change, current) in std::mem::take(&mut verdict.conflicts) {
            self.meet(number, change, current, &mut verdict, &mut again)
                .await?;
        }
        for (number, change, code) in std::mem::take(&mut verdict.refused) {
            self.obey(&change, code).await?;
            verdict.done.push(number);
        }
        for number in &verdict.done {
            self.conflicts.remove(number);
        }
        if !verdict.done.is_empty() {
            tracing::info!(names = verdict.done.len(), "the library knows");
        }
        if !again.is_empty() {
            let journal = Arc::clone(&self.journal);
            run_blocking(move || journal.queue_names(again)).await?;
        }
        if self.following.0.load(Ordering::Acquire) && !verdict.ours.is_empty() {
            let (journal, ours) = (Arc::clone(&self.journal), std::mem::take(&mut verdict.ours));
            run_blocking(move || journal.skip_own_changes(ours)).await?;
        }
        self.confirm(verdict.done, verdict.versions).await
    }

    async fn confirm(
        &self,
        done: Vec<u64>,
        versions: Vec<(LibraryPath, Option<u64>)>,
    ) -> Result<(), LibraryError> {
        let journal = Arc::clone(&self.journal);
        run_blocking(move || journal.confirm_names(done, versions)).await?;
        heirloom_crash::reached(CrashPoint::NamesDequeued);
        self.bells.confirmed.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Something else stands there: bases the change on that, to be sent again.
    async fn meet(
        &mut self,
        number: u64,
        change: NameChange,
        current: u64,
        verdict: &mut Verdict,
        again: &mut Vec<NameChange>,
    ) -> Result<(), LibraryError> {
        if matches!(change, NameChange::Put { .. }) && self.is_shown_first(current).await? {
            return Ok(());
        }
        verdict
            .versions
            .push((based_on(&change).clone(), (current > 0).then_some(current)));
        let met = self.conflicts.entry(number).or_insert(0);
        *met += 1;
        if *met > CONFLICTS_MAX {
            tracing::warn!("another device keeps changing the same name; ours is dropped");
            tracing::debug!(?change, "dropped");
            verdict.done.push(number);
            return Ok(());
        }
        match change {
            // Sent again with the version just learned.
            NameChange::Put { .. } => {}
            NameChange::Move { .. } | NameChange::Remove { .. } if current > 0 => {}
            // Nothing stands there any more, which is what was wanted.
            NameChange::Remove { .. } => verdict.done.push(number),
            // Nothing to move; what stands here at the new name is put there instead.
            NameChange::Move { to, .. } => {
                verdict.done.push(number);
                again.extend(self.put_of(&to).await?);
            }
        }
        Ok(())
    }

    /// Whether what stands there has to be shown here, under whatever name, before ours takes its
    /// place: else nobody would see it any more. The change is sent again until then.
    async fn is_shown_first(&self, current: u64) -> Result<bool, LibraryError> {
        if current == 0 || !self.following.0.load(Ordering::Acquire) {
            return Ok(false);
        }
        let journal = Arc::clone(&self.journal);
        Ok(run_blocking(move || journal.feed_position()).await? < current)
    }

    /// The server will not do it.
    async fn obey(&self, change: &NameChange, code: ErrorCode) -> Result<(), LibraryError> {
        match change {
            NameChange::Put { fingerprint, .. } if code == ErrorCode::ImageNotHeld => {
                self.send_anew(*fingerprint).await
            }
            NameChange::Put { .. } | NameChange::Move { .. } | NameChange::Remove { .. } => {
                tracing::error!(%code, "the server refused a change of a name; it is dropped");
                tracing::debug!(?change, "dropped");
                Ok(())
            }
        }
    }

    /// The server does not hold what a receipt of ours says it holds. The receipt is worth nothing:
    /// its files are promised anew, and their names follow when they have been uploaded.
    async fn send_anew(&self, image: Fingerprint) -> Result<(), LibraryError> {
        tracing::error!(%image, "the server lost an image that it had vouched for; sending it again");
        let journal = Arc::clone(&self.journal);
        run_blocking(move || promise_anew(&journal, &HashSet::from([image]))).await?;
        self.bells.requeued.send_modify(|count| *count += 1);
        Ok(())
    }

    /// The change that puts what stands here at `path`; nothing if no backed up file does.
    async fn put_of(&self, path: &LibraryPath) -> Result<Option<NameChange>, LibraryError> {
        let (journal, path) = (Arc::clone(&self.journal), path.clone());
        let found = run_blocking(move || search(&journal, |record| record.path == path)).await?;
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

/// Whether the server could not read what was sent, so that sending it again is in vain.
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

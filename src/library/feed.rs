//! Follows the change feed: changes that other devices made in the library, page by page.
//!
//! The position in the feed is recorded together with what was applied, so a new device continues
//! where it was interrupted. `apply` decides what a change means here.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use heirloom_protocol::message::LibraryFeed;
use heirloom_support::backoff::Backoff;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::apply::Applier;
use super::error::FeedError;
use super::placeholder_store::PlaceholderStore;
use super::requeue::requeue_images;
use super::server_binding::ServerBinding;
use crate::background::run_blocking;
use crate::journal::{Journal, JournalError};
use crate::remote::Remote;
use crate::spool::Spool;

/// Seconds that the server may hold its response while there is no change.
const LONG_POLL_S: u64 = 30;
/// How long a page waits for our own changes to be sent first, so that fewer pages have to be
/// requested again.
const OUTBOX_WAIT_MAX: Duration = Duration::from_secs(1);
/// While the server wants as many images as before, files are searched for them again only after
/// this time. Images that are not here now may be here later, but a search reads all records.
const WANTED_RETRY_GAP: Duration = Duration::from_mins(10);

/// Progress of the feed, for `status`. The names of the fields are its JSON keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FeedStatus {
    /// Whether there is more to apply now, as far as we know.
    pub arriving: bool,
    /// The server's number of the last change that was applied.
    pub position: u64,
    /// Placeholders created since the start.
    pub arrived: u64,
    /// Those of them that were created under another name because theirs was taken.
    pub conflicts: u64,
}

/// Follows the change feed and applies it.
pub(super) struct FeedFollower {
    journal: Arc<Journal>,
    binding: Arc<ServerBinding>,
    remote: Remote,
    applier: Arc<Applier>,
    signals: FeedSignals,
    status: Arc<Mutex<FeedStatus>>,
    backoff: Backoff,
    /// How many images the server wanted at our last search for them, and when that was.
    last_wanted: Option<(u64, Instant)>,
}

/// Signals from and to other tasks.
pub(super) struct FeedSignals {
    /// Changes when changes have left the outbox.
    pub(super) confirmed: watch::Receiver<u64>,
    /// Whether a large batch of our own changes is being sent.
    pub(super) sending: watch::Receiver<bool>,
    /// Notified when the outbox has something to send.
    pub(super) wake_outbox: Arc<Notify>,
    /// Changed when files were queued for upload again.
    pub(super) requeued: watch::Sender<u64>,
}

impl FeedFollower {
    pub(super) fn new(
        (journal, binding, remote): (Arc<Journal>, Arc<ServerBinding>, Remote),
        (spool, store): (Spool, Box<dyn PlaceholderStore>),
        signals: FeedSignals,
        status: Arc<Mutex<FeedStatus>>,
    ) -> Self {
        let applier = Arc::new(Applier::new(spool, Arc::clone(&journal), store));
        Self {
            journal,
            binding,
            remote,
            applier,
            signals,
            status,
            backoff: Backoff::default(),
            last_wanted: None,
        }
    }

    /// Follows the feed until dropped. Cancel safe: a page that was applied in part is applied
    /// again.
    pub(super) async fn run(mut self) {
        let applier = Arc::clone(&self.applier);
        if let Err(error) = run_blocking(move || applier.restart_if_spool_is_empty()).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "could not read whether the spool is empty"
            );
        }
        let mut wait_s = 0;
        loop {
            match self.follow(wait_s).await {
                Ok(more) => {
                    self.backoff.succeeded();
                    wait_s = if more { 0 } else { LONG_POLL_S };
                }
                Err(error) => sleep(self.pause_after(&error)).await,
            }
        }
    }

    fn pause_after(&mut self, error: &FeedError) -> Duration {
        let pause = self.backoff.failed(error.retry_after());
        let error: &dyn std::error::Error = error;
        tracing::debug!(
            error,
            pause_s = pause.as_secs(),
            "could not follow the changes of other devices"
        );
        pause
    }

    /// Applies one page; whether there is more now.
    async fn follow(&mut self, wait_s: u64) -> Result<bool, FeedError> {
        self.binding.session().await?;
        // If the outbox task has ended, nothing is being sent.
        let _idle = self
            .signals
            .sending
            .wait_for(|sending| !sending)
            .await
            .is_ok();
        let since = self.position().await?;
        self.update_status(|status| status.position = since);
        let confirmed = *self.signals.confirmed.borrow();
        let feed = tokio::select! {
            feed = self.remote.library_feed(since, wait_s) => feed?,
            // This response would contain what is being sent.
            Ok(_) = self.signals.sending.wait_for(|sending| *sending) => return Ok(false),
        };
        self.update_status(|status| {
            (status.arriving, status.position) = (feed.more || !feed.entries.is_empty(), since);
        });
        let (more, next, wanted) = if !feed.entries.is_empty() || feed.next != since {
            self.apply(feed, confirmed).await?
        } else {
            (feed.more, feed.next, feed.wanted)
        };
        self.update_status(|status| (status.arriving, status.position) = (more, next));
        if !more {
            self.applier.caught_up();
        }
        self.requeue_wanted(wanted).await?;
        Ok(more)
    }

    /// Queues the images for upload again that the server found damaged, as far as they are here.
    async fn requeue_wanted(&mut self, wanted: u64) -> Result<(), FeedError> {
        let is_known = self
            .last_wanted
            .is_some_and(|(count, at)| count == wanted && at.elapsed() < WANTED_RETRY_GAP);
        if wanted == 0 || is_known {
            self.last_wanted = self.last_wanted.filter(|_| wanted > 0);
            return Ok(());
        }
        let mut after = None;
        loop {
            let page = self.remote.images_to_resend(after).await?;
            after = page.fingerprints.last().copied();
            let (journal, images) = (
                Arc::clone(&self.journal),
                HashSet::from_iter(page.fingerprints),
            );
            let files = run_blocking(move || requeue_images(&journal, &images)).await?;
            if files > 0 {
                tracing::warn!(files, "the server found damaged images; sending them again");
                self.signals.requeued.send_modify(|count| *count += 1);
            }
            if !page.more || after.is_none() {
                break;
            }
        }
        self.last_wanted = Some((wanted, Instant::now()));
        Ok(())
    }

    /// Applies a page. `confirmed` is the state of that signal when the page was requested: if our
    /// own changes were confirmed since, the page is outdated about them and would be taken for
    /// another device's changes, so it is requested again.
    async fn apply(
        &mut self,
        page: LibraryFeed,
        confirmed: u64,
    ) -> Result<(bool, u64, u64), FeedError> {
        self.wait_for_empty_outbox().await;
        let binding = Arc::clone(&self.binding);
        let _exchange = binding.lock_exchange().await;
        let page = if *self.signals.confirmed.borrow() == confirmed {
            page
        } else {
            self.remote.library_feed(self.position().await?, 0).await?
        };
        let (more, next, wanted) = (page.more, page.next, page.wanted);
        let applier = Arc::clone(&self.applier);
        let applied = run_blocking(move || applier.apply(page)).await?;
        self.update_status(|status| {
            status.arrived += applied.created;
            status.conflicts += applied.conflicts;
        });
        if applied.conflicts > 0 {
            self.signals.wake_outbox.notify_one();
        }
        Ok((more, next, wanted))
    }

    /// The last position of which everything is applied.
    async fn position(&self) -> Result<u64, JournalError> {
        let journal = Arc::clone(&self.journal);
        run_blocking(move || journal.feed_position()).await
    }

    async fn wait_for_empty_outbox(&mut self) {
        let until = Instant::now() + OUTBOX_WAIT_MAX;
        loop {
            self.signals.confirmed.mark_unchanged();
            let is_empty = self.journal.names_queued() == 0;
            if is_empty
                || !matches!(
                    timeout_at(until, self.signals.confirmed.changed()).await,
                    Ok(Ok(()))
                )
            {
                return;
            }
        }
    }

    fn update_status(&self, update: impl FnOnce(&mut FeedStatus)) {
        update(&mut self.status.lock());
    }
}

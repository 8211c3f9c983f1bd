//! *Arrivals*: changes of the library that other devices made, followed here one page of the feed
//! after the other.
//!
//! How far we are is remembered together with what was done, so a new device goes on where it was
//! interrupted. What is shown here is decided by `arriving`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use heirloom_protocol::message::LibraryFeed;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::apply::{ArrivalError, Arriving};
use super::placeholder_store::PlaceholderStore;
use super::requeue::promise_anew;
use super::server_binding::Bond;
use crate::background::run_blocking;
use crate::journal::{Journal, JournalError};
use crate::remote::{Backoff, Remote};
use crate::spool::Spool;

/// Seconds that the server is asked to hold its answer while there is no news.
const NEWS_WAIT_S: u64 = 30;
/// Our own changes of names go out first, so that what another device did is not mistaken for news
/// about them; but not for longer.
const OUTBOX_WAIT_MAX: Duration = Duration::from_secs(1);

/// As long as the server wants as many images as before, we look for them again no sooner: those
/// that are not here today may be here tomorrow, and looking goes through all files.
const WANTED_AGAIN: Duration = Duration::from_mins(10);

/// How far the names of the library are shown here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FeedStatus {
    /// Whether there is more to show right now, as far as we know.
    pub arriving: bool,
    /// The server's count of changes up to which all is shown.
    pub position: u64,
    /// Photos shown since the start that were not here.
    pub arrived: u64,
    /// Photos shown under another name since the start, because something else stands under theirs.
    pub conflicts: u64,
}

/// Follows the feed.
pub(super) struct Arrivals {
    journal: Arc<Journal>,
    bond: Arc<Bond>,
    remote: Remote,
    arriving: Arc<Arriving>,
    bells: Bells,
    report: Arc<Mutex<FeedStatus>>,
    backoff: Backoff,
    /// How many images the server wanted when we last asked which, and when that was.
    asked: Option<(u64, Instant)>,
}

/// What is listened for, and rung.
pub(super) struct Bells {
    /// Changes left the outbox.
    pub(super) outbox: watch::Receiver<u64>,
    /// Whether many changes of our own are just being sent.
    pub(super) sending: watch::Receiver<bool>,
    /// The outbox has something to send.
    pub(super) wake_outbox: Arc<tokio::sync::Notify>,
    /// Files went back to the upload queue.
    pub(super) requeued: watch::Sender<u64>,
}

impl Arrivals {
    pub(super) fn new(
        (journal, bond, remote): (Arc<Journal>, Arc<Bond>, Remote),
        (spool, shelf): (Spool, Box<dyn PlaceholderStore>),
        bells: Bells,
        report: Arc<Mutex<FeedStatus>>,
    ) -> Self {
        let arriving = Arc::new(Arriving::new(spool, Arc::clone(&journal), shelf));
        Self {
            journal,
            bond,
            remote,
            arriving,
            bells,
            report,
            backoff: Backoff::default(),
            asked: None,
        }
    }

    /// Follows until dropped. May be dropped at any point: a page that was half shown is shown
    /// again.
    pub(super) async fn run(mut self) {
        let arriving = Arc::clone(&self.arriving);
        if let Err(error) = run_blocking(move || arriving.begin_anew_if_emptied()).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "whether the spool was emptied cannot be told"
            );
        }
        let mut wait_s = 0;
        loop {
            match self.follow(wait_s).await {
                Ok(more) => {
                    self.backoff.succeeded();
                    wait_s = if more { 0 } else { NEWS_WAIT_S };
                }
                Err(error) => sleep(self.rest_after(&error)).await,
            }
        }
    }

    fn rest_after(&mut self, error: &ArrivalError) -> Duration {
        let rest = self.backoff.failed(error.retry_after());
        let error: &dyn std::error::Error = error;
        tracing::debug!(
            error,
            rest_s = rest.as_secs(),
            "names of other devices wait"
        );
        rest
    }

    /// Shows one page; whether there is more right now.
    async fn follow(&mut self, wait_s: u64) -> Result<bool, ArrivalError> {
        self.bond.session().await?;
        // An outbox that is gone sends nothing.
        let _sent = self
            .bells
            .sending
            .wait_for(|sending| !sending)
            .await
            .is_ok();
        let since = self.position().await?;
        self.note(|report| report.position = since);
        let confirmed = *self.bells.outbox.borrow();
        let feed = tokio::select! {
            feed = self.remote.library_feed(since, wait_s) => feed?,
            // What we send would come back in this answer.
            Ok(_) = self.bells.sending.wait_for(|sending| *sending) => return Ok(false),
        };
        self.note(|report| {
            (report.arriving, report.position) = (feed.more || !feed.entries.is_empty(), since);
        });
        let (more, next, wanted) = if !feed.entries.is_empty() || feed.next != since {
            self.show(feed, confirmed).await?
        } else {
            (feed.more, feed.next, feed.wanted)
        };
        self.note(|report| (report.arriving, report.position) = (more, next));
        if !more {
            self.arriving.caught_up();
        }
        self.send_wanted(wanted).await?;
        Ok(more)
    }

    /// Promises anew what the server found damaged and asks for, as far as it is here.
    async fn send_wanted(&mut self, wanted: u64) -> Result<(), ArrivalError> {
        let known = self
            .asked
            .is_some_and(|(count, at)| count == wanted && at.elapsed() < WANTED_AGAIN);
        if wanted == 0 || known {
            self.asked = self.asked.filter(|_| wanted > 0);
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
            let promised = run_blocking(move || promise_anew(&journal, &images)).await?;
            if promised > 0 {
                tracing::warn!(
                    files = promised,
                    "the server found images damaged; sending them again"
                );
                self.bells.requeued.send_modify(|count| *count += 1);
            }
            if !page.more || after.is_none() {
                break;
            }
        }
        self.asked = Some((wanted, Instant::now()));
        Ok(())
    }

    /// Shows a page that was asked for when the outbox had `confirmed` so much. What it says of our
    /// own names is older than what we did since, and would be taken for another device's: then the
    /// page is asked for anew.
    async fn show(
        &mut self,
        page: LibraryFeed,
        confirmed: u64,
    ) -> Result<(bool, u64, u64), ArrivalError> {
        self.outbox_is_empty().await;
        let bond = Arc::clone(&self.bond);
        let _turn = bond.turn().await;
        let page = if *self.bells.outbox.borrow() == confirmed {
            page
        } else {
            self.remote.library_feed(self.position().await?, 0).await?
        };
        let (more, next, wanted) = (page.more, page.next, page.wanted);
        let arriving = Arc::clone(&self.arriving);
        let shown = run_blocking(move || arriving.show(page)).await?;
        self.note(|report| {
            report.arrived += shown.arrived;
            report.conflicts += shown.conflicts;
        });
        if shown.conflicts > 0 {
            self.bells.wake_outbox.notify_one();
        }
        Ok((more, next, wanted))
    }

    /// How far all is shown.
    async fn position(&self) -> Result<u64, JournalError> {
        let journal = Arc::clone(&self.journal);
        run_blocking(move || journal.feed_position()).await
    }

    async fn outbox_is_empty(&mut self) {
        let until = Instant::now() + OUTBOX_WAIT_MAX;
        loop {
            self.bells.outbox.mark_unchanged();
            let is_empty = self.journal.names_queued() == 0;
            if is_empty
                || !matches!(
                    timeout_at(until, self.bells.outbox.changed()).await,
                    Ok(Ok(()))
                )
            {
                return;
            }
        }
    }

    fn note(&self, note: impl FnOnce(&mut FeedStatus)) {
        note(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

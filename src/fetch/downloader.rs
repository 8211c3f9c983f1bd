//! Downloads missing ranges of files from the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use heirloom_protocol::ByteRange;
use heirloom_support::backoff::Backoff;
use heirloom_support::error_chain::display_chain;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::error::FetchError;
use super::file_fetch::{FileFetch, NextTask, RangeFailure};
use super::options::{FetchOptions, REQUESTS_MAX, REQUESTS_PER_FILE_MAX};
use super::recent_errors::RecentErrors;
use super::verify::verify;
use crate::background::run_blocking;
use crate::journal::Journal;
use crate::remote::{Remote, RemoteError};

/// While the server does not answer, a new reader causes a request, but not more often than this.
const RETRY_GAP: Duration = Duration::from_millis(200);

/// Downloads ranges of files, within the limits for all of them.
#[derive(Debug)]
pub(super) struct Downloader {
    pub(super) runtime: Handle,
    pub(super) options: FetchOptions,
    pub(super) errors: RecentErrors,
    /// Cancelled when the mount ends.
    pub(super) stop: CancellationToken,
    journal: Arc<Journal>,
    remote: Remote,
    request_slots: Semaphore,
    fetched_bytes: AtomicU64,
    /// Changes when a file was fetched completely.
    completed: watch::Sender<u64>,
}

/// How a request for one range ended.
enum RangeOutcome {
    Stored,
    /// The range did not arrive. The server may have asked for a delay.
    Failed {
        retry_after: Option<Duration>,
    },
}

impl Downloader {
    pub(super) fn new(
        runtime: Handle,
        journal: Arc<Journal>,
        remote: Remote,
        options: FetchOptions,
    ) -> Self {
        Self {
            runtime,
            options,
            errors: RecentErrors::default(),
            stop: CancellationToken::new(),
            journal,
            remote,
            request_slots: Semaphore::new(REQUESTS_MAX),
            fetched_bytes: AtomicU64::new(0),
            completed: watch::Sender::new(0),
        }
    }

    /// Bytes downloaded since the start.
    pub(super) fn fetched_bytes(&self) -> u64 {
        self.fetched_bytes.load(Ordering::Relaxed)
    }

    /// Changes when a file was fetched completely.
    pub(super) fn watch_completed(&self) -> watch::Receiver<u64> {
        self.completed.subscribe()
    }

    /// Verifies a file of which all bytes were here when it was opened: a crash came just before
    /// the verification, or the head is the whole photo.
    pub(super) fn verify_if_complete(self: &Arc<Self>, fetch: &Arc<FileFetch>) {
        if fetch.awaits_verification() && fetch.add_reader(None) {
            self.start(fetch);
        }
    }

    /// Starts the task that downloads what is wanted of a file. [`FileFetch::add_reader`] has
    /// recorded it as running.
    pub(super) fn start(self: &Arc<Self>, fetch: &Arc<FileFetch>) {
        let (downloader, fetch) = (Arc::clone(self), Arc::clone(fetch));
        self.runtime.spawn(async move {
            let stop = downloader.stop.clone();
            // Cancel safe: a range that was not recorded is requested again.
            stop.run_until_cancelled_owned(downloader.run(&fetch)).await;
        });
    }

    async fn run(self: &Arc<Self>, fetch: &Arc<FileFetch>) {
        let mut in_flight = FuturesUnordered::new();
        let (mut backoff, mut paused_until) = (Backoff::default(), None);
        loop {
            while paused_until.is_none()
                && in_flight.len() < REQUESTS_PER_FILE_MAX
                && let Some(range) = fetch.next_range()
            {
                in_flight.push(self.fetch_range(fetch, range));
            }
            let outcome = match paused_until {
                None => in_flight.next().await,
                // Requests in flight continue while no new ones are made.
                Some(until) => tokio::select! {
                    Some(outcome) = in_flight.next() => Some(outcome),
                    () = pause(fetch, until) => {
                        paused_until = None;
                        continue;
                    }
                },
            };
            match outcome {
                Some(RangeOutcome::Stored) => backoff.succeeded(),
                Some(RangeOutcome::Failed { retry_after }) => {
                    paused_until = Some(Instant::now() + backoff.failed(retry_after));
                }
                None => match fetch.next_task() {
                    NextTask::Request(range) => in_flight.push(self.fetch_range(fetch, range)),
                    NextTask::Verify => return self.verify(fetch).await,
                    NextTask::End => return,
                },
            }
        }
    }

    async fn fetch_range(
        self: &Arc<Self>,
        fetch: &Arc<FileFetch>,
        range: ByteRange,
    ) -> RangeOutcome {
        let Ok(_slot) = self.request_slots.acquire().await else {
            return RangeOutcome::Failed { retry_after: None };
        };
        let (image, size) = (fetch.fingerprint(), fetch.stamp().size);
        let part = self
            .remote
            .image_range(image, size, range, &|| fetch.record_progress())
            .await;
        let bytes = match part {
            Ok(bytes) => bytes,
            Err(error) => {
                let retry_after = error.retry_after();
                fetch.range_failed(range, failure_of(&error));
                return RangeOutcome::Failed { retry_after };
            }
        };
        // Counted before a reader can read them.
        self.fetched_bytes.fetch_add(range.len(), Ordering::Relaxed);
        let filled = Arc::clone(fetch);
        match run_blocking(move || filled.store_range(range, &bytes)).await {
            Ok(()) => RangeOutcome::Stored,
            Err(error) => {
                fetch.range_failed(range, RangeFailure::Final(error));
                RangeOutcome::Failed { retry_after: None }
            }
        }
    }

    async fn verify(self: &Arc<Self>, fetch: &Arc<FileFetch>) {
        let (downloader, fetch) = (Arc::clone(self), Arc::clone(fetch));
        run_blocking(move || {
            if verify(&fetch, &downloader.journal, &downloader.errors) {
                downloader
                    .completed
                    .send_modify(|count| *count = count.wrapping_add(1));
            }
        })
        .await;
    }
}

/// Returns when requests make sense again: at `until`, or soon after a new reader begins to wait,
/// who need not wait out the backoff that an earlier one's failures led to.
async fn pause(fetch: &FileFetch, until: Instant) {
    let soon = Instant::now() + RETRY_GAP;
    tokio::select! {
        () = sleep_until(until) => {}
        () = async { fetch.reader_waits().await; sleep_until(soon).await } => {}
    }
}

fn failure_of(error: &RemoteError) -> RangeFailure {
    let why = display_chain(error);
    if error.is_transient() {
        RangeFailure::Retry(why)
    } else {
        RangeFailure::Final(FetchError::Refused(why))
    }
}

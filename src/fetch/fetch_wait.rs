//! Waits for bytes of a file, within the read timeout.

use std::sync::Arc;
use std::time::Duration;

use heirloom_protocol::ByteRange;
use heirloom_support::error_chain::display_chain;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::downloader::Downloader;
use super::error::FetchError;
use super::file_fetch::FileFetch;
use super::interrupt::InterruptProbe;

/// How often we check whether a waiting program is being killed: soon enough for a person at a
/// terminal.
const KILL_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// What a reader waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// No bytes: the read is empty.
    Nothing,
    /// These bytes, before the file is verified.
    Bytes(ByteRange),
    /// The whole file, verified.
    WholeFile,
}

/// A wait for a range. Dropping it cancels the want, however the wait ended.
struct WaitGuard<'a> {
    fetch: &'a FileFetch,
    range: ByteRange,
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        self.fetch.cancel(self.range);
    }
}

/// Returns when the wanted bytes are here, or cannot be fetched. Cancel safe: when dropped, the
/// reader has stopped waiting.
pub(super) async fn wait_for(
    downloader: &Arc<Downloader>,
    fetch: &Arc<FileFetch>,
    wanted: Wanted,
    interrupt: InterruptProbe,
) -> Result<(), FetchError> {
    let size = fetch.stamp().size;
    let (range, until) = match wanted {
        Wanted::Nothing => return Ok(()),
        Wanted::Bytes(range) => match ByteRange::new(range.start(), range.end().min(size)) {
            Ok(range) => (Some(range), Some(range)),
            // Past the end there is nothing to fetch.
            Err(_) => return Ok(()),
        },
        Wanted::WholeFile => (ByteRange::new(0, size).ok(), None),
    };
    let mut changes = fetch.subscribe();
    if until.is_some_and(|range| fetch.has(range)) {
        return Ok(());
    }
    if fetch.add_reader(range) {
        downloader.start(fetch);
    }
    let _waiting = range.map(|range| WaitGuard { fetch, range });
    let outcome = wait(downloader, fetch, until, interrupt, &mut changes).await;
    match &outcome {
        Ok(()) => downloader.errors.clear(fetch.id()),
        Err(error) if error.is_reported() => {
            let why = display_chain(error);
            tracing::warn!(file = fetch.id().0, why, "could not fetch a photo");
            downloader.errors.record(fetch.id(), why);
        }
        Err(_) => {}
    }
    outcome
}

async fn wait(
    downloader: &Downloader,
    fetch: &FileFetch,
    until: Option<ByteRange>,
    interrupt: InterruptProbe,
    changes: &mut watch::Receiver<u64>,
) -> Result<(), FetchError> {
    let (started, timeout) = (Instant::now(), downloader.options.read_timeout);
    loop {
        changes.borrow_and_update();
        if let Some(outcome) = fetch.outcome(until) {
            return outcome;
        }
        let (last_progress, cause) = fetch.last_progress();
        let (now, deadline) = (Instant::now(), last_progress.max(started) + timeout);
        if now >= deadline {
            return Err(FetchError::Timeout {
                timeout_s: timeout.as_secs(),
                cause,
            });
        }
        tokio::select! {
            () = downloader.stop.cancelled() => return Err(FetchError::Unmounting),
            changed = timeout_at(deadline.min(now + KILL_CHECK_INTERVAL), changes.changed()) => {
                if changed.is_err() && interrupt.is_killed() {
                    return Err(FetchError::Killed);
                }
            }
        }
    }
}

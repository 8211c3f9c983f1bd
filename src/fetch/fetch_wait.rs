//! *Holding*: bringing pieces in, and waiting for them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use heirloom_protocol::ByteRange;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::error::FetchError;
use super::file_fetch::{Fetch, Rest};
use super::{Inside, InterruptProbe, PIECES_IN_FLIGHT};
use crate::background::run_blocking;
use crate::remote::{Backoff, RemoteError};

/// How often we look whether somebody who waits is being killed: soon enough for a person at a
/// terminal.
const LOOK_AT_ASKER: Duration = Duration::from_millis(250);

/// While the server is away, new readers make us ask, but not more often than this.
const LOOK_GAP: Duration = Duration::from_millis(200);

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// No byte at all.
    Nothing,
    /// These, as soon as they are here.
    Bytes(ByteRange),
    /// All of it, and that it is the photo.
    Whole,
}

/// Takes the want back when the wait ends, however it ends.
struct Waiting<'a> {
    fetch: &'a Fetch,
    range: ByteRange,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.fetch.unwant(self.range);
    }
}

impl Inside {
    /// Returns when what is wanted is here, or will not be. May be dropped: then nobody waits any
    /// more.
    pub(super) async fn hold(
        self: &Arc<Self>,
        fetch: &Arc<Fetch>,
        wanted: Wanted,
        asker: InterruptProbe,
    ) -> Result<(), FetchError> {
        let size = fetch.stamp().size;
        let (range, until) = match wanted {
            Wanted::Nothing => return Ok(()),
            Wanted::Bytes(range) => match ByteRange::new(range.start(), range.end().min(size)) {
                Ok(range) => (Some(range), Some(range)),
                // Past the end there is nothing to fetch.
                Err(_) => return Ok(()),
            },
            Wanted::Whole => (ByteRange::new(0, size).ok(), None),
        };
        let mut news = fetch.watch();
        if let Some(held) = until.and_then(|range| fetch.holds(range).then_some(Ok(()))) {
            return held;
        }
        if fetch.want(range) {
            self.start(fetch);
        }
        let _waiting = range.map(|range| Waiting { fetch, range });
        let held = self.wait(fetch, until, asker, &mut news).await;
        if let Err(error) = &held
            && error.is_trouble()
        {
            tracing::warn!(
                file = fetch.id().0,
                why = error.chain(),
                "a photo could not be fetched"
            );
            self.desk.note_trouble(fetch.id(), error.chain());
        }
        if held.is_ok() {
            self.desk.forget_trouble(fetch.id());
        }
        held
    }

    async fn wait(
        &self,
        fetch: &Fetch,
        until: Option<ByteRange>,
        asker: InterruptProbe,
        news: &mut tokio::sync::watch::Receiver<u64>,
    ) -> Result<(), FetchError> {
        let begun = Instant::now();
        loop {
            news.borrow_and_update();
            if let Some(outcome) = fetch.outcome(until) {
                return outcome;
            }
            let (heard, why) = fetch.heard();
            let (now, limit) = (Instant::now(), heard.max(begun) + self.manner.read_timeout);
            if now >= limit {
                return Err(FetchError::Timeout {
                    limit_s: self.manner.read_timeout.as_secs(),
                    why,
                });
            }
            tokio::select! {
                () = self.stop.cancelled() => return Err(FetchError::Unmounting),
                changed = timeout_at(limit.min(now + LOOK_AT_ASKER), news.changed()) => {
                    if changed.is_err() && asker.is_being_killed() {
                        return Err(FetchError::Killed);
                    }
                }
            }
        }
    }

    /// Starts the task that brings pieces in. `Fetch::want` has marked it as running.
    pub(super) fn start(self: &Arc<Self>, fetch: &Arc<Fetch>) {
        let (inside, fetch) = (Arc::clone(self), Arc::clone(fetch));
        self.runtime.spawn(async move {
            let stop = inside.stop.clone();
            // Dropped half-way, a piece that was not noted is asked for again.
            stop.run_until_cancelled_owned(inside.bring_pieces(&fetch))
                .await;
        });
    }

    async fn bring_pieces(self: &Arc<Self>, fetch: &Arc<Fetch>) {
        let (mut under_way, mut backoff, mut resting_until) =
            (FuturesUnordered::new(), Backoff::default(), None);
        loop {
            while resting_until.is_none()
                && under_way.len() < PIECES_IN_FLIGHT
                && let Some(piece) = fetch.next_piece()
            {
                under_way.push(self.bring(fetch, piece));
            }
            let brought = match resting_until {
                None => under_way.next().await,
                // Pieces on their way go on while no new ones are asked for.
                Some(until) => tokio::select! {
                    Some(brought) = under_way.next() => Some(brought),
                    () = rested(fetch, until) => {
                        resting_until = None;
                        continue;
                    }
                },
            };
            match brought {
                Some(Brought::Came) => backoff.succeeded(),
                Some(Brought::Missed { asked }) => {
                    resting_until = Some(Instant::now() + backoff.failed(asked));
                }
                None => match fetch.rest() {
                    Rest::Piece(piece) => under_way.push(self.bring(fetch, piece)),
                    Rest::Seal => return self.seal(fetch).await,
                    Rest::Nothing => return,
                },
            }
        }
    }

    async fn bring(self: &Arc<Self>, fetch: &Arc<Fetch>, piece: ByteRange) -> Brought {
        let Ok(_lane) = self.lanes.acquire().await else {
            return Brought::Missed { asked: None };
        };
        let part = self
            .remote
            .image_range(fetch.fingerprint(), fetch.stamp().size, piece, &|| {
                fetch.hear();
            })
            .await;
        let bytes = match part {
            Ok(bytes) => bytes,
            Err(error) => {
                let asked = error.retry_after();
                fetch.miss(piece, meaning(&error));
                return Brought::Missed { asked };
            }
        };
        // Before anybody can read them.
        self.fetched_bytes.fetch_add(piece.len(), Ordering::Relaxed);
        let filled = Arc::clone(fetch);
        match run_blocking(move || filled.put(piece, &bytes)).await {
            Ok(()) => Brought::Came,
            Err(error) => {
                fetch.miss(piece, Err(error));
                Brought::Missed { asked: None }
            }
        }
    }
}

/// Returns when it makes sense to ask again: a new reader need not wait out the rest that an old
/// one's failures led to.
async fn rested(fetch: &Fetch, until: Instant) {
    let soon = Instant::now() + LOOK_GAP;
    tokio::select! {
        () = sleep_until(until) => {}
        () = async { fetch.wanted().await; sleep_until(soon).await } => {}
    }
}

/// How one request for a piece ended.
enum Brought {
    Came,
    /// It did not, and the server asked us to wait so long.
    Missed {
        asked: Option<Duration>,
    },
}

/// What a failed request means: a reason to try again while somebody waits, or the end of it.
fn meaning(error: &RemoteError) -> Result<String, FetchError> {
    if error.is_transient() {
        Ok(error.chain())
    } else {
        Err(FetchError::Refused(error.chain()))
    }
}

//! The budget: what all deliveries together may have on its way. One budget keeps memory bounded
//! however many images are waiting. A part of it is not for films, so that a new photo goes between
//! their shards.

use std::sync::Arc;

use heirloom_protocol::ShardSize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Shard bytes in memory at a time: the client is to stay under 60 MB, all in all.
pub const IN_FLIGHT_BYTES_MAX: u32 = 24 << 20;
/// Shards under way at a time: enough to fill the pauses between request and answer, and below what
/// servers allow for one address.
pub const REQUESTS_MAX: usize = 8;
/// Images of this size and more, in bytes, are films to the budget, whatever they show.
pub(super) const FILM_BYTES: u64 = 32 << 20;
// A round for photos always has room for one.
const _: () = assert!(FILM_BYTES <= super::check::ROUND_BYTES_MAX);
/// What is left to photos when films take all they may.
const PHOTO_BYTES: u32 = 4 << 20;
const PHOTO_REQUESTS: usize = 2;
/// Bytes of one shard, at most: two of a film's fit, so that one can be read while the other is on
/// its way.
pub(super) const SHARD_BYTES_MAX: u64 = (IN_FLIGHT_BYTES_MAX - PHOTO_BYTES) as u64 / 2;

const _: () =
    assert!(SHARD_BYTES_MAX <= ShardSize::MAX.bytes() && SHARD_BYTES_MAX >= ShardSize::MIN.bytes());

/// Room for requests, and for the bytes in them.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    all: Share,
    films: Share,
}

#[derive(Clone, Debug)]
struct Share {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// The right to send one request; given back when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    /// From each share, the narrower one first.
    permits: Vec<OwnedSemaphorePermit>,
    shares: Vec<Share>,
}

/// The right to hold the bytes of one shard; given back when dropped, so it goes where the bytes
/// go.
#[derive(Debug)]
pub(super) struct Room {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            all: Share::of(REQUESTS_MAX, IN_FLIGHT_BYTES_MAX),
            films: Share::of(
                REQUESTS_MAX - PHOTO_REQUESTS,
                IN_FLIGHT_BYTES_MAX - PHOTO_BYTES,
            ),
        }
    }

    /// Waits for the turn of an image of `size` bytes, first come, first served. May be dropped;
    /// the place in the line is then lost.
    pub(super) async fn turn(&self, size: u64) -> Turn {
        let shares = if size >= FILM_BYTES {
            vec![&self.films, &self.all]
        } else {
            vec![&self.all]
        };
        let mut permits = Vec::new();
        for share in &shares {
            permits.push(take(&share.requests, 1).await);
        }
        Turn {
            permits,
            shares: shares.into_iter().cloned().collect(),
        }
    }
}

impl Turn {
    /// Waits until `bytes` more fit. Whoever waits here has a turn, and whoever holds room gives it
    /// back without taking another, so this wait ends.
    pub(super) async fn room(&self, bytes: u64) -> Room {
        debug_assert_eq!(
            self.permits.len(),
            self.shares.len(),
            "a turn holds a request of each share"
        );
        let bytes = u32::try_from(bytes.min(SHARD_BYTES_MAX)).unwrap_or(u32::MAX);
        let mut permits = Vec::new();
        for share in &self.shares {
            permits.push(take(&share.bytes, bytes).await);
        }
        Room { _permits: permits }
    }
}

impl Share {
    fn of(requests: usize, bytes: u32) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(requests)),
            bytes: Arc::new(Semaphore::new(bytes as usize)),
        }
    }
}

async fn take(semaphore: &Arc<Semaphore>, permits: u32) -> OwnedSemaphorePermit {
    Arc::clone(semaphore)
        .acquire_many_owned(permits)
        .await
        .expect("the budget is never closed")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn soon<Value>(waiting: impl Future<Output = Value>) -> Option<Value> {
        timeout(Duration::from_millis(20), waiting).await.ok()
    }

    #[tokio::test]
    async fn however_many_films_wait_a_photo_goes_at_once() {
        let budget = Budget::new();
        let mut films = Vec::new();
        while let Some(turn) = soon(budget.turn(FILM_BYTES)).await {
            let room = soon(turn.room(SHARD_BYTES_MAX)).await;
            films.push((turn, room));
        }
        assert_eq!(films.len(), REQUESTS_MAX - PHOTO_REQUESTS);
        assert_eq!(films.iter().filter(|(_, room)| room.is_some()).count(), 2);
        let photo = soon(budget.turn(3 << 20))
            .await
            .expect("a turn for a photo");
        soon(photo.room(3 << 20)).await.expect("room for a photo");
    }

    #[tokio::test]
    async fn what_is_under_way_never_passes_the_budget_and_comes_back() {
        let budget = Budget::new();
        let mut photos = Vec::new();
        while let Some(turn) = soon(budget.turn(1)).await {
            let room = soon(turn.room(SHARD_BYTES_MAX)).await;
            photos.push((turn, room));
        }
        assert_eq!(photos.len(), REQUESTS_MAX);
        let held = photos.iter().filter(|(_, room)| room.is_some()).count() as u64;
        assert!(held * SHARD_BYTES_MAX <= u64::from(IN_FLIGHT_BYTES_MAX));
        drop(photos);
        assert!(soon(budget.turn(1)).await.is_some());
    }
}

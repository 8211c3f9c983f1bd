//! The budget: what all deliveries together may have on its way. One budget keeps memory bounded however many
//! images are waiting, and lets a small photo take its turn between the shards of a large film.

use std::sync::Arc;

use heirloom_protocol::ShardSize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Shard bytes in memory at a time: the client is to stay under 60 MB, all in all.
pub const IN_FLIGHT_BYTES_MAX: u32 = 24 << 20;
/// Shards under way at a time: enough to fill the pauses between request and answer, and below what
/// servers allow for one address.
pub const REQUESTS_MAX: usize = 8;
/// Bytes of one shard, at most: two of them fit, so that one can be read while the other is on its way.
pub(super) const SHARD_BYTES_MAX: u64 = IN_FLIGHT_BYTES_MAX as u64 / 2;

const _: () = assert!(SHARD_BYTES_MAX <= ShardSize::MAX.bytes() && SHARD_BYTES_MAX >= ShardSize::MIN.bytes());

/// Room for requests, and for the bytes in them.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// The right to send one request; given back when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _request: OwnedSemaphorePermit,
    bytes: Arc<Semaphore>,
}

/// The right to hold the bytes of one shard; given back when dropped, so it goes where the bytes go.
#[derive(Debug)]
pub(super) struct Room {
    _bytes: OwnedSemaphorePermit,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            bytes: Arc::new(Semaphore::new(IN_FLIGHT_BYTES_MAX as usize)),
        }
    }

    /// Waits for one's turn, first come, first served. May be dropped; the place in the line is then lost.
    pub(super) async fn turn(&self) -> Turn {
        let request = Arc::clone(&self.requests).acquire_owned().await.expect("the budget is never closed");
        Turn { _request: request, bytes: Arc::clone(&self.bytes) }
    }
}

impl Turn {
    /// Waits until `bytes` more fit. Whoever waits here has a turn, and whoever holds room gives it back without
    /// taking another, so this wait ends.
    pub(super) async fn room(&self, bytes: u64) -> Room {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(IN_FLIGHT_BYTES_MAX);
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(bytes).await.expect("the budget is never closed");
        Room { _bytes: bytes }
    }
}

//! The in-flight budget: how many requests with image bytes, and how many bytes, are under way over
//! all uploads. One budget bounds the memory however many images wait. A part of it is closed to
//! large files, so that a new photo goes between their shards.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::{
    IN_FLIGHT_BYTES_MAX, LARGE_FILE_BYTES, REQUESTS_MAX, SHARD_BYTES_MAX,
    SMALL_FILE_BYTES_RESERVED, SMALL_FILE_REQUESTS_RESERVED,
};

/// Limits requests and their bytes. Cheap to clone; clones share the limits.
#[derive(Clone, Debug)]
pub(super) struct InFlightBudget {
    all_files: BudgetShare,
    large_files: BudgetShare,
}

/// The budget of one class of files.
#[derive(Clone, Debug)]
struct BudgetShare {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// The permit for one request; returned when dropped.
#[derive(Debug)]
pub(super) struct RequestPermit {
    /// One from each share, the narrower share first.
    permits: Vec<OwnedSemaphorePermit>,
    shares: Vec<BudgetShare>,
}

/// The permit to hold the bytes of one shard in memory; returned when dropped, so it goes where the
/// bytes go.
#[derive(Debug)]
pub(super) struct BytesPermit {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl InFlightBudget {
    pub(super) fn new() -> Self {
        Self {
            all_files: BudgetShare::new(REQUESTS_MAX, IN_FLIGHT_BYTES_MAX),
            large_files: BudgetShare::new(
                REQUESTS_MAX - SMALL_FILE_REQUESTS_RESERVED,
                IN_FLIGHT_BYTES_MAX - SMALL_FILE_BYTES_RESERVED,
            ),
        }
    }

    /// Waits for a request permit for an image of `size` bytes, first come, first served. May be
    /// dropped; the place in the queue is then lost.
    pub(super) async fn request(&self, size: u64) -> RequestPermit {
        let shares = if size >= LARGE_FILE_BYTES {
            vec![&self.large_files, &self.all_files]
        } else {
            vec![&self.all_files]
        };
        let mut permits = Vec::new();
        for share in &shares {
            permits.push(acquire(&share.requests, 1).await);
        }
        RequestPermit {
            permits,
            shares: shares.into_iter().cloned().collect(),
        }
    }
}

impl RequestPermit {
    /// Waits until `bytes` more fit. This cannot deadlock: whoever waits here holds a request
    /// permit, and whoever holds bytes returns them without asking for more.
    pub(super) async fn reserve_bytes(&self, bytes: u64) -> BytesPermit {
        debug_assert_eq!(
            self.permits.len(),
            self.shares.len(),
            "a request permit holds one of each share"
        );
        let bytes = u32::try_from(bytes.min(SHARD_BYTES_MAX)).unwrap_or(u32::MAX);
        let mut permits = Vec::new();
        for share in &self.shares {
            permits.push(acquire(&share.bytes, bytes).await);
        }
        BytesPermit { _permits: permits }
    }
}

impl BudgetShare {
    fn new(requests: usize, bytes: u32) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(requests)),
            bytes: Arc::new(Semaphore::new(bytes as usize)),
        }
    }
}

async fn acquire(semaphore: &Arc<Semaphore>, permits: u32) -> OwnedSemaphorePermit {
    Arc::clone(semaphore)
        .acquire_many_owned(permits)
        .await
        .expect("the budget's semaphores are never closed")
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
    async fn however_many_large_files_wait_a_small_one_goes_at_once() {
        let budget = InFlightBudget::new();
        let mut large = Vec::new();
        while let Some(request) = soon(budget.request(LARGE_FILE_BYTES)).await {
            let bytes = soon(request.reserve_bytes(SHARD_BYTES_MAX)).await;
            large.push((request, bytes));
        }
        assert_eq!(large.len(), REQUESTS_MAX - SMALL_FILE_REQUESTS_RESERVED);
        assert_eq!(large.iter().filter(|(_, bytes)| bytes.is_some()).count(), 2);
        let small = soon(budget.request(3 << 20))
            .await
            .expect("a request for a small file");
        soon(small.reserve_bytes(3 << 20))
            .await
            .expect("bytes for a small file");
    }

    #[tokio::test]
    async fn what_is_in_flight_never_exceeds_the_budget_and_is_returned() {
        let budget = InFlightBudget::new();
        let mut small = Vec::new();
        while let Some(request) = soon(budget.request(1)).await {
            let bytes = soon(request.reserve_bytes(SHARD_BYTES_MAX)).await;
            small.push((request, bytes));
        }
        assert_eq!(small.len(), REQUESTS_MAX);
        let held = small.iter().filter(|(_, bytes)| bytes.is_some()).count() as u64;
        assert!(held * SHARD_BYTES_MAX <= u64::from(IN_FLIGHT_BYTES_MAX));
        drop(small);
        assert!(soon(budget.request(1)).await.is_some());
    }
}

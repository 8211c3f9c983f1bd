//! Keeps the local cache within its limits.
//!
//! The limits are checked when the cache has grown: a photo was backed up or fetched. Nothing is
//! checked on a clock.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::cache_policy::CachePolicy;
use super::evictor::Evictor;
use crate::background::run_blocking;
use crate::journal::Journal;
use crate::spool::Spool;

/// Time between two checks: a burst of photos is checked once.
const CHECK_GAP: Duration = Duration::from_millis(500);
/// Time to the next check after one that could not free enough: what prevented it has not gone yet.
const FUTILE_CHECK_GAP: Duration = Duration::from_secs(30);

/// Evicts files while the cache is larger than its policy allows.
#[derive(Debug)]
pub(super) struct CacheLimiter {
    policy: CachePolicy,
    spool: Spool,
    journal: Arc<Journal>,
    evictor: Arc<Evictor>,
}

impl CacheLimiter {
    pub(super) const fn new(
        policy: CachePolicy,
        spool: Spool,
        journal: Arc<Journal>,
        evictor: Arc<Evictor>,
    ) -> Self {
        Self {
            policy,
            spool,
            journal,
            evictor,
        }
    }

    /// Checks the limits whenever a photo was backed up or fetched. Cancel safe.
    pub(super) async fn run(
        self: Arc<Self>,
        mut backed_up: watch::Receiver<u64>,
        mut fetched: watch::Receiver<u64>,
    ) {
        loop {
            let checked = Instant::now();
            let limiter = Arc::clone(&self);
            let excess = run_blocking(move || limiter.excess_bytes()).await;
            let gap = if excess > 0 && !self.shrink().await {
                FUTILE_CHECK_GAP
            } else {
                CHECK_GAP
            };
            tokio::select! {
                Ok(()) = backed_up.changed() => {}
                Ok(()) = fetched.changed() => {}
                else => return,
            }
            sleep_until(checked + gap).await;
        }
    }

    /// Evicts files until the cache is within its limits; whether it is. Checked again after each
    /// file, because evicting one frees less than its size.
    async fn shrink(self: &Arc<Self>) -> bool {
        self.evictor.fill_missing_receipts().await;
        let limiter = Arc::clone(self);
        let (freed, excess) = run_blocking(move || {
            let freed = limiter.evictor.evict_oldest(|_| limiter.excess_bytes() > 0);
            (freed, limiter.excess_bytes())
        })
        .await;
        tracing::info!(
            freed,
            excess,
            "evicted photos to keep the cache within its limits"
        );
        excess == 0
    }

    fn excess_bytes(&self) -> u64 {
        let disk = match self.spool.disk() {
            Ok(disk) => disk,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "could not read how full the disk is"
                );
                return 0;
            }
        };
        let tally = self.journal.tally();
        let cached = tally
            .backed_up
            .bytes
            .saturating_add(tally.pending.bytes)
            .saturating_add(tally.local.bytes);
        self.policy.excess_bytes(
            disk.f_blocks * disk.f_frsize,
            disk.f_bavail * disk.f_frsize,
            cached,
        )
    }
}

//! Garbage collection: an image that nobody refers to loses its row in the index, and then its
//! bytes.
//!
//! An image is unreferenced if nobody holds it and nobody is uploading it; every photo in a library
//! or in the trash is held. It is kept for a grace period: a user who still has it can link it, and
//! it costs nobody's quota.
//!
//! A row without bytes would be a lost photo, so the row goes first, and nobody may store the same
//! image between the last look into the index and the removal of its bytes
//! ([`crate::blobs::ExclusiveGuard`]). A link needs no such care: it is one transaction, in which
//! the row either still exists or not. A crash between the two steps leaves bytes without a row: an
//! *orphan*. So do images that were stored and not recorded, and images newer than an index that
//! was restored from an old copy, which is why orphans have a long grace period.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use heirloom_crash::CrashPoint;
use heirloom_protocol::Fingerprint;

use crate::blobs::{BlobError, BlobStore, Prefix, RemovedStats};
use crate::clock::Clock;
use crate::index::{Index, IndexError};
use crate::metrics::SharedCounters;

/// Images per query: few enough for memory, enough for several to share a prefix.
const PAGE: usize = 1000;

/// Images deleted from the index in one transaction: few enough not to delay other writes.
const BATCH: usize = 100;

/// Removes unreferenced images. Clones share all state.
#[derive(Clone, Debug)]
pub struct GarbageCollector {
    index: Index,
    blobs: Arc<dyn BlobStore>,
    clock: Clock,
    counters: SharedCounters,
    /// The prefix to search for orphans next.
    next_prefix: Arc<AtomicU8>,
}

/// Why a collection stopped early. Images removed before the error are gone.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// The index failed.
    #[error("look up unreferenced images")]
    Index(#[source] IndexError),
    /// The storage failed.
    #[error("remove unreferenced images")]
    Blobs(#[source] BlobError),
}

/// Why images are removed.
#[derive(Clone, Copy, Debug)]
enum Reason {
    /// Nobody has referred to them since `until_ms` or earlier.
    Unreferenced { until_ms: i64 },
    /// The index does not know them.
    Orphan,
}

impl GarbageCollector {
    /// A collector over `index` and `blobs`.
    pub fn new(
        index: Index,
        blobs: Arc<dyn BlobStore>,
        clock: Clock,
        counters: SharedCounters,
    ) -> Self {
        // A random start: a server that is restarted every day would never reach the last prefix.
        let next_prefix = Arc::new(AtomicU8::new(fastrand::u8(..)));
        Self {
            index,
            blobs,
            clock,
            counters,
            next_prefix,
        }
    }

    /// Removes the images that have been unreferenced for at least `grace`. Images of a prefix for
    /// which somebody is storing an image are left for the next run. May be dropped half-way.
    pub async fn collect_unreferenced(&self, grace: Duration) -> Result<RemovedStats, GcError> {
        let until_ms = self.clock.ms_before_now(grace);
        let (mut total, mut after) = (RemovedStats::default(), None);
        loop {
            let page = self
                .index
                .unreferenced(until_ms, after, PAGE)
                .await
                .map_err(GcError::Index)?;
            let Some(last) = page.last() else {
                return Ok(total);
            };
            after = Some(*last);
            // In ascending order, so images of one prefix are adjacent.
            let prefixes = page.chunk_by(|one, other| Prefix::of(*one) == Prefix::of(*other));
            for images in prefixes.flat_map(|images| images.chunks(BATCH)) {
                add(
                    &mut total,
                    self.remove(images, Reason::Unreferenced { until_ms })
                        .await?,
                );
            }
        }
    }

    /// Removes the orphans of all prefixes that are at least `grace` old.
    pub async fn collect_orphans(&self, grace: Duration) -> Result<RemovedStats, GcError> {
        self.collect_some_orphans(grace, Prefix::COUNT).await
    }

    /// Removes the orphans of the next `prefixes` prefixes.
    pub async fn collect_some_orphans(
        &self,
        grace: Duration,
        prefixes: usize,
    ) -> Result<RemovedStats, GcError> {
        let mut total = RemovedStats::default();
        for _ in 0..prefixes {
            let prefix = Prefix::from_byte(self.next_prefix.fetch_add(1, Ordering::Relaxed));
            add(&mut total, self.collect_orphans_of(prefix, grace).await?);
        }
        Ok(total)
    }

    async fn collect_orphans_of(
        &self,
        prefix: Prefix,
        grace: Duration,
    ) -> Result<RemovedStats, GcError> {
        let until_ms = self.clock.ms_before_now(grace);
        let stored = self.blobs.list(prefix).await.map_err(GcError::Blobs)?;
        let old: Vec<_> = stored
            .iter()
            .filter(|image| image.since_ms <= until_ms)
            .map(|image| image.fingerprint)
            .collect();
        // Checked twice: this first look, without a lock, finds no orphans in most prefixes.
        let orphans = self
            .index
            .unknown_images(&old)
            .await
            .map_err(GcError::Index)?;
        self.remove(&orphans, Reason::Orphan).await
    }

    /// Removes an image that was stored and that the index refused, unless somebody else refers to
    /// it. If that is not possible now, it is left as an orphan.
    pub async fn remove_rejected(&self, image: Fingerprint) {
        if let Err(error) = self.remove(&[image], Reason::Orphan).await {
            tracing::warn!(
                %image,
                error = &error as &dyn std::error::Error,
                "could not remove a rejected image; it is removed later as an orphan"
            );
        }
    }

    /// Removes those of `images`, all of one prefix, that nobody refers to.
    async fn remove(
        &self,
        images: &[Fingerprint],
        reason: Reason,
    ) -> Result<RemovedStats, GcError> {
        let Some(first) = images.first() else {
            return Ok(RemovedStats::default());
        };
        let Some(guard) = self
            .blobs
            .try_lock_exclusive(Prefix::of(*first))
            .await
            .map_err(GcError::Blobs)?
        else {
            tracing::debug!(
                "a prefix is in use; its unreferenced images are left for the next run"
            );
            return Ok(RemovedStats::default());
        };
        let unreferenced = match reason {
            Reason::Unreferenced { until_ms } => {
                self.index
                    .delete_unreferenced(images.to_vec(), until_ms)
                    .await
            }
            Reason::Orphan => self.index.unknown_images(images).await,
        };
        let unreferenced = unreferenced.map_err(GcError::Index)?;
        heirloom_crash::reached(CrashPoint::ImageUnindexed);
        let removed = self
            .blobs
            .remove(guard, unreferenced)
            .await
            .map_err(GcError::Blobs)?;
        self.counters.images_collected.add(removed.images);
        self.counters.bytes_collected.add(removed.bytes);
        if removed.images > 0 {
            tracing::info!(
                images = removed.images,
                bytes = removed.bytes,
                ?reason,
                "removed unreferenced images"
            );
        }
        Ok(removed)
    }
}

fn add(total: &mut RemovedStats, more: RemovedStats) {
    total.images += more.images;
    total.bytes += more.bytes;
}

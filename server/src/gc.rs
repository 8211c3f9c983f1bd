//! Clearing: an image that nobody refers to any more loses its row in the index, and then its
//! bytes.
//!
//! Nobody refers to it when nobody holds it and nobody is uploading it; whoever has it in the
//! library or in the trash holds it. After that it stays for a while: who still has it can link it,
//! and it costs nobody's quota.
//!
//! A row without bytes would be a lost photo, so the row goes first, and nobody may store the same
//! image between a look into the index and the end of its bytes ([`crate::blobs::ExclusiveGuard`]). A
//! link needs no such care: it is one transaction in which the row is still there or is not. What a
//! crash leaves between the two is bytes without a row, a *stray*. So are the bytes of an image
//! that was stored and not recorded; and so are images newer than an index that was restored from
//! an old copy, which is why strays stay for long before they are removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use heirloom_crash::CrashPoint;
use heirloom_protocol::Fingerprint;

use crate::blobs::{BlobError, Blobs, Prefix, RemovedStats};
use crate::clock::Clock;
use crate::index::{Index, IndexError};
use crate::metrics::SharedCounters;

/// Images that are looked at in one question: few enough to stand in memory, enough to share
/// sections.
const PAGE: usize = 1000;

/// Images that leave the index in one transaction: few enough not to hold up those who write.
const BATCH: usize = 100;

/// Removes what nobody refers to. Clones share everything.
#[derive(Clone, Debug)]
pub struct GarbageCollector {
    index: Index,
    blobs: Arc<dyn Blobs>,
    clock: Clock,
    counters: SharedCounters,
    /// The section whose strays are looked for next.
    next: Arc<AtomicU8>,
}

/// What kept something from being removed. What was removed before it is gone.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// The index failed.
    #[error("look up which images nobody has")]
    Index(#[source] IndexError),
    /// The storage failed.
    #[error("remove images that nobody has")]
    Blobs(#[source] BlobError),
}

/// Why images of a section go.
#[derive(Clone, Copy, Debug)]
enum Reason {
    /// They were let go of, then or before.
    Released { until_ms: i64 },
    /// The index does not know them.
    Stray,
}

impl GarbageCollector {
    /// Over what `index` knows and `blobs` has.
    pub fn new(
        index: Index,
        blobs: Arc<dyn Blobs>,
        clock: Clock,
        counters: SharedCounters,
    ) -> Self {
        // Not always the same first: a server that is started every day would never come to the
        // last.
        let next = Arc::new(AtomicU8::new(fastrand::u8(..)));
        Self {
            index,
            blobs,
            clock,
            counters,
            next,
        }
    }

    /// Removes the images that were let go of at least `grace` ago. Those in whose section somebody
    /// is just storing something are left for the next time. May be dropped half-way.
    pub async fn collect_unreferenced(&self, grace: Duration) -> Result<RemovedStats, GcError> {
        let until_ms = self.clock.ms_before_now(grace);
        let (mut freed, mut after) = (RemovedStats::default(), None);
        loop {
            let page = self
                .index
                .unreferenced(until_ms, after, PAGE)
                .await
                .map_err(GcError::Index)?;
            let Some(last) = page.last() else {
                return Ok(freed);
            };
            after = Some(*last);
            // By ascending fingerprint, so those of one section stand together.
            let sections = page.chunk_by(|one, other| Prefix::of(*one) == Prefix::of(*other));
            for images in sections.flat_map(|section| section.chunks(BATCH)) {
                add(
                    &mut freed,
                    self.clear(images, Reason::Released { until_ms }).await?,
                );
            }
        }
    }

    /// Removes the strays of all sections that are at least `grace` old.
    pub async fn collect_orphans(&self, grace: Duration) -> Result<RemovedStats, GcError> {
        self.collect_some_orphans(grace, Prefix::COUNT).await
    }

    /// The same in the next so many sections.
    pub async fn collect_some_orphans(
        &self,
        grace: Duration,
        sections: usize,
    ) -> Result<RemovedStats, GcError> {
        let mut freed = RemovedStats::default();
        for _ in 0..sections {
            let section = Prefix::of_byte(self.next.fetch_add(1, Ordering::Relaxed));
            add(&mut freed, self.clear_strays_of(section, grace).await?);
        }
        Ok(freed)
    }

    async fn clear_strays_of(
        &self,
        section: Prefix,
        grace: Duration,
    ) -> Result<RemovedStats, GcError> {
        let until_ms = self.clock.ms_before_now(grace);
        let standing = self.blobs.list(section).await.map_err(GcError::Blobs)?;
        let old: Vec<_> = standing
            .iter()
            .filter(|image| image.since_ms <= until_ms)
            .map(|image| image.fingerprint)
            .collect();
        // Looked at twice: without keeping anybody waiting most sections are found to have none.
        let strays = self
            .index
            .unknown_images(&old)
            .await
            .map_err(GcError::Index)?;
        self.clear(&strays, Reason::Stray).await
    }

    /// Removes an image that was stored and that the index refused, unless somebody else has it. If
    /// that cannot be done now, it is a stray.
    pub async fn remove_rejected(&self, image: Fingerprint) {
        if let Err(error) = self.clear(&[image], Reason::Stray).await {
            tracing::warn!(%image, error = &error as &dyn std::error::Error, "left a refused image for the next search");
        }
    }

    /// Removes those of `images`, all of one section, that nobody refers to.
    async fn clear(&self, images: &[Fingerprint], reason: Reason) -> Result<RemovedStats, GcError> {
        let Some(first) = images.first() else {
            return Ok(RemovedStats::default());
        };
        let Some(alone) = self
            .blobs
            .try_lock_exclusive(Prefix::of(*first))
            .await
            .map_err(GcError::Blobs)?
        else {
            tracing::debug!(
                "somebody is storing an image; what nobody has is left beside it for now"
            );
            return Ok(RemovedStats::default());
        };
        let unheld = match reason {
            Reason::Released { until_ms } => {
                self.index
                    .delete_unreferenced(images.to_vec(), until_ms)
                    .await
            }
            Reason::Stray => self.index.unknown_images(images).await,
        };
        let unheld = unheld.map_err(GcError::Index)?;
        heirloom_crash::reached(CrashPoint::ImageUnindexed);
        let freed = self
            .blobs
            .remove(alone, unheld)
            .await
            .map_err(GcError::Blobs)?;
        self.counters.images_cleared.add(freed.images);
        self.counters.bytes_cleared.add(freed.bytes);
        if freed.images > 0 {
            tracing::info!(
                images = freed.images,
                bytes = freed.bytes,
                ?reason,
                "cleared images away that nobody has"
            );
        }
        Ok(freed)
    }
}

fn add(all: &mut RemovedStats, more: RemovedStats) {
    all.images += more.images;
    all.bytes += more.bytes;
}

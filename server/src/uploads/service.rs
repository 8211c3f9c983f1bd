//! The upload service: shared state, and the lookups and deletions that all its operations need.

use std::sync::Arc;

use heirloom_crash::CrashPoint;
use heirloom_protocol::ShardSize;
use heirloom_protocol::message::Receipt;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::error::UploadError;
use crate::blobs::{BlobStore, UploadKey};
use crate::clock::Clock;
use crate::gc::GarbageCollector;
use crate::index::{Index, InterruptedUpload};
use crate::metrics::SharedCounters;
use crate::possession::Possession;
use crate::range_lock::RangeLock;

/// Bytes of shards held in memory at a time by the whole server: two of the largest shards.
const SHARD_MEMORY_BYTES: u64 = 2 * ShardSize::MAX.bytes();

/// Receives, finishes and expires uploads. Clones share all state.
#[derive(Clone, Debug)]
pub struct UploadService {
    pub(super) index: Index,
    pub(super) blobs: Arc<dyn BlobStore>,
    pub(super) possession: Possession,
    pub(super) gc: GarbageCollector,
    pub(super) clock: Clock,
    pub(super) counters: SharedCounters,
    pub(super) locks: RangeLock<UploadKey>,
    /// Free bytes of the memory for incoming shards.
    pub(super) memory: Arc<Semaphore>,
    /// Writes that continue after their requester has disconnected.
    pub(super) writes: TaskTracker,
}

impl UploadService {
    /// A service over `index` and `blobs`.
    pub fn new(
        index: Index,
        blobs: Arc<dyn BlobStore>,
        possession: Possession,
        gc: GarbageCollector,
        clock: Clock,
        counters: SharedCounters,
    ) -> Self {
        let bytes = usize::try_from(SHARD_MEMORY_BYTES).expect("32 MiB fit any address space");
        Self {
            index,
            blobs,
            possession,
            gc,
            clock,
            counters,
            locks: RangeLock::default(),
            memory: Arc::new(Semaphore::new(bytes)),
            writes: TaskTracker::new(),
        }
    }

    /// Waits for the writes whose requesters have disconnected. Call it when no new requests
    /// arrive any more.
    pub async fn drain(&self) {
        self.writes.close();
        self.writes.wait().await;
    }

    /// The user's receipt for an image, if they hold it.
    pub(super) async fn receipt_of(&self, key: UploadKey) -> Result<Option<Receipt>, UploadError> {
        let fingerprint = key.fingerprint;
        let found = self.index.receipts(key.user, &[fingerprint]).await;
        found
            .map(|mut receipts| receipts.remove(&fingerprint))
            .map_err(UploadError::index(fingerprint))
    }

    /// The upload's entry in the interruption list, if it has one.
    pub(super) async fn upload_of(
        &self,
        key: UploadKey,
    ) -> Result<Option<InterruptedUpload>, UploadError> {
        let fingerprint = key.fingerprint;
        let found = self
            .index
            .interrupted_uploads(key.user, &[fingerprint])
            .await;
        found
            .map(|mut uploads| uploads.remove(&fingerprint))
            .map_err(UploadError::index(fingerprint))
    }

    /// Locks an upload and abandons it, to the end even if the caller stops waiting.
    pub(super) async fn discard(&self, key: UploadKey) -> Result<(), UploadError> {
        let service = self.clone();
        let discarded = self.writes.spawn(async move {
            let _exclusive = service.locks.lock_all(key).await;
            service.abandon(key).await
        });
        discarded
            .await
            .map_err(|_| UploadError::TaskFailed(key.fingerprint))?
    }

    /// Deletes an upload that will not be continued. If its list is complete, its bytes may already
    /// be an image that the index refused, so that image is removed too. (A sender with an
    /// incomplete list must not get the bytes of an unknown image removed by naming it.)
    ///
    /// The caller holds the lock of the whole upload.
    pub(super) async fn abandon(&self, key: UploadKey) -> Result<(), UploadError> {
        let is_complete = |upload: InterruptedUpload| upload.received.covers(upload.size);
        let was_complete = self.upload_of(key).await?.is_some_and(is_complete);
        self.delete_upload(key).await?;
        if was_complete {
            self.gc.remove_rejected(key.fingerprint).await;
        }
        Ok(())
    }

    /// Deletes the list entry, then the bytes: rule 3 of [`super`].
    pub(super) async fn delete_upload(&self, key: UploadKey) -> Result<(), UploadError> {
        let fingerprint = key.fingerprint;
        let deleted = self.index.delete_upload(key.user, fingerprint).await;
        deleted.map_err(UploadError::index(fingerprint))?;
        heirloom_crash::reached(CrashPoint::UploadUnlisted);
        self.blobs
            .discard(key)
            .await
            .map_err(UploadError::blobs(fingerprint))
    }
}

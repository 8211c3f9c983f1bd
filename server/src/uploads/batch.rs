//! Batches: several small images, each whole, in one request. Each is treated like a shard that is
//! a whole image; together they cost one wait for the disk and one for the index.

use bytes::{Bytes, BytesMut};
use heirloom_crash::CrashPoint;
use heirloom_protocol::batch::BatchOutcome;
use heirloom_protocol::message::Receipt;
use heirloom_protocol::possession::UserId;
use heirloom_protocol::{Fingerprint, batch};

use super::body;
use super::error::UploadError;
use super::service::UploadService;
use crate::accounts::Caller;
use crate::blobs::{ByteStream, SharedGuard, StoredBatch, UploadKey};

/// The longest batch, in bytes.
pub const BATCH_LENGTH_MAX: u64 = batch::BYTES_MAX + batch::HEADER_BYTES_MAX as u64;

impl UploadService {
    /// Receives a batch of `length` bytes, at most [`BATCH_LENGTH_MAX`]. Returns one result per
    /// image, in the order of the batch.
    ///
    /// May be dropped half-way: nothing is written until the whole batch has arrived; from then on
    /// the write continues by itself.
    pub async fn receive_batch(
        &self,
        caller: &Caller,
        length: u64,
        body: ByteStream<'static>,
    ) -> Result<Vec<BatchOutcome>, UploadError> {
        let memory = self.reserve_memory(length).await?;
        let mut received = BytesMut::new();
        body::receive(body, length, &mut received).await?;
        let received = received.freeze();
        let parts = batch::decode(&received).map_err(UploadError::Batch)?;
        let images: Vec<_> = parts
            .into_iter()
            .map(|(fingerprint, part)| (fingerprint, received.slice(part)))
            .collect();
        let first = images[0].0;
        let (service, user) = (self.clone(), caller.user);
        let stored = self.writes.spawn(async move {
            let stored = service.store_batch(user, images).await;
            drop(memory);
            stored
        });
        stored.await.map_err(|_| UploadError::TaskFailed(first))?
    }

    async fn store_batch(
        &self,
        user: UserId,
        images: Vec<(Fingerprint, Bytes)>,
    ) -> Result<Vec<BatchOutcome>, UploadError> {
        let announced: Vec<(Fingerprint, u64)> = images
            .iter()
            .map(|(fingerprint, bytes)| (*fingerprint, bytes.len() as u64))
            .collect();
        let first = announced[0].0;
        let stored = self.blobs.store_batch(images).await;
        let StoredBatch { mismatched, guard } = stored.map_err(UploadError::blobs(first))?;
        let intact = announced
            .iter()
            .filter(|(fingerprint, _)| !mismatched.contains(fingerprint))
            .copied()
            .collect();
        let mut receipts = self
            .record_batch(user, intact, guard)
            .await?
            .into_iter()
            .peekable();
        let result = |(fingerprint, _)| match receipts
            .next_if(|receipt| receipt.fingerprint == fingerprint)
        {
            Some(receipt) => BatchOutcome::Stored { receipt },
            None => BatchOutcome::Damaged { fingerprint },
        };
        Ok(announced.into_iter().map(result).collect())
    }

    /// Records the images and deletes parts of them that arrived before, with all these uploads
    /// locked so that no shard is added meanwhile. The locks are taken in the order of
    /// fingerprints, so that two batches cannot deadlock.
    async fn record_batch(
        &self,
        user: UserId,
        images: Vec<(Fingerprint, u64)>,
        guard: SharedGuard,
    ) -> Result<Vec<Receipt>, UploadError> {
        let Some(&(first, _)) = images.first() else {
            return Ok(Vec::new());
        };
        let mut fingerprints: Vec<Fingerprint> =
            images.iter().map(|(fingerprint, _)| *fingerprint).collect();
        fingerprints.sort_unstable();
        let mut exclusive = Vec::with_capacity(fingerprints.len());
        for &fingerprint in &fingerprints {
            let key = UploadKey { user, fingerprint };
            exclusive.push(self.locks.lock_all(key).await);
        }
        let uploads = self
            .index
            .interrupted_uploads(user, &fingerprints)
            .await
            .map_err(UploadError::index(first))?;
        let bytes = images.iter().map(|(_, size)| size).sum();
        let held = self.index.add_holdings(user, images).await;
        drop(guard);
        if held.is_err() {
            for fingerprint in fingerprints {
                self.gc.remove_rejected(fingerprint).await;
            }
        }
        let receipts = held.map_err(UploadError::index(first))?;
        heirloom_crash::reached(CrashPoint::ImageRecorded);
        for fingerprint in uploads.into_keys() {
            let discarded = self.blobs.discard(UploadKey { user, fingerprint }).await;
            discarded.map_err(UploadError::blobs(fingerprint))?;
        }
        self.counters.shards_received.add_one();
        self.counters.shard_bytes_received.add(bytes);
        self.counters.images_stored.add(receipts.len() as u64);
        tracing::info!(%user, images = receipts.len(), bytes, "images stored");
        Ok(receipts)
    }
}

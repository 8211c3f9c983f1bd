//! Parcels: several small images that arrive whole, in one request. Each is what a shard with a
//! whole image is; together they wait for the disk and for the index once.

use bytes::{Bytes, BytesMut};
use heirloom_crash::CrashPoint;
use heirloom_protocol::batch::BatchOutcome;
use heirloom_protocol::message::Receipt;
use heirloom_protocol::possession::UserId;
use heirloom_protocol::{Fingerprint, batch};
use tokio::time::timeout;

use super::receive::{collect, too_slow};
use super::{SHARD_TIME_MAX, UploadError, UploadService, index_failed};
use crate::accounts::Caller;
use crate::blobs::{ByteStream, SharedGuard, StoredBatch, UploadKey};

/// The longest parcel, in bytes.
pub const BATCH_LENGTH_MAX: u64 = batch::BYTES_MAX + batch::HEADER_BYTES_MAX as u64;

impl UploadService {
    /// Takes a parcel of `length` bytes in, at most [`BATCH_LENGTH_MAX`]. Answers what became of
    /// each image, in order.
    ///
    /// May be dropped half-way: until the parcel has arrived nothing was written; from then on the
    /// write goes on by itself.
    pub async fn receive_batch(
        &self,
        caller: &Caller,
        length: u64,
        body: ByteStream<'static>,
    ) -> Result<Vec<BatchOutcome>, UploadError> {
        let memory = self.reserve_memory(length).await?;
        let mut parcel = BytesMut::new();
        let collected = timeout(SHARD_TIME_MAX, collect(body, length, &mut parcel)).await;
        collected.map_err(|_| UploadError::Sender(too_slow()))??;
        let parcel = parcel.freeze();
        let places = batch::decode(&parcel).map_err(UploadError::Batch)?;
        let images: Vec<_> = places
            .into_iter()
            .map(|(fingerprint, place)| (fingerprint, parcel.slice(place)))
            .collect();
        let first = images[0].0;
        let (room, user) = (self.clone(), caller.user);
        let stored = self.writes.spawn(async move {
            let stored = room.store_parcel(user, images).await;
            drop(memory);
            stored
        });
        stored.await.map_err(|_| UploadError::TaskFailed(first))?
    }

    async fn store_parcel(
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
        let StoredBatch { mismatched, guard } = stored.map_err(|source| UploadError::Blobs {
            fingerprint: first,
            source,
        })?;
        let sound = announced
            .iter()
            .filter(|(fingerprint, _)| !mismatched.contains(fingerprint))
            .copied()
            .collect();
        let mut receipts = self
            .record_several(user, sound, guard)
            .await?
            .into_iter()
            .peekable();
        let unpacked = |(fingerprint, _)| match receipts
            .next_if(|receipt| receipt.fingerprint == fingerprint)
        {
            Some(receipt) => BatchOutcome::Stored { receipt },
            None => BatchOutcome::Damaged { fingerprint },
        };
        Ok(announced.into_iter().map(unpacked).collect())
    }

    /// Parts that came before are of no use any more. Alone with all these uploads, so that no
    /// shard is added meanwhile; everybody who wants several takes their turns in the same order.
    async fn record_several(
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
        let mut alone = Vec::with_capacity(fingerprints.len());
        for fingerprint in &fingerprints {
            alone.push(
                self.locks
                    .lock_all(UploadKey {
                        user,
                        fingerprint: *fingerprint,
                    })
                    .await,
            );
        }
        let begun = self
            .index
            .interrupted_uploads(user, &fingerprints)
            .await
            .map_err(|source| index_failed(first, source))?;
        let bytes = images.iter().map(|(_, size)| size).sum();
        let held = self.index.add_holdings(user, images).await;
        drop(guard);
        if held.is_err() {
            for fingerprint in fingerprints {
                self.clearing.remove_rejected(fingerprint).await;
            }
        }
        let receipts = held.map_err(|source| index_failed(first, source))?;
        heirloom_crash::reached(CrashPoint::ImageRecorded);
        for fingerprint in begun.into_keys() {
            let discarded = self.blobs.discard(UploadKey { user, fingerprint }).await;
            discarded.map_err(|source| UploadError::Blobs {
                fingerprint,
                source,
            })?;
        }
        self.counters.shards_received.add_one();
        self.counters.shard_bytes_received.add(bytes);
        self.counters.images_stored.add(receipts.len() as u64);
        tracing::info!(%user, images = receipts.len(), bytes, "images stored");
        Ok(receipts)
    }
}

//! Sealing: an upload that has all its bytes becomes an image, or is dropped.
//!
//! A stop between the sealing and its record leaves a full list without bytes. Sealing it again
//! finds the image in its place and goes on to the record; rule 3 of [`super`] is what makes that
//! safe.

use heirloom_crash::CrashPoint;
use heirloom_protocol::RangeSet;
use heirloom_protocol::message::UploadState;

use super::{UploadError, UploadService, index_failed};
use crate::blobs::{BlobError, SharedGuard, UploadKey};
use crate::index::InterruptedUpload;

impl UploadService {
    /// Reads back, hashes, makes durable, records, answers (M7). Alone with the upload: nobody
    /// writes meanwhile.
    pub(super) async fn seal(&self, key: UploadKey, size: u64) -> Result<UploadState, UploadError> {
        let _alone = self.locks.lock_all(key).await;
        // Another shard of the same upload may have come to the same end first.
        if let Some(receipt) = self.receipt_of(key).await? {
            return Ok(UploadState::Stored { receipt });
        }
        match self.upload_of(key).await? {
            Some(upload) if upload.received.covers(size) => self.seal_bytes(key, size).await,
            Some(InterruptedUpload { size, received }) => {
                Ok(UploadState::Receiving { size, received })
            }
            None => Ok(UploadState::Receiving {
                size,
                received: RangeSet::new(),
            }),
        }
    }

    pub(super) async fn seal_bytes(
        &self,
        key: UploadKey,
        size: u64,
    ) -> Result<UploadState, UploadError> {
        let fingerprint = key.fingerprint;
        match self.blobs.finish(key, size).await {
            Ok(guard) => self.record(key, size, guard).await,
            Err(BlobError::WrongFingerprint { expected, found }) => {
                tracing::warn!(user = %key.user, %expected, %found, "an upload is not the image it was said to be; dropped");
                self.drop_upload(key).await?;
                Err(UploadError::FingerprintMismatch { expected, found })
            }
            Err(lost @ (BlobError::Missing(_) | BlobError::WrongLength { .. })) => {
                tracing::error!(user = %key.user, %fingerprint, error = %lost, "bytes of an upload are gone; it starts over");
                self.drop_upload(key).await?;
                Ok(UploadState::Receiving {
                    size,
                    received: RangeSet::new(),
                })
            }
            Err(
                source @ (BlobError::Sender { .. }
                | BlobError::TooShort { .. }
                | BlobError::Full { .. }
                | BlobError::Io { .. }),
            ) => Err(UploadError::Blobs {
                fingerprint,
                source,
            }),
        }
    }

    /// From here on the user holds the image, and may be told so. Until then it `stay`s because it
    /// was stored just now.
    pub(super) async fn record(
        &self,
        key: UploadKey,
        size: u64,
        guard: SharedGuard,
    ) -> Result<UploadState, UploadError> {
        let held = self
            .index
            .add_holding(key.user, key.fingerprint, size)
            .await;
        drop(guard);
        let receipt = held.map_err(|source| index_failed(key.fingerprint, source))?;
        heirloom_crash::reached(CrashPoint::ImageRecorded);
        self.counters.images_stored.add_one();
        tracing::info!(user = %key.user, fingerprint = %key.fingerprint, size, "image stored");
        Ok(UploadState::Stored { receipt })
    }
}

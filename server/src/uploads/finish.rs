//! Finishing an upload: once all its bytes have arrived it becomes an image, or is deleted.
//!
//! A stop between the rename in the blob store and the record in the index leaves a complete list
//! without bytes. Finishing it again finds the image in place and continues with the record; rule 3
//! of [`super`] makes that safe.

use heirloom_crash::CrashPoint;
use heirloom_protocol::RangeSet;
use heirloom_protocol::message::UploadState;

use super::error::UploadError;
use super::service::UploadService;
use crate::blobs::{BlobError, SharedGuard, UploadKey};
use crate::index::InterruptedUpload;

impl UploadService {
    /// Reads the upload back, hashes it, makes it durable as an image and records it, with the
    /// whole upload locked. Returns the state of an upload that is not complete (any more).
    pub(super) async fn finish(
        &self,
        key: UploadKey,
        size: u64,
    ) -> Result<UploadState, UploadError> {
        let _exclusive = self.locks.lock_all(key).await;
        // Another shard of the same upload may have finished it first.
        if let Some(receipt) = self.receipt_of(key).await? {
            return Ok(UploadState::Stored { receipt });
        }
        match self.upload_of(key).await? {
            Some(upload) if upload.received.covers(size) => self.finish_locked(key, size).await,
            Some(InterruptedUpload { size, received }) => {
                Ok(UploadState::Receiving { size, received })
            }
            None => Ok(UploadState::Receiving {
                size,
                received: RangeSet::new(),
            }),
        }
    }

    /// Finishes a complete upload. The caller holds the lock of the whole upload.
    pub(super) async fn finish_locked(
        &self,
        key: UploadKey,
        size: u64,
    ) -> Result<UploadState, UploadError> {
        let fingerprint = key.fingerprint;
        match self.blobs.finish(key, size).await {
            Ok(guard) => self.record(key, size, guard).await,
            Err(BlobError::WrongFingerprint { expected, found }) => {
                tracing::warn!(
                    user = %key.user,
                    %expected,
                    %found,
                    "deleted an upload whose bytes have another fingerprint than announced"
                );
                self.delete_upload(key).await?;
                Err(UploadError::FingerprintMismatch { expected, found })
            }
            Err(lost @ (BlobError::Missing(_) | BlobError::WrongLength { .. })) => {
                tracing::error!(
                    user = %key.user,
                    %fingerprint,
                    error = %lost,
                    "bytes of an upload are missing; it starts over"
                );
                self.delete_upload(key).await?;
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
            ) => Err(UploadError::blobs(fingerprint)(source)),
        }
    }

    /// Records a stored image as held by the user. Until the index refers to the image, `guard`
    /// protects it from garbage collection.
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
        let receipt = held.map_err(UploadError::index(key.fingerprint))?;
        heirloom_crash::reached(CrashPoint::ImageRecorded);
        self.counters.images_stored.add_one();
        tracing::info!(user = %key.user, fingerprint = %key.fingerprint, size, "image stored");
        Ok(UploadState::Stored { receipt })
    }
}

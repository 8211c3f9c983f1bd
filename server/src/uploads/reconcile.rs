//! Reconciling the interruption list with the stored bytes at start: a stop in the middle may have
//! left one without the other.

use std::collections::HashSet;

use super::error::UploadError;
use super::service::UploadService;
use crate::blobs::UploadKey;
use crate::index::IndexError;

impl UploadService {
    /// Makes the interruption list and the bytes of unfinished uploads agree again.
    ///
    /// Another server may be working on the same data. The list is read before and after the bytes,
    /// so an upload that it starts or finishes meanwhile matches neither case; a shard that it has
    /// written and not listed yet may still be dropped, which that upload survives by starting
    /// over.
    pub async fn reconcile(&self) -> Result<(), UploadError> {
        let listed = self.listed().await?;
        let stored: HashSet<UploadKey> = self
            .blobs
            .uploads()
            .await
            .map_err(UploadError::ListUploads)?
            .into_iter()
            .collect();
        let listed_since = self.listed().await?;
        for key in stored.difference(&listed_since) {
            tracing::info!(
                user = %key.user,
                fingerprint = %key.fingerprint,
                "delete bytes of an upload that is not in the interruption list"
            );
            self.blobs
                .discard(*key)
                .await
                .map_err(UploadError::ListUploads)?;
        }
        for key in listed.difference(&stored) {
            self.reconcile_without_bytes(*key).await?;
        }
        Ok(())
    }

    async fn listed(&self) -> Result<HashSet<UploadKey>, UploadError> {
        // Every upload is older than the end of time.
        let all = self
            .index
            .stale_uploads(i64::MAX, u32::MAX)
            .await
            .map_err(UploadError::Expire)?;
        Ok(all
            .into_iter()
            .map(|(user, fingerprint)| UploadKey { user, fingerprint })
            .collect())
    }

    /// A complete list entry without bytes is an upload that became an image and was not recorded:
    /// finishes it. Deletes any other entry without bytes.
    async fn reconcile_without_bytes(&self, key: UploadKey) -> Result<(), UploadError> {
        let _exclusive = self.locks.lock_all(key).await;
        let Some(upload) = self.upload_of(key).await? else {
            return Ok(());
        };
        if upload.received.covers(upload.size) {
            return match self.finish_locked(key, upload.size).await {
                // Either another server is writing to it and its present bytes are wrong, or the
                // quota refused it and it waits for space or its expiry. Other users' photos do not
                // wait for either.
                Err(
                    UploadError::FingerprintMismatch { .. }
                    | UploadError::Index {
                        source: IndexError::OverQuota { .. },
                        ..
                    },
                ) => Ok(()),
                finished => finished.map(drop),
            };
        }
        tracing::warn!(
            user = %key.user,
            fingerprint = %key.fingerprint,
            "delete an upload whose bytes are missing"
        );
        self.delete_upload(key).await
    }
}

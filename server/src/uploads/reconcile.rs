//! The sweep: what a stop in the middle left behind, and what nobody came back for.

use std::collections::HashSet;
use std::time::Duration;

use super::{UploadError, UploadService};
use crate::blobs::UploadKey;
use crate::index::IndexError;

/// Uploads or trash entries swept in one statement: small enough not to hold up those who write.
const SWEEP_BATCH: u32 = 100;

/// How long things are kept that nobody touches.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// An interrupted upload, after its last shard.
    pub upload: Duration,
    /// A photo in the trash.
    pub trash: Duration,
}

impl UploadService {
    /// At start: makes the interruption list and the bytes agree again.
    ///
    /// Another server may be at work on the same data. The list is read before and after the bytes,
    /// so what it does meanwhile looks like neither; a shard that it has written and not listed yet
    /// may still be dropped, which its upload survives by starting over.
    pub async fn reconcile(&self) -> Result<(), UploadError> {
        let listed = self.listed().await?;
        let there: HashSet<UploadKey> = self
            .blobs
            .uploads()
            .await
            .map_err(UploadError::ListUploads)?
            .into_iter()
            .collect();
        let listed_since = self.listed().await?;
        for key in there.difference(&listed_since) {
            tracing::info!(user = %key.user, fingerprint = %key.fingerprint, "drop bytes that no upload lists");
            self.blobs
                .discard(*key)
                .await
                .map_err(UploadError::ListUploads)?;
        }
        for key in listed.difference(&there) {
            self.settle_without_bytes(*key).await?;
        }
        Ok(())
    }

    async fn listed(&self) -> Result<HashSet<UploadKey>, UploadError> {
        // Every upload is staler than the end of time.
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

    /// A full list without bytes: the upload was sealed, and then we were stopped short of the
    /// record. Any other list without bytes is forgotten.
    async fn settle_without_bytes(&self, key: UploadKey) -> Result<(), UploadError> {
        let _alone = self.locks.lock_all(key).await;
        let Some(upload) = self.upload_of(key).await? else {
            return Ok(());
        };
        if upload.received.covers(upload.size) {
            return match self.seal_bytes(key, upload.size).await {
                // Another server is at work on it, and the bytes that it has now are wrong; or it
                // was refused before, and waits until there is room or nobody comes back for it.
                // Other users' photos do not wait for either.
                Err(
                    UploadError::FingerprintMismatch { .. }
                    | UploadError::Index {
                        source: IndexError::OverQuota { .. },
                        ..
                    },
                ) => Ok(()),
                sealed => sealed.map(drop),
            };
        }
        tracing::warn!(user = %key.user, fingerprint = %key.fingerprint, "forget an upload whose bytes are gone");
        self.drop_upload(key).await
    }

    /// Drops uploads and trash that expired.
    pub async fn expire(&self, expiries: Retention) -> Result<(), UploadError> {
        let uploads = self.expire_uploads(expiries.upload).await?;
        let trash = self.purge_trash(expiries.trash).await?;
        if uploads + trash > 0 {
            tracing::info!(uploads, trash, "swept what expired");
        }
        Ok(())
    }

    async fn expire_uploads(&self, after: Duration) -> Result<u64, UploadError> {
        let before_ms = self.clock.ms_before_now(after);
        let mut expired = 0;
        loop {
            let stale = self
                .index
                .stale_uploads(before_ms, SWEEP_BATCH)
                .await
                .map_err(UploadError::Expire)?;
            if stale.is_empty() {
                return Ok(expired);
            }
            for (user, fingerprint) in stale {
                let key = UploadKey { user, fingerprint };
                let _alone = self.locks.lock_all(key).await;
                self.abandon(key).await?;
                expired += 1;
            }
        }
    }

    async fn purge_trash(&self, after: Duration) -> Result<u64, UploadError> {
        let before_ms = self.clock.ms_before_now(after);
        let mut purged = 0;
        loop {
            let now = self
                .index
                .purge_trash(None, before_ms, SWEEP_BATCH)
                .await
                .map_err(UploadError::Expire)?;
            if now == 0 {
                return Ok(purged);
            }
            purged += now;
        }
    }
}

//! Deleting uploads and trash that have expired.

use std::time::Duration;

use super::error::UploadError;
use super::service::UploadService;
use crate::blobs::UploadKey;

/// Uploads or trash entries deleted per transaction: few enough not to delay other writes.
const EXPIRE_BATCH: u32 = 100;

/// How long untouched uploads and trash are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// For an interrupted upload, after its last shard.
    pub upload: Duration,
    /// For a photo in the trash.
    pub trash: Duration,
}

impl UploadService {
    /// Deletes uploads and trash older than `retention` allows.
    pub async fn expire(&self, retention: Retention) -> Result<(), UploadError> {
        let uploads = self.expire_uploads(retention.upload).await?;
        let trash = self.purge_trash(retention.trash).await?;
        if uploads + trash > 0 {
            tracing::info!(uploads, trash, "deleted expired uploads and trash");
        }
        Ok(())
    }

    async fn expire_uploads(&self, after: Duration) -> Result<u64, UploadError> {
        let before_ms = self.clock.ms_before_now(after);
        let mut expired = 0;
        loop {
            let stale = self
                .index
                .stale_uploads(before_ms, EXPIRE_BATCH)
                .await
                .map_err(UploadError::Expire)?;
            if stale.is_empty() {
                return Ok(expired);
            }
            for (user, fingerprint) in stale {
                let key = UploadKey { user, fingerprint };
                let _exclusive = self.locks.lock_all(key).await;
                self.abandon(key).await?;
                expired += 1;
            }
        }
    }

    async fn purge_trash(&self, after: Duration) -> Result<u64, UploadError> {
        let before_ms = self.clock.ms_before_now(after);
        let mut purged = 0;
        loop {
            let batch = self
                .index
                .purge_trash(None, before_ms, EXPIRE_BATCH)
                .await
                .map_err(UploadError::Expire)?;
            if batch == 0 {
                return Ok(purged);
            }
            purged += batch;
        }
    }
}

//! Partial shards: the bytes that arrived before the sender disconnected are recorded in the
//! interruption list like a shard.
//!
//! These bytes were not checked against a digest, which covers the whole shard only; the hash of
//! the whole image decides later. Until then TCP or TLS protects them, as it does any stream. On a
//! link that breaks every few seconds this is the difference between resuming and starting over.

use bytes::Bytes;
use heirloom_protocol::ByteRange;

use super::error::UploadError;
use super::service::UploadService;
use super::shard_write::check_length;
use crate::blobs::{PartialBody, UploadKey};

/// The fewest bytes worth keeping, a quarter of the smallest shard: sending fewer again is cheaper
/// than writing them.
const KEPT_BYTES_MIN: u64 = 4 << 10;

impl UploadService {
    /// Keeps the first bytes of a shard that starts at `offset`. Its sender is gone, so a failure
    /// goes to the log only.
    pub(super) async fn keep_partial_shard(
        &self,
        key: UploadKey,
        size: u64,
        offset: u64,
        received: Bytes,
    ) {
        let Ok(range) = ByteRange::at(offset, received.len() as u64) else {
            return;
        };
        if range.len() < KEPT_BYTES_MIN {
            return;
        }
        let _range_guard = self.locks.lock(key, range).await;
        let kept = self
            .write_missing(key, size, range, &received)
            .await
            .map(|_| Some(range));
        log_kept(key, kept);
    }

    /// Keeps the first bytes of an image that was sent whole.
    pub(super) async fn keep_partial_body(
        &self,
        key: UploadKey,
        size: u64,
        partial: Box<dyn PartialBody>,
    ) {
        log_kept(key, self.record_partial_body(key, size, partial).await);
    }

    /// Locks the whole upload: its file must not disappear between the two steps, or the list would
    /// promise bytes that do not exist.
    async fn record_partial_body(
        &self,
        key: UploadKey,
        size: u64,
        partial: Box<dyn PartialBody>,
    ) -> Result<Option<ByteRange>, UploadError> {
        if partial.byte_count() < KEPT_BYTES_MIN {
            return Ok(None);
        }
        let _exclusive = self.locks.lock_all(key).await;
        if self.receipt_of(key).await?.is_some() {
            return Ok(None);
        }
        let upload = self.upload_of(key).await?;
        check_length(upload.as_ref(), size)?;
        let kept = partial
            .keep(key)
            .await
            .map_err(UploadError::blobs(key.fingerprint))?;
        let Some(range) = kept else { return Ok(None) };
        self.record_shard(key, size, range).await?;
        Ok(Some(range))
    }
}

fn log_kept(key: UploadKey, kept: Result<Option<ByteRange>, UploadError>) {
    match kept {
        Ok(Some(range)) => {
            tracing::debug!(
                fingerprint = %key.fingerprint,
                %range,
                "kept the received part of a shard"
            );
        }
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(
                fingerprint = %key.fingerprint,
                error = &error as &dyn std::error::Error,
                "could not keep the received part of a shard"
            );
        }
    }
}

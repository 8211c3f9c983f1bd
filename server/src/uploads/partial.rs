//! Keeping: what came of a shard before its sender broke off goes on the interruption list, like a
//! shard.
//!
//! Nobody has held these bytes against a digest, which is that of the whole shard; the hash of the
//! whole image will tell. What keeps them good meanwhile is what keeps any stream good: TCP, or
//! TLS. On a link that breaks every few seconds it is the difference between going on and partial
//! again.

use bytes::Bytes;
use heirloom_crash::CrashPoint;
use heirloom_protocol::ByteRange;

use super::receive::{check_length, length_or_index};
use super::{UploadError, UploadService};
use crate::blobs::{PartialBody, UploadKey};

/// Fewer bytes than this, a quarter of the smallest shard, are not worth their trip to the disk:
/// who sends them again pays less.
const KEPT_BYTES_MIN: u64 = 4 << 10;

impl UploadService {
    /// What came of a part of an image, `offset` bytes from its start. Its sender is gone, so a
    /// failure is told to the log only.
    pub(super) async fn keep_part(&self, key: UploadKey, size: u64, offset: u64, came: Bytes) {
        let Ok(range) = ByteRange::at(offset, came.len() as u64) else {
            return;
        };
        if range.len() < KEPT_BYTES_MIN {
            return;
        }
        let _turn = self.locks.lock(key, range).await;
        let kept = self
            .write_missing(key, size, range, &came)
            .await
            .map(|_| Some(range));
        tell(key, kept);
    }

    /// What came of an image that was to come whole.
    pub(super) async fn keep_partial_body(
        &self,
        key: UploadKey,
        size: u64,
        partial: Box<dyn PartialBody>,
    ) {
        tell(key, self.record_partial_body(key, size, partial).await);
    }

    /// Alone with the upload: its file must not go away between the two steps, or the list would
    /// promise what is not there.
    async fn record_partial_body(
        &self,
        key: UploadKey,
        size: u64,
        partial: Box<dyn PartialBody>,
    ) -> Result<Option<ByteRange>, UploadError> {
        let fingerprint = key.fingerprint;
        if partial.byte_count() < KEPT_BYTES_MIN {
            return Ok(None);
        }
        let _alone = self.locks.lock_all(key).await;
        if self.receipt_of(key).await?.is_some() {
            return Ok(None);
        }
        let begun = self.upload_of(key).await?;
        check_length(begun.as_ref(), size)?;
        let kept = partial
            .keep(key)
            .await
            .map_err(|source| UploadError::Blobs {
                fingerprint,
                source,
            })?;
        let Some(range) = kept else { return Ok(None) };
        let noted = self
            .index
            .record_shard(key.user, fingerprint, size, range)
            .await;
        noted.map_err(|source| length_or_index(fingerprint, source))?;
        heirloom_crash::reached(CrashPoint::ShardListed);
        self.count_shard(range);
        Ok(Some(range))
    }
}

fn tell(key: UploadKey, kept: Result<Option<ByteRange>, UploadError>) {
    match kept {
        Ok(Some(range)) => {
            tracing::debug!(fingerprint = %key.fingerprint, %range, "kept what came of a shard");
        }
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(fingerprint = %key.fingerprint, error = &error as &dyn std::error::Error, "what came of a shard is lost");
        }
    }
}

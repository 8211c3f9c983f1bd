//! Writing one shard: the bytes that are still missing, then the interruption list.

use bytes::Bytes;
use heirloom_crash::CrashPoint;
use heirloom_protocol::message::UploadState;
use heirloom_protocol::{ByteRange, Fingerprint, RangeSet};

use super::error::UploadError;
use super::service::UploadService;
use crate::blobs::UploadKey;
use crate::index::{IndexError, InterruptedUpload};

/// What a shard's write left of its upload.
pub(super) enum WriteOutcome {
    /// The upload continues; its entry in the interruption list.
    Continues(InterruptedUpload),
    /// The upload was finished while the shard waited for its lock.
    Finished(UploadState),
}

impl UploadService {
    /// Writes the bytes that the list does not have yet (rule 1 of [`super`]), then adds the range
    /// to the list (rule 2). The caller holds the lock of `range`.
    pub(super) async fn write_missing(
        &self,
        key: UploadKey,
        size: u64,
        range: ByteRange,
        bytes: &Bytes,
    ) -> Result<WriteOutcome, UploadError> {
        if let Some(receipt) = self.receipt_of(key).await? {
            return Ok(WriteOutcome::Finished(UploadState::Stored { receipt }));
        }
        let upload = self.upload_of(key).await?;
        check_length(upload.as_ref(), size)?;
        let missing = upload.as_ref().map_or_else(
            || RangeSet::from(range),
            |upload| RangeSet::from(range).without(&upload.received),
        );
        if let (true, Some(upload)) = (missing.is_empty(), upload) {
            return Ok(WriteOutcome::Continues(upload));
        }
        for piece in missing.iter() {
            let written = self
                .blobs
                .write(key, piece.start(), slice(bytes, range, piece))
                .await;
            written.map_err(UploadError::blobs(key.fingerprint))?;
        }
        self.record_shard(key, size, range)
            .await
            .map(WriteOutcome::Continues)
    }

    /// Adds a durable range to the interruption list.
    pub(super) async fn record_shard(
        &self,
        key: UploadKey,
        size: u64,
        range: ByteRange,
    ) -> Result<InterruptedUpload, UploadError> {
        let recorded = self
            .index
            .record_shard(key.user, key.fingerprint, size, range)
            .await;
        let upload = recorded.map_err(|source| length_or_index(key.fingerprint, source))?;
        heirloom_crash::reached(CrashPoint::ShardListed);
        self.count_shard(range);
        Ok(upload)
    }

    /// Counts a received shard for the metrics.
    pub(super) fn count_shard(&self, range: ByteRange) {
        self.counters.shards_received.add_one();
        self.counters.shard_bytes_received.add(range.len());
    }
}

/// Refuses a shard that announces another image length than its upload was started with.
pub(super) fn check_length(
    upload: Option<&InterruptedUpload>,
    now: u64,
) -> Result<(), UploadError> {
    match upload {
        Some(upload) if upload.size != now => Err(UploadError::LengthMismatch {
            first: upload.size,
            now,
        }),
        Some(_) | None => Ok(()),
    }
}

/// Another server process may have started the upload with another length since we checked.
fn length_or_index(fingerprint: Fingerprint, source: IndexError) -> UploadError {
    match source {
        IndexError::SizeMismatch { begun, announced } => UploadError::LengthMismatch {
            first: begun,
            now: announced,
        },
        source => UploadError::index(fingerprint)(source),
    }
}

/// The bytes of `piece` out of those of `range`, which contains it.
fn slice(bytes: &Bytes, range: ByteRange, piece: ByteRange) -> Bytes {
    let at =
        |offset: u64| usize::try_from(offset - range.start()).expect("a shard is at most 16 MiB");
    bytes.slice(at(piece.start())..at(piece.end()))
}

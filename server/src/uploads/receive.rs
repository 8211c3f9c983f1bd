//! Receiving one shard: its bytes are checked against its digest and made durable.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use heirloom_protocol::message::UploadState;
use heirloom_protocol::{ByteRange, ContentDigest, Fingerprint, Fingerprinter};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument as _;

use super::body::{self, wrong_length};
use super::error::UploadError;
use super::service::UploadService;
use super::shard_write::{WriteOutcome, check_length};
use crate::accounts::Caller;
use crate::blobs::{BlobError, ByteStream, SharedGuard, UploadKey};

/// A shard as announced, with its bytes as they arrive. The range lies inside `0..size` and is no
/// longer than the largest shard.
pub struct Shard {
    /// The image's fingerprint.
    pub fingerprint: Fingerprint,
    /// The whole image's length in bytes.
    pub size: u64,
    /// The shard's position in the image.
    pub range: ByteRange,
    /// The digest of the shard's bytes.
    pub digest: ContentDigest,
    /// The shard's bytes.
    pub body: ByteStream<'static>,
}

impl Shard {
    const fn is_whole_image(&self) -> bool {
        self.range.len() == self.size
    }
}

impl UploadService {
    /// Receives a shard. Returns the upload's progress, or the receipt if this shard completes the
    /// image.
    ///
    /// May be dropped half-way, as when the sender disconnects: the bytes that arrived are kept,
    /// and a write that was begun continues by itself.
    pub async fn receive(&self, caller: &Caller, shard: Shard) -> Result<UploadState, UploadError> {
        let key = UploadKey {
            user: caller.user,
            fingerprint: shard.fingerprint,
        };
        self.check_quota(caller, shard.fingerprint, shard.size)
            .await?;
        if shard.is_whole_image() {
            // The index is not asked whether the image is stored: the sender has just asked, and
            // bytes with the right fingerprint are right in any case.
            return self.spawn_receive(key, shard, None).await;
        }
        if let Some(receipt) = self.receipt_of(key).await? {
            return Ok(UploadState::Stored { receipt });
        }
        let upload = self.upload_of(key).await?;
        check_length(upload.as_ref(), shard.size)?;
        let memory = self.reserve_memory(shard.range.len()).await?;
        self.spawn_receive(key, shard, Some(memory)).await
    }

    /// Receives the shard in a task of its own. The request's future is dropped when the sender
    /// disconnects, which is exactly when the received part must be kept; and a write handed to the
    /// disk cannot be cancelled.
    async fn spawn_receive(
        &self,
        key: UploadKey,
        shard: Shard,
        memory: Option<OwnedSemaphorePermit>,
    ) -> Result<UploadState, UploadError> {
        let service = self.clone();
        let receiving = async move {
            let received = if shard.is_whole_image() {
                service.receive_whole(key, shard).await
            } else {
                service.receive_part(key, shard).await
            };
            drop(memory);
            received
        };
        let received = self.writes.spawn(receiving.in_current_span()).await;
        received.map_err(|_| UploadError::TaskFailed(key.fingerprint))?
    }

    /// Receives an image in one shard: it is hashed on its way to the disk and needs no memory.
    async fn receive_whole(
        &self,
        key: UploadKey,
        shard: Shard,
    ) -> Result<UploadState, UploadError> {
        let Shard {
            fingerprint,
            size,
            range,
            digest,
            body,
        } = shard;
        if digest.fingerprint() != fingerprint {
            return Err(digest_or_fingerprint_mismatch(fingerprint, range, digest, body).await);
        }
        match self.blobs.store(fingerprint, size, body).await {
            Ok(guard) => {
                self.count_shard(range);
                self.record_whole(key, size, guard).await
            }
            // Digest and fingerprint are the same here: the bytes were damaged in transit and may
            // be sent again.
            Err(BlobError::WrongFingerprint { .. }) => Err(UploadError::DigestMismatch(range)),
            Err(BlobError::Sender { source, partial }) => {
                self.keep_partial_body(key, size, partial).await;
                Err(UploadError::Sender(source))
            }
            Err(BlobError::WrongLength { expected, found }) => {
                Err(UploadError::Sender(wrong_length(expected, found)))
            }
            Err(
                source @ (BlobError::Missing(_)
                | BlobError::TooShort { .. }
                | BlobError::Full { .. }
                | BlobError::Io { .. }),
            ) => Err(UploadError::blobs(fingerprint)(source)),
        }
    }

    /// Records an image that was sent whole and deletes parts of it that arrived before, with the
    /// whole upload locked so that no shard is added meanwhile.
    async fn record_whole(
        &self,
        key: UploadKey,
        size: u64,
        guard: SharedGuard,
    ) -> Result<UploadState, UploadError> {
        let _exclusive = self.locks.lock_all(key).await;
        let upload = self.upload_of(key).await?;
        let recorded = self.record(key, size, guard).await;
        if upload.is_none() && recorded.is_err() {
            // No upload refers to the image: a sender that still wants it stored sends it again.
            self.gc.remove_rejected(key.fingerprint).await;
        }
        let state = recorded?;
        if upload.is_some() {
            let discarded = self.blobs.discard(key).await;
            discarded.map_err(UploadError::blobs(key.fingerprint))?;
        }
        Ok(state)
    }

    /// Receives a part of an image into memory.
    async fn receive_part(&self, key: UploadKey, shard: Shard) -> Result<UploadState, UploadError> {
        let Shard {
            size,
            range,
            digest,
            body,
            ..
        } = shard;
        let mut received = BytesMut::new();
        match body::receive(body, range.len(), &mut received).await {
            Ok(()) => {
                self.write_part(key, size, range, digest, received.freeze())
                    .await
            }
            Err(error) => {
                self.keep_partial_shard(key, size, range.start(), received.freeze())
                    .await;
                Err(error)
            }
        }
    }

    async fn write_part(
        &self,
        key: UploadKey,
        size: u64,
        range: ByteRange,
        digest: ContentDigest,
        bytes: Bytes,
    ) -> Result<UploadState, UploadError> {
        let bytes = check_digest(bytes, range, digest).await?;
        let outcome = {
            let _range_guard = self.locks.lock(key, range).await;
            self.write_missing(key, size, range, &bytes).await?
        };
        match outcome {
            WriteOutcome::Continues(upload) if upload.received.covers(size) => {
                self.finish(key, size).await
            }
            WriteOutcome::Continues(upload) => Ok(UploadState::Receiving {
                size,
                received: upload.received,
            }),
            WriteOutcome::Finished(state) => Ok(state),
        }
    }
}

/// The error for a whole image whose digest and fingerprint differ: one of them is wrong, and only
/// the bytes tell which. Stores nothing.
async fn digest_or_fingerprint_mismatch(
    expected: Fingerprint,
    range: ByteRange,
    digest: ContentDigest,
    mut body: ByteStream<'static>,
) -> UploadError {
    let mut fingerprinter = Fingerprinter::default();
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => fingerprinter.update(&piece),
            Err(source) => return UploadError::Sender(source),
        }
    }
    let found = fingerprinter.finish();
    if found == digest.fingerprint() {
        UploadError::FingerprintMismatch { expected, found }
    } else {
        UploadError::DigestMismatch(range)
    }
}

/// Returns the bytes if they match the digest. Hashes on a blocking thread: 16 MiB take too long
/// for an async task.
async fn check_digest(
    bytes: Bytes,
    range: ByteRange,
    digest: ContentDigest,
) -> Result<Bytes, UploadError> {
    let body = bytes.clone();
    let hashed = tokio::task::spawn_blocking(move || ContentDigest::of(&body)).await;
    match hashed {
        Ok(found) if found == digest => Ok(bytes),
        Ok(_) => Err(UploadError::DigestMismatch(range)),
        Err(_) => Err(UploadError::TaskFailed(digest.fingerprint())),
    }
}

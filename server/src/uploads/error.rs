//! Errors of uploads and of reading images.

use heirloom_protocol::batch::BatchError;
use heirloom_protocol::{ByteRange, Fingerprint};

use crate::blobs::BlobError;
use crate::index::IndexError;
use crate::possession::PossessionError;

/// Why an upload failed, or an image could not be read.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The index failed, or refused the image.
    #[error("look up or record image {fingerprint}")]
    Index {
        /// The image concerned.
        fingerprint: Fingerprint,
        /// The index's error.
        source: IndexError,
    },
    /// The index failed for a whole check.
    #[error("look up the images of a check")]
    Check(#[source] IndexError),
    /// The index failed while expired uploads or trash were deleted.
    #[error("delete expired uploads and trash")]
    Expire(#[source] IndexError),
    /// The storage failed while unfinished uploads were reconciled with the interruption list.
    #[error("reconcile unfinished uploads")]
    ListUploads(#[source] BlobError),
    /// A proof of possession could not be verified.
    #[error("verify a proof of possession")]
    Possession(#[source] PossessionError),
    /// The storage failed.
    #[error("store image {fingerprint}")]
    Blobs {
        /// The image concerned.
        fingerprint: Fingerprint,
        /// The storage's error.
        source: BlobError,
    },
    /// The shard announces another image length than the first shard of its upload.
    #[error(
        "the upload was started for an image of {first} bytes, but this shard announces {now} bytes"
    )]
    LengthMismatch {
        /// The length that the first shard announced, in bytes.
        first: u64,
        /// The length that this shard announces, in bytes.
        now: u64,
    },
    /// The sender disconnected, stalled, or sent too few or too many bytes.
    #[error("receive a shard")]
    Sender(#[source] std::io::Error),
    /// The shard's bytes do not have the digest they were sent with.
    #[error("the bytes of shard {0} do not match its digest")]
    DigestMismatch(ByteRange),
    /// The image's bytes do not have its fingerprint; the whole upload was deleted.
    #[error("the received bytes have the fingerprint {found}, expected {expected}")]
    FingerprintMismatch {
        /// The fingerprint that the sender announced.
        expected: Fingerprint,
        /// The fingerprint of the bytes.
        found: Fingerprint,
    },
    /// The request body is not a valid batch of images.
    #[error("read a batch of images")]
    Batch(#[source] BatchError),
    /// Other shards take all the memory for incoming shards.
    #[error("no memory is free for another shard")]
    Overloaded,
    /// A write task panicked or was stopped before it finished: a bug on our side.
    #[error("the write of image {0} ended without a result")]
    TaskFailed(Fingerprint),
}

impl UploadError {
    /// Maps an index error that concerns one image.
    pub(super) fn index(fingerprint: Fingerprint) -> impl FnOnce(IndexError) -> Self {
        move |source| Self::Index {
            fingerprint,
            source,
        }
    }

    /// Maps a storage error that concerns one image.
    pub(super) fn blobs(fingerprint: Fingerprint) -> impl FnOnce(BlobError) -> Self {
        move |source| Self::Blobs {
            fingerprint,
            source,
        }
    }
}

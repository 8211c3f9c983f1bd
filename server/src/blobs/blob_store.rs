//! The interface of blob storage, and the types of its results.

use std::collections::HashSet;
use std::{fmt, io};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use heirloom_protocol::{ByteRange, Fingerprint};

use super::error::BlobError;
use super::prefix_lock::{ExclusiveGuard, Prefix, SharedGuard};
use super::upload_key::UploadKey;

/// Bytes as they arrive or are read. An error ends the stream.
pub type ByteStream<'a> = BoxStream<'a, io::Result<Bytes>>;

/// The result of storing a batch of images.
#[derive(Debug)]
pub struct StoredBatch {
    /// Images whose bytes do not have their fingerprint; nothing of them is stored.
    pub mismatched: HashSet<Fingerprint>,
    /// Protects the others from removal.
    pub guard: SharedGuard,
}

/// A stored image, whatever the index knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredImage {
    /// The image's name. Its bytes were not hashed for this.
    pub fingerprint: Fingerprint,
    /// When it was stored under this name, in milliseconds since the epoch by the storage's clock.
    pub since_ms: i64,
}

/// Counts of what a removal deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemovedStats {
    /// Images of which anything was stored.
    pub images: u64,
    /// Bytes of those images, quarantined copies included.
    pub bytes: u64,
}

/// Storage for images and unfinished uploads. Every write that returns `Ok` is durable: content,
/// name and directory.
///
/// Unreferenced images are removed ([`Self::remove`]). A caller that has just stored an image holds
/// a [`SharedGuard`] until the index refers to it, so that it is not removed in between.
///
/// Every method may be called twice and concurrently, and its future may be dropped half-way: the
/// operation is then completed or undone in the background, never left half done.
#[async_trait]
pub trait BlobStore: fmt::Debug + Send + Sync + 'static {
    /// Stores an image that arrives whole and in order: hashes it as it arrives, checks length and
    /// fingerprint, and makes it durable under its name. After an error nothing unverified remains,
    /// except what the [`super::error::PartialBody`] in the error holds. Storing an image again is
    /// fine: the sender's bytes are verified and replace the stored ones, which repairs a corrupt
    /// image.
    async fn store(
        &self,
        fingerprint: Fingerprint,
        size: u64,
        body: ByteStream<'_>,
    ) -> Result<SharedGuard, BlobError>;
    /// Stores several small images from memory, each as `store` does, and waits for the disk once
    /// for all of them. After an error, any of the images with the right fingerprint may be stored,
    /// whole.
    async fn store_batch(
        &self,
        images: Vec<(Fingerprint, Bytes)>,
    ) -> Result<StoredBatch, BlobError>;
    /// Writes bytes of an unfinished upload in place; durable on return.
    async fn write(&self, upload: UploadKey, offset: u64, bytes: Bytes) -> Result<(), BlobError>;
    /// Reads a complete upload back, hashes it and makes it durable as an image.
    /// `WrongFingerprint` and `WrongLength` leave no image; the caller then discards the upload.
    /// Succeeds if the image is stored and the upload is gone: it was finished before. No write
    /// reaches an image once finishing has begun.
    async fn finish(&self, upload: UploadKey, size: u64) -> Result<SharedGuard, BlobError>;
    /// Deletes an unfinished upload. Succeeds if there is none.
    async fn discard(&self, upload: UploadKey) -> Result<(), BlobError>;
    /// Lists the unfinished uploads that have bytes here.
    async fn uploads(&self) -> Result<Vec<UploadKey>, BlobError>;
    /// The length of an image in bytes; `None` if it is not stored.
    async fn size(&self, fingerprint: Fingerprint) -> Result<Option<u64>, BlobError>;
    /// Reads a range of an image. `Missing` if it is not stored, `TooShort` if it ends before the
    /// range does.
    async fn read(
        &self,
        fingerprint: Fingerprint,
        range: ByteRange,
    ) -> Result<ByteStream<'static>, BlobError>;
    /// Moves a corrupt image to the quarantine. Hashes it once more first, so that an image
    /// repaired in the meantime stays. Succeeds if there is none.
    async fn quarantine(&self, fingerprint: Fingerprint) -> Result<(), BlobError>;
    /// Lists the images of a prefix, intact or not.
    async fn list(&self, prefix: Prefix) -> Result<Vec<StoredImage>, BlobError>;
    /// Locks a prefix for removal without waiting; `None` if anybody holds a [`SharedGuard`] or the
    /// exclusive lock. While it is locked, stores of the prefix wait.
    async fn try_lock_exclusive(&self, prefix: Prefix)
    -> Result<Option<ExclusiveGuard>, BlobError>;
    /// Removes images of the locked prefix, quarantined copies included, and unlocks it. Images
    /// that are not stored are skipped. Durable on return.
    async fn remove(
        &self,
        guard: ExclusiveGuard,
        images: Vec<Fingerprint>,
    ) -> Result<RemovedStats, BlobError>;
}

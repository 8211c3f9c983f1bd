//! The bytes of images and of unfinished uploads, behind a small door: a local directory today,
//! an object store in another house. Every implementation passes `server/tests/blobs_contract.rs`.

use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use heirloom_protocol::possession::UserId;
use heirloom_protocol::{ByteRange, Fingerprint};

/// Bytes as they arrive or leave. An error ends the stream.
pub type ByteStream<'a> = BoxStream<'a, io::Result<Bytes>>;

/// An unfinished upload: two devices of one user share it, two users never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UploadKey {
    pub user: UserId,
    pub fingerprint: Fingerprint,
}

/// The door. Everything that returns `Ok` from a write is durable: file, folder and name.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Stores an image that arrives whole and in order: hashes as it passes, checks length and fingerprint, makes it
    /// durable under its name. On any error nothing is left. Storing what is there already is fine (and the sender's bytes are
    /// still verified).
    async fn store(&self, fingerprint: Fingerprint, size: u64, body: ByteStream<'_>) -> Result<(), BlobError>;
    /// Writes a piece of an unfinished upload in place; durable on return.
    async fn write(&self, upload: UploadKey, offset: u64, bytes: Bytes) -> Result<(), BlobError>;
    /// Reads the finished upload back, hashes it, makes it durable as an image. `WrongFingerprint` leaves no image; the
    /// caller then drops the upload.
    async fn seal(&self, upload: UploadKey, size: u64) -> Result<(), BlobError>;
    /// Drops an unfinished upload. Fine if there is none.
    async fn discard(&self, upload: UploadKey) -> Result<(), BlobError>;
    /// The unfinished uploads that have bytes here (for the sweep at start).
    async fn uploads(&self) -> Result<Vec<UploadKey>, BlobError>;
    /// The length of an image in bytes; none if it is not here.
    async fn size(&self, fingerprint: Fingerprint) -> Result<Option<u64>, BlobError>;
    /// The bytes of an image.
    async fn read(&self, fingerprint: Fingerprint, range: ByteRange) -> Result<ByteStream<'static>, BlobError>;
    /// Moves a damaged image out of the way.
    async fn quarantine(&self, fingerprint: Fingerprint) -> Result<(), BlobError>;
}

/// What can go wrong with stored bytes.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("image {0} is not stored")]
    Missing(Fingerprint),
    #[error("the bytes are {found}, not {expected}")]
    WrongFingerprint { expected: Fingerprint, found: Fingerprint },
    #[error("{found} bytes arrived of {expected}")]
    WrongLength { expected: u64, found: u64 },
    #[error("the sender stopped sending")]
    Sender(#[source] io::Error),
    #[error("{doing} {path}")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

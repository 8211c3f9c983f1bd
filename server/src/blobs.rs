//! The bytes of images and of unfinished uploads, behind a small door: a local directory today, an
//! object store in another house. Every implementation passes `server/tests/blobs_contract.rs`.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use heirloom_protocol::possession::UserId;
use heirloom_protocol::{ByteRange, Fingerprint};

mod prefix_lock;
mod disk;
mod local;

pub use local::LocalBlobs;
pub use prefix_lock::{ExclusiveGuard, Prefix, RemovedStats, SharedGuard, StoredImage};

/// Bytes as they arrive or leave. An error ends the stream.
pub type ByteStream<'a> = BoxStream<'a, io::Result<Bytes>>;

/// An unfinished upload: two devices of one user share it, two users never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UploadKey {
    /// Whose.
    pub user: UserId,
    /// What it becomes.
    pub fingerprint: Fingerprint,
}

/// Several images that were stored at once.
#[derive(Debug)]
pub struct StoredBatch {
    /// Those that do not have their fingerprint; of these nothing is stored.
    pub mismatched: HashSet<Fingerprint>,
    /// Keeps the others.
    pub guard: SharedGuard,
}

/// The door. Everything that returns `Ok` from a write is durable: file, folder and name.
///
/// An image that nobody refers to any more is removed ([`Self::remove`]). Whoever has just stored
/// one holds a [`SharedGuard`] until the index refers to it, so that it is not removed in between.
///
/// Every method may be called twice, by several tasks at once, and its future may be dropped
/// half-way: what was begun is then finished or undone behind the scenes, and never left half.
#[async_trait]
pub trait Blobs: fmt::Debug + Send + Sync + 'static {
    /// Stores an image that arrives whole and in order: hashes as it passes, checks length and
    /// fingerprint, makes it durable under its name. On any error nothing unverified is left, but
    /// for what the [`PartialBody`] in the error holds. Storing what is there already is fine (and
    /// the sender's bytes are still verified; they replace what was there, which heals it if it was
    /// damaged).
    async fn store(
        &self,
        fingerprint: Fingerprint,
        size: u64,
        body: ByteStream<'_>,
    ) -> Result<SharedGuard, BlobError>;
    /// Stores several small images that are in memory, each as `store` does: what waits for the
    /// disk waits once for all. On an error any of those that have their fingerprint may be stored,
    /// whole.
    async fn store_batch(
        &self,
        images: Vec<(Fingerprint, Bytes)>,
    ) -> Result<StoredBatch, BlobError>;
    /// Writes a piece of an unfinished upload in place; durable on return.
    async fn write(&self, upload: UploadKey, offset: u64, bytes: Bytes) -> Result<(), BlobError>;
    /// Reads the finished upload back, hashes it, makes it durable as an image. `WrongFingerprint`
    /// and `WrongLength` leave no image; the caller then drops the upload. Fine if the image stands
    /// already and the upload is gone: it was sealed before. No write reaches an image once its
    /// sealing has begun.
    async fn finish(&self, upload: UploadKey, size: u64) -> Result<SharedGuard, BlobError>;
    /// Drops an unfinished upload. Fine if there is none.
    async fn discard(&self, upload: UploadKey) -> Result<(), BlobError>;
    /// The unfinished uploads that have bytes here (for the sweep at start).
    async fn uploads(&self) -> Result<Vec<UploadKey>, BlobError>;
    /// The length of an image in bytes; none if it is not here.
    async fn size(&self, fingerprint: Fingerprint) -> Result<Option<u64>, BlobError>;
    /// The bytes of an image. `Missing` if it is not here, `TooShort` if it ends before the range
    /// does.
    async fn read(
        &self,
        fingerprint: Fingerprint,
        range: ByteRange,
    ) -> Result<ByteStream<'static>, BlobError>;
    /// Moves a damaged image out of the way. What stands there is hashed once more: an image that
    /// was healed in the meantime stays. Fine if there is none.
    async fn quarantine(&self, fingerprint: Fingerprint) -> Result<(), BlobError>;
    /// What stands in a section, sound or not.
    async fn list(&self, section: Prefix) -> Result<Vec<StoredImage>, BlobError>;
    /// Waits for nobody: none if a [`SharedGuard`] of an image of this section is held just now. While the
    /// answer is held, whoever wants to store an image of the section waits.
    async fn try_lock_exclusive(
        &self,
        section: Prefix,
    ) -> Result<Option<ExclusiveGuard>, BlobError>;
    /// Removes images of the secluded section, out of the quarantine, too; ends the seclusion. Fine
    /// where there are none. Durable on return.
    async fn remove(
        &self,
        alone: ExclusiveGuard,
        images: Vec<Fingerprint>,
    ) -> Result<RemovedStats, BlobError>;
}

/// What came of an image whose sender broke off. Goes away when it is dropped, unless it was kept.
#[async_trait]
pub trait PartialBody: fmt::Debug + Send + Sync {
    /// How much came, in bytes.
    fn byte_count(&self) -> u64;
    /// Makes it an unfinished upload, durable on return, unless there is one already; answers which
    /// bytes of the image that upload has. Nobody has looked at them: the sealing will.
    async fn keep(self: Box<Self>, upload: UploadKey) -> Result<Option<ByteRange>, BlobError>;
}

/// What can go wrong with stored bytes.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// No such image.
    #[error("image {0} is not stored")]
    Missing(Fingerprint),
    /// An image ends before the bytes that were asked for.
    #[error("image {fingerprint} has {found} bytes, {range} was asked for")]
    TooShort {
        /// Which.
        fingerprint: Fingerprint,
        /// Its length in bytes.
        found: u64,
        /// What was asked for.
        range: ByteRange,
    },
    /// The content is not what its name says.
    #[error("the bytes are {found}, not {expected}")]
    WrongFingerprint {
        /// What was announced.
        expected: Fingerprint,
        /// What arrived.
        found: Fingerprint,
    },
    /// More bytes than announced, or fewer are stored.
    #[error("{found} bytes arrived of {expected}")]
    WrongLength {
        /// What was announced, in bytes.
        expected: u64,
        /// What arrived, in bytes.
        found: u64,
    },
    /// The body ended with an error, or too early.
    #[error("the sender stopped sending")]
    Sender {
        /// How it ended.
        source: io::Error,
        /// What came before.
        partial: Box<dyn PartialBody>,
    },
    /// The disk, or the server account's quota on it, is full.
    #[error("no space left to {doing} {path}")]
    Full {
        /// What we were about to do.
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The disk refused.
    #[error("{doing} {path}")]
    Io {
        /// What we were about to do.
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

impl BlobError {
    /// Whether the same request may succeed later without anybody sending anything else.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Sender { .. } | Self::Full { .. } => true,
            Self::Missing(_)
            | Self::TooShort { .. }
            | Self::WrongFingerprint { .. }
            | Self::WrongLength { .. }
            | Self::Io { .. } => false,
        }
    }

    /// What `doing` something to `path` failed with.
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full {
                doing,
                path: path.to_owned(),
                source,
            },
            _ => Self::Io {
                doing,
                path: path.to_owned(),
                source,
            },
        }
    }
}

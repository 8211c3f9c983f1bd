//! Errors of blob storage, and the partial image that one of them carries.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use async_trait::async_trait;
use heirloom_protocol::{ByteRange, Fingerprint};

use super::upload_key::UploadKey;

/// The bytes of an image that arrived before its sender disconnected. Deleted when dropped, unless
/// it was kept.
#[async_trait]
pub trait PartialBody: fmt::Debug + Send + Sync {
    /// How many bytes arrived.
    fn byte_count(&self) -> u64;
    /// Makes the bytes an unfinished upload, durable on return, and returns the range of the image
    /// that they cover; `None` if that upload exists already. The bytes are not verified:
    /// finishing the upload does that.
    async fn keep(self: Box<Self>, upload: UploadKey) -> Result<Option<ByteRange>, BlobError>;
}

/// Why an operation on stored bytes failed.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The image is not stored.
    #[error("image {0} is not stored")]
    Missing(Fingerprint),
    /// The image ends before the requested range does.
    #[error("image {fingerprint} has {found} bytes, but {range} was requested")]
    TooShort {
        /// The image concerned.
        fingerprint: Fingerprint,
        /// Its length in bytes.
        found: u64,
        /// The requested range.
        range: ByteRange,
    },
    /// The bytes have another fingerprint than announced.
    #[error("the bytes have the fingerprint {found}, expected {expected}")]
    WrongFingerprint {
        /// The announced fingerprint.
        expected: Fingerprint,
        /// The fingerprint of the bytes.
        found: Fingerprint,
    },
    /// More bytes arrived than announced, or the stored length differs from the announced one.
    #[error("found {found} bytes, expected {expected}")]
    WrongLength {
        /// The announced length in bytes.
        expected: u64,
        /// The actual length in bytes.
        found: u64,
    },
    /// The body ended with an error, or too early.
    #[error("the sender disconnected")]
    Sender {
        /// The error that ended the body.
        source: io::Error,
        /// What arrived before it.
        partial: Box<dyn PartialBody>,
    },
    /// The disk is full, or the server account's quota on it is used up.
    #[error("no space left to {doing} {path}")]
    Full {
        /// The failed operation, as a verb.
        doing: &'static str,
        /// The file or directory concerned.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The disk failed or refused.
    #[error("{doing} {path}")]
    Io {
        /// The failed operation, as a verb.
        doing: &'static str,
        /// The file or directory concerned.
        path: PathBuf,
        /// The system's error.
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

    /// Maps the error of an operation on `path`.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
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

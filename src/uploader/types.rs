//! Types that the uploader's files share: a file to upload, its progress, and why an upload failed.

use std::io;

use heirloom_protocol::{ByteRange, Fingerprint, LibraryPath, RangeSet};
use serde::{Deserialize, Serialize};

use super::limits::LARGE_FILE_BYTES;
use crate::journal::{FileId, JournalError, Stamp};
use crate::library::LibraryError;
use crate::remote::RemoteError;
use crate::spool::SpoolError;

/// A pending file, as the journal had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: FileId,
    pub(super) path: LibraryPath,
    pub(super) stamp: Stamp,
    pub(super) fingerprint: Fingerprint,
}

impl Candidate {
    pub(super) const fn size(&self) -> u64 {
        self.stamp.size
    }

    pub(super) const fn is_large(&self) -> bool {
        self.size() >= LARGE_FILE_BYTES
    }
}

/// The progress of one upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that the server has made durable.
    pub received_bytes: u64,
    /// Bytes of the image.
    pub total_bytes: u64,
}

/// Whether the server can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Connection {
    /// No request was made yet.
    Starting,
    /// The server answers.
    Online,
    /// The server cannot be reached, or asked every client to wait.
    Offline {
        /// The reason, in one line for the person.
        why: String,
        /// Seconds until the next try, from the moment this was written.
        retry_s: u64,
    },
    /// The server does not accept the token; everything stays pending.
    LoginNeeded,
}

/// Receives the progress of an upload. Keeps the shard list, shows a progress bar, or both.
pub trait ProgressSink: Send + Sync + 'static {
    /// The server has made this range durable. Called on a thread that may block; the upload does
    /// not end before this returns.
    fn on_range_stored(&self, range: ByteRange);
    /// The server has this many bytes of the image now. Must not block.
    fn on_progress(&self, received_bytes: u64);
}

/// What the server is assumed to hold when an upload begins, and who says so.
#[derive(Clone, Debug)]
pub(super) enum ResumeSource {
    /// The server's interruption list.
    Server(RangeSet),
    /// The shard list in the journal: valid until the server's first answer.
    Journal(RangeSet),
}

/// Why a file waits before it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeferReason {
    /// Its own upload failed.
    Upload,
    /// The network was down, as far as this upload could tell.
    Network,
}

/// Why an image could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file is no longer what was fingerprinted.
    #[error("the file changed while it was being backed up")]
    Changed,
    /// The disk returned an error.
    #[error("cannot read the file")]
    Read(#[from] io::Error),
}

/// Why an image could not be opened for upload.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl OpenError {
    /// Whether the file exists and the disk failed to deliver it.
    pub(super) fn is_disk_error(&self) -> bool {
        match self {
            Self::Spool(error) => !error.is_missing(),
            Self::Image(ImageError::Read(_)) => true,
            Self::Image(ImageError::Changed) => false,
        }
    }
}

/// Why an upload ended without a receipt.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The file could not be read as the image that it was.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The server refused, or could not be reached.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The server hashed something else than the fingerprint, and so did we: the disk returns other
    /// bytes than before, for a file whose size and times did not change.
    #[error(
        "the file changed on disk since it was read (possible disk error); \
         save it again or restore it"
    )]
    FingerprintMismatch,
}

/// Why a check failed. Its files are back in the queue.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl From<LibraryError> for CheckError {
    fn from(error: LibraryError) -> Self {
        match error {
            LibraryError::Journal(error) => Self::Journal(error),
            LibraryError::Remote(error) => Self::Remote(error),
        }
    }
}

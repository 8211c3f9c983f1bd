//! Why bytes could not be fetched or evicted.

use std::io;
use std::sync::Arc;

use crate::journal::JournalError;
use crate::remote::RemoteError;

/// Error of a fetch. Cheap to clone, because one failure may end many waits.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// Nothing arrived within the read timeout.
    #[error(
        "nothing came from the server for {timeout_s} seconds{}",
        because(.cause.as_deref())
    )]
    Timeout {
        /// The read timeout, in seconds.
        timeout_s: u64,
        /// Why the last request failed, if one did.
        cause: Option<String>,
    },
    /// The server does not deliver the photo, and trying again would not help.
    #[error("the server refused to send this photo: {0}")]
    Refused(String),
    /// All bytes arrived, but their SHA-256 is not the photo's fingerprint.
    #[error("the bytes from the server are not this photo: their SHA-256 differs")]
    Corrupt,
    /// The local disk failed.
    #[error("could not {doing} a placeholder")]
    Disk {
        /// The operation, as a verb.
        doing: &'static str,
        /// The system's error.
        #[source]
        source: Arc<io::Error>,
    },
    /// The file was truncated meanwhile, so the bytes are no longer its content.
    #[error("the file was truncated while it was being fetched")]
    Discarded,
    /// The waiting program is being killed and takes no reply.
    #[error("the reading program is being killed")]
    Killed,
    /// The mount is ending.
    #[error("the directory is being unmounted")]
    Unmounting,
}

impl FetchError {
    /// Whether the same read may succeed later without a repair.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Disk { .. } | Self::Killed | Self::Unmounting => true,
            Self::Refused(_) | Self::Corrupt | Self::Discarded => false,
        }
    }

    /// Whether `status` should list the file: the error concerns the photo, not only this read.
    pub(super) fn is_reported(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Refused(_) | Self::Corrupt | Self::Disk { .. } => true,
            Self::Discarded | Self::Killed | Self::Unmounting => false,
        }
    }
}

/// Why files could not be evicted.
#[derive(Debug, thiserror::Error)]
pub enum EvictError {
    /// The server cannot be asked what it holds.
    #[error("could not ask the server to confirm that it has the photos")]
    Remote(#[from] RemoteError),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

fn because(cause: Option<&str>) -> String {
    cause.map(|cause| format!(": {cause}")).unwrap_or_default()
}

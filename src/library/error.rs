//! Why the library could not be synchronized.

use std::time::Duration;

use crate::journal::JournalError;
use crate::remote::RemoteError;
use crate::spool::SpoolError;

/// Why names could not be sent to the server.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A request to the server failed.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

/// Why changes of other devices could not be applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    /// The journal could not be bound to the server.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// A request to the server failed.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The spool failed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl FeedError {
    /// The delay that the server asked for.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Library(LibraryError::Remote(error)) | Self::Remote(error) => error.retry_after(),
            Self::Library(LibraryError::Journal(_)) | Self::Journal(_) | Self::Spool(_) => None,
        }
    }
}

//! Why a file was not evicted.

use crate::journal::JournalError;
use crate::spool::SpoolError;

/// Why a file keeps its local bytes. The text is for the person who asked to free space.
#[derive(Debug, thiserror::Error)]
pub enum KeepReason {
    /// The journal has no receipt-backed state for it.
    #[error("not backed up yet")]
    NotBackedUp,
    /// The file is a placeholder.
    #[error("already freed")]
    AlreadyEvicted,
    /// The server does not confirm now that it holds exactly these bytes.
    #[error("not confirmed by the server")]
    Unconfirmed,
    /// The owner wants it on this disk.
    #[error("pinned; run `heirloom unpin` first")]
    Pinned,
    /// It is open, mapped or being fetched.
    #[error("in use by a program")]
    InUse,
    /// It is not larger than the head, which is kept.
    #[error("too small: nothing would be freed")]
    TooSmall,
    /// The file is no longer what was backed up.
    #[error("changed since it was backed up")]
    Changed,
    /// The disk failed.
    #[error("could not free it on this disk")]
    Disk(#[from] SpoolError),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

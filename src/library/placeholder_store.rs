//! *The shelf*: where the names of the library are shown, and what stands there already. The mount
//! is one; a test's is another.

use heirloom_protocol::LibraryPath;

use crate::journal::{FileId, Stamp};
use crate::spool::{Placeholder, SpoolError};

/// Shows names. Everything is done at once, and seen at once by whoever looks; nothing is told back
/// to the intake.
pub trait PlaceholderStore: Send + Sync + 'static {
    /// Puts a placeholder where nothing stands, with the folders on the way; nothing is done if
    /// something stands there.
    fn create(
        &self,
        path: &LibraryPath,
        placeholder: &Placeholder,
    ) -> Result<Option<FileId>, SpoolError>;

    /// Takes a file away, and the folders that are empty then. Nothing is done unless it is still
    /// this one, with this content, and nobody may write to it; answers whether it is gone.
    fn remove(&self, path: &LibraryPath, id: FileId, stamp: Stamp) -> Result<bool, SpoolError>;

    /// Gives a file another time. Nothing is done unless it is still this one, with this content,
    /// and nobody may write to it; answers its stamp afterwards if it was done.
    fn set_mtime(
        &self,
        path: &LibraryPath,
        id: FileId,
        stamp: Stamp,
        mtime_ns: i64,
    ) -> Result<Option<Stamp>, SpoolError>;
}

//! The interface of everything that opens backing files.

use std::fmt::Debug;
use std::fs::File;
use std::io;

/// Opens and closes backing files of one mount.
///
/// A broker holds the mount's device open: as long as one is alive after the session has ended,
/// programs wait for replies instead of getting an error.
pub trait BackingBroker: Debug + Send + Sync {
    /// Passes a file to the kernel; returns its backing id.
    ///
    /// # Errors
    ///
    /// `EPERM` without the capability; `ELOOP` if the file's file system is itself stacked on
    /// another; from the helper also `EACCES` for a file that it does not accept, and `EMFILE` for
    /// too many files.
    fn open_backing(&self, file: &File) -> io::Result<u32>;

    /// Has the kernel close a backing file. Handles that are open on it stay usable.
    fn close_backing(&self, id: u32) -> io::Result<()>;
}

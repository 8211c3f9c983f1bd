//! flock(2) on the directory of a prefix: shared for storing images, exclusive for removing them.
//!
//! The kernel keeps these locks across processes, the administrator's commands included, and
//! releases those of a process that ends.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use super::super::error::BlobError;

/// A lock on a directory, released when the last clone is dropped.
#[derive(Clone, Debug)]
pub(super) struct FolderLock {
    _folder: Arc<File>,
}

impl FolderLock {
    /// Locks a directory shared; waits while it is locked exclusively.
    pub(super) fn shared(path: &Path) -> Result<Self, BlobError> {
        let folder = File::open(path).map_err(BlobError::io("open", path))?;
        rustix::io::retry_on_intr(|| flock(&folder, FlockOperation::LockShared))
            .map_err(|error| BlobError::io("lock", path)(error.into()))?;
        Ok(Self {
            _folder: Arc::new(folder),
        })
    }

    /// Locks a directory exclusively without waiting; `None` if it is locked.
    pub(super) fn try_exclusive(path: &Path) -> Result<Option<Self>, BlobError> {
        let folder = File::open(path).map_err(BlobError::io("open", path))?;
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self {
                _folder: Arc::new(folder),
            })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(BlobError::io("lock", path)(error.into())),
        }
    }
}

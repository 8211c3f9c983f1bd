//! The mounted directory: a thin door (`mount/door.rs`, fuser) from kernel requests to plain operations on the spool
//! (`mount/tree.rs`, testable without a mount).

use std::path::Path;

use crate::intake::Intake;
use crate::spool::Spool;

/// A live mount; dropping it unmounts.
#[derive(Debug)]
pub struct Mount {}

#[derive(Debug, thiserror::Error)]
pub enum MountError {}

impl Mount {
    /// Mounts. Refuses with one clear sentence and the next step: no /dev/fuse, not a directory, not empty, already mounted. Cleans up a stale
    /// mount of a crashed daemon first (ENOTCONN).
    pub fn start(mountpoint: &Path, spool: Spool, intake: Intake) -> Result<Self, MountError> {
        todo!()
    }
    /// Returns when the kernel has let go of the mount (umount, fusermount3 -u, or `unmount`).
    pub fn wait(&self) {
        todo!()
    }
    /// A handle to unmount from another thread; lazy if busy is true.
    pub fn unmount(&self) -> Result<(), MountError> {
        todo!()
    }
}

//! Disk space set aside for starting on a full disk.
//!
//! Opening a database writes a few new pages. Without the reserve, a program on a full disk could
//! not open its database, and nobody could delete anything through it to free space.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Bytes of the reserve: enough for a database to open and commit a few times.
const RESERVE_BYTES: u64 = 4 << 20;

/// With less free space than this, the disk counts as full.
const FULL_BYTES: u64 = 1 << 20;

/// The reserve is set aside only with this much free space, so that space just released is not
/// taken again at once.
const PLENTY_BYTES: u64 = 16 * RESERVE_BYTES;

/// A file that holds disk space until it is needed.
#[derive(Clone, Debug)]
pub struct DiskReserve {
    path: PathBuf,
}

impl DiskReserve {
    /// The reserve in the file `path`, which need not exist.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Releases the reserve if its disk is full; sets it aside if there is plenty of space. Blocks
    /// on the disk. A failure is logged: being without a reserve is its worst outcome.
    pub fn adjust(&self) {
        if let Err(error) = self.release_or_allocate() {
            tracing::info!(%error, path = ?self.path, "could not set disk space aside");
        }
    }

    fn release_or_allocate(&self) -> io::Result<()> {
        let disk = statvfs(self.path.parent().unwrap_or(Path::new(".")))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let held = fs::metadata(&self.path).map_or(0, |it| it.len());
        if free < FULL_BYTES && held > 0 {
            tracing::warn!(path = ?self.path, "the disk is full; released the space set aside for that");
            return fs::remove_file(&self.path);
        }
        if free >= PLENTY_BYTES && held < RESERVE_BYTES {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&self.path)?;
            fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES)?;
        }
        Ok(())
    }
}

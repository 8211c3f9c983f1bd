//! Reserves: room that is kept on a disk for whoever starts when it is full, and can then make
//! more.
//!
//! A database opens with a few new pages, and without it nobody can remove anything through us.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Enough for a database to open, and for some commits.
const RESERVE_BYTES: u64 = 4 << 20;

/// With less than this the disk is as good as full.
const FULL_BYTES: u64 = 1 << 20;

/// It is kept where so much is free: what was just given up is not taken away again.
const PLENTY_BYTES: u64 = 16 * RESERVE_BYTES;

/// A file that is there for its room alone.
#[derive(Clone, Debug)]
pub struct Reserve {
    path: PathBuf,
}

impl Reserve {
    /// The reserve of this name, if it is kept.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Gives it up if its disk is full, keeps it if there is plenty of room. Nothing that goes
    /// wrong here is worse than having none.
    pub fn review(&self) {
        if let Err(error) = self.give_up_or_keep() {
            tracing::info!(%error, path = ?self.path, "no room is kept for when the disk is full");
        }
    }

    fn give_up_or_keep(&self) -> io::Result<()> {
        let disk = statvfs(self.path.parent().unwrap_or(Path::new(".")))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let kept = fs::metadata(&self.path).map_or(0, |it| it.len());
        if free < FULL_BYTES && kept > 0 {
            tracing::warn!(path = ?self.path, "the disk is full: the room that was kept for that is given up");
            return fs::remove_file(&self.path);
        }
        if free >= PLENTY_BYTES && kept < RESERVE_BYTES {
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

//! The disk: the few calls whose order makes a photo durable, and nothing else.
//!
//! They go through a door of their own so that a test can watch their order and make each of them
//! fail.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{Advice, CWD, RenameFlags, fadvise, fstatvfs, renameat_with};

/// So much of a disk is left to the index: who removes photos to make room needs it to take note of
/// that.
const LEFT_BYTES: u64 = 16 << 20;

/// The calls that durability hangs on.
pub(super) trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Writes all of `bytes` at `offset`.
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// fdatasync(2): content and length survive a power cut.
    fn sync(&self, file: &File, path: &Path) -> io::Result<()>;
    /// rename(2).
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// renameat2(2) with `RENAME_NOREPLACE`: `AlreadyExists` if something stands at `to`.
    fn rename_to_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// fsync(2) of a folder: the names in it survive a power cut.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// unlink(2).
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The disk that the kernel gives us.
#[derive(Debug)]
pub(super) struct KernelDisk;

impl Disk for KernelDisk {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let disk = fstatvfs(file)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < LEFT_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_data()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn rename_to_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// Has the kernel begin to write what is dirty of a file and drop what is not (`posix_fadvise(2)`).
/// What was just stored is hardly ever read soon, and a family's photos must not push out of memory
/// what this machine works with.
pub(super) fn leave_memory(file: &File, path: &Path) {
    if let Err(error) = fadvise(file, 0, None, Advice::DontNeed) {
        // Only time or memory is lost; the sync that decides reports for itself.
        tracing::debug!(path = %path.display(), %error, "advice was refused");
    }
}

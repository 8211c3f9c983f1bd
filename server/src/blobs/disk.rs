//! The disk: the few system calls whose order makes a photo durable, and nothing else.
//!
//! They go through a trait so that a test can record their order and make each of them fail.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{Advice, CWD, RenameFlags, fadvise, fstatvfs, renameat_with};

/// Bytes of the disk reserved for the index: removing photos to free space needs index writes.
const RESERVED_BYTES: u64 = 16 << 20;

/// The calls that durability depends on.
pub(super) trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Writes all of `bytes` at `offset`.
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// fdatasync(2): content and length survive a power cut.
    fn sync(&self, file: &File, path: &Path) -> io::Result<()>;
    /// rename(2).
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// renameat2(2) with `RENAME_NOREPLACE`: fails with `AlreadyExists` if `to` exists.
    fn rename_to_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// fsync(2) of a directory: the names in it survive a power cut.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// unlink(2).
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The real disk.
#[derive(Debug)]
pub(super) struct KernelDisk;

impl Disk for KernelDisk {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let disk = fstatvfs(file)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < RESERVED_BYTES {
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

/// Asks the kernel to start writing a file's dirty pages and to drop the clean ones from the page
/// cache (`posix_fadvise(2)`). What was just stored is rarely read soon, and a family's photos must
/// not displace the working set of this machine.
pub(super) fn drop_from_page_cache(file: &File, path: &Path) {
    if let Err(error) = fadvise(file, 0, None, Advice::DontNeed) {
        // This costs time or memory only; the sync reports errors of its own.
        tracing::debug!(path = %path.display(), %error, "posix_fadvise failed");
    }
}

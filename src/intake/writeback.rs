//! *Write-back*: asking the kernel to begin writing a file's dirty pages, without waiting for them.
//! `sync_file_range(2)` has no safe wrapper in rustix; this is the intake's only unsafe block.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Begins to write what is dirty of a file. Promises nothing: what must be on the disk is fsynced
/// afterwards.
#[expect(unsafe_code, reason = "sync_file_range has no safe wrapper")]
pub(super) fn begin_writeback(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `file` is borrowed, and the call reads and writes
    // none of our memory.
    let outcome =
        unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

//! A *mapping*: a part of a file in memory, shared with everybody who maps or reads it (`mmap(2)`,
//! `MAP_SHARED`).

#![expect(
    unsafe_code,
    reason = "Linux has no mapping that is safe to touch; all of it is in here"
)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{NonNull, null_mut};

/// Whoever makes one keeps the file at least as long as the mapping, or a touch ends the process.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    /// Maps `length` bytes from the beginning of a file that is open for reading and writing.
    pub(crate) fn of(file: &File, length: usize) -> io::Result<Self> {
        Self::with(file, length, libc::PROT_READ | libc::PROT_WRITE)
    }

    /// Maps them to be read only; a write through it ends the process.
    pub(crate) fn to_read(file: &File, length: usize) -> io::Result<Self> {
        Self::with(file, length, libc::PROT_READ)
    }

    fn with(file: &File, length: usize, protection: libc::c_int) -> io::Result<Self> {
        // SAFETY: the kernel chooses a place that nothing else uses, and the descriptor is open.
        let start = unsafe {
            libc::mmap(
                null_mut(),
                length,
                protection,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).expect("a mapping is nowhere at 0");
        Ok(Self { start, length })
    }

    pub(crate) fn read(&self, at: usize, count: usize) -> Vec<u8> {
        assert!(at + count <= self.length);
        // Byte by byte and volatile: others change them.
        // SAFETY: all of it lies in the mapping, which lives as long as `self`.
        (at..at + count)
            .map(|at| unsafe { self.start.as_ptr().add(at).read_volatile() })
            .collect()
    }

    pub(crate) fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.length);
        for (at, byte) in (at..).zip(bytes) {
            // SAFETY: it lies in the mapping, which lives as long as `self`.
            unsafe { self.start.as_ptr().add(at).write_volatile(*byte) };
        }
    }

    /// Returns when the file has what was written (`msync(2)`, `MS_SYNC`).
    pub(crate) fn sync(&self) -> io::Result<()> {
        // SAFETY: this is the mapping, whole.
        let outcome =
            unsafe { libc::msync(self.start.as_ptr().cast(), self.length, libc::MS_SYNC) };
        if outcome == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping, whole, and nobody can reach it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

//! Reading and writing the bytes of open files.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, SeekFrom};

use super::open_file::OpenFile;
use super::placeholder::both_local;
use super::tree::Tree;
use crate::mount::types::{HandleId, TreeError, Writer};
use crate::spool::{self, Metadata};

/// Bytes that one `copy_file_range` copies at most. The caller asks again for the rest; other
/// requests get their turn meanwhile.
const COPY_BYTES_MAX: u64 = 64 << 20;

/// Bytes written to the disk's file at a time, however many the kernel passes on: the size that
/// `cp` itself writes. For a larger write the page cache takes larger pages, and a virtual machine
/// has to get those from its host, which takes longer than the copy.
const WRITE_BYTES_MAX: usize = 128 << 10;

/// Set-user-id and set-group-id.
const SETID_BITS: u16 = 0o6000;

impl Tree {
    /// Fills `buffer`; returns how many bytes were read, which is less only at the end of the file.
    pub(in crate::mount) fn read(
        &self,
        handle: HandleId,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, TreeError> {
        let open = self.open_file(handle)?;
        let mut done = 0;
        while done < buffer.len() {
            match open
                .file
                .read_at(&mut buffer[done..], offset.saturating_add(done as u64))
            {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TreeError::during("read")(error)),
            }
        }
        Ok(done)
    }

    /// Writes; returns how many bytes reached the spool. An error after the first of them is met
    /// again by the next write.
    pub(in crate::mount) fn write(
        &self,
        handle: HandleId,
        offset: u64,
        bytes: &[u8],
        writer: Writer,
    ) -> Result<u32, TreeError> {
        let open = self.open_file(handle)?;
        self.begin_write(&open, writer)?;
        let mut done = 0;
        while done < bytes.len() {
            let at = offset.saturating_add(done as u64);
            let end = bytes.len().min(done + WRITE_BYTES_MAX);
            match self.write_or_make_room(&open.file, &bytes[done..end], at) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if done > 0 => break,
                Err(error) => {
                    if let Some(handle) = &open.write_handle {
                        handle.mark_torn(at);
                    }
                    return Err(TreeError::during("write")(error));
                }
            }
        }
        if let Some(handle) = &open.write_handle {
            handle.clear_torn(offset..offset.saturating_add(done as u64));
        }
        Ok(written_count(done))
    }

    /// Writes pages of a mapping; returns the same as `write`.
    ///
    /// A mapping never makes a file longer. Pages beyond its end were in flight when the file was
    /// opened with `O_TRUNC`, for which the kernel does not hold such writes back, and are dropped.
    pub(in crate::mount) fn write_back(
        &self,
        handle: HandleId,
        offset: u64,
        bytes: &[u8],
    ) -> Result<u32, TreeError> {
        let _truncation = self.truncation.read();
        let length = Metadata::of(&self.open_file(handle)?.file)
            .map_err(TreeError::during("stat"))?
            .size;
        let kept = usize::try_from(length.saturating_sub(offset))
            .map_or(bytes.len(), |left| left.min(bytes.len()));
        let written = if kept == 0 {
            0
        } else {
            self.write(handle, offset, &bytes[..kept], Writer::Unknown)?
        };
        Ok(if written as usize == kept {
            written_count(bytes.len())
        } else {
            written
        })
    }

    /// Empties a file that is being opened. No write that was in flight comes after it.
    pub(super) fn truncate_to_zero(&self, file: &File) -> Result<(), TreeError> {
        let _truncation = self.truncation.write();
        file.set_len(0).map_err(TreeError::during("truncate"))
    }

    /// Clears set-user-id and set-group-id, as a write by an unprivileged program must; the kernel
    /// left it to the mount (`FUSE_HANDLE_KILLPRIV_V2`).
    pub(in crate::mount) fn clear_setid_bits(&self, handle: HandleId) -> Result<(), TreeError> {
        let open = self.open_file(handle)?;
        let metadata = Metadata::of(&open.file).map_err(TreeError::during("stat"))?;
        if metadata.mode & SETID_BITS != 0 {
            spool::set_mode(&open.file, metadata.mode & !SETID_BITS)
                .map_err(TreeError::during("set the mode of"))?;
        }
        Ok(())
    }

    pub(in crate::mount) fn allocate(
        &self,
        handle: HandleId,
        offset: u64,
        size: u64,
        mode: i32,
    ) -> Result<(), TreeError> {
        let open = self.open_file(handle)?;
        self.begin_write(&open, Writer::Unknown)?;
        let flags = FallocateFlags::from_bits_retain(mode.cast_unsigned());
        rustix::fs::fallocate(&open.file, flags, offset, size)
            .map_err(|errno| TreeError::during("allocate")(errno.into()))
    }

    /// The next data or hole (lseek(2)). The kernel handles other positions itself, and the mount's
    /// own reads and writes use no file position.
    pub(in crate::mount) fn seek(&self, handle: HandleId, to: SeekFrom) -> Result<u64, TreeError> {
        let open = self.open_file(handle)?;
        if let Some(found) = open.seek_in_placeholder(to) {
            return found;
        }
        rustix::fs::seek(&open.file, to).map_err(|errno| TreeError::during("seek in")(errno.into()))
    }

    /// Copies inside the spool, which on some file systems shares the blocks; returns how many
    /// bytes.
    pub(in crate::mount) fn copy(
        &self,
        (from, mut from_offset): (HandleId, u64),
        (to, mut to_offset): (HandleId, u64),
        size: u64,
    ) -> Result<u32, TreeError> {
        let (from, to) = (self.open_file(from)?, self.open_file(to)?);
        both_local(&from, &to)?;
        self.begin_write(&to, Writer::Unknown)?;
        let size = usize::try_from(size.min(COPY_BYTES_MAX)).expect("64 MiB fit");
        rustix::fs::copy_file_range(
            &from.file,
            Some(&mut from_offset),
            &to.file,
            Some(&mut to_offset),
            size,
        )
        .map(|copied| u32::try_from(copied).expect("at most 64 MiB"))
        .map_err(|errno| TreeError::during("copy")(errno.into()))
    }

    pub(in crate::mount) fn open_file(&self, handle: HandleId) -> Result<Arc<OpenFile>, TreeError> {
        self.handles
            .file(handle)
            .ok_or(TreeError::BadHandle(handle))
    }
}

fn written_count(written: usize) -> u32 {
    u32::try_from(written).expect("the kernel writes at most 16 MiB at a time")
}

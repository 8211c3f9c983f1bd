//! Placeholders: files whose bytes are, all or in part, only on the server.
//!
//! A placeholder has the name, size, times and permissions of the complete file, and holes where
//! bytes are missing. An extended attribute says which image it is and which of its bytes are
//! local, so that the tree alone, without a journal, tells a placeholder from a photo: otherwise
//! zeros might be backed up in place of a photo.
//!
//! The attribute is written before the first hole is made, and removed after the last byte is
//! durable and the whole file was hashed. It only lists bytes that are on the disk.

use std::ffi::OsStr;
use std::fs::File;
use std::io;

use heirloom_crash::CrashPoint;
use heirloom_protocol::{ByteRange, Fingerprint, LibraryPath, RangeSet};
use heirloom_support::leb128;
use rustix::fs::{FallocateFlags, Timespec, Timestamps, UTIME_OMIT};

use super::Spool;
use super::attributes::{remove_xattr, reopen, set_times, set_xattr};
use super::error::SpoolError;
use super::metadata::Metadata;
use super::open_options::{Access, Durability, OpenOptions};
use super::path::SpoolPath;
use super::write_state::with_write_permission;
use crate::journal::{FileId, Stamp};

/// Name of the attribute. Its value (docs/FORMAT.md) is so short that ext4 keeps it inside an
/// ordinary inode: in text it would take a block of 4 KiB of its own, which a placeholder is not
/// worth.
const NAME: &str = "user.heirloom.placeholder";
/// Version of the attribute that is written, and the only one that is read.
const VERSION: u8 = 1;
/// Maximum size of a value: what a file system keeps of one attribute without further blocks, with
/// space for others.
const VALUE_BYTES_MAX: usize = 2048;
/// Ranges in a value at most. If there are more, the smallest are left out and fetched again.
const RANGES_MAX: usize = 32;
/// Smallest block of a file system: space is freed in whole blocks only.
const BLOCK_BYTES: u64 = 4096;
/// No file is longer (`off_t`), so no placeholder is either.
const FILE_BYTES_MAX: u64 = i64::MAX.cast_unsigned();
/// Permissions of a new placeholder, like those of any new file.
const MODE: u16 = 0o644;

/// The image that a placeholder stands for, and the bytes of it that are local.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placeholder {
    /// Fingerprint of the image.
    pub fingerprint: Fingerprint,
    /// Size and modification time of the complete file. Filling the placeholder changes the time on
    /// the disk; this is the right one.
    pub stamp: Stamp,
    /// The ranges that are local.
    pub held: RangeSet,
}

impl Placeholder {
    /// A placeholder without any local bytes.
    pub const fn new(fingerprint: Fingerprint, stamp: Stamp) -> Self {
        Self {
            fingerprint,
            stamp,
            held: RangeSet::new(),
        }
    }

    /// Reads the attribute of a file; `None` if it is an ordinary file. One system call, which does
    /// not read the content.
    ///
    /// An invalid value is an error: the file may have holes, and must not be taken for complete.
    pub fn of(file: &File) -> io::Result<Option<Self>> {
        let mut value = [0; VALUE_BYTES_MAX];
        let length = match rustix::fs::fgetxattr(file, NAME, &mut value) {
            Ok(length) => length,
            Err(rustix::io::Errno::NODATA | rustix::io::Errno::NOTSUP) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        Self::decode(&value[..length]).map(Some).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "placeholder has an unknown version",
            )
        })
    }

    /// Writes the attribute. Durable after the next `fsync`.
    pub fn write_to(&self, file: &File) -> io::Result<()> {
        with_write_permission(file, || {
            set_xattr(file, OsStr::new(NAME), &self.encode(), 0)
        })
    }

    /// Turns an empty file into this placeholder.
    fn lay_out(&self, file: &File) -> io::Result<()> {
        self.write_to(file)?;
        file.set_len(self.stamp.size)
    }

    /// Removes the attribute: the file is an ordinary one from now on.
    pub fn clear(file: &File) -> io::Result<()> {
        with_write_permission(file, || remove_xattr(file, OsStr::new(NAME)))
    }

    /// Restores the modification time of a file that was filled or evicted.
    pub fn restore_time(&self, file: &File) -> io::Result<()> {
        set_times(file, &modified_at(self.stamp.mtime_ns))
    }

    /// Turns a complete file into a placeholder: frees the space of its bytes, except for the first
    /// `head_bytes`. The caller has made sure that no process has it open, that its bytes match
    /// `fingerprint`, and that the server has them.
    ///
    /// After any crash it is either complete or marked as a placeholder: the attribute is durable
    /// before the first byte is removed.
    pub fn evict_data(file: &File, fingerprint: Fingerprint, head_bytes: u64) -> io::Result<()> {
        let stamp = Metadata::of(file)?.stamp();
        let head = head_bytes.next_multiple_of(BLOCK_BYTES).min(stamp.size);
        let evicted = Self {
            fingerprint,
            stamp,
            held: RangeSet::whole(head),
        };
        evicted.write_to(file)?;
        file.sync_all()?;
        heirloom_crash::reached(CrashPoint::EvictionMarked);
        if let Err(error) = evicted.punch(file, head) {
            Self::clear(file)?;
            return Err(error);
        }
        heirloom_crash::reached(CrashPoint::EvictionPunched);
        evicted.restore_time(file)
    }

    /// Discards all local bytes, because they are wrong. The attribute is changed first, so that it
    /// never lists wrong bytes.
    pub fn discard_data(&self, file: &File) -> io::Result<()> {
        let empty = Self {
            held: RangeSet::new(),
            ..self.clone()
        };
        empty.write_to(file)?;
        file.sync_all()?;
        empty.punch(file, 0)?;
        empty.restore_time(file)
    }

    /// Frees the space of everything from `start` on, including the last block, in which the file
    /// ends.
    fn punch(&self, file: &File, start: u64) -> io::Result<()> {
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match self.stamp.size.next_multiple_of(BLOCK_BYTES) - start.next_multiple_of(BLOCK_BYTES) {
            0 => Ok(()),
            length => Ok(rustix::fs::fallocate(file, how, start, length)?),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut ranges: Vec<ByteRange> = self.held.iter().collect();
        if ranges.len() > RANGES_MAX {
            ranges.sort_by_key(|range| std::cmp::Reverse(range.len()));
            ranges.truncate(RANGES_MAX);
            ranges.sort_by_key(|range| range.start());
        }
        let mut value = vec![VERSION];
        value.extend(self.fingerprint.as_bytes());
        value.extend(self.stamp.mtime_ns.to_le_bytes());
        leb128::write(&mut value, self.stamp.size);
        let mut at = 0;
        for range in ranges {
            leb128::write(&mut value, range.start() - at);
            leb128::write(&mut value, range.len());
            at = range.end();
        }
        value
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let (&version, rest) = value.split_first()?;
        let (fingerprint, rest) = rest.split_first_chunk::<32>()?;
        let (mtime_ns, mut rest) = rest.split_first_chunk::<8>()?;
        let stamp = Stamp {
            mtime_ns: i64::from_le_bytes(*mtime_ns),
            size: leb128::read(&mut rest)?,
        };
        let (mut held, mut at) = (RangeSet::new(), 0_u64);
        while !rest.is_empty() {
            let start = at.checked_add(leb128::read(&mut rest)?)?;
            at = start.checked_add(leb128::read(&mut rest)?)?;
            held.insert(ByteRange::new(start, at).ok()?);
        }
        let fits = version == VERSION && at <= stamp.size && stamp.size <= FILE_BYTES_MAX;
        fits.then(|| Self {
            fingerprint: Fingerprint::from(*fingerprint),
            stamp,
            held,
        })
    }
}

impl Spool {
    /// Creates a placeholder; fails if anything has this name. Durable after the next sync of the
    /// file system.
    ///
    /// The attribute is written before the file has its name, so that no crash leaves a placeholder
    /// that is taken for an empty file. (On a file system without `O_TMPFILE`, and in a folder
    /// whose group is inherited, one may be left.)
    pub fn create_placeholder(
        &self,
        path: &LibraryPath,
        placeholder: &Placeholder,
    ) -> Result<FileId, SpoolError> {
        let options = OpenOptions {
            access: Access::Write,
            durability: Durability::Lazy,
        };
        if let Ok(spare) = self.create_spare(options, MODE)
            && let Ok(id) = self.name_placeholder(&spare, path, placeholder)
        {
            return Ok(id);
        }
        let file = self.create_file(path, options, MODE)?;
        let made = placeholder
            .lay_out(&file)
            .and_then(|()| placeholder.restore_time(&file))
            .and_then(|()| Metadata::of(&file));
        match made {
            Ok(metadata) => Ok(metadata.id),
            Err(source) => {
                self.remove_file(path)?;
                Err(SpoolError::at("create a placeholder at", path, source))
            }
        }
    }

    fn name_placeholder(
        &self,
        spare: &File,
        path: &LibraryPath,
        placeholder: &Placeholder,
    ) -> Result<FileId, SpoolError> {
        let failed = |source| SpoolError::of("create a placeholder at", path, source);
        placeholder.lay_out(spare).map_err(failed)?;
        heirloom_crash::reached(CrashPoint::PlaceholderCreated);
        let id = self.link_spare(spare, path, MODE)?.id;
        heirloom_crash::reached(CrashPoint::PlaceholderLinked);
        // After a crash here the attribute still has the right time, and it is restored later.
        placeholder.restore_time(spare).map_err(failed)?;
        Ok(id)
    }

    /// The placeholder at a path; `None` if that is an ordinary file.
    pub fn placeholder(&self, path: &LibraryPath) -> Result<Option<Placeholder>, SpoolError> {
        let file = self.open_read(path)?;
        Placeholder::of(&file)
            .map_err(|source| SpoolError::at("read the placeholder attribute of", path, source))
    }

    /// Makes everything created so far survive a power cut.
    pub fn sync_all(&self) -> Result<(), SpoolError> {
        rustix::fs::syncfs(&*self.root_fd).map_err(|source| {
            SpoolError::within("sync the file system of", &SpoolPath::Root, source)
        })
    }
}

/// Opens a placeholder again to fill it, also if its owner has no write permission: a photo that
/// was made read-only is filled all the same.
pub fn reopen_to_fill(file: &File, options: OpenOptions) -> io::Result<File> {
    let mut filled = None;
    with_write_permission(file, || {
        filled = Some(reopen(file, options)?);
        Ok(())
    })?;
    filled.ok_or_else(|| io::ErrorKind::PermissionDenied.into())
}

/// Timestamps that set the modification time, in nanoseconds since 1970, and keep the access time.
pub fn modified_at(ns: i64) -> Timestamps {
    const SECOND: i64 = 1_000_000_000;
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: ns.div_euclid(SECOND),
            tv_nsec: ns.rem_euclid(SECOND),
        },
    }
}

/// Fuzz target: decodes arbitrary bytes as the value of the attribute (see `tests/fuzz`).
#[cfg(any(test, fuzzing))]
pub fn fuzz(bytes: &[u8]) {
    let Some(placeholder) = Placeholder::decode(bytes) else {
        return;
    };
    let again = Placeholder::decode(&placeholder.encode()).expect("what was encoded decodes");
    assert_eq!(
        (again.fingerprint, again.stamp),
        (placeholder.fingerprint, placeholder.stamp)
    );
    // Ranges may be left out; none may be added.
    assert!(
        again.held.without(&placeholder.held).is_empty() && again.held.iter().count() <= RANGES_MAX
    );
    assert!(again.held == placeholder.held || placeholder.held.iter().count() > RANGES_MAX);
    assert!(placeholder.held.end() <= placeholder.stamp.size);
    // Offsets computed from the size must not overflow.
    assert!(
        placeholder
            .stamp
            .size
            .checked_next_multiple_of(BLOCK_BYTES)
            .is_some()
    );
}

#[cfg(test)]
mod tests;

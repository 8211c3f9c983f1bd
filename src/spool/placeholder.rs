//! *The placeholder*: a file whose bytes are, all or in part, only on the server.
//!
//! It has the name, size, times and rights of the whole file, and holes where bytes are missing. An
//! attribute says which image it is and which of its bytes are here, so that the tree alone,
//! without any journal, tells a placeholder from a photo: whoever took holes for content would back
//! up zeros in the place of a photo.
//!
//! The attribute comes before the first hole, and goes after the last byte is durable and the whole
//! was hashed. What it says of bytes being here is only said of bytes that are on the disk.

use std::ffi::OsStr;
use std::fs::File;
use std::io;

use heirloom_crash::CrashPoint;
use heirloom_protocol::{ByteRange, Fingerprint, LibraryPath, RangeSet};
use rustix::fs::{FallocateFlags, Timespec, Timestamps, UTIME_OMIT};

use super::mark::writable;
use super::{
    Access, Durability, Metadata, OpenOptions, Spool, SpoolError, remove_xattr, reopen, set_times,
    set_xattr,
};
use crate::journal::{FileId, Stamp};

/// The attribute. Its value (docs/FORMAT.md) is spelled so short that ext4 keeps it inside an
/// ordinary inode: in text it would take a block of 4 KiB of its own, which a placeholder is not
/// worth.
const NAME: &str = "user.heirloom.placeholder";
/// The version that is written, and the only one that is read.
const VERSION: u8 = 1;
/// Room for a value: what a filesystem keeps of one attribute without further blocks, with room for
/// others beside it.
const VALUE_BYTES_MAX: usize = 2048;
/// Ranges that a value names, at most. Of more, the smallest are left out: they are fetched again.
const RANGES_MAX: usize = 32;
/// Disks keep bytes in blocks of at least this, and give room back in whole blocks only.
const BLOCK_BYTES: u64 = 4096;
/// No file is longer (`off_t`), so no placeholder is either.
const FILE_BYTES_MAX: u64 = i64::MAX.cast_unsigned();
/// What a new placeholder may be used for by its owner, as any new file.
const MODE: u16 = 0o644;

/// What a placeholder stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placeholder {
    /// The image.
    pub fingerprint: Fingerprint,
    /// Size and time of the whole file. Filling it changes the time that the disk keeps; this is
    /// the true one.
    pub stamp: Stamp,
    /// Its bytes that are here.
    pub held: RangeSet,
}

impl Placeholder {
    /// A placeholder of which nothing is here.
    pub const fn new(fingerprint: Fingerprint, stamp: Stamp) -> Self {
        Self {
            fingerprint,
            stamp,
            held: RangeSet::new(),
        }
    }

    /// What a file stands for; nothing if it is an ordinary file. One system call, and none that
    /// looks at bytes.
    ///
    /// A value that makes no sense is an error: its file may have holes, and must not be taken for
    /// whole.
    pub fn of(file: &File) -> io::Result<Option<Self>> {
        let mut value = [0; VALUE_BYTES_MAX];
        let length = match rustix::fs::fgetxattr(file, NAME, &mut value) {
            Ok(length) => length,
            Err(rustix::io::Errno::NODATA | rustix::io::Errno::NOTSUP) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        Self::read(&value[..length]).map(Some).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "a placeholder of an unknown version",
            )
        })
    }

    /// Writes what a file stands for. Durable after the next `fsync`.
    pub fn write_to(&self, file: &File) -> io::Result<()> {
        writable(file, || set_xattr(file, OsStr::new(NAME), &self.spell(), 0))
    }

    /// Makes an empty file one that stands for this.
    fn shape(&self, file: &File) -> io::Result<()> {
        self.write_to(file)?;
        file.set_len(self.stamp.size)
    }

    /// The file is an ordinary one from now on.
    pub fn clear(file: &File) -> io::Result<()> {
        writable(file, || remove_xattr(file, OsStr::new(NAME)))
    }

    /// Gives a file that was filled or hollowed out its true time back.
    pub fn restore_time(&self, file: &File) -> io::Result<()> {
        set_times(file, &modified_at(self.stamp.mtime_ns))
    }

    /// Gives the room of a whole file's bytes back to the disk, but for its first `head_bytes`: it
    /// is a placeholder then. The caller has made sure that nobody has it open, that its bytes are
    /// what `fingerprint` says, and that the server has them.
    ///
    /// After any crash it is either whole or declared: the declaration is on the disk before the
    /// first byte goes.
    pub fn evict_data(file: &File, fingerprint: Fingerprint, head_bytes: u64) -> io::Result<()> {
        let stamp = Metadata::of(file)?.stamp();
        let head = head_bytes.next_multiple_of(BLOCK_BYTES).min(stamp.size);
        let hollow = Self {
            fingerprint,
            stamp,
            held: RangeSet::whole(head),
        };
        hollow.write_to(file)?;
        file.sync_all()?;
        heirloom_crash::reached(CrashPoint::EvictionMarked);
        if let Err(refused) = hollow.punch(file, head) {
            Self::clear(file)?;
            return Err(refused);
        }
        heirloom_crash::reached(CrashPoint::EvictionPunched);
        hollow.restore_time(file)
    }

    /// Throws away all that is here: it is wrong. The declaration goes first, so that wrong bytes
    /// are never said to be right.
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

    /// Gives everything from `start` on back to the disk. The last block goes with it, though the
    /// file ends inside.
    fn punch(&self, file: &File, start: u64) -> io::Result<()> {
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match self.stamp.size.next_multiple_of(BLOCK_BYTES) - start.next_multiple_of(BLOCK_BYTES) {
            0 => Ok(()),
            length => Ok(rustix::fs::fallocate(file, how, start, length)?),
        }
    }

    fn spell(&self) -> Vec<u8> {
        let mut ranges: Vec<ByteRange> = self.held.iter().collect();
        if ranges.len() > RANGES_MAX {
            ranges.sort_by_key(|range| std::cmp::Reverse(range.len()));
            ranges.truncate(RANGES_MAX);
            ranges.sort_by_key(|range| range.start());
        }
        let mut value = vec![VERSION];
        value.extend(self.fingerprint.as_bytes());
        value.extend(self.stamp.mtime_ns.to_le_bytes());
        put_number(&mut value, self.stamp.size);
        let mut at = 0;
        for range in ranges {
            put_number(&mut value, range.start() - at);
            put_number(&mut value, range.len());
            at = range.end();
        }
        value
    }

    fn read(value: &[u8]) -> Option<Self> {
        let (&version, rest) = value.split_first()?;
        let (fingerprint, rest) = rest.split_first_chunk::<32>()?;
        let (mtime_ns, mut rest) = rest.split_first_chunk::<8>()?;
        let stamp = Stamp {
            mtime_ns: i64::from_le_bytes(*mtime_ns),
            size: take_number(&mut rest)?,
        };
        let (mut held, mut at) = (RangeSet::new(), 0_u64);
        while !rest.is_empty() {
            let start = at.checked_add(take_number(&mut rest)?)?;
            at = start.checked_add(take_number(&mut rest)?)?;
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

/// Writes a number in LEB128: seven bits a byte, the lowest first.
fn put_number(value: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        value.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    value.push(number.to_le_bytes()[0]);
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit only.
        if bits.checked_shl(shift)? >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

impl Spool {
    /// Makes a placeholder where nothing stands; fails if anything has this name. Durable after the
    /// next sync of the disk.
    ///
    /// It is declared before it has its name, so that no crash leaves one that is taken for an
    /// empty file. (On a disk without nameless files, and in a folder that hands its group down,
    /// one may be left.)
    pub fn create_placeholder(
        &self,
        path: &LibraryPath,
        placeholder: &Placeholder,
    ) -> Result<FileId, SpoolError> {
        let opening = OpenOptions {
            access: Access::Write,
            durability: Durability::Lazy,
        };
        if let Ok(spare) = self.create_spare(opening, MODE)
            && let Ok(id) = self.name_placeholder(&spare, path, placeholder)
        {
            return Ok(id);
        }
        let file = self.create_file(path, opening, MODE)?;
        let made = placeholder
            .shape(&file)
            .and_then(|()| placeholder.restore_time(&file))
            .and_then(|()| Metadata::of(&file));
        match made {
            Ok(facts) => Ok(facts.id),
            Err(source) => {
                self.remove_file(path)?;
                Err(SpoolError::at("make a placeholder at", path, source))
            }
        }
    }

    fn name_placeholder(
        &self,
        spare: &File,
        path: &LibraryPath,
        placeholder: &Placeholder,
    ) -> Result<FileId, SpoolError> {
        let failed = |source| SpoolError::of("make a placeholder at", path, source);
        placeholder.shape(spare).map_err(failed)?;
        heirloom_crash::reached(CrashPoint::PlaceholderCreated);
        let id = self.link_spare(spare, path, MODE)?.id;
        heirloom_crash::reached(CrashPoint::PlaceholderLinked);
        // A placeholder of another time is known for that, and gets its own back.
        placeholder.restore_time(spare).map_err(failed)?;
        Ok(id)
    }

    /// What stands at `path` stands for; nothing if it is an ordinary file.
    pub fn placeholder(&self, path: &LibraryPath) -> Result<Option<Placeholder>, SpoolError> {
        let file = self.open_read(path)?;
        Placeholder::of(&file)
            .map_err(|source| SpoolError::at("learn what is missing of", path, source))
    }

    /// Makes everything that was made so far survive a power cut.
    pub fn sync_all(&self) -> Result<(), SpoolError> {
        rustix::fs::syncfs(&*self.top).map_err(|source| {
            SpoolError::within("sync the disk of", &super::SpoolPath::Root, source)
        })
    }
}

/// Opens a file once more to write bytes into it that it should have, also where its owner may not
/// write to it: a photo that was made read-only is filled all the same.
pub fn reopen_to_fill(file: &File, opening: OpenOptions) -> io::Result<File> {
    let mut filled = None;
    writable(file, || {
        filled = Some(reopen(file, opening)?);
        Ok(())
    })?;
    filled.ok_or_else(|| io::ErrorKind::PermissionDenied.into())
}

/// A time of last change, in nanoseconds since 1970; that of the last reading stays.
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

/// Puts made-up bytes on trial as the value of the attribute (see `tests/fuzz`).
#[cfg(any(test, fuzzing))]
pub fn trial(bytes: &[u8]) {
    let Some(placeholder) = Placeholder::read(bytes) else {
        return;
    };
    let again = Placeholder::read(&placeholder.spell()).expect("what was written is read");
    assert_eq!(
        (again.fingerprint, again.stamp),
        (placeholder.fingerprint, placeholder.stamp)
    );
    // Of very many ranges some are left out; none is made up.
    assert!(
        again.held.without(&placeholder.held).is_empty() && again.held.iter().count() <= RANGES_MAX
    );
    assert!(again.held == placeholder.held || placeholder.held.iter().count() > RANGES_MAX);
    assert!(placeholder.held.end() <= placeholder.stamp.size);
    // What a file of this size is asked for is computed from it.
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

//! Metadata: what the local disk knows of a file beside its bytes, in our types, alike on every
//! processor.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Stat};

use crate::journal::{FileId, Stamp};

/// What `stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The inode number on the spool's disk.
    pub id: FileId,
    /// What kind of thing it is.
    pub kind: Kind,
    /// Permission bits with set-user-id, set-group-id and sticky: the low 12 bits of `st_mode`.
    pub mode: u16,
    /// How many names it has; 0 for a file that was removed while open.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// In bytes.
    pub size: u64,
    /// Allocated, in units of 512 bytes.
    pub blocks: u64,
    /// Last read, as far as the disk keeps it.
    pub accessed: Timespec,
    /// Last change of the bytes, or what its owner set.
    pub modified: Timespec,
    /// Last change of bytes or facts.
    pub changed: Timespec,
    /// What programs are told to read and write at a time, in bytes (`st_blksize`).
    pub block_size: u32,
}

/// The kinds of things in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, FIFO or socket. The mount makes none; somebody may have put one into the spool.
    Special,
}

/// A point in time as Linux keeps it: seconds since 1970, before it negative, plus 0 to 999,999,999
/// nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timespec {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// The rest.
    pub nanoseconds: u32,
}

impl Metadata {
    /// Of an open (or only held) file.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        Ok(Self::from(&rustix::fs::fstat(file)?))
    }

    /// Of `name` in a folder; of a symbolic link, the link.
    pub(super) fn named(folder: BorrowedFd<'_>, name: &str) -> io::Result<Self> {
        Ok(Self::from(&rustix::fs::statat(
            folder,
            name,
            AtFlags::SYMLINK_NOFOLLOW,
        )?))
    }

    /// What the journal compares to see whether content changed.
    pub fn stamp(&self) -> Stamp {
        let whole = self.modified.seconds.saturating_mul(1_000_000_000);
        // Times beyond the year 2262 all look alike; size still tells them apart.
        Stamp {
            size: self.size,
            mtime_ns: whole.saturating_add(i64::from(self.modified.nanoseconds)),
        }
    }
}

impl From<&Stat> for Metadata {
    fn from(stat: &Stat) -> Self {
        Self {
            id: FileId(stat.st_ino),
            kind: Kind::of(FileType::from_raw_mode(stat.st_mode)),
            mode: u16::try_from(stat.st_mode & 0o7777).expect("12 bits fit into 16"),
            nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            blocks: u64::try_from(stat.st_blocks).unwrap_or_default(),
            accessed: Timespec::new(stat.st_atime, stat.st_atime_nsec),
            modified: Timespec::new(stat.st_mtime, stat.st_mtime_nsec),
            changed: Timespec::new(stat.st_ctime, stat.st_ctime_nsec),
            block_size: u32::try_from(stat.st_blksize).unwrap_or(u32::MAX),
        }
    }
}

impl Kind {
    pub(super) fn of(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Folder,
            FileType::Symlink => Self::Link,
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Self::Special,
        }
    }
}

impl Timespec {
    fn new(seconds: i64, nanoseconds: u64) -> Self {
        let nanoseconds = u32::try_from(nanoseconds)
            .unwrap_or_default()
            .min(999_999_999);
        Self {
            seconds,
            nanoseconds,
        }
    }
}

/// Refuses what is not a regular file, after opening it: only then is it certain what was opened.
pub(super) fn only_regular(file: File) -> io::Result<File> {
    match Metadata::of(&file)?.kind {
        Kind::File => Ok(file),
        Kind::Folder => Err(rustix::io::Errno::ISDIR.into()),
        Kind::Link | Kind::Special => Err(rustix::io::Errno::INVAL.into()),
    }
}

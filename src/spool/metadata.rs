//! Metadata of files (stat(2)), in types that are the same on every processor architecture.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Stat};

use crate::journal::{FileId, Stamp};

/// Metadata of a file, folder or link, from stat(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Inode number on the spool's file system.
    pub id: FileId,
    /// Kind of entry.
    pub kind: Kind,
    /// Permission bits with set-user-id, set-group-id and sticky: the low 12 bits of `st_mode`.
    pub mode: u16,
    /// Number of hard links; 0 for a file that was removed while open.
    pub nlink: u32,
    /// User id of the owner.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Allocated space, in units of 512 bytes.
    pub blocks: u64,
    /// Time of the last read (atime), as far as the file system keeps it.
    pub accessed: Timespec,
    /// Time of the last change of the bytes (mtime), or what its owner set.
    pub modified: Timespec,
    /// Time of the last change of bytes or metadata (ctime).
    pub changed: Timespec,
    /// Preferred size of reads and writes, in bytes (`st_blksize`).
    pub block_size: u32,
}

/// Kind of an entry in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, FIFO or socket. The mount creates none, but one may have been put into the spool.
    Special,
}

/// A point in time as Linux keeps it: seconds since 1970, negative before, plus 0 to 999,999,999
/// nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timespec {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// Nanoseconds after them.
    pub nanoseconds: u32,
}

impl Metadata {
    /// Metadata of an open file (also one opened with `O_PATH`).
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        Ok(Self::from(&rustix::fs::fstat(file)?))
    }

    /// Metadata of `name` in a folder; of a symbolic link, the link's.
    pub(super) fn of_entry(folder: BorrowedFd<'_>, name: &str) -> io::Result<Self> {
        Ok(Self::from(&rustix::fs::statat(
            folder,
            name,
            AtFlags::SYMLINK_NOFOLLOW,
        )?))
    }

    /// The stamp by which the journal tells whether content changed.
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

/// Fails for anything but a regular file. Done after opening, because only then it is certain what
/// was opened.
pub(super) fn only_regular(file: File) -> io::Result<File> {
    match Metadata::of(&file)?.kind {
        Kind::File => Ok(file),
        Kind::Folder => Err(rustix::io::Errno::ISDIR.into()),
        Kind::Link | Kind::Special => Err(rustix::io::Errno::INVAL.into()),
    }
}

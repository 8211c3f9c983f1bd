//! Types that the layers of the mount share. This file imports nothing of its siblings.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Timestamps;

use crate::fetch::{FetchError, OpenPlaceholder};
use crate::journal::FileId;
use crate::spool::{Kind, Metadata, SpoolError, Timespec};

/// Inode number, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ino(pub(super) u64);

impl Ino {
    /// The root of the mount (`FUSE_ROOT_ID`).
    pub(super) const ROOT: Self = Self(1);
}

/// Number of an open file or folder, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct HandleId(pub(super) u64);

impl fmt::Display for HandleId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Tells apart two files that had the same inode number one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation(pub(super) u64);

/// Table of file descriptors that a write or close came through: in most cases, one program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LockOwner(pub(super) u64);

/// Source of a change made through a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// A known table of file descriptors.
    Owner(LockOwner),
    /// Unknown: the kernel names the owner of writes only.
    Unknown,
}

/// How reads and writes of open files reach the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IoPath {
    /// The kernel reads and writes the spool's files itself.
    Passthrough,
    /// Through this process; write-only files bypass the page cache.
    Direct,
}

/// Which I/O path the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum IoMode {
    /// Passthrough if it is permitted (for root, or with the helper heirloom-passthrough), else
    /// direct.
    #[default]
    Auto,
    /// Always through this program.
    Direct,
}

/// Whether opening a file empties it (`O_TRUNC`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truncate {
    No,
    Yes,
}

/// What `create` does with a file that exists already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// Open it.
    Open(Truncate),
    /// Fail (`O_EXCL`).
    Refuse,
}

/// What a sync covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SyncScope {
    /// The bytes, and the metadata needed to read them (`fdatasync`).
    Data,
    /// All metadata too (`fsync`).
    All,
}

/// Reply to a lookup or creation. The kernel holds the inode until it sends `FORGET`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) ino: Ino,
    pub(super) generation: Generation,
    pub(super) metadata: Metadata,
}

/// A file that was created and opened in one step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Created {
    pub(super) entry: Entry,
    pub(super) handle: HandleId,
}

/// The attributes that a `SETATTR` request changes; `None` leaves one as it is.
#[derive(Clone, Debug, Default)]
pub(super) struct AttributeChange {
    pub(super) mode: Option<u16>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) size: Option<u64>,
    pub(super) times: Option<Timestamps>,
}

/// One name in a folder listing.
#[derive(Clone, Debug)]
pub(super) struct DirEntry {
    pub(super) name: String,
    pub(super) ino: Ino,
    pub(super) kind: Kind,
    /// The position at which the listing continues after this name.
    pub(super) next: u64,
}

/// Result of adding one name to the reply buffer of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FillResult {
    /// The name was added.
    Added,
    /// The buffer is full; the name was not added.
    Full,
}

/// A name that the kernel must drop from its cache.
#[derive(Debug)]
pub(super) struct RemovedName {
    pub(super) folder: Ino,
    pub(super) name: String,
}

/// Drops what the kernel has cached. Never called with a lock of the mount held: the kernel may
/// hold its own lock on a folder while it waits for a reply of ours.
pub(super) trait Invalidator: Send + Sync {
    /// Drops the cached entry of a name.
    fn invalidate_name(&self, folder: Ino, name: &OsStr);
    /// Drops the cached attributes of a file.
    fn invalidate_attributes(&self, ino: Ino);
    /// Drops the cached attributes and the cached listing of a folder.
    fn invalidate_folder(&self, folder: Ino);
}

/// Observes every request that was answered.
pub(super) trait RequestObserver: Send + Sync {
    /// Called on the thread that has just answered a request of the thread `caller`; 0 if the
    /// kernel itself made the request.
    fn request_answered(&self, caller: u32);
}

/// Why a request of the kernel fails. `fuse/errno.rs` gives each its errno.
#[derive(Debug, thiserror::Error)]
pub(super) enum TreeError {
    #[error("the name is not UTF-8")]
    NameNotUtf8,
    #[error("the name or path is too long")]
    NameTooLong,
    #[error("no file can have this name")]
    InvalidName,
    #[error("inode {} was removed", .0.0)]
    Removed(FileId),
    #[error("inode {} is no longer the file at its path", .0.0)]
    Stale(FileId),
    #[error("no open file or folder has the handle {0}")]
    BadHandle(HandleId),
    #[error("hard links are not supported: a photo has one name in a library")]
    HardLinkUnsupported,
    #[error("devices, FIFOs and sockets are not supported")]
    SpecialFileUnsupported,
    #[error("unsupported flag or whence")]
    InvalidArgument,
    #[error("attributes under user.heirloom. are read-only")]
    ReservedXattr,
    #[error("only attributes under user. are supported")]
    UnsupportedXattr,
    #[error("no such attribute")]
    NoXattr,
    #[error("the bytes are only on the server and must be fetched first")]
    NeedsFetch(OpenPlaceholder),
    #[error("the bytes are only on the server, and this mount has no server")]
    NoFetcher,
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("cannot {doing} an open file")]
    OpenFile {
        doing: &'static str,
        #[source]
        source: io::Error,
    },
}

impl TreeError {
    /// Makes an I/O error on an open file into a [`TreeError`]; `doing` is a verb, as in "read".
    pub(super) fn during(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::OpenFile { doing, source }
    }
}

/// A time of the disk as a [`SystemTime`], also one before 1970.
pub(super) fn system_time(time: Timespec) -> SystemTime {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 {
        UNIX_EPOCH.checked_sub(seconds)
    } else {
        UNIX_EPOCH.checked_add(seconds)
    };
    whole
        .and_then(|whole| whole.checked_add(Duration::from_nanos(time.nanoseconds.into())))
        .expect("Linux keeps both in 64 bits of seconds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_1970_goes_to_the_kernel_as_it_is() {
        let time = Timespec {
            seconds: -2,
            nanoseconds: 800_000_000,
        };
        assert_eq!(system_time(time), UNIX_EPOCH - Duration::from_millis(1200));
    }
}

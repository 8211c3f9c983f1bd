//! Conversions between the types of fuser and those of the mount.

use std::time::{SystemTime, UNIX_EPOCH};

use fuser::{
    FileAttr, FileHandle, FileType, INodeNo, OpenAccMode, OpenFlags, RenameFlags, TimeOrNow,
};
use rustix::fs::{Timestamps, UTIME_NOW, UTIME_OMIT};

use crate::mount::types::{Generation, HandleId, Ino, LockOwner, TreeError, Truncate, system_time};
use crate::spool::{Access, Durability, Kind, Metadata, OpenOptions, Replace, Timespec};

impl From<INodeNo> for Ino {
    fn from(ino: INodeNo) -> Self {
        Self(ino.0)
    }
}
impl From<Ino> for INodeNo {
    fn from(ino: Ino) -> Self {
        Self(ino.0)
    }
}
impl From<FileHandle> for HandleId {
    fn from(handle: FileHandle) -> Self {
        Self(handle.0)
    }
}
impl From<HandleId> for FileHandle {
    fn from(handle: HandleId) -> Self {
        Self(handle.0)
    }
}
impl From<Generation> for fuser::Generation {
    fn from(generation: Generation) -> Self {
        Self(generation.0)
    }
}
impl From<fuser::LockOwner> for LockOwner {
    fn from(owner: fuser::LockOwner) -> Self {
        Self(owner.0)
    }
}

pub(super) fn attributes(ino: Ino, metadata: &Metadata) -> FileAttr {
    FileAttr {
        ino: ino.into(),
        size: metadata.size,
        // Some programs do not read a file that has no blocks, and a placeholder has none.
        blocks: metadata
            .blocks
            .max(u64::from(metadata.kind == Kind::File && metadata.size > 0)),
        atime: system_time(metadata.accessed),
        mtime: system_time(metadata.modified),
        ctime: system_time(metadata.changed),
        crtime: UNIX_EPOCH,
        kind: file_type(metadata.kind),
        perm: metadata.mode,
        nlink: metadata.nlink,
        uid: metadata.uid,
        gid: metadata.gid,
        rdev: 0,
        blksize: metadata.block_size,
        flags: 0,
    }
}

/// The attributes of a negative entry: FUSE takes inode number 0 with a time to live as "there is
/// no such name, and it may be cached".
pub(super) fn negative_attributes() -> FileAttr {
    let never = Timespec {
        seconds: 0,
        nanoseconds: 0,
    };
    let id = crate::journal::FileId(0);
    let metadata = Metadata {
        id,
        kind: Kind::File,
        mode: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        size: 0,
        blocks: 0,
        accessed: never,
        modified: never,
        changed: never,
        block_size: 0,
    };
    attributes(Ino(0), &metadata)
}

/// Special files are not shown, so their type does not matter.
pub(super) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Folder => FileType::Directory,
        Kind::Link => FileType::Symlink,
        Kind::Special => FileType::NamedPipe,
    }
}

/// The times that a `SETATTR` request sets; `None` if it sets none.
pub(super) fn requested_times(
    accessed: Option<TimeOrNow>,
    modified: Option<TimeOrNow>,
) -> Option<Timestamps> {
    if accessed.is_none() && modified.is_none() {
        return None;
    }
    Some(Timestamps {
        last_access: requested_time(accessed),
        last_modification: requested_time(modified),
    })
}

fn requested_time(time: Option<TimeOrNow>) -> rustix::fs::Timespec {
    match time {
        None => rustix::fs::Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        Some(TimeOrNow::Now) => rustix::fs::Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        },
        Some(TimeOrNow::SpecificTime(time)) => timespec(time),
    }
}

/// A time as fuser passes it. fuser 0.18 reads a time before 1970 as -(seconds + nanoseconds) where
/// Linux means -seconds + nanoseconds. Both parts are preserved, so the mistake can be undone
/// exactly; a test with a real mount notices when fuser is fixed.
fn timespec(time: SystemTime) -> rustix::fs::Timespec {
    let (seconds, rest) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (
            i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            after.subsec_nanos(),
        ),
        Err(error) => {
            let before = error.duration();
            (
                0_i64
                    .checked_sub_unsigned(before.as_secs())
                    .unwrap_or(i64::MIN),
                before.subsec_nanos(),
            )
        }
    };
    rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: rest.into(),
    }
}

/// How to open the spool's file for the flags that a program passed to open(2). `O_APPEND` is left
/// to the kernel (it sends the offset, and is the only writer); `O_DIRECT` is dropped, because it
/// asks for an alignment that the mount's buffers do not have.
pub(super) fn open_options(flags: i32) -> OpenOptions {
    let access = match OpenFlags(flags).acc_mode() {
        OpenAccMode::O_RDONLY => Access::Read,
        OpenAccMode::O_WRONLY => Access::Write,
        OpenAccMode::O_RDWR => Access::ReadWrite,
    };
    // O_SYNC contains the bit of O_DSYNC.
    let durability = match flags & libc::O_SYNC {
        libc::O_SYNC => Durability::All,
        libc::O_DSYNC => Durability::Bytes,
        _ => Durability::Lazy,
    };
    OpenOptions { access, durability }
}

/// Whether the flags of an open empty the file.
pub(super) fn truncate(flags: i32) -> Truncate {
    if flags & libc::O_TRUNC == 0 {
        Truncate::No
    } else {
        Truncate::Yes
    }
}

/// What a rename does if its new name exists.
pub(super) fn replace_mode(flags: RenameFlags) -> Result<Replace, TreeError> {
    if flags.is_empty() {
        Ok(Replace::Allow)
    } else if flags == RenameFlags::RENAME_NOREPLACE {
        Ok(Replace::Refuse)
    } else if flags == RenameFlags::RENAME_EXCHANGE {
        Ok(Replace::Exchange)
    } else {
        Err(TreeError::InvalidArgument)
    }
}

/// The permission bits of a mode.
pub(super) fn permissions(mode: u32) -> u16 {
    u16::try_from(mode & 0o7777).expect("12 bits fit into 16")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_before_1970_comes_from_the_kernel_as_it_was_meant() {
        // -2 s + 0.8 s, as fuser passes it.
        let handed = UNIX_EPOCH - Duration::new(2, 800_000_000);
        assert_eq!(
            timespec(handed),
            rustix::fs::Timespec {
                tv_sec: -2,
                tv_nsec: 800_000_000
            }
        );
    }

    #[test]
    fn no_time_is_too_far() {
        for seconds in [i64::MIN, i64::MAX] {
            let moment = Timespec {
                seconds,
                nanoseconds: 0,
            };
            assert_eq!(timespec(system_time(moment)).tv_sec, seconds);
        }
    }

    #[test]
    fn opening_keeps_the_promise_of_synchronous_writes_only() {
        let open = |flags| open_options(flags).durability;
        assert_eq!(open(libc::O_WRONLY | libc::O_SYNC), Durability::All);
        assert_eq!(open(libc::O_WRONLY | libc::O_DSYNC), Durability::Bytes);
        assert_eq!(
            open(libc::O_RDWR | libc::O_APPEND | libc::O_DIRECT),
            Durability::Lazy
        );
    }
}

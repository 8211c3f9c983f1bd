//! Shape: our types as the kernel's, and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, OpenAccMode, OpenFlags, RenameFlags, TimeOrNow};
use rustix::fs::{Timestamps, UTIME_NOW, UTIME_OMIT};

use super::tree::{TreeError, Truncate};
use crate::spool::{Access, Durability, Kind, Metadata, OpenOptions, Replace, Timespec};

pub(super) fn attributes(number: INodeNo, facts: &Metadata) -> FileAttr {
    FileAttr {
        ino: number,
        size: facts.size,
        // Some programs take a file without any block for one without any content, and do not read
        // it; a placeholder has none.
        blocks: facts
            .blocks
            .max(u64::from(facts.kind == Kind::File && facts.size > 0)),
        atime: time(facts.accessed),
        mtime: time(facts.modified),
        ctime: time(facts.changed),
        crtime: UNIX_EPOCH,
        kind: kind(facts.kind),
        perm: facts.mode,
        nlink: facts.nlink,
        uid: facts.uid,
        gid: facts.gid,
        rdev: 0,
        blksize: facts.block_size,
        flags: 0,
    }
}

/// Number 0 with a time to live is how FUSE says "no such name, and do not ask again soon".
pub(super) fn nothing() -> FileAttr {
    let never = Timespec {
        seconds: 0,
        nanoseconds: 0,
    };
    let id = crate::journal::FileId(0);
    let facts = Metadata {
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
    attributes(INodeNo(0), &facts)
}

/// Special files are not shown, so nobody sees what they are called here.
pub(super) fn kind(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Folder => FileType::Directory,
        Kind::Link => FileType::Symlink,
        Kind::Special => FileType::NamedPipe,
    }
}

pub(super) fn time(moment: Timespec) -> SystemTime {
    let seconds = Duration::from_secs(moment.seconds.unsigned_abs());
    let whole = if moment.seconds < 0 {
        UNIX_EPOCH.checked_sub(seconds)
    } else {
        UNIX_EPOCH.checked_add(seconds)
    };
    whole
        .and_then(|whole| whole.checked_add(Duration::from_nanos(moment.nanoseconds.into())))
        .expect("Linux keeps both in 64 bits of seconds")
}

/// What `setattr` asks for; none if it asks for no time.
pub(super) fn times(
    accessed: Option<TimeOrNow>,
    modified: Option<TimeOrNow>,
) -> Option<Timestamps> {
    if accessed.is_none() && modified.is_none() {
        return None;
    }
    Some(Timestamps {
        last_access: asked(accessed),
        last_modification: asked(modified),
    })
}

fn asked(time: Option<TimeOrNow>) -> rustix::fs::Timespec {
    match time {
        None => rustix::fs::Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        Some(TimeOrNow::Now) => rustix::fs::Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        },
        Some(TimeOrNow::SpecificTime(time)) => asked_moment(time),
    }
}

/// fuser 0.18 reads a time before 1970 as -(seconds + nanoseconds) where Linux means -seconds +
/// nanoseconds. The two parts are whole in what it hands us, so its mistake can be undone exactly;
/// a test with a real mount notices when it is mended there.
fn asked_moment(time: SystemTime) -> rustix::fs::Timespec {
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

/// How to open the spool's file for a program that opens the mount's. Appending is the kernel's
/// work (it sends the offset, and is the only writer); direct I/O asks for an alignment of buffers
/// that ours do not have.
pub(super) fn opening(flags: i32) -> OpenOptions {
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

/// Whether an opening empties the file.
pub(super) fn truncate(flags: i32) -> Truncate {
    if flags & libc::O_TRUNC == 0 {
        Truncate::No
    } else {
        Truncate::Yes
    }
}

/// What a rename does with something in its way.
pub(super) fn replacing(flags: RenameFlags) -> Result<Replace, TreeError> {
    if flags.is_empty() {
        Ok(Replace::Allow)
    } else if flags == RenameFlags::RENAME_NOREPLACE {
        Ok(Replace::Refuse)
    } else if flags == RenameFlags::RENAME_EXCHANGE {
        Ok(Replace::Exchange)
    } else {
        Err(TreeError::UnknownFlag)
    }
}

/// The permission bits of a mode.
pub(super) fn permissions(mode: u32) -> u16 {
    u16::try_from(mode & 0o7777).expect("12 bits fit into 16")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_1970_goes_to_the_kernel_as_it_is() {
        let moment = Timespec {
            seconds: -2,
            nanoseconds: 800_000_000,
        };
        assert_eq!(time(moment), UNIX_EPOCH - Duration::from_millis(1200));
    }

    #[test]
    fn a_time_before_1970_comes_from_the_kernel_as_it_was_meant() {
        // -2 s + 0.8 s, as fuser hands it over.
        let handed = UNIX_EPOCH - Duration::new(2, 800_000_000);
        assert_eq!(
            asked_moment(handed),
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
            assert_eq!(asked_moment(time(moment)).tv_sec, seconds);
        }
    }

    #[test]
    fn opening_keeps_the_promise_of_synchronous_writes_only() {
        let open = |flags| opening(flags).durability;
        assert_eq!(open(libc::O_WRONLY | libc::O_SYNC), Durability::All);
        assert_eq!(open(libc::O_WRONLY | libc::O_DSYNC), Durability::Bytes);
        assert_eq!(
            open(libc::O_RDWR | libc::O_APPEND | libc::O_DIRECT),
            Durability::Lazy
        );
    }
}

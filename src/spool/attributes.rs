//! Attributes: what can be changed of a file without touching its bytes or its name.
//!
//! All of it goes through an open or held file, never through a path: the file may have been
//! renamed or removed since it was found. Where Linux has no call that takes a held (`O_PATH`)
//! file, `/proc/self/fd` names it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::facts::only_regular;
use super::{Kind, Metadata, OpenOptions};

/// Sets permission bits (the low 12 of a mode). A symbolic link has none: `EOPNOTSUPP`.
pub fn set_mode(file: impl AsFd, mode: u16) -> io::Result<()> {
    let mode = Mode::from_raw_mode(u32::from(mode & 0o7777));
    Ok(rustix::fs::chmodat(
        CWD,
        named(file.as_fd()),
        mode,
        AtFlags::empty(),
    )?)
}

/// Sets owner, group or both.
pub fn set_owner(file: impl AsFd, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    // Linux reads the number -1 as "leave as it is".
    if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
        return Err(rustix::io::Errno::INVAL.into());
    }
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    Ok(rustix::fs::chownat(
        file,
        "",
        uid,
        gid,
        AtFlags::EMPTY_PATH,
    )?)
}

/// Sets the times, each to a moment, to now, or not at all (`UTIME_NOW`, `UTIME_OMIT`;
/// utimensat(2)).
pub fn set_times(file: impl AsFd, times: &Timestamps) -> io::Result<()> {
    Ok(rustix::fs::utimensat(file, "", times, AtFlags::EMPTY_PATH)?)
}

/// Whether this process may use the file so (access(2)); an error says why not.
pub fn check_access(file: impl AsFd, wanted: rustix::fs::Access) -> io::Result<()> {
    Ok(rustix::fs::accessat(
        CWD,
        named(file.as_fd()),
        wanted,
        AtFlags::empty(),
    )?)
}

/// Opens once more what is open or held already, be it without a name by now.
///
/// Who asks whether anybody else has the file ([`super::writers`]) has a lease on it for that
/// moment, in which an opening that does not wait is turned away (`EAGAIN`). Then this one waits:
/// of a regular file, nobody has to do anything more for it to end.
pub fn reopen(file: impl AsFd, opening: OpenOptions) -> io::Result<File> {
    // O_NOFOLLOW would refuse the link in /proc itself.
    let (name, flags) = (named(file.as_fd()), opening.flags() | OFlags::CLOEXEC);
    let opened = match rustix::fs::open(&name, flags | OFlags::NONBLOCK, Mode::empty()) {
        Err(Errno::AGAIN) if Metadata::of(&file)?.kind == Kind::File => {
            rustix::fs::open(&name, flags, Mode::empty())
        }
        opened => opened,
    };
    only_regular(File::from(opened?))
}

/// The value of an extended attribute; `ENODATA` if there is none.
pub fn xattr(file: impl AsFd, name: &OsStr) -> io::Result<Vec<u8>> {
    let path = named(file.as_fd());
    growing(|buffer| {
        if buffer.is_empty() {
            return rustix::fs::getxattr_query(&path, name);
        }
        rustix::fs::getxattr(&path, name, buffer)
    })
}

/// The names of all extended attributes.
pub fn list_xattrs(file: impl AsFd) -> io::Result<Vec<OsString>> {
    let path = named(file.as_fd());
    let list = growing(|buffer| {
        if buffer.is_empty() {
            return rustix::fs::listxattr_query(&path);
        }
        rustix::fs::listxattr(&path, buffer)
    })?;
    let names = list
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    Ok(names
        .map(|name| OsString::from_vec(name.to_vec()))
        .collect())
}

/// Sets an extended attribute; `flags` as in setxattr(2): 0, `XATTR_CREATE` or `XATTR_REPLACE`.
pub fn set_xattr(file: impl AsFd, name: &OsStr, value: &[u8], flags: u32) -> io::Result<()> {
    let known = XattrFlags::CREATE | XattrFlags::REPLACE;
    if flags & !known.bits() != 0 {
        return Err(rustix::io::Errno::INVAL.into());
    }
    Ok(rustix::fs::setxattr(
        named(file.as_fd()),
        name.as_bytes(),
        value,
        XattrFlags::from_bits_retain(flags),
    )?)
}

/// Removes an extended attribute; `ENODATA` if there is none.
pub fn remove_xattr(file: impl AsFd, name: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::removexattr(named(file.as_fd()), name)?)
}

/// Borrowed, because the name is good only as long as the file is open.
fn named(file: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// How often a value may grow between asking for its size and reading it, before we give up with
/// `ERANGE`.
const TRIES_MAX: usize = 8;

/// Reads what tells its size only when asked with an empty buffer, and may change in between.
fn growing(mut read: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Vec<u8>> {
    for _ in 0..TRIES_MAX {
        let size = read(&mut [])?;
        let mut value = vec![0; size];
        if size == 0 {
            return Ok(value);
        }
        match read(&mut value) {
            Ok(size) => {
                value.truncate(size);
                return Ok(value);
            }
            Err(rustix::io::Errno::RANGE) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(rustix::io::Errno::RANGE.into())
}

//! Attributes of files: permissions, owner, times and extended attributes.
//!
//! All functions take an open file, never a path: the file may have been
//! renamed or removed since it was found. Where Linux has no system call for a file opened with
//! `O_PATH`, its path in `/proc/self/fd` is used.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::metadata::{Kind, Metadata, only_regular};
use super::open_options::OpenOptions;

/// Sets permission bits (the low 12 of a mode). A symbolic link has none: `EOPNOTSUPP`.
pub fn set_mode(file: impl AsFd, mode: u16) -> io::Result<()> {
    let mode = Mode::from_raw_mode(u32::from(mode & 0o7777));
    Ok(rustix::fs::chmodat(
        CWD,
        proc_path(file.as_fd()),
        mode,
        AtFlags::empty(),
    )?)
}

/// Sets owner, group or both.
pub fn set_owner(file: impl AsFd, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    // Linux takes the number -1 as "do not change".
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

/// Sets the times, each to a given time, to the current one, or not at all (`UTIME_NOW`,
/// `UTIME_OMIT`; utimensat(2)).
pub fn set_times(file: impl AsFd, times: &Timestamps) -> io::Result<()> {
    Ok(rustix::fs::utimensat(file, "", times, AtFlags::EMPTY_PATH)?)
}

/// Checks that this process may access the file in this way (access(2)).
pub fn check_access(file: impl AsFd, wanted: rustix::fs::Access) -> io::Result<()> {
    Ok(rustix::fs::accessat(
        CWD,
        proc_path(file.as_fd()),
        wanted,
        AtFlags::empty(),
    )?)
}

/// Opens an open file again, also if it was removed.
///
/// A probe for other users of the file ([`super::open_writers`]) has a lease on it for a moment, in
/// which an open that does not wait fails with `EAGAIN`. Then this function waits, which for a
/// regular file ends by itself.
pub fn reopen(file: impl AsFd, options: OpenOptions) -> io::Result<File> {
    // O_NOFOLLOW would refuse the link in /proc itself.
    let (name, flags) = (proc_path(file.as_fd()), options.flags() | OFlags::CLOEXEC);
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
    let path = proc_path(file.as_fd());
    read_growing(|buffer| {
        if buffer.is_empty() {
            return rustix::fs::getxattr_query(&path, name);
        }
        rustix::fs::getxattr(&path, name, buffer)
    })
}

/// The names of all extended attributes.
pub fn list_xattrs(file: impl AsFd) -> io::Result<Vec<OsString>> {
    let path = proc_path(file.as_fd());
    let list = read_growing(|buffer| {
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
        proc_path(file.as_fd()),
        name.as_bytes(),
        value,
        XattrFlags::from_bits_retain(flags),
    )?)
}

/// Removes an extended attribute; `ENODATA` if there is none.
pub fn remove_xattr(file: impl AsFd, name: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::removexattr(proc_path(file.as_fd()), name)?)
}

/// Path of an open file. Borrowed, because it is valid only as long as the file is open.
fn proc_path(file: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// How often a value may grow between the query of its size and the read, before that fails with
/// `ERANGE`.
const TRIES_MAX: usize = 8;

/// Reads a value whose size is queried with an empty buffer, and may change in between.
fn read_growing(
    mut read: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Vec<u8>> {
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

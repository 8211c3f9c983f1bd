//! The mountpoint: its checks before a mount, and its unmounting.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::error::MountError;

/// The set-user-id program that mounts for ordinary users (package fuse3).
const FUSERMOUNT: &str = "fusermount3";
/// Mounts of crashed daemons can be stacked; more than this many are not of Heirloom.
const STALE_MOUNTS_MAX: usize = 8;

/// When to unmount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnmountMode {
    /// Only if no program uses the mount.
    IfIdle,
    /// Detach it now; it ends when the last program has closed its files (`MNT_DETACH`).
    Lazy,
}

/// Checks that the mountpoint is an empty directory outside the spool, and removes a stale mount;
/// returns the absolute path.
pub(super) fn prepare(mountpoint: &Path, spool: &Path) -> Result<PathBuf, MountError> {
    check_fuse()?;
    clear_stale(mountpoint)?;
    let inspect_error = |source| inspect_error(mountpoint, source);
    if !fs::metadata(mountpoint).map_err(inspect_error)?.is_dir() {
        return Err(MountError::NotADirectory {
            mountpoint: mountpoint.to_owned(),
        });
    }
    let found = mountpoint.canonicalize().map_err(inspect_error)?;
    if is_mounted(&found).map_err(inspect_error)? {
        return Err(MountError::AlreadyMounted { mountpoint: found });
    }
    if found.starts_with(spool) {
        return Err(MountError::InsideSpool {
            mountpoint: found,
            spool: spool.to_owned(),
        });
    }
    if fs::read_dir(&found)
        .map_err(inspect_error)?
        .next()
        .is_some()
    {
        return Err(MountError::NotEmpty { mountpoint: found });
    }
    Ok(found)
}

/// The error for a mount that the kernel or fusermount3 refused.
pub(super) fn start_error(mountpoint: &Path, source: io::Error) -> MountError {
    // Only fusermount3 can be missing: the directory and /dev/fuse were checked before.
    if source.kind() == io::ErrorKind::NotFound {
        return MountError::NoFusermount;
    }
    MountError::Start {
        mountpoint: mountpoint.to_owned(),
        source,
    }
}

/// Unmounts with the system call, or without the privilege for it through fusermount3.
pub(super) fn unmount(mountpoint: &Path, mode: UnmountMode) -> Result<(), MountError> {
    let flags = match mode {
        UnmountMode::IfIdle => UnmountFlags::NOFOLLOW,
        UnmountMode::Lazy => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
    };
    match rustix::mount::unmount(mountpoint, flags) {
        // EINVAL: nothing is mounted there (any more).
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(Errno::PERM) => unmount_as_user(mountpoint, mode),
        Err(errno @ Errno::BUSY) => Err(MountError::Busy {
            mountpoint: mountpoint.to_owned(),
            source: errno.into(),
        }),
        Err(errno) => Err(MountError::Unmount {
            mountpoint: mountpoint.to_owned(),
            source: errno.into(),
        }),
    }
}

fn unmount_as_user(mountpoint: &Path, mode: UnmountMode) -> Result<(), MountError> {
    let options: &[&str] = match mode {
        UnmountMode::IfIdle => &["-u"],
        UnmountMode::Lazy => &["-u", "-z"],
    };
    let output = Command::new(FUSERMOUNT)
        .args(options)
        .arg("--")
        .arg(mountpoint)
        .output();
    let output = output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => MountError::NoFusermount,
        _ => MountError::Unmount {
            mountpoint: mountpoint.to_owned(),
            source: error,
        },
    })?;
    if output.status.success() || !is_mounted(mountpoint).unwrap_or(true) {
        return Ok(());
    }
    let source = io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    let mountpoint = mountpoint.to_owned();
    // It may unmount, it refused, and the mount is still there: a program uses it.
    Err(match mode {
        UnmountMode::IfIdle => MountError::Busy { mountpoint, source },
        UnmountMode::Lazy => MountError::Unmount { mountpoint, source },
    })
}

fn check_fuse() -> Result<(), MountError> {
    let device = fs::File::options().read(true).write(true).open("/dev/fuse");
    device
        .map(drop)
        .map_err(|source| MountError::NoFuse { source })
}

/// Removes mounts of crashed daemons; returns how many there were. Such a mount answers every
/// request with ENOTCONN until it is unmounted, and those in flight at the crash with ECONNABORTED.
pub(super) fn clear_stale(mountpoint: &Path) -> Result<usize, MountError> {
    for cleared in 0..STALE_MOUNTS_MAX {
        match fs::metadata(mountpoint) {
            Err(error)
                if matches!(
                    Errno::from_io_error(&error),
                    Some(Errno::NOTCONN | Errno::CONNABORTED)
                ) => {}
            Ok(_) | Err(_) => return Ok(cleared),
        }
        let path = absolute(mountpoint).map_err(|source| inspect_error(mountpoint, source))?;
        tracing::info!("removing the mount of a crashed daemon");
        unmount(&path, UnmountMode::Lazy)?;
    }
    Err(MountError::Stale {
        mountpoint: mountpoint.to_owned(),
    })
}

/// The absolute path, with links resolved except in the last name, because that is what cannot be
/// read.
fn absolute(mountpoint: &Path) -> io::Result<PathBuf> {
    let whole = std::path::absolute(mountpoint)?;
    match (whole.parent(), whole.file_name()) {
        (Some(folder), Some(name)) => Ok(folder.canonicalize()?.join(OsStr::new(name))),
        (None, _) | (_, None) => Ok(whole),
    }
}

fn is_mounted(mountpoint: &Path) -> io::Result<bool> {
    let statx = rustix::fs::statx(
        CWD,
        mountpoint,
        AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::empty(),
    )?;
    Ok(statx.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn inspect_error(mountpoint: &Path, source: io::Error) -> MountError {
    let mountpoint = mountpoint.to_owned();
    if source.kind() == io::ErrorKind::NotFound {
        return MountError::Missing { mountpoint };
    }
    MountError::Unreadable { mountpoint, source }
}

//! Ground: the directory that the mount stands on, before and after.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::error::MountError;

/// The program with the right to mount for an ordinary user (package fuse3).
const FUSERMOUNT: &str = "fusermount3";
/// Crashed mounts can lie on top of one another; more than this many are not ours.
const STALE_MOUNTS_MAX: usize = 8;

/// When to unmount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unmount {
    /// Only if nothing is open in it.
    IfIdle,
    /// Now for new users, for present ones when they are done (`MNT_DETACH`).
    OutOfSight,
}

/// Makes sure that one can mount there, and nothing is hidden or shown twice by it; answers the
/// absolute path.
pub(super) fn prepare(mountpoint: &Path, spool: &Path) -> Result<PathBuf, MountError> {
    check_fuse()?;
    clear_stale(mountpoint)?;
    let look = |source| look(mountpoint, source);
    if !fs::metadata(mountpoint).map_err(look)?.is_dir() {
        return Err(MountError::NotADirectory {
            mountpoint: mountpoint.to_owned(),
        });
    }
    let found = mountpoint.canonicalize().map_err(look)?;
    if is_mounted(&found).map_err(look)? {
        return Err(MountError::AlreadyMounted { mountpoint: found });
    }
    if found.starts_with(spool) {
        return Err(MountError::InsideSpool {
            mountpoint: found,
            spool: spool.to_owned(),
        });
    }
    if fs::read_dir(&found).map_err(look)?.next().is_some() {
        return Err(MountError::NotEmpty { mountpoint: found });
    }
    Ok(found)
}

/// What fuser's refusal means.
pub(super) fn explain(mountpoint: &Path, source: io::Error) -> MountError {
    // Only starting fusermount3 can miss something: the directory and /dev/fuse were just seen.
    if source.kind() == io::ErrorKind::NotFound {
        return MountError::NoFusermount;
    }
    MountError::Start {
        mountpoint: mountpoint.to_owned(),
        source,
    }
}

/// Unmounts as root would, or, without the right, through fusermount3.
pub(super) fn unmount(mountpoint: &Path, when: Unmount) -> Result<(), MountError> {
    let flags = match when {
        Unmount::IfIdle => UnmountFlags::NOFOLLOW,
        Unmount::OutOfSight => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
    };
    match rustix::mount::unmount(mountpoint, flags) {
        // EINVAL: nothing is mounted there (any more).
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(Errno::PERM) => unmount_as_user(mountpoint, when),
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

fn unmount_as_user(mountpoint: &Path, when: Unmount) -> Result<(), MountError> {
    let how: &[&str] = match when {
        Unmount::IfIdle => &["-u"],
        Unmount::OutOfSight => &["-u", "-z"],
    };
    let ran = Command::new(FUSERMOUNT)
        .args(how)
        .arg("--")
        .arg(mountpoint)
        .output();
    let output = ran.map_err(|error| match error.kind() {
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
    // It may do this, it says no, and the mount is there: somebody uses it.
    Err(match when {
        Unmount::IfIdle => MountError::Busy { mountpoint, source },
        Unmount::OutOfSight => MountError::Unmount { mountpoint, source },
    })
}

fn check_fuse() -> Result<(), MountError> {
    let device = fs::File::options().read(true).write(true).open("/dev/fuse");
    device
        .map(drop)
        .map_err(|source| MountError::NoFuse { source })
}

/// A mount whose program died answers everything with ENOTCONN until somebody unmounts it, and with
/// ECONNABORTED who asked in the very moment. Answers how many there were.
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
        let place = absolute(mountpoint).map_err(|source| look(mountpoint, source))?;
        tracing::info!("removing the mount that a crashed program left");
        unmount(&place, Unmount::OutOfSight)?;
    }
    Err(MountError::Stale {
        mountpoint: mountpoint.to_owned(),
    })
}

/// The path without links in its folder; the last name is not looked at, because looking is what
/// fails.
fn absolute(mountpoint: &Path) -> io::Result<PathBuf> {
    let whole = std::path::absolute(mountpoint)?;
    match (whole.parent(), whole.file_name()) {
        (Some(folder), Some(name)) => Ok(folder.canonicalize()?.join(OsStr::new(name))),
        (None, _) | (_, None) => Ok(whole),
    }
}

fn is_mounted(mountpoint: &Path) -> io::Result<bool> {
    let facts = rustix::fs::statx(
        CWD,
        mountpoint,
        AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::empty(),
    )?;
    Ok(facts.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn look(mountpoint: &Path, source: io::Error) -> MountError {
    let mountpoint = mountpoint.to_owned();
    if source.kind() == io::ErrorKind::NotFound {
        return MountError::Missing { mountpoint };
    }
    MountError::Look { mountpoint, source }
}

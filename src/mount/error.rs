//! Why a mount cannot start or stop.

use std::io;
use std::path::PathBuf;

use crate::spool::SpoolError;

/// A mount that cannot be started or stopped. Each message says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// `/dev/fuse` cannot be opened.
    #[error(
        "cannot use /dev/fuse; load it with \"modprobe fuse\", or give this container access to it"
    )]
    NoFuse {
        /// The error of opening it.
        #[source]
        source: io::Error,
    },
    /// The set-user-id program that mounts for ordinary users is not installed.
    #[error("cannot find fusermount3; install the package fuse3")]
    NoFusermount,
    /// The mountpoint does not exist.
    #[error("{mountpoint:?} does not exist; create it with \"mkdir -p\" first")]
    Missing {
        /// The mountpoint, as given.
        mountpoint: PathBuf,
    },
    /// The mountpoint is a file or something else.
    #[error("{mountpoint:?} is not a directory; choose an empty directory")]
    NotADirectory {
        /// The mountpoint, as given.
        mountpoint: PathBuf,
    },
    /// The mountpoint has content, which a mount would hide.
    #[error(
        "{mountpoint:?} is not empty, and a mount would hide its content; choose an empty directory"
    )]
    NotEmpty {
        /// The mountpoint.
        mountpoint: PathBuf,
    },
    /// Another mount is on the mountpoint, perhaps one of Heirloom's.
    #[error(
        "something is already mounted on {mountpoint:?}; unmount it with \"fusermount3 -u\" or \
         choose another directory"
    )]
    AlreadyMounted {
        /// The mountpoint.
        mountpoint: PathBuf,
    },
    /// The mountpoint lies inside the spool, so the mount would contain itself.
    #[error("{mountpoint:?} lies inside the spool {spool:?}; choose a directory outside it")]
    InsideSpool {
        /// The mountpoint.
        mountpoint: PathBuf,
        /// The root of the spool.
        spool: PathBuf,
    },
    /// The mountpoint cannot be examined.
    #[error("cannot read {mountpoint:?}; choose a directory that you may read")]
    Unreadable {
        /// The mountpoint.
        mountpoint: PathBuf,
        /// The error of reading it.
        #[source]
        source: io::Error,
    },
    /// The mount of a crashed program is on the mountpoint and cannot be removed.
    #[error(
        "a crashed program left a mount on {mountpoint:?}; remove it with \"fusermount3 -uz\", or \
         as root with \"umount -l\""
    )]
    Stale {
        /// The mountpoint, as given.
        mountpoint: PathBuf,
    },
    /// The kernel or fusermount3 refused to mount.
    #[error("cannot mount on {mountpoint:?}; check that you own that directory")]
    Start {
        /// The mountpoint.
        mountpoint: PathBuf,
        /// What the kernel or fusermount3 said.
        #[source]
        source: io::Error,
    },
    /// A program uses the mount.
    #[error("{mountpoint:?} is in use; close what is open in it (\"fuser -vm\" lists it)")]
    Busy {
        /// The mountpoint.
        mountpoint: PathBuf,
        /// What the kernel or fusermount3 said.
        #[source]
        source: io::Error,
    },
    /// The mount cannot be unmounted for another reason.
    #[error("cannot unmount {mountpoint:?}")]
    Unmount {
        /// The mountpoint.
        mountpoint: PathBuf,
        /// What the kernel or fusermount3 said.
        #[source]
        source: io::Error,
    },
    /// The spool behind the mount cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl MountError {
    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }
}

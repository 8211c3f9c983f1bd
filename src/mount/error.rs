//! Why a mount cannot start or stop.

use std::io;
use std::path::PathBuf;

use crate::spool::SpoolError;

/// Why there is no mount, or why it does not go away. Each says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The kernel offers no FUSE here.
    #[error(
        "cannot use /dev/fuse; load it with \"modprobe fuse\", or give this container access to it"
    )]
    NoFuse {
        /// Why it cannot be opened.
        #[source]
        source: io::Error,
    },
    /// An ordinary user needs the set-user-id program that mounts for them.
    #[error("cannot find fusermount3; install the package fuse3")]
    NoFusermount,
    /// There is nothing to mount on.
    #[error("{mountpoint:?} does not exist; make it with \"mkdir -p\" first")]
    Missing {
        /// Where.
        mountpoint: PathBuf,
    },
    /// Only directories are mounted on.
    #[error("{mountpoint:?} is not a directory; choose an empty directory")]
    NotADirectory {
        /// Where.
        mountpoint: PathBuf,
    },
    /// What is in it would be hidden.
    #[error(
        "{mountpoint:?} is not empty, and a mount would hide what is in it; choose an empty directory"
    )]
    NotEmpty {
        /// Where.
        mountpoint: PathBuf,
    },
    /// Something is mounted there, perhaps we.
    #[error(
        "something is mounted on {mountpoint:?} already; unmount it with \"fusermount3 -u\" or choose another directory"
    )]
    AlreadyMounted {
        /// Where.
        mountpoint: PathBuf,
    },
    /// The mount would show itself.
    #[error("{mountpoint:?} lies inside the spool {spool:?}; choose a directory outside")]
    InsideSpool {
        /// Where.
        mountpoint: PathBuf,
        /// In what.
        spool: PathBuf,
    },
    /// The mountpoint cannot be examined.
    #[error("cannot look at {mountpoint:?}; choose a directory that you may read")]
    Look {
        /// Where.
        mountpoint: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A dead mount stands in the way and stays.
    #[error(
        "a mount of a crashed program is left on {mountpoint:?}; remove it with \"fusermount3 -uz\" or as root with \"umount -l\""
    )]
    Stale {
        /// Where.
        mountpoint: PathBuf,
    },
    /// The mount itself failed.
    #[error("cannot mount on {mountpoint:?}; the reason may be that you do not own that directory")]
    Start {
        /// Where.
        mountpoint: PathBuf,
        /// What the kernel or fusermount3 said.
        #[source]
        source: io::Error,
    },
    /// Some program uses it.
    #[error("{mountpoint:?} is in use; close what is open in it, \"fuser -vm\" lists it")]
    Busy {
        /// Where.
        mountpoint: PathBuf,
        /// What the kernel or fusermount3 said.
        #[source]
        source: io::Error,
    },
    /// It cannot be unmounted for another reason.
    #[error("cannot unmount {mountpoint:?}")]
    Unmount {
        /// Where.
        mountpoint: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The tree behind the mount cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl MountError {
    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }
}

//! Names: making, opening, renaming and removing what stands in the tree.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use heirloom_protocol::LibraryPath;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::facts::only_regular;
use super::{Metadata, PLAIN, STAY_INSIDE, Spool, SpoolError, SpoolPath, reopen};

/// What an open file may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `O_RDONLY`.
    Read,
    /// `O_WRONLY`.
    Write,
    /// `O_RDWR`.
    ReadWrite,
}

/// When a write counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When the page cache has it; `fsync` makes it last.
    Lazy,
    /// When the disk has the bytes (`O_DSYNC`).
    Bytes,
    /// When the disk has the bytes and all facts (`O_SYNC`).
    All,
}

/// How a regular file is opened. Neither truncation nor appending is here: the caller does both, at
/// a time and offset of its choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// For what.
    pub access: Access,
    /// With which promise for each write.
    pub durability: Durability,
}

/// What a rename may do to something that already has the new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// Put the renamed thing in its place, in one step.
    Allow,
    /// Refuse (`RENAME_NOREPLACE`).
    Refuse,
    /// Let the two change places (`RENAME_EXCHANGE`).
    Exchange,
}

impl Access {
    /// Whether bytes may be changed through it.
    pub fn can_write(self) -> bool {
        match self {
            Self::Read => false,
            Self::Write | Self::ReadWrite => true,
        }
    }
    /// Whether bytes may be read through it.
    pub fn can_read(self) -> bool {
        match self {
            Self::Write => false,
            Self::Read | Self::ReadWrite => true,
        }
    }
}

impl OpenOptions {
    pub(super) fn flags(self) -> OFlags {
        let access = match self.access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::WRONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        let durability = match self.durability {
            Durability::Lazy => OFlags::empty(),
            // rustix means O_SYNC by both of its names.
            Durability::Bytes => OFlags::from_bits_retain(libc::O_DSYNC.cast_unsigned()),
            Durability::All => OFlags::SYNC,
        };
        access | durability
    }
}

impl Spool {
    /// Opens a regular file that exists.
    pub fn open_file(&self, path: &LibraryPath, opening: OpenOptions) -> Result<File, SpoolError> {
        let failed = |source: std::io::Error| SpoolError::at("open spooled file", path, source);
        match rustix::fs::openat2(
            &*self.top,
            path.as_str(),
            opening.flags() | PLAIN,
            Mode::empty(),
            STAY_INSIDE,
        ) {
            Ok(file) => only_regular(File::from(file)).map_err(failed),
            Err(Errno::AGAIN) => {
                reopen(self.open_path(&SpoolPath::Entry(path.clone()))?, opening).map_err(failed)
            }
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// Makes a new, empty file; fails if anything has this name.
    pub fn create_file(
        &self,
        path: &LibraryPath,
        opening: OpenOptions,
        mode: u16,
    ) -> Result<File, SpoolError> {
        let flags = opening.flags() | PLAIN | OFlags::CREATE | OFlags::EXCL;
        let failed = |errno: Errno| SpoolError::at("create spooled file", path, errno);
        let file = rustix::fs::openat2(
            &*self.top,
            path.as_str(),
            flags,
            permissions(mode),
            STAY_INSIDE,
        )
        .map_err(failed)?;
        // The creator's umask was applied before; ours, which comes on top, is undone.
        if Metadata::from(&rustix::fs::fstat(&file).map_err(failed)?).mode & 0o777 != mode & 0o777 {
            rustix::fs::fchmod(&file, permissions(mode)).map_err(failed)?;
        }
        Ok(File::from(file))
    }

    /// Makes an empty folder; fails if anything has this name.
    pub fn create_folder(&self, path: &LibraryPath, mode: u16) -> Result<(), SpoolError> {
        let failed = |errno: Errno| SpoolError::at("create spooled folder", path, errno);
        let (folder, name) = self.enter(path, "create spooled folder")?;
        rustix::fs::mkdirat(folder.as_fd(), name, permissions(mode)).map_err(failed)?;
        let found = Metadata::named(folder.as_fd(), name)
            .map_err(|error| SpoolError::at("look up", path, error))?;
        if found.mode & 0o777 != mode & 0o777 {
            // Bits that the disk added (an inherited set-group-id) stay.
            let mode = (found.mode & 0o7000) | (mode & 0o1777);
            rustix::fs::chmodat(folder.as_fd(), name, permissions(mode), AtFlags::empty())
                .map_err(failed)?;
        }
        Ok(())
    }

    /// Makes a symbolic link. Its target is its owner's word, and is neither checked nor followed.
    pub fn create_link(&self, path: &LibraryPath, target: &Path) -> Result<(), SpoolError> {
        let (folder, name) = self.enter(path, "create symbolic link")?;
        rustix::fs::symlinkat(target, folder.as_fd(), name)
            .map_err(|source| SpoolError::at("create symbolic link", path, source))
    }

    /// Removes a name of anything but a folder.
    pub fn remove_file(&self, path: &LibraryPath) -> Result<(), SpoolError> {
        self.remove(path, AtFlags::empty(), "remove spooled file")
    }

    /// Removes an empty folder.
    pub fn remove_folder(&self, path: &LibraryPath) -> Result<(), SpoolError> {
        self.remove(path, AtFlags::REMOVEDIR, "remove spooled folder")
    }

    fn remove(
        &self,
        path: &LibraryPath,
        flags: AtFlags,
        doing: &'static str,
    ) -> Result<(), SpoolError> {
        let (folder, name) = self.enter(path, doing)?;
        rustix::fs::unlinkat(folder.as_fd(), name, flags)
            .map_err(|source| SpoolError::at(doing, path, source))
    }

    /// Gives something another name, in one step.
    pub fn rename(
        &self,
        from: &LibraryPath,
        to: &LibraryPath,
        replace: Replace,
    ) -> Result<(), SpoolError> {
        let doing = "rename spooled file";
        let flags = match replace {
            Replace::Allow => RenameFlags::empty(),
            Replace::Refuse => RenameFlags::NOREPLACE,
            Replace::Exchange => RenameFlags::EXCHANGE,
        };
        let (old_folder, old) = self.enter(from, doing)?;
        let (new_folder, new) = self.enter(to, doing)?;
        rustix::fs::renameat_with(old_folder.as_fd(), old, new_folder.as_fd(), new, flags)
            .map_err(|source| SpoolError::at(doing, from, source))
    }
}

pub(super) fn permissions(mode: u16) -> Mode {
    Mode::from_raw_mode(u32::from(mode & 0o7777))
}

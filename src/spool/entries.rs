//! Entries: creating, opening, renaming and removing files, folders and links.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use heirloom_protocol::LibraryPath;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::attributes::reopen;
use super::error::SpoolError;
use super::metadata::{Metadata, only_regular};
use super::open_options::OpenOptions;
use super::path::SpoolPath;
use super::{PLAIN, STAY_INSIDE, Spool};

/// What a rename does to an entry that already has the new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// Replaces it, atomically.
    Allow,
    /// Fails (`RENAME_NOREPLACE`).
    Refuse,
    /// Exchanges the two (`RENAME_EXCHANGE`).
    Exchange,
}

impl Spool {
    /// Opens an existing regular file.
    pub fn open_file(&self, path: &LibraryPath, options: OpenOptions) -> Result<File, SpoolError> {
        let failed = |source: std::io::Error| SpoolError::at("open spooled file", path, source);
        match rustix::fs::openat2(
            &*self.root_fd,
            path.as_str(),
            options.flags() | PLAIN,
            Mode::empty(),
            STAY_INSIDE,
        ) {
            Ok(file) => only_regular(File::from(file)).map_err(failed),
            Err(Errno::AGAIN) => {
                reopen(self.open_path(&SpoolPath::Entry(path.clone()))?, options).map_err(failed)
            }
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// Creates an empty file; fails if anything has this name.
    pub fn create_file(
        &self,
        path: &LibraryPath,
        options: OpenOptions,
        mode: u16,
    ) -> Result<File, SpoolError> {
        let flags = options.flags() | PLAIN | OFlags::CREATE | OFlags::EXCL;
        let failed = |errno: Errno| SpoolError::at("create spooled file", path, errno);
        let file = rustix::fs::openat2(
            &*self.root_fd,
            path.as_str(),
            flags,
            permissions(mode),
            STAY_INSIDE,
        )
        .map_err(failed)?;
        // The creator's umask was applied before; ours, which applied as well, is undone.
        if Metadata::from(&rustix::fs::fstat(&file).map_err(failed)?).mode & 0o777 != mode & 0o777 {
            rustix::fs::fchmod(&file, permissions(mode)).map_err(failed)?;
        }
        Ok(File::from(file))
    }

    /// Creates an empty folder; fails if anything has this name.
    pub fn create_folder(&self, path: &LibraryPath, mode: u16) -> Result<(), SpoolError> {
        let failed = |errno: Errno| SpoolError::at("create spooled folder", path, errno);
        let (folder, name) = self.open_parent(path, "create spooled folder")?;
        rustix::fs::mkdirat(folder.as_fd(), name, permissions(mode)).map_err(failed)?;
        let found = Metadata::of_entry(folder.as_fd(), name)
            .map_err(|error| SpoolError::at("look up", path, error))?;
        if found.mode & 0o777 != mode & 0o777 {
            // Bits that the file system added (an inherited set-group-id) stay.
            let mode = (found.mode & 0o7000) | (mode & 0o1777);
            rustix::fs::chmodat(folder.as_fd(), name, permissions(mode), AtFlags::empty())
                .map_err(failed)?;
        }
        Ok(())
    }

    /// Creates a symbolic link. Its target is neither checked nor followed.
    pub fn create_link(&self, path: &LibraryPath, target: &Path) -> Result<(), SpoolError> {
        let (folder, name) = self.open_parent(path, "create symbolic link")?;
        rustix::fs::symlinkat(target, folder.as_fd(), name)
            .map_err(|source| SpoolError::at("create symbolic link", path, source))
    }

    /// Removes an entry that is not a folder.
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
        let (folder, name) = self.open_parent(path, doing)?;
        rustix::fs::unlinkat(folder.as_fd(), name, flags)
            .map_err(|source| SpoolError::at(doing, path, source))
    }

    /// Renames an entry, atomically.
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
        let (old_folder, old) = self.open_parent(from, doing)?;
        let (new_folder, new) = self.open_parent(to, doing)?;
        rustix::fs::renameat_with(old_folder.as_fd(), old, new_folder.as_fd(), new, flags)
            .map_err(|source| SpoolError::at(doing, from, source))
    }
}

pub(super) fn permissions(mode: u16) -> Mode {
    Mode::from_raw_mode(u32::from(mode & 0o7777))
}

//! The spool: the ordinary directory tree behind the mount, one file for one file.
//!
//! Without Heirloom, any file manager sees the same names, bytes and times in it. So nothing here
//! knows of uploads, and nothing is written here that is not a user's file.
//!
//! Every name is resolved below one open directory, and never through a symbolic link: links are
//! kept for their owner, but they may point anywhere, and a file elsewhere is no photo of this
//! tree.

mod placeholder;
mod pin;
mod spare_file;
mod walk;
mod entries;
mod write_state;
mod open_writers;
mod hash;
mod attributes;
mod open_options;
mod metadata;
mod error;
mod path;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heirloom_protocol::LibraryPath;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::journal::{FileId, Stamp};

pub use attributes::{
    check_access, list_xattrs, remove_xattr, reopen, set_mode, set_owner, set_times, set_xattr,
    xattr,
};
pub use entries::Replace;
pub use error::SpoolError;
pub use hash::fingerprint_of;
pub use metadata::{Kind, Metadata, Timespec};
pub use open_options::{Access, Durability, OpenOptions};
pub use open_writers::is_open_elsewhere;
pub use path::SpoolPath;
#[cfg(any(test, fuzzing))]
pub use placeholder::fuzz as fuzz_placeholders;
pub use placeholder::{Placeholder, modified_at, reopen_to_fill};
pub use walk::{FolderEntry, FolderReader, WalkStep};
pub use write_state::{WriteState, WriteStateMarker};

/// Handle of the tree. Cheap to clone; all clones share one open directory.
#[derive(Clone, Debug)]
pub struct Spool {
    root: PathBuf,
    root_fd: Arc<OwnedFd>,
    marker: WriteStateMarker,
}

/// How paths are resolved: no component may be a symbolic link, of `/proc` or otherwise, nothing is
/// above the root, and nothing mounted inside the tree is entered, for its inode numbers would
/// collide with ours.
const STAY_INSIDE: ResolveFlags = ResolveFlags::NO_SYMLINKS
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::BENEATH)
    .union(ResolveFlags::NO_XDEV);

/// Flags of every open: not inherited by child processes, not through a link, and without waiting
/// for the other end of a FIFO.
const PLAIN: OFlags = OFlags::CLOEXEC
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK);

impl Spool {
    /// Opens the tree; creates its directory if it is missing.
    pub fn open(root: &Path) -> Result<Self, SpoolError> {
        let failed = |doing| {
            move |source: io::Error| SpoolError {
                doing,
                path: root.to_owned(),
                source,
            }
        };
        std::fs::create_dir_all(root).map_err(failed("create spool directory"))?;
        let root = root
            .canonicalize()
            .map_err(failed("find spool directory"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root_fd =
            rustix::fs::open(&root, flags, Mode::empty()).map_err(|source| SpoolError {
                doing: "open spool directory",
                path: root.clone(),
                source: source.into(),
            })?;
        let marker = WriteStateMarker::of_this_boot()
            .map_err(failed("read the boot id for spool directory"))?;
        Ok(Self {
            root,
            root_fd: Arc::new(root_fd),
            marker,
        })
    }

    /// Reads and writes the write state of files.
    pub fn marker(&self) -> &WriteStateMarker {
        &self.marker
    }

    /// Absolute path of the root directory, without symbolic links.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Absolute path of an entry on the local disk, for people and messages. Our own code opens
    /// files through the tree instead.
    pub fn local_path(&self, path: &LibraryPath) -> PathBuf {
        self.root.join(path.as_str())
    }

    /// Opens a regular file for reading; never follows a symbolic link.
    pub fn open_read(&self, path: &LibraryPath) -> Result<File, SpoolError> {
        self.open_file(
            path,
            OpenOptions {
                access: Access::Read,
                durability: Durability::Lazy,
            },
        )
    }

    /// Id and stamp of an open file, by fstat(2).
    pub fn identify(file: &File) -> io::Result<(FileId, Stamp)> {
        let metadata = Metadata::of(file)?;
        Ok((metadata.id, metadata.stamp()))
    }

    /// Metadata of whatever has this path; of a symbolic link, the link's.
    pub fn metadata(&self, path: &SpoolPath) -> Result<Metadata, SpoolError> {
        match path {
            SpoolPath::Root => Metadata::of(&*self.root_fd),
            SpoolPath::Entry(path) => {
                let (folder, name) = self.open_parent(path, "look up")?;
                Metadata::of_entry(folder.as_fd(), name)
            }
        }
        .map_err(|source| SpoolError::within("look up", path, source))
    }

    /// Opens whatever has this path with `O_PATH`: neither for reading nor for writing. While the
    /// descriptor is open, its inode number cannot be given to another file.
    pub fn open_path(&self, path: &SpoolPath) -> Result<OwnedFd, SpoolError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match path {
            SpoolPath::Root => rustix::fs::openat(&*self.root_fd, ".", flags, Mode::empty()),
            // `openat2` would also refuse a link as the last component; `openat` with O_PATH
            // opens the link itself.
            SpoolPath::Entry(path) => {
                let (folder, name) = self.open_parent(path, "open")?;
                rustix::fs::openat(folder.as_fd(), name, flags, Mode::empty())
            }
        }
        .map_err(|source| SpoolError::within("open", path, source))
    }

    /// The target of a symbolic link, as its owner wrote it.
    pub fn read_link(&self, path: &LibraryPath) -> Result<OsString, SpoolError> {
        let (folder, name) = self.open_parent(path, "read symbolic link")?;
        let target = rustix::fs::readlinkat(folder.as_fd(), name, Vec::new())
            .map_err(|source| SpoolError::at("read symbolic link", path, source))?;
        Ok(std::os::unix::ffi::OsStringExt::from_vec(
            target.into_bytes(),
        ))
    }

    /// Size and free space of the file system that the tree is on, for `statfs`.
    pub fn disk(&self) -> Result<rustix::fs::StatVfs, SpoolError> {
        rustix::fs::fstatvfs(&*self.root_fd).map_err(|source| {
            SpoolError::within("read the free space of", &SpoolPath::Root, source)
        })
    }

    /// Makes the names in a folder survive a power cut.
    pub fn sync_folder(&self, path: &SpoolPath) -> Result<(), SpoolError> {
        let folder = self.open_folder(path)?;
        File::from(folder)
            .sync_all()
            .map_err(|source| SpoolError::within("sync folder", path, source))
    }

    fn open_folder(&self, path: &SpoolPath) -> Result<OwnedFd, SpoolError> {
        let name = match path {
            SpoolPath::Root => ".",
            SpoolPath::Entry(path) => path.as_str(),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | PLAIN;
        rustix::fs::openat2(&*self.root_fd, name, flags, Mode::empty(), STAY_INSIDE)
            .map_err(|source| SpoolError::within("open folder", path, source))
    }

    /// The folder that contains `path`, opened with `O_PATH`, and the name in it: the two arguments
    /// of the `*at` system calls.
    fn open_parent<'a>(
        &self,
        path: &'a LibraryPath,
        doing: &'static str,
    ) -> Result<(ParentFolder<'_>, &'a str), SpoolError> {
        let Some((folder, name)) = path.as_str().rsplit_once('/') else {
            return Ok((ParentFolder::Root(self.root_fd.as_fd()), path.as_str()));
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat2(&*self.root_fd, folder, flags, Mode::empty(), STAY_INSIDE)
            .map_err(|source| SpoolError::at(doing, path, source))?;
        Ok((ParentFolder::Below(folder), name))
    }
}

/// The open folder that contains an entry. The root is open anyway.
enum ParentFolder<'a> {
    Root(BorrowedFd<'a>),
    Below(OwnedFd),
}

impl AsFd for ParentFolder<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(folder) => *folder,
            Self::Below(folder) => folder.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests;

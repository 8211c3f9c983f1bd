//! The ordinary directory tree behind the mount: one file for one file.
//!
//! It is what is left when our program is away: same names, same bytes, same times, for any file
//! manager to see. So nothing here knows of uploads, and nothing here is written that is not a
//! user's file.
//!
//! Every name is resolved below one open directory, and never through a symbolic link: links are
//! kept for their owner, but they may point anywhere, and what lies elsewhere is no photo of this
//! tree.

mod attributes;
mod content;
mod facts;
mod mark;
mod names;
mod pin;
mod placeholder;
mod spare;
mod walk;
mod writers;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heirloom_protocol::LibraryPath;
use heirloom_protocol::path::PathError;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::journal::{FileId, Stamp};

pub use attributes::{
    check_access, list_xattrs, remove_xattr, reopen, set_mode, set_owner, set_times, set_xattr,
    xattr,
};
pub use content::fingerprint_of;
pub use facts::{Kind, Metadata, Timespec};
pub use mark::{WriteState, WriteStateMarker};
pub use names::{Access, Durability, OpenOptions, Replace};
#[cfg(any(test, fuzzing))]
pub use placeholder::trial as placeholders_trial;
pub use placeholder::{Placeholder, modified_at, reopen_to_fill};
pub use walk::{FolderEntry, FolderReader, WalkStep};
pub use writers::is_open_elsewhere;

/// The tree, as its users hold it: cheap to clone, all clones share one open directory.
#[derive(Clone, Debug)]
pub struct Spool {
    root: PathBuf,
    top: Arc<OwnedFd>,
    marker: WriteStateMarker,
}

/// A place where a folder can be: the top of the tree, which has no path of its own, or below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpoolPath {
    /// The tree's own directory.
    Root,
    /// Something in it.
    Entry(LibraryPath),
}

impl SpoolPath {
    /// The path of `name` in this folder.
    pub fn join(&self, name: &str) -> Result<LibraryPath, PathError> {
        match self {
            Self::Root => LibraryPath::new(name),
            Self::Entry(folder) => folder.join(name),
        }
    }
    /// The folder that a path stands in.
    pub fn parent_of(path: &LibraryPath) -> Self {
        path.parent().map_or(Self::Root, Self::Entry)
    }
}

/// Something in the tree could not be done.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {path:?}")]
pub struct SpoolError {
    /// What was attempted, as a verb: "open spooled file".
    pub doing: &'static str,
    /// On what, relative to the tree (empty: its top), or the tree itself.
    pub path: PathBuf,
    /// What the operating system said.
    #[source]
    pub source: io::Error,
}

impl SpoolError {
    /// Whether there is nothing of that name (any more).
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Something that was attempted on a file of the tree, elsewhere.
    pub fn of(doing: &'static str, path: &LibraryPath, source: io::Error) -> Self {
        Self::at(doing, path, source)
    }
    fn at(doing: &'static str, path: &LibraryPath, source: impl Into<io::Error>) -> Self {
        Self {
            doing,
            path: PathBuf::from(path.as_str()),
            source: source.into(),
        }
    }
    fn within(doing: &'static str, place: &SpoolPath, source: impl Into<io::Error>) -> Self {
        let path = match place {
            SpoolPath::Root => PathBuf::new(),
            SpoolPath::Entry(path) => PathBuf::from(path.as_str()),
        };
        Self {
            doing,
            path,
            source: source.into(),
        }
    }
}

/// No path component may be a symbolic link, of `/proc` or otherwise; nothing above the root;
/// nothing that somebody mounted inside the tree, for its inode numbers would collide with ours.
const STAY_INSIDE: ResolveFlags = ResolveFlags::NO_SYMLINKS
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::BENEATH)
    .union(ResolveFlags::NO_XDEV);

/// How everything is opened: not inherited by children, not through a link, and without waiting for
/// the other end of a FIFO.
const PLAIN: OFlags = OFlags::CLOEXEC
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK);

impl Spool {
    /// Opens the tree, making its directory if it is missing.
    pub fn open(root: &Path) -> Result<Self, SpoolError> {
        let failed = |doing| {
            move |source: io::Error| SpoolError {
                doing,
                path: root.to_owned(),
                source,
            }
        };
        std::fs::create_dir_all(root).map_err(failed("make spool directory"))?;
        let root = root
            .canonicalize()
            .map_err(failed("find spool directory"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::open(&root, flags, Mode::empty()).map_err(|source| SpoolError {
            doing: "open spool directory",
            path: root.clone(),
            source: source.into(),
        })?;
        let marker =
            WriteStateMarker::of_this_boot().map_err(failed("mark files of spool directory"))?;
        Ok(Self {
            root,
            top: Arc::new(top),
            marker,
        })
    }

    /// Marks files whose bytes may not all be there.
    pub fn marker(&self) -> &WriteStateMarker {
        &self.marker
    }

    /// Where the tree lies, as an absolute path without links.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a path lies on the local disk: for people and messages. Our own code opens through the
    /// tree instead.
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

    /// Which file this is, and its stamp, by fstat.
    pub fn identify(file: &File) -> io::Result<(FileId, Stamp)> {
        let facts = Metadata::of(file)?;
        Ok((facts.id, facts.stamp()))
    }

    /// What is known of whatever stands at `place`; of a symbolic link, the link.
    pub fn metadata(&self, place: &SpoolPath) -> Result<Metadata, SpoolError> {
        match place {
            SpoolPath::Root => Metadata::of(&*self.top),
            SpoolPath::Entry(path) => {
                let (folder, name) = self.enter(path, "look up")?;
                Metadata::named(folder.as_fd(), name)
            }
        }
        .map_err(|source| SpoolError::within("look up", place, source))
    }

    /// Holds whatever stands at `place` without opening it: while it is held, its inode number
    /// cannot come back as another file.
    pub fn open_path(&self, place: &SpoolPath) -> Result<OwnedFd, SpoolError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match place {
            SpoolPath::Root => rustix::fs::openat(&*self.top, ".", flags, Mode::empty()),
            // `openat2` would refuse the last name too if it were a link; `openat` with O_PATH
            // holds the link itself.
            SpoolPath::Entry(path) => {
                let (folder, name) = self.enter(path, "hold")?;
                rustix::fs::openat(folder.as_fd(), name, flags, Mode::empty())
            }
        }
        .map_err(|source| SpoolError::within("hold", place, source))
    }

    /// The target of a symbolic link, as its owner wrote it.
    pub fn read_link(&self, path: &LibraryPath) -> Result<OsString, SpoolError> {
        let (folder, name) = self.enter(path, "read symbolic link")?;
        let target = rustix::fs::readlinkat(folder.as_fd(), name, Vec::new())
            .map_err(|source| SpoolError::at("read symbolic link", path, source))?;
        Ok(std::os::unix::ffi::OsStringExt::from_vec(
            target.into_bytes(),
        ))
    }

    /// The disk that the tree lies on: its size and what is free, for `statfs`.
    pub fn disk(&self) -> Result<rustix::fs::StatVfs, SpoolError> {
        rustix::fs::fstatvfs(&*self.top)
            .map_err(|source| SpoolError::within("measure the disk of", &SpoolPath::Root, source))
    }

    /// Makes the names in a folder survive a power cut.
    pub fn sync_folder(&self, place: &SpoolPath) -> Result<(), SpoolError> {
        let folder = self.open_folder(place)?;
        File::from(folder)
            .sync_all()
            .map_err(|source| SpoolError::within("sync folder", place, source))
    }

    fn open_folder(&self, place: &SpoolPath) -> Result<OwnedFd, SpoolError> {
        let path = match place {
            SpoolPath::Root => ".",
            SpoolPath::Entry(path) => path.as_str(),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | PLAIN;
        rustix::fs::openat2(&*self.top, path, flags, Mode::empty(), STAY_INSIDE)
            .map_err(|source| SpoolError::within("open folder", place, source))
    }

    /// The folder that `path` stands in, held, and its name there: the pair that the `*at` calls
    /// want.
    fn enter<'a>(
        &self,
        path: &'a LibraryPath,
        doing: &'static str,
    ) -> Result<(Entered<'_>, &'a str), SpoolError> {
        let Some((folder, name)) = path.as_str().rsplit_once('/') else {
            return Ok((Entered::Top(self.top.as_fd()), path.as_str()));
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat2(&*self.top, folder, flags, Mode::empty(), STAY_INSIDE)
            .map_err(|source| SpoolError::at(doing, path, source))?;
        Ok((Entered::Below(folder), name))
    }
}

/// A folder on the way to a name. The top is open anyway.
enum Entered<'a> {
    Top(BorrowedFd<'a>),
    Below(OwnedFd),
}

impl AsFd for Entered<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Top(folder) => *folder,
            Self::Below(folder) => folder.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests;

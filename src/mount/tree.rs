//! The tree: what the mounted directory does, as plain functions, so that all of it can be tested
//! without a mount.
//!
//! It joins four things: the spool (where everything is), the inode table (what the kernel calls
//! it), the open handles, and the notes that tell intake what happened. One lock keeps names and
//! numbers in step: whoever changes a name holds it alone from the disk's change to the note about
//! it, whoever walks a path holds it with others. Reads, writes and syncs of open files do not need
//! it.

mod absent;
mod changes;
mod files;
mod folders;
mod handing;
mod names;
mod shelved;
mod xattrs;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use fuser::{FileHandle, Generation, INodeNo};
use heirloom_protocol::LibraryPath;
use rustix::fs::{StatVfs, Timestamps};

use super::handles::{Handles, OpenFile};
use super::inodes::{Inodes, Lost};
use super::listings::Listings;
use super::marks::{Hand, Marks};
use super::parting::Limit;
use super::passthrough::Passage;
use super::shelf::Gone;
use super::{ChangeListener, locked};
use crate::fetch::{FetchError, Fetcher, OpenPlaceholder};
use crate::journal::FileId;
use crate::spool::{
    self, Access, Durability, Kind, Metadata, OpenOptions, Spool, SpoolError, SpoolPath,
};

pub(super) use files::{Created, Existing, Extent, Truncate};
pub(super) use folders::Room;

/// Why the kernel does not get what it asked for. Which errno that is, `errno.rs` says.
#[derive(Debug, thiserror::Error)]
pub(super) enum TreeError {
    #[error("a name that is not UTF-8")]
    NameNotUtf8,
    #[error("a name or path that is too long")]
    NameTooLong,
    #[error("a name that no file can have")]
    NameReserved,
    #[error("inode {} was removed", .0.0)]
    Removed(FileId),
    #[error("inode {} is not what stands under its name any more", .0.0)]
    Stale(FileId),
    #[error("no open file or folder {0}")]
    NotOpen(FileHandle),
    #[error("hard links are not kept: a photo has one name in a library")]
    HardLink,
    #[error("devices, FIFOs and sockets are not kept")]
    SpecialFile,
    #[error("a flag or whence that means nothing here")]
    UnknownFlag,
    #[error("attributes under user.heirloom. are told, not set")]
    AttributeIsOurs,
    #[error("only attributes under user. are kept")]
    AttributeNotKept,
    #[error("no such attribute")]
    NoAttribute,
    #[error("bytes that are only on the server have to be fetched first")]
    Absent(OpenPlaceholder),
    #[error("bytes that are only on the server, which this mount does not know")]
    OutOfReach,
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("{doing} an open file")]
    Open {
        doing: &'static str,
        #[source]
        source: io::Error,
    },
}

/// What the kernel learns of something it looked up or made; it holds it until it says "forget".
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) number: INodeNo,
    pub(super) generation: Generation,
    pub(super) facts: Metadata,
}

/// What `setattr` changes; the rest stays.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    pub(super) mode: Option<u16>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) size: Option<u64>,
    pub(super) times: Option<Timestamps>,
}

/// The mounted tree.
pub(super) struct Tree {
    spool: Spool,
    notes: Arc<dyn ChangeListener>,
    names: RwLock<()>,
    /// Held to empty a file at its opening, and shared by whoever writes what belongs before a
    /// file's end.
    ends: RwLock<()>,
    inodes: Mutex<Inodes>,
    handles: Handles,
    listings: Listings,
    marks: Marks,
    passage: Arc<Passage>,
    fetcher: Option<Fetcher>,
    limit: Limit,
}

impl Tree {
    pub(super) fn new(spool: Spool, notes: Arc<dyn ChangeListener>) -> Result<Self, SpoolError> {
        let top = spool.metadata(&SpoolPath::Root)?.id;
        let (names, ends) = (RwLock::new(()), RwLock::new(()));
        let (inodes, handles) = (Mutex::new(Inodes::new(top)), Handles::default());
        let (listings, marks) = (Listings::default(), Marks::new(spool.marker().clone()));
        let (passage, fetcher, limit) = (Arc::default(), None, Limit::default());
        Ok(Self {
            spool,
            notes,
            names,
            ends,
            inodes,
            handles,
            listings,
            marks,
            passage,
            fetcher,
            limit,
        })
    }

    /// Fetches what is missing of placeholders.
    pub(super) fn recalling(self, fetcher: Fetcher) -> Self {
        Self {
            fetcher: Some(fetcher),
            ..self
        }
    }

    #[cfg(test)]
    pub(super) fn knowing_at_most(self, most: usize) -> Self {
        Self {
            limit: Limit::of(most),
            ..self
        }
    }

    /// How many the kernel may know.
    pub(super) fn limit(&self) -> &Limit {
        &self.limit
    }

    /// How many files and folders the kernel knows.
    pub(super) fn known(&self) -> usize {
        locked(&self.inodes).known()
    }

    /// Up to `most` names that the kernel has known longest, of files that are not open.
    pub(super) fn longest_known(&self, most: usize) -> Vec<Gone> {
        let chosen = locked(&self.inodes).longest_known(most);
        let closed = chosen
            .into_iter()
            .filter(|(id, ..)| self.handles.file_of(*id).is_none());
        closed
            .map(|(_, folder, name)| Gone { folder, name })
            .collect()
    }

    pub(super) fn spool_root(&self) -> &std::path::Path {
        self.spool.root()
    }

    /// What has this name; none if nothing has.
    pub(super) fn lookup(&self, folder: INodeNo, name: &OsStr) -> Result<Option<Entry>, TreeError> {
        let name = Name::new(name)?;
        let _names = self.walking();
        let path = self.path_in(folder, name)?;
        match self.spool.metadata(&SpoolPath::Entry(path)) {
            Ok(facts) if facts.kind == Kind::Special => Ok(None),
            Ok(facts) => self.tell(folder, name, facts).map(Some),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The kernel lets go of an inode.
    pub(super) fn forget(&self, number: INodeNo, times: u64) {
        let mut inodes = locked(&self.inodes);
        let id = inodes.id(number);
        inodes.forget(id, times);
    }

    pub(super) fn facts(
        &self,
        number: INodeNo,
        handle: Option<FileHandle>,
    ) -> Result<Metadata, TreeError> {
        if let Some(open) = handle.and_then(|handle| self.handles.file(handle)) {
            return Metadata::of(&open.file)
                .map(|facts| self.shown(facts))
                .map_err(during("stat"));
        }
        let _names = self.walking();
        let id = self.id(number);
        match self.place(id) {
            Ok(place) => same(self.spool.metadata(&place)?, id).map(|facts| self.shown(facts)),
            Err(TreeError::Removed(_)) if let Some(folder) = self.handles.folder_of(id) => {
                locked(&folder.reader)
                    .own_metadata()
                    .map_err(during("stat"))
            }
            Err(error) => Metadata::of(&self.nameless(id, error)?.file).map_err(during("stat")),
        }
    }

    /// Changes facts and size. What was done before a step failed stays done, as with the calls
    /// that the kernel makes of it.
    pub(super) fn change(
        &self,
        number: INodeNo,
        handle: Option<FileHandle>,
        change: &Change,
    ) -> Result<Metadata, TreeError> {
        let _names = self.walking();
        let target = self.target(number, handle)?;
        if let Some(size) = change.size {
            if let Target::Open(open) = &target {
                self.begin_change(open, Hand::Anybody)?;
            }
            let emptied = self.before_resize(&target, self.id(number), size)?;
            target.resize(size)?;
            target.mended_from(size);
            self.after_resize(emptied.as_ref())?;
        }
        if change.uid.is_some() || change.gid.is_some() {
            spool::set_owner(&target, change.uid, change.gid)
                .map_err(during("set the owner of"))?;
        }
        if let Some(mode) = change.mode {
            spool::set_mode(&target, mode).map_err(during("set the mode of"))?;
        }
        if let Some(times) = &change.times {
            spool::set_times(&target, times).map_err(during("set the times of"))?;
        }
        let facts = Metadata::of(&target).map_err(during("stat"))?;
        self.note_time(&target, change, facts)?;
        let facts = self.shown(facts);
        // With a handle, its release tells.
        if handle.is_none() && (change.size.is_some() || change.times.is_some()) {
            self.note(facts, |id, path| self.notes.changed(id, path));
        }
        Ok(facts)
    }

    pub(super) fn read_link(&self, number: INodeNo) -> Result<OsString, TreeError> {
        let _names = self.walking();
        match self.place(self.id(number))? {
            SpoolPath::Root => Err(TreeError::NameReserved),
            SpoolPath::Entry(path) => Ok(self.spool.read_link(&path)?),
        }
    }

    /// Whether the mount's owner may use it so: what the disk says to us, who are the owner.
    pub(super) fn check_access(
        &self,
        number: INodeNo,
        wanted: rustix::fs::Access,
    ) -> Result<(), TreeError> {
        let _names = self.walking();
        spool::check_access(self.target(number, None)?, wanted).map_err(during("check access to"))
    }

    pub(super) fn disk(&self) -> Result<StatVfs, TreeError> {
        Ok(self.spool.disk()?)
    }

    // What follows is help for this room's parts. Who calls it holds `names`.

    fn walking(&self) -> RwLockReadGuard<'_, ()> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn renaming(&self) -> RwLockWriteGuard<'_, ()> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }
    fn id(&self, number: INodeNo) -> FileId {
        locked(&self.inodes).id(number)
    }

    fn place(&self, id: FileId) -> Result<SpoolPath, TreeError> {
        locked(&self.inodes).place(id).map_err(|lost| match lost {
            Lost::Unknown => TreeError::Stale(id),
            Lost::Nameless => TreeError::Removed(id),
            Lost::TooLong => TreeError::NameTooLong,
        })
    }

    fn path_in(&self, folder: INodeNo, name: Name<'_>) -> Result<LibraryPath, TreeError> {
        let place = self.place(self.id(folder))?;
        // The name was checked, so only the whole can be too long.
        place.join(name.0).map_err(|_| TreeError::NameTooLong)
    }

    /// Tells the kernel that this is what stands in `folder` under `name`.
    fn tell(&self, folder: INodeNo, name: Name<'_>, facts: Metadata) -> Result<Entry, TreeError> {
        let mut inodes = locked(&self.inodes);
        let folder = inodes.id(folder);
        let told = inodes.tell(facts.id, folder, name.0, facts.kind);
        let generation = told.map_err(|_| TreeError::Stale(folder))?;
        let number = inodes.number(facts.id);
        self.limit.look(inodes.known());
        drop(inodes);
        Ok(Entry {
            number,
            generation,
            facts: self.shown(facts),
        })
    }

    /// Tells intake about a regular file that has a name.
    fn note(&self, facts: Metadata, tell: impl FnOnce(FileId, &LibraryPath)) {
        if let (Kind::File, Ok(SpoolPath::Entry(path))) = (facts.kind, self.place(facts.id)) {
            tell(facts.id, &path);
        }
    }

    /// An open file to use in place of a name that is gone; `error` if there is none.
    fn nameless(&self, id: FileId, error: TreeError) -> Result<Arc<OpenFile>, TreeError> {
        match error {
            TreeError::Removed(_) => self.handles.file_of(id).ok_or(error),
            other => Err(other),
        }
    }

    fn target(&self, number: INodeNo, handle: Option<FileHandle>) -> Result<Target, TreeError> {
        if let Some(open) = handle.and_then(|handle| self.handles.file(handle)) {
            return Ok(Target::Open(open));
        }
        let id = self.id(number);
        match self.place(id) {
            Ok(place) => {
                let held = self.spool.open_path(&place)?;
                same(Metadata::of(&held).map_err(during("stat"))?, id)?;
                Ok(Target::Held(held))
            }
            Err(error) => Ok(Target::Open(self.nameless(id, error)?)),
        }
    }
}

/// The file that an operation on an inode is about.
enum Target {
    Held(OwnedFd),
    Open(Arc<OpenFile>),
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Held(held) => held.as_fd(),
            Self::Open(open) => open.file.as_fd(),
        }
    }
}

impl Target {
    /// It was cut off at `size`: what the disk did not take from there on is not wanted any more.
    fn mended_from(&self, size: u64) {
        if let Self::Open(open) = self {
            open.pen
                .iter()
                .for_each(|pen| Marks::mend(pen, size..u64::MAX));
        }
    }

    fn resize(&self, size: u64) -> Result<(), TreeError> {
        match self {
            Self::Open(open) if open.access.can_write() => open.file.set_len(size),
            Self::Open(_) | Self::Held(_) => {
                let opening = OpenOptions {
                    access: Access::Write,
                    durability: Durability::Lazy,
                };
                spool::reopen(self, opening).and_then(|file: File| file.set_len(size))
            }
        }
        .map_err(during("resize"))
    }
}

/// A file name that may be a part of a library path.
#[derive(Clone, Copy)]
struct Name<'a>(&'a str);

impl<'a> Name<'a> {
    fn new(name: &'a OsStr) -> Result<Self, TreeError> {
        if name.len() > LibraryPath::NAME_BYTES_MAX {
            return Err(TreeError::NameTooLong);
        }
        let text = name.to_str().ok_or(TreeError::NameNotUtf8)?;
        match SpoolPath::Root.join(text) {
            Ok(_) if !text.contains('/') => Ok(Self(text)),
            Ok(_) | Err(_) => Err(TreeError::NameReserved),
        }
    }
}

/// Somebody may have changed the spool behind the mount: what stands under a name must still be
/// what the kernel means.
fn same(facts: Metadata, id: FileId) -> Result<Metadata, TreeError> {
    if facts.id == id {
        Ok(facts)
    } else {
        Err(TreeError::Stale(id))
    }
}

fn during(doing: &'static str) -> impl FnOnce(io::Error) -> TreeError {
    move |source| TreeError::Open { doing, source }
}

#[cfg(test)]
mod tests;

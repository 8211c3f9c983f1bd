//! The tree: what the mounted directory does, as plain functions.
//!
//! It joins four things: the spool (where the files are), the inode table (what the kernel calls
//! them), the open handles, and the listener that learns of changes. One lock keeps names and inode
//! numbers in step: a change of a name holds it exclusively from the change on the disk to the call
//! of the listener, resolving a path holds it shared. Reads, writes and syncs of open files do not
//! need it.
//!
//! Each operation is in the sibling file named for it.

use std::ffi::OsStr;
use std::sync::{Arc, OnceLock};

use heirloom_protocol::LibraryPath;
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use rustix::fs::StatVfs;

use super::dir_cache::DirCache;
use super::entry_name::EntryName;
use super::handles::HandleTable;
use super::inode_limit::InodeLimit;
use super::inodes::{Inodes, ResolveError};
use super::open_file::OpenFile;
use super::target::Target;
use crate::fetch::Fetcher;
use crate::journal::FileId;
use crate::mount::io::passthrough::PassthroughTable;
use crate::mount::io::write_tracking::WriteTracker;
use crate::mount::listener::ChangeListener;
use crate::mount::types::{Entry, HandleId, Ino, Invalidator, IoPath, RemovedName, TreeError};
use crate::spool::{Kind, Metadata, Spool, SpoolError, SpoolPath};

/// The mounted tree.
pub(in crate::mount) struct Tree {
    pub(super) spool: Spool,
    pub(super) listener: Arc<dyn ChangeListener>,
    /// Held exclusively to change a name, and shared to resolve a path.
    pub(super) names: RwLock<()>,
    /// Held exclusively to empty a file that is opened, and shared to write pages of a mapping,
    /// which must not make a file longer.
    pub(super) truncation: RwLock<()>,
    pub(super) inodes: Mutex<Inodes>,
    pub(super) inode_limit: InodeLimit,
    pub(super) handles: HandleTable,
    pub(super) dir_cache: DirCache,
    pub(super) write_tracker: WriteTracker,
    pub(super) passthrough: Arc<PassthroughTable>,
    pub(super) fetcher: Option<Fetcher>,
    pub(super) invalidator: OnceLock<Arc<dyn Invalidator>>,
}

impl Tree {
    /// The tree of a spool. Without `fetch`, placeholders cannot be opened.
    pub(in crate::mount) fn new(
        spool: Spool,
        listener: Arc<dyn ChangeListener>,
        fetcher: Option<Fetcher>,
    ) -> Result<Self, SpoolError> {
        let root = spool.metadata(&SpoolPath::Root)?.id;
        let write_tracker = WriteTracker::new(spool.marker().clone());
        Ok(Self {
            spool,
            listener,
            names: RwLock::new(()),
            truncation: RwLock::new(()),
            inodes: Mutex::new(Inodes::new(root)),
            inode_limit: InodeLimit::default(),
            handles: HandleTable::default(),
            dir_cache: DirCache::default(),
            write_tracker,
            passthrough: Arc::default(),
            fetcher,
            invalidator: OnceLock::new(),
        })
    }

    #[cfg(test)]
    pub(in crate::mount) fn with_inode_limit(self, max: usize) -> Self {
        Self {
            inode_limit: InodeLimit::new(max),
            ..self
        }
    }

    /// Sets how the kernel's caches are invalidated. Only the first call counts.
    pub(in crate::mount) fn set_invalidator(&self, invalidator: Arc<dyn Invalidator>) {
        self.invalidator.get_or_init(|| invalidator);
    }

    /// Invalidates the kernel's caches; `None` if the tree is not mounted.
    pub(super) fn invalidator(&self) -> Option<Arc<dyn Invalidator>> {
        self.invalidator.get().cloned()
    }

    pub(super) fn inode_limit(&self) -> &InodeLimit {
        &self.inode_limit
    }

    /// How many inodes the kernel holds.
    pub(in crate::mount) fn inodes_held(&self) -> usize {
        self.inodes.lock().held()
    }

    /// Up to `max` of the names that the kernel has held longest, of files that are not open.
    pub(super) fn oldest_names(&self, max: usize) -> Vec<RemovedName> {
        let chosen = self.inodes.lock().oldest(max);
        let closed = chosen
            .into_iter()
            .filter(|(id, ..)| self.handles.file_with_id(*id).is_none());
        closed
            .map(|(_, folder, name)| RemovedName { folder, name })
            .collect()
    }

    pub(in crate::mount) fn spool_root(&self) -> &std::path::Path {
        self.spool.root()
    }

    /// The I/O routes of the open files.
    pub(in crate::mount) fn passthrough(&self) -> &PassthroughTable {
        &self.passthrough
    }

    pub(in crate::mount) fn io_path(&self) -> IoPath {
        self.passthrough.io_path()
    }

    /// The entry with this name; `None` if there is none.
    pub(in crate::mount) fn lookup(
        &self,
        folder: Ino,
        name: &OsStr,
    ) -> Result<Option<Entry>, TreeError> {
        let name = EntryName::new(name)?;
        let _names = self.lock_names();
        let path = self.child_path(folder, name)?;
        match self.spool.metadata(&SpoolPath::Entry(path)) {
            Ok(metadata) if metadata.kind == Kind::Special => Ok(None),
            Ok(metadata) => self.add_lookup(folder, name, metadata).map(Some),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The kernel drops `count` lookups of an inode.
    pub(in crate::mount) fn forget(&self, ino: Ino, count: u64) {
        let mut inodes = self.inodes.lock();
        let id = inodes.id(ino);
        inodes.forget(id, count);
    }

    /// Size and free space of the spool's disk.
    pub(in crate::mount) fn disk(&self) -> Result<StatVfs, TreeError> {
        Ok(self.spool.disk()?)
    }

    // What follows serves the operations. The caller holds `names`, except for the two that lock it.

    pub(super) fn lock_names(&self) -> RwLockReadGuard<'_, ()> {
        self.names.read()
    }
    pub(super) fn lock_names_exclusive(&self) -> RwLockWriteGuard<'_, ()> {
        self.names.write()
    }
    pub(super) fn id(&self, ino: Ino) -> FileId {
        self.inodes.lock().id(ino)
    }

    pub(super) fn path(&self, id: FileId) -> Result<SpoolPath, TreeError> {
        self.inodes.lock().path(id).map_err(|error| match error {
            ResolveError::UnknownInode => TreeError::Stale(id),
            ResolveError::Unlinked => TreeError::Removed(id),
            ResolveError::PathTooLong => TreeError::NameTooLong,
        })
    }

    pub(super) fn child_path(
        &self,
        folder: Ino,
        name: EntryName<'_>,
    ) -> Result<LibraryPath, TreeError> {
        let place = self.path(self.id(folder))?;
        // The name was checked, so only the whole path can be too long.
        place.join(name.0).map_err(|_| TreeError::NameTooLong)
    }

    /// Records that the kernel learns of this file as `name` in `folder`; returns the entry for its
    /// reply.
    pub(super) fn add_lookup(
        &self,
        folder: Ino,
        name: EntryName<'_>,
        metadata: Metadata,
    ) -> Result<Entry, TreeError> {
        let mut inodes = self.inodes.lock();
        let folder = inodes.id(folder);
        let added = inodes.add_lookup(metadata.id, folder, name.0, metadata.kind);
        let generation = added.map_err(|_| TreeError::Stale(folder))?;
        let ino = inodes.ino(metadata.id);
        self.inode_limit.check(inodes.held());
        drop(inodes);
        Ok(Entry {
            ino,
            generation,
            metadata: self.shown(metadata),
        })
    }

    /// Reports a change of a regular file, if it has a name.
    pub(super) fn notify(&self, metadata: Metadata, report: impl FnOnce(FileId, &LibraryPath)) {
        if let (Kind::File, Ok(SpoolPath::Entry(path))) = (metadata.kind, self.path(metadata.id)) {
            report(metadata.id, &path);
        }
    }

    /// An open file to use instead of a name that is gone; `error` if there is none.
    pub(super) fn open_unlinked(
        &self,
        id: FileId,
        error: TreeError,
    ) -> Result<Arc<OpenFile>, TreeError> {
        match error {
            TreeError::Removed(_) => self.handles.file_with_id(id).ok_or(error),
            other => Err(other),
        }
    }

    pub(super) fn target(&self, ino: Ino, handle: Option<HandleId>) -> Result<Target, TreeError> {
        if let Some(open) = handle.and_then(|handle| self.handles.file(handle)) {
            return Ok(Target::Open(open));
        }
        let id = self.id(ino);
        match self.path(id) {
            Ok(place) => {
                let pinned = self.spool.open_path(&place)?;
                expect_id(
                    Metadata::of(&pinned).map_err(TreeError::during("stat"))?,
                    id,
                )?;
                Ok(Target::Pinned(pinned))
            }
            Err(error) => Ok(Target::Open(self.open_unlinked(id, error)?)),
        }
    }
}

/// Fails with [`TreeError::Stale`] unless a file is still the one that the kernel means: a person
/// may have changed the spool directly.
pub(super) fn expect_id(metadata: Metadata, id: FileId) -> Result<Metadata, TreeError> {
    if metadata.id == id {
        Ok(metadata)
    } else {
        Err(TreeError::Stale(id))
    }
}

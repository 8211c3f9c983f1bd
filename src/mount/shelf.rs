//! The mount as the library's shelf: names that other devices changed are changed here, under the
//! same lock as those that programs change.
//!
//! The kernel remembers names and lists of them for a while, so it is told of what changed. That is
//! done without the lock: the kernel may wait for us with its own lock on that folder.

use std::sync::{Arc, Weak};

use fuser::{INodeNo, Notifier};
use heirloom_protocol::LibraryPath;

use super::tree::Tree;
use crate::journal::{FileId, Stamp};
use crate::library::PlaceholderStore;
use crate::spool::{Placeholder, SpoolError};

/// The names of one mount; of no use when it has ended.
#[derive(Clone)]
pub struct MountedPlaceholders {
    tree: Weak<Tree>,
    notifier: Notifier,
}

/// A name that the kernel is not to know any more, and the folder that it stands or stood in, as
/// the kernel numbers it.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) folder: INodeNo,
    pub(super) name: String,
}

/// What stands there now, and the folders that have a name more for it, as the kernel numbers them.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) id: FileId,
    pub(super) folders: Vec<INodeNo>,
}

impl Gone {
    /// Has the kernel drop the name. Not with a lock of ours held.
    pub(super) fn tell(&self, notifier: &Notifier) {
        if let Err(error) = notifier.inval_entry(self.folder, self.name.as_ref()) {
            tracing::trace!(%error, "the kernel does not know this name any more");
        }
    }
}

impl MountedPlaceholders {
    pub(super) fn new(tree: &Arc<Tree>, notifier: Notifier) -> Self {
        Self {
            tree: Arc::downgrade(tree),
            notifier,
        }
    }

    fn tree(&self, path: &LibraryPath) -> Result<Arc<Tree>, SpoolError> {
        let ended = || SpoolError::of("show", path, std::io::ErrorKind::NotConnected.into());
        self.tree.upgrade().ok_or_else(ended)
    }

    fn tell_of_gone(&self, gone: &[Gone]) {
        for name in gone {
            name.tell(&self.notifier);
        }
        self.tell_of_changed(gone.iter().map(|gone| gone.folder));
    }

    /// Their times and their lists are not what they were.
    fn tell_of_changed(&self, folders: impl IntoIterator<Item = INodeNo>) {
        for folder in folders {
            if let Err(error) = self.notifier.inval_inode(folder, 0, 0) {
                tracing::trace!(%error, "the kernel does not know this folder");
            }
        }
    }
}

impl PlaceholderStore for MountedPlaceholders {
    fn create(
        &self,
        path: &LibraryPath,
        placeholder: &Placeholder,
    ) -> Result<Option<FileId>, SpoolError> {
        let put = self.tree(path)?.put_placeholder(path, placeholder)?;
        Ok(put.map(|Put { id, folders }| {
            self.tell_of_changed(folders);
            id
        }))
    }

    fn remove(&self, path: &LibraryPath, id: FileId, stamp: Stamp) -> Result<bool, SpoolError> {
        let gone = self.tree(path)?.take_away(path, id, stamp)?;
        self.tell_of_gone(&gone);
        Ok(!gone.is_empty())
    }

    fn set_mtime(
        &self,
        path: &LibraryPath,
        id: FileId,
        stamp: Stamp,
        mtime_ns: i64,
    ) -> Result<Option<Stamp>, SpoolError> {
        let retimed = self.tree(path)?.retime(path, id, stamp, mtime_ns)?;
        Ok(retimed.map(|(number, stamp)| {
            if let Err(error) = self.notifier.inval_inode(number, -1, 0) {
                tracing::trace!(%error, "the kernel does not know this file");
            }
            stamp
        }))
    }
}

impl std::fmt::Debug for MountedPlaceholders {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("MountedPlaceholders")
            .finish_non_exhaustive()
    }
}

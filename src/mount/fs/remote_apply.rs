//! The mount as the library's store of placeholders: shows what other devices added, removed or
//! touched.
//!
//! Names are changed under the same lock as those that programs change. The kernel caches names and
//! listings, so what has changed is invalidated afterwards, without the lock: the kernel may wait
//! for a reply while it holds its own lock on that folder.

use std::ffi::OsStr;
use std::sync::{Arc, Weak};

use heirloom_protocol::LibraryPath;

use super::tree::Tree;
use crate::journal::{FileId, Stamp};
use crate::library::PlaceholderStore;
use crate::spool::{Placeholder, SpoolError};

/// The placeholders of one mount. Every method fails once the mount has ended.
#[derive(Clone, Debug)]
pub struct MountedPlaceholders {
    tree: Weak<Tree>,
}

impl MountedPlaceholders {
    pub(in crate::mount) fn new(tree: &Arc<Tree>) -> Self {
        Self {
            tree: Arc::downgrade(tree),
        }
    }

    fn tree(&self, path: &LibraryPath) -> Result<Arc<Tree>, SpoolError> {
        let ended = || SpoolError::of("show", path, std::io::ErrorKind::NotConnected.into());
        self.tree.upgrade().ok_or_else(ended)
    }
}

impl PlaceholderStore for MountedPlaceholders {
    fn create(
        &self,
        path: &LibraryPath,
        placeholder: &Placeholder,
    ) -> Result<Option<FileId>, SpoolError> {
        let tree = self.tree(path)?;
        let placed = tree.create_placeholder(path, placeholder)?;
        Ok(placed.map(|placed| {
            if let Some(invalidator) = tree.invalidator() {
                for folder in placed.changed_folders {
                    invalidator.invalidate_folder(folder);
                }
            }
            placed.id
        }))
    }

    fn remove(&self, path: &LibraryPath, id: FileId, stamp: Stamp) -> Result<bool, SpoolError> {
        let tree = self.tree(path)?;
        let removed = tree.remove_unchanged(path, id, stamp)?;
        if let Some(invalidator) = tree.invalidator() {
            for name in &removed {
                invalidator.invalidate_name(name.folder, OsStr::new(&name.name));
            }
            for name in &removed {
                invalidator.invalidate_folder(name.folder);
            }
        }
        Ok(!removed.is_empty())
    }

    fn set_mtime(
        &self,
        path: &LibraryPath,
        id: FileId,
        stamp: Stamp,
        mtime_ns: i64,
    ) -> Result<Option<Stamp>, SpoolError> {
        let tree = self.tree(path)?;
        let changed = tree.set_mtime_if_unchanged(path, id, stamp, mtime_ns)?;
        Ok(changed.map(|(ino, stamp)| {
            if let Some(invalidator) = tree.invalidator() {
                invalidator.invalidate_attributes(ino);
            }
            stamp
        }))
    }
}

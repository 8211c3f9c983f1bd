//! Handles: what the kernel has open, by the numbers that we gave it.
//!
//! An open file is an open file of the spool. It stays usable when its name is gone, which is what
//! programs expect of a file that they removed while open.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use fuser::FileHandle;

use super::locked;
use super::marks::Pen;
use super::passthrough::Way;
use crate::fetch::OpenGuard;
use crate::journal::FileId;
use crate::spool::{Access, FolderReader};

/// A regular file that the kernel has open.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: File,
    pub(super) id: FileId,
    pub(super) access: Access,
    /// Whether its name may not have reached the disk yet, because this handle made the file.
    pub(super) name_is_new: AtomicBool,
    /// Through which it changes bytes, if it can write.
    pub(super) pen: Option<Pen>,
    /// Keeps its bytes here, and knows what is missing of them.
    pub(super) stay: Option<OpenGuard>,
    /// Who serves it.
    pub(super) way: Arc<Way>,
    /// Whether it was marked before it had a name.
    pub(super) is_prepared: bool,
}

/// All that is open. A number is never used twice.
#[derive(Debug, Default)]
pub(super) struct Handles {
    next: AtomicU64,
    files: Mutex<HashMap<FileHandle, Arc<OpenFile>>>,
    folders: Mutex<HashMap<FileHandle, Arc<OpenFolder>>>,
}

/// A folder that the kernel reads. Readers of one handle take turns.
#[derive(Debug)]
pub(super) struct OpenFolder {
    pub(super) id: FileId,
    pub(super) reader: Mutex<FolderReader>,
}

impl Handles {
    pub(super) fn open_file(&self, file: Arc<OpenFile>) -> FileHandle {
        let number = self.number();
        locked(&self.files).insert(number, file);
        number
    }
    pub(super) fn file(&self, number: FileHandle) -> Option<Arc<OpenFile>> {
        locked(&self.files).get(&number).cloned()
    }
    pub(super) fn close_file(&self, number: FileHandle) -> Option<Arc<OpenFile>> {
        locked(&self.files).remove(&number)
    }

    /// Every number of an open file.
    pub(super) fn open_files(&self) -> Vec<FileHandle> {
        locked(&self.files).keys().copied().collect()
    }

    /// Some open file with this inode, for what has no name any more; one that can write rather
    /// than not. Looks at all that is open: it is asked only about removed files.
    pub(super) fn file_of(&self, id: FileId) -> Option<Arc<OpenFile>> {
        let files = locked(&self.files);
        let same = files.values().filter(|open| open.id == id);
        same.max_by_key(|open| open.access.can_write()).cloned()
    }

    pub(super) fn open_folder(&self, folder: OpenFolder) -> FileHandle {
        let number = self.number();
        locked(&self.folders).insert(number, Arc::new(folder));
        number
    }
    pub(super) fn folder(&self, number: FileHandle) -> Option<Arc<OpenFolder>> {
        locked(&self.folders).get(&number).cloned()
    }
    /// Some open folder with this inode, for what has no name any more.
    pub(super) fn folder_of(&self, id: FileId) -> Option<Arc<OpenFolder>> {
        locked(&self.folders)
            .values()
            .find(|open| open.id == id)
            .cloned()
    }
    pub(super) fn close_folder(&self, number: FileHandle) -> Option<Arc<OpenFolder>> {
        locked(&self.folders).remove(&number)
    }

    fn number(&self) -> FileHandle {
        FileHandle(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

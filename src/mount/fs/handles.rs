//! The table of handles: every file and folder that the kernel has open.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::open_file::OpenFile;
use crate::journal::FileId;
use crate::mount::types::HandleId;
use crate::spool::FolderReader;

/// All open files and folders. A handle's number is never used twice.
#[derive(Debug, Default)]
pub(super) struct HandleTable {
    next: AtomicU64,
    files: Mutex<HashMap<HandleId, Arc<OpenFile>>>,
    folders: Mutex<HashMap<HandleId, Arc<OpenFolder>>>,
}

/// An open folder. Readers of one handle take turns.
#[derive(Debug)]
pub(super) struct OpenFolder {
    pub(super) id: FileId,
    pub(super) reader: Mutex<FolderReader>,
}

impl HandleTable {
    pub(super) fn insert_file(&self, file: Arc<OpenFile>) -> HandleId {
        let handle = self.new_handle();
        self.files.lock().insert(handle, file);
        handle
    }
    pub(super) fn file(&self, handle: HandleId) -> Option<Arc<OpenFile>> {
        self.files.lock().get(&handle).cloned()
    }
    pub(super) fn remove_file(&self, handle: HandleId) -> Option<Arc<OpenFile>> {
        self.files.lock().remove(&handle)
    }

    /// The handles of all open files.
    pub(super) fn open_files(&self) -> Vec<HandleId> {
        self.files.lock().keys().copied().collect()
    }

    /// An open file with this inode, preferably one that can write. Used where a file has no name
    /// any more. Scans the whole table.
    pub(super) fn file_with_id(&self, id: FileId) -> Option<Arc<OpenFile>> {
        let files = self.files.lock();
        let same = files.values().filter(|open| open.id == id);
        same.max_by_key(|open| open.access.can_write()).cloned()
    }

    pub(super) fn insert_folder(&self, folder: OpenFolder) -> HandleId {
        let handle = self.new_handle();
        self.folders.lock().insert(handle, Arc::new(folder));
        handle
    }
    pub(super) fn folder(&self, handle: HandleId) -> Option<Arc<OpenFolder>> {
        self.folders.lock().get(&handle).cloned()
    }
    /// An open folder with this inode. Used where a folder has no name any more.
    pub(super) fn folder_with_id(&self, id: FileId) -> Option<Arc<OpenFolder>> {
        self.folders
            .lock()
            .values()
            .find(|open| open.id == id)
            .cloned()
    }
    pub(super) fn remove_folder(&self, handle: HandleId) -> Option<Arc<OpenFolder>> {
        self.folders.lock().remove(&handle)
    }

    fn new_handle(&self) -> HandleId {
        HandleId(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

//! The registry of files that are open, being fetched, or being evicted. A file that is open is not
//! evicted, and a file that is being evicted is not opened.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::sync::{Arc, Weak};

use parking_lot::{Condvar, Mutex};

use super::file_fetch::FileFetch;
use super::options::FetchOptions;
use crate::journal::FileId;
use crate::spool::Placeholder;

/// The registry of open files.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    options: FetchOptions,
    table: Mutex<Table>,
    /// Notified when an eviction has ended.
    eviction_ended: Condvar,
}

#[derive(Debug, Default)]
struct Table {
    open_counts: HashMap<FileId, usize>,
    fetches: HashMap<FileId, Weak<FileFetch>>,
    evicting: HashSet<FileId>,
}

/// One entry in the count of a file's open handles, removed when dropped. A file with a count is
/// not evicted.
#[derive(Debug)]
pub(super) struct OpenCountGuard {
    files: Arc<OpenFiles>,
    id: FileId,
}

/// The right to evict a file: while it exists, opening the file waits.
#[derive(Debug)]
pub(super) struct EvictGuard {
    files: Arc<OpenFiles>,
    id: FileId,
}

impl OpenFiles {
    pub(super) fn new(options: FetchOptions) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// Registers an open of a file, with its fetch if bytes of it are missing. Waits while the file
    /// is being evicted.
    pub(super) fn open(
        self: &Arc<Self>,
        id: FileId,
        file: &File,
    ) -> io::Result<(OpenCountGuard, Option<Arc<FileFetch>>)> {
        let mut table = self.table.lock();
        self.eviction_ended
            .wait_while(&mut table, |table| table.evicting.contains(&id));
        let fetch = self.join_fetch(&mut table, id, file)?;
        *table.open_counts.entry(id).or_default() += 1;
        drop(table);
        Ok((self.count_guard(id), fetch))
    }

    /// Registers an open of a file that was just created.
    pub(super) fn open_created(self: &Arc<Self>, id: FileId) -> OpenCountGuard {
        *self.table.lock().open_counts.entry(id).or_default() += 1;
        self.count_guard(id)
    }

    fn count_guard(self: &Arc<Self>, id: FileId) -> OpenCountGuard {
        OpenCountGuard {
            files: Arc::clone(self),
            id,
        }
    }

    fn join_fetch(
        &self,
        table: &mut Table,
        id: FileId,
        file: &File,
    ) -> io::Result<Option<Arc<FileFetch>>> {
        if let Some(fetch) = table.fetch_of(id) {
            return Ok(Some(fetch));
        }
        let Some(placeholder) = Placeholder::of(file)? else {
            return Ok(None);
        };
        let fetch = Arc::new(FileFetch::new(id, file, placeholder, &self.options)?);
        table.fetches.retain(|_, fetch| fetch.strong_count() > 0);
        table.fetches.insert(id, Arc::downgrade(&fetch));
        Ok(Some(fetch))
    }

    /// The fetch of a file that is open and still a placeholder.
    pub(super) fn fetch_of(&self, id: FileId) -> Option<Arc<FileFetch>> {
        self.table.lock().fetch_of(id)
    }

    /// How many files are being fetched.
    pub(super) fn fetching(&self) -> usize {
        let fetches: Vec<_> = self
            .table
            .lock()
            .fetches
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        fetches.iter().filter(|fetch| fetch.is_running()).count()
    }

    /// Begins to evict a file; nothing if it is open, being fetched, or being evicted already.
    pub(super) fn begin_evict(self: &Arc<Self>, id: FileId) -> Option<EvictGuard> {
        let mut table = self.table.lock();
        let in_use = table.open_counts.contains_key(&id)
            || table.fetches.get(&id).and_then(Weak::upgrade).is_some();
        (!in_use && table.evicting.insert(id)).then(|| EvictGuard {
            files: Arc::clone(self),
            id,
        })
    }
}

impl Table {
    fn fetch_of(&self, id: FileId) -> Option<Arc<FileFetch>> {
        // Asked at every `stat`: almost always there is no fetch at all.
        if self.fetches.is_empty() {
            return None;
        }
        self.fetches
            .get(&id)
            .and_then(Weak::upgrade)
            .filter(|fetch| fetch.is_placeholder())
    }
}

impl OpenCountGuard {
    pub(super) const fn id(&self) -> FileId {
        self.id
    }
}

impl Drop for OpenCountGuard {
    fn drop(&mut self) {
        let mut table = self.files.table.lock();
        if let Some(count) = table.open_counts.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                table.open_counts.remove(&self.id);
            }
        }
        if table
            .fetches
            .get(&self.id)
            .is_some_and(|fetch| fetch.strong_count() == 0)
        {
            table.fetches.remove(&self.id);
        }
    }
}

impl Drop for EvictGuard {
    fn drop(&mut self) {
        self.files.table.lock().evicting.remove(&self.id);
        self.files.eviction_ended.notify_all();
    }
}

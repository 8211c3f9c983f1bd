//! Marks: which files may not be whole, kept on the files themselves (`spool::Marker`), so that half a photo left by a crash is known
//! as that.
//!
//! A file is marked before its first change through a handle, and the mark is changed when the program closes it. Close is known from
//! FLUSH, the one request for which the closing program waits: when `cp` has returned, its photo counts as whole whatever then
//! happens to us. A program that goes on writing through a copy of its descriptor marks the file anew.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::locked;
use crate::journal::FileId;
use crate::spool::Marker;

/// All files that somebody may write to now.
#[derive(Debug)]
pub(super) struct Marks {
    marker: Marker,
    files: Mutex<HashMap<FileId, Weak<Mutex<Writers>>>>,
}

/// What those who may write to one file have done to it since it was last whole.
#[derive(Debug, Default)]
struct Writers {
    /// How many of them have changed it and not finished.
    unfinished: u32,
    /// Whether one that has finished left changes that no sync of its own covers.
    unsynced: bool,
}

/// One of them: the part of an open file that can change bytes.
#[derive(Debug)]
pub(super) struct Pen {
    id: FileId,
    writers: Arc<Mutex<Writers>>,
    /// Whether it has changed the file since it last finished.
    unfinished: AtomicBool,
    /// Whether it has changed the file since it last synced.
    unsynced: AtomicBool,
}

impl Marks {
    pub(super) fn new(marker: Marker) -> Self {
        Self { marker, files: Mutex::default() }
    }

    /// For a handle that can write. It costs nothing until the handle does.
    pub(super) fn pen(&self, id: FileId) -> Pen {
        let mut files = locked(&self.files);
        let writers = files.get(&id).and_then(Weak::upgrade).unwrap_or_default();
        files.insert(id, Arc::downgrade(&writers));
        Pen { id, writers, unfinished: AtomicBool::new(false), unsynced: AtomicBool::new(false) }
    }

    /// To be called before every change; only the first since the last `finish` touches the disk.
    pub(super) fn change(&self, pen: &Pen, file: &File) -> io::Result<()> {
        pen.unsynced.store(true, Ordering::Release);
        if pen.unfinished.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut writers = locked(&pen.writers);
        if pen.unfinished.load(Ordering::Acquire) {
            return Ok(());
        }
        if writers.unfinished == 0 {
            self.marker.opened(file)?;
        }
        writers.unfinished += 1;
        pen.unfinished.store(true, Ordering::Release);
        Ok(())
    }

    /// Syncs, and remembers that there is nothing to sync until the next change.
    pub(super) fn sync(pen: &Pen, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let unsynced = pen.unsynced.swap(false, Ordering::AcqRel);
        sync().inspect_err(|_| {
            pen.unsynced.fetch_or(unsynced, Ordering::AcqRel);
        })
    }

    /// The program has closed the handle, or a copy of it. When all who changed the file have, it is whole; and if each of them had synced
    /// what it wrote, that is made to last as well, for such a program relies on it.
    pub(super) fn finish(&self, pen: &Pen, file: &File) -> io::Result<()> {
        let mut writers = locked(&pen.writers);
        if !pen.unfinished.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        writers.unfinished -= 1;
        writers.unsynced |= pen.unsynced.load(Ordering::Acquire);
        if writers.unfinished > 0 {
            return Ok(());
        }
        if std::mem::take(&mut writers.unsynced) {
            return self.marker.closed(file);
        }
        self.marker.sealed(file)?;
        drop(writers);
        file.sync_all()
    }

    /// The handle is gone.
    pub(super) fn put_down(&self, pen: &Pen) {
        let mut files = locked(&self.files);
        // Ours is the last.
        if Arc::strong_count(&pen.writers) == 1 {
            files.remove(&pen.id);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        locked(&self.files).len()
    }
}

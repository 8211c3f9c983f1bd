//! Write tracking: which files may be incomplete, recorded on the files themselves
//! (`spool::WriteStateMarker`), so that a photo cut short by a crash is recognised as incomplete.
//!
//! A file is marked as open before its first change through a handle, and the mark changes when the
//! program closes it. The close is known from `FLUSH`, the one request that close(2) waits for:
//! when `cp` has returned, its photo counts as complete whatever happens to this process. A `FLUSH`
//! says which lock owner closes, and a write says which one writes: closing an inherited descriptor,
//! as every child process does that is started, does not complete the file. A program that writes
//! on through a duplicate of its descriptor marks the file again.
//!
//! Where the kernel writes the bytes itself, close(2) does not wait for this process, and the end
//! of this process stops no program. Such a file is marked as live once, when it is opened, and
//! that mark stays right until the file is durable.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::journal::{FileId, Stamp};
use crate::mount::types::{Truncate, Writer};
use crate::spool::{Spool, WriteStateMarker};

/// The write state of every file that has a handle which can write.
#[derive(Debug)]
pub(in crate::mount) struct WriteTracker {
    marker: WriteStateMarker,
    files: Mutex<HashMap<FileId, Weak<Mutex<FileWriteState>>>>,
}

/// What the handles of one file have done to it since it was last complete.
#[derive(Debug, Default)]
struct FileWriteState {
    /// Handles that changed the file and have not finished.
    unfinished: u32,
    /// Whether a finished handle left changes that it had not synced.
    unsynced: bool,
    /// Lowest offset at which the disk refused bytes that a program wrote.
    torn_at: Option<u64>,
}

/// Which process writes a program's bytes to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mount) enum WritePath {
    /// This one, which sees every write.
    Daemon,
    /// The kernel; this process sees no write.
    Kernel,
}

/// The part of an open file that can change its bytes.
#[derive(Debug)]
pub(in crate::mount) struct WriteHandle {
    id: FileId,
    path: WritePath,
    state: Arc<Mutex<FileWriteState>>,
    /// The file's stamp at the last sync through this handle. Used on the kernel's path only.
    synced: Mutex<Option<Stamp>>,
    /// The writers that changed the file through this handle and have not closed it since. Locked
    /// before `state`.
    writers: Mutex<Vec<Writer>>,
    /// Whether this handle has changed the file since its last sync.
    unsynced: AtomicBool,
}

impl WriteTracker {
    pub(in crate::mount) fn new(marker: WriteStateMarker) -> Self {
        Self {
            marker,
            files: Mutex::default(),
        }
    }

    /// Tracks a new handle that can write. On the kernel's path `begin_kernel_write` must follow;
    /// on the daemon's it costs nothing until the first write.
    pub(in crate::mount) fn track(&self, id: FileId, path: WritePath) -> WriteHandle {
        let mut files = self.files.lock();
        let state = files.get(&id).and_then(Weak::upgrade).unwrap_or_default();
        files.insert(id, Arc::downgrade(&state));
        WriteHandle {
            id,
            path,
            state,
            synced: Mutex::default(),
            writers: Mutex::default(),
            unsynced: AtomicBool::new(false),
        }
    }

    /// Tracks the handle of a new file that was marked before it got its name.
    pub(in crate::mount) fn track_marked(&self, id: FileId, path: WritePath) -> WriteHandle {
        let handle = self.track(id, path);
        if path == WritePath::Daemon {
            handle.state.lock().unfinished = 1;
            handle.writers.lock().push(Writer::Unknown);
            handle.unsynced.store(true, Ordering::Release);
        }
        handle
    }

    /// Marks a file that the kernel will write, when the handle is opened. The mark of a file that
    /// is known to be incomplete stays, unless the file is emptied: the program may change nothing.
    pub(in crate::mount) fn begin_kernel_write(
        &self,
        handle: &WriteHandle,
        file: &File,
        truncate: Truncate,
    ) -> io::Result<()> {
        let _state = handle.state.lock();
        if truncate == Truncate::No && self.marker.may_be_incomplete(file)? {
            return Ok(());
        }
        self.marker.mark_open_passthrough(file)
    }

    /// Marks a file as incomplete, whatever its program does now: the disk may have refused some of
    /// its bytes.
    pub(in crate::mount) fn mark_incomplete(&self, file: &File) -> io::Result<()> {
        self.marker.mark_open(file)
    }

    /// Marks the file before a change. Only the first change since the last `finish` touches the
    /// disk.
    pub(in crate::mount) fn begin_write(
        &self,
        handle: &WriteHandle,
        file: &File,
        writer: Writer,
    ) -> io::Result<()> {
        if handle.path == WritePath::Kernel {
            return Ok(());
        }
        handle.unsynced.store(true, Ordering::Release);
        let mut writers = handle.writers.lock();
        if writers.is_empty() {
            let mut state = handle.state.lock();
            if state.unfinished == 0 {
                self.marker.mark_open(file)?;
            }
            state.unfinished += 1;
        }
        if !writers.contains(&writer) {
            writers.push(writer);
        }
        Ok(())
    }

    /// Ends the writes of `closer`, which closed the handle or a duplicate of it; those of every
    /// writer if it is [`Writer::Unknown`].
    ///
    /// When all writers of the file have closed it, the file is marked as complete. If each of them
    /// had synced its writes, the mark is synced as well, because such a program relies on it.
    pub(in crate::mount) fn finish(
        &self,
        handle: &WriteHandle,
        file: &File,
        closer: Writer,
    ) -> io::Result<()> {
        if handle.path == WritePath::Kernel {
            return self.finish_kernel_write(handle, file);
        }
        let mut writers = handle.writers.lock();
        if writers.is_empty() {
            return Ok(());
        }
        writers.retain(|writer| {
            closer != Writer::Unknown && *writer != Writer::Unknown && *writer != closer
        });
        if !writers.is_empty() {
            return Ok(());
        }
        let mut state = handle.state.lock();
        drop(writers);
        state.unfinished -= 1;
        state.unsynced |= handle.unsynced.load(Ordering::Acquire);
        // A torn file keeps its mark: it was not written to its end.
        if state.unfinished > 0 || state.torn_at.is_some() {
            return Ok(());
        }
        if std::mem::take(&mut state.unsynced) {
            return self.marker.mark_closed(file);
        }
        self.marker.clear(file)?;
        drop(state);
        file.sync_all()
    }

    /// The mark of a live file may stay, unless its program relies on a sync: after a reboot, a
    /// live mark would put the file in doubt.
    fn finish_kernel_write(&self, handle: &WriteHandle, file: &File) -> io::Result<()> {
        let Some(synced) = *handle.synced.lock() else {
            return Ok(());
        };
        let _state = handle.state.lock();
        let is_last = Arc::strong_count(&handle.state) == 1;
        if !is_last || Spool::identify(file)?.1 != synced || self.marker.may_be_incomplete(file)? {
            return Ok(());
        }
        // The disk's times may be too coarse to tell a write from the sync before it. Another sync
        // costs little.
        file.sync_all()?;
        self.marker.clear(file)?;
        file.sync_all()
    }

    /// Stops tracking a handle that was closed.
    pub(in crate::mount) fn release(&self, handle: &WriteHandle) {
        let mut files = self.files.lock();
        // The handle's own reference is the last.
        if Arc::strong_count(&handle.state) == 1 {
            files.remove(&handle.id);
        }
    }

    #[cfg(test)]
    pub(in crate::mount) fn len(&self) -> usize {
        self.files.lock().len()
    }
}

impl WriteHandle {
    /// The disk refused the bytes at `offset`: the file is incomplete until something is written
    /// there, or the file is cut off before it.
    pub(in crate::mount) fn mark_torn(&self, offset: u64) {
        let mut state = self.state.lock();
        state.torn_at = Some(state.torn_at.map_or(offset, |before| before.min(offset)));
    }

    /// The bytes of `changed` were written, or cut off.
    pub(in crate::mount) fn clear_torn(&self, changed: Range<u64>) {
        let mut state = self.state.lock();
        state.torn_at = state.torn_at.filter(|torn| !changed.contains(torn));
    }

    /// Syncs with `sync`, and remembers that nothing is left to sync until the next change.
    pub(in crate::mount) fn sync(
        &self,
        file: &File,
        sync: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        if self.path == WritePath::Kernel {
            // A write from here on may not be covered; it changes the stamp.
            let (_, before) = Spool::identify(file)?;
            sync()?;
            *self.synced.lock() = Some(before);
            return Ok(());
        }
        let unsynced = self.unsynced.swap(false, Ordering::AcqRel);
        sync().inspect_err(|_| {
            self.unsynced.fetch_or(unsynced, Ordering::AcqRel);
        })
    }
}

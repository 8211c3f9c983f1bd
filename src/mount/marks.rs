//! Marks: which files may not be whole, kept on the files themselves (`spool::WriteStateMarker`), so that
//! half a photo left by a crash is known as that.
//!
//! A file is marked before its first change through a handle, and the mark is changed when the
//! program closes it. Close is known from FLUSH, the one request for which the closing program
//! waits: when `cp` has returned, its photo counts as whole whatever then happens to us. A FLUSH
//! says who closes, and a write says who writes: a child that only inherited the descriptor, and
//! closes it as every started program does, ends nothing. A program that goes on writing through a
//! copy of its descriptor marks the file anew.
//!
//! Where the kernel carries the bytes without us, nobody waits for us at close, and our end stops
//! no program. Such a file is marked as live once, when it is opened, and the mark says all that is
//! needed until the file is durable.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use fuser::LockOwner;

use super::locked;
use super::tree::Truncate;
use crate::journal::{FileId, Stamp};
use crate::spool::{Spool, WriteStateMarker};

/// All files that somebody may write to now.
#[derive(Debug)]
pub(super) struct Marks {
    marker: WriteStateMarker,
    files: Mutex<HashMap<FileId, Weak<Mutex<Writers>>>>,
}

/// What those who may write to one file have done to it since it was last whole.
#[derive(Debug, Default)]
struct Writers {
    /// How many of them have changed it and not finished.
    unfinished: u32,
    /// Whether one that has finished left changes that no sync of its own covers.
    unsynced: bool,
    /// Where bytes are missing that somebody wrote and the disk did not take.
    torn_at: Option<u64>,
}

/// Who carries what a program writes to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// We do, and see it.
    Us,
    /// The kernel, and we see nothing.
    Kernel,
}

/// Who writes through a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hand {
    /// Those who share one table of descriptors: mostly, one program.
    Of(LockOwner),
    /// The kernel does not say. It does of writes, and of nothing else.
    Anybody,
}

/// One of them: the part of an open file that can change bytes.
#[derive(Debug)]
pub(super) struct Pen {
    id: FileId,
    carrier: Carrier,
    writers: Arc<Mutex<Writers>>,
    /// What the file was like when it was last synced through this handle, where the kernel
    /// carries.
    synced: Mutex<Option<Stamp>>,
    /// Who has changed the file through it and not closed it since. Locked before `writers`.
    hands: Mutex<Vec<Hand>>,
    /// Whether it has changed the file since it last synced.
    unsynced: AtomicBool,
}

impl Marks {
    pub(super) fn new(marker: WriteStateMarker) -> Self {
        Self {
            marker,
            files: Mutex::default(),
        }
    }

    /// For a handle that can write. If the kernel carries what it writes, `begin_live` must follow;
    /// else it costs nothing until the handle does.
    pub(super) fn pen(&self, id: FileId, carrier: Carrier) -> Pen {
        let mut files = locked(&self.files);
        let writers = files.get(&id).and_then(Weak::upgrade).unwrap_or_default();
        files.insert(id, Arc::downgrade(&writers));
        Pen {
            id,
            carrier,
            writers,
            synced: Mutex::default(),
            hands: Mutex::default(),
            unsynced: AtomicBool::new(false),
        }
    }

    /// The pen of a handle that just gave a prepared file its name.
    pub(super) fn pen_of_prepared(&self, id: FileId, carrier: Carrier) -> Pen {
        let pen = self.pen(id, carrier);
        if carrier == Carrier::Us {
            locked(&pen.writers).unfinished = 1;
            locked(&pen.hands).push(Hand::Anybody);
            pen.unsynced.store(true, Ordering::Release);
        }
        pen
    }

    /// To be called when a handle is opened through which the kernel will write. A file that is
    /// known not to be whole stays that, unless it is emptied: the program may change nothing of
    /// it.
    pub(super) fn begin_live(&self, pen: &Pen, file: &File, truncate: Truncate) -> io::Result<()> {
        let _writers = locked(&pen.writers);
        if truncate == Truncate::No && self.marker.may_be_incomplete(file)? {
            return Ok(());
        }
        self.marker.mark_open_passthrough(file)
    }

    /// What was written did not all fit on the disk, or may not have: the file is not whole,
    /// whatever its program does now.
    pub(super) fn doubt(&self, file: &File) -> io::Result<()> {
        self.marker.mark_open(file)
    }

    /// To be called before every change; only the first since the last `finish` touches the disk.
    pub(super) fn change(&self, pen: &Pen, file: &File, hand: Hand) -> io::Result<()> {
        if pen.carrier == Carrier::Kernel {
            return Ok(());
        }
        pen.unsynced.store(true, Ordering::Release);
        let mut hands = locked(&pen.hands);
        if hands.is_empty() {
            let mut writers = locked(&pen.writers);
            if writers.unfinished == 0 {
                self.marker.mark_open(file)?;
            }
            writers.unfinished += 1;
        }
        if !hands.contains(&hand) {
            hands.push(hand);
        }
        Ok(())
    }

    /// The disk did not take what was written at `offset`: the file is not whole until something is
    /// written there, or it is cut off before.
    pub(super) fn tear(pen: &Pen, offset: u64) {
        let mut writers = locked(&pen.writers);
        writers.torn_at = Some(writers.torn_at.map_or(offset, |before| before.min(offset)));
    }

    /// What was missing there is there now, or not wanted any more.
    pub(super) fn mend(pen: &Pen, changed: std::ops::Range<u64>) {
        let mut writers = locked(&pen.writers);
        writers.torn_at = writers.torn_at.filter(|torn| !changed.contains(torn));
    }

    /// Syncs, and remembers that there is nothing to sync until the next change.
    pub(super) fn sync(
        pen: &Pen,
        file: &File,
        sync: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        if pen.carrier == Carrier::Kernel {
            // What is written from here on may not be covered, and is seen by this.
            let (_, before) = Spool::identify(file)?;
            sync()?;
            *locked(&pen.synced) = Some(before);
            return Ok(());
        }
        let unsynced = pen.unsynced.swap(false, Ordering::AcqRel);
        sync().inspect_err(|_| {
            pen.unsynced.fetch_or(unsynced, Ordering::AcqRel);
        })
    }

    /// `closer` has closed the handle, or a copy of it; with `Anybody` all have. When all who
    /// changed the file have, it is whole; and if each of them had synced what it wrote, that is
    /// made to last as well, for such a program relies on it.
    pub(super) fn finish(&self, pen: &Pen, file: &File, closer: Hand) -> io::Result<()> {
        if pen.carrier == Carrier::Kernel {
            return self.finish_live(pen, file);
        }
        let mut hands = locked(&pen.hands);
        if hands.is_empty() {
            return Ok(());
        }
        hands.retain(|hand| closer != Hand::Anybody && *hand != Hand::Anybody && *hand != closer);
        if !hands.is_empty() {
            return Ok(());
        }
        let mut writers = locked(&pen.writers);
        drop(hands);
        writers.unfinished -= 1;
        writers.unsynced |= pen.unsynced.load(Ordering::Acquire);
        // Of a torn one the mark stays as it is: it was not written to its end.
        if writers.unfinished > 0 || writers.torn_at.is_some() {
            return Ok(());
        }
        if std::mem::take(&mut writers.unsynced) {
            return self.marker.mark_closed(file);
        }
        self.marker.clear(file)?;
        drop(writers);
        file.sync_all()
    }

    /// The mark of a live file may stay, unless its program relies on what it synced: the next boot
    /// would doubt that.
    fn finish_live(&self, pen: &Pen, file: &File) -> io::Result<()> {
        let Some(synced) = *locked(&pen.synced) else {
            return Ok(());
        };
        let _writers = locked(&pen.writers);
        let is_last = Arc::strong_count(&pen.writers) == 1;
        if !is_last || Spool::identify(file)?.1 != synced || self.marker.may_be_incomplete(file)? {
            return Ok(());
        }
        // Times of the disk may be too coarse to tell a write from the sync before it: once more
        // costs little.
        file.sync_all()?;
        self.marker.clear(file)?;
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

//! The fetch of one file: which ranges are local, which readers wait, and how it ended.
//!
//! A `FileFetch` lives as long as the file is open or a range of it is in flight. All who open the
//! file in that time share it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use heirloom_crash::CrashPoint;
use heirloom_protocol::{ByteRange, Fingerprint};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::error::FetchError;
use super::options::FetchOptions;
use super::planner::{RangePlanner, ReadAhead};
use crate::journal::{FileId, Stamp};
use crate::spool::{Access, Durability, OpenOptions, Placeholder, reopen_to_fill};

/// The fetch of one file into its placeholder.
#[derive(Debug)]
pub(super) struct FileFetch {
    id: FileId,
    file: File,
    fingerprint: Fingerprint,
    state: Mutex<FetchState>,
    /// Held while the file's bytes are changed. Taken before `state`, never after.
    write_lock: Mutex<()>,
    /// Changes whenever a waiting reader should look again.
    changes: watch::Sender<u64>,
    /// Notified when a reader begins to wait.
    reader_waits: Notify,
}

#[derive(Debug)]
struct FetchState {
    stamp: Stamp,
    planner: RangePlanner,
    open_count: usize,
    phase: Phase,
    task: Task,
    /// When bytes last arrived from the server.
    last_progress: Instant,
    /// Why the last request failed, until bytes arrive again.
    last_failure: Option<String>,
}

/// How far the fetch is.
#[derive(Clone, Debug)]
enum Phase {
    Fetching,
    /// The file is an ordinary one with the photo's bytes.
    Complete,
    /// The file was truncated: an ordinary one with other content.
    Discarded,
    /// The fetch failed; the next reader tries again.
    Failed(FetchError),
}

/// Whether a task downloads ranges of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Idle,
    Running,
}

/// What the download task does when no range is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextTask {
    /// Nothing for now. The task ends, and is recorded as ended.
    End,
    /// All bytes are here and have to be verified.
    Verify,
    /// Request this range, which has become wanted in the meantime and is in flight from now on.
    Request(ByteRange),
}

/// What a failed request means for the fetch.
#[derive(Debug)]
pub(super) enum RangeFailure {
    /// The range may be requested again. The text is the reason.
    Retry(String),
    /// No range can be fetched.
    Final(FetchError),
}

impl FileFetch {
    /// A fetch of this placeholder, through any open file of it.
    pub(super) fn new(
        id: FileId,
        file: &File,
        placeholder: Placeholder,
        options: &FetchOptions,
    ) -> io::Result<Self> {
        let Placeholder {
            fingerprint,
            stamp,
            held,
        } = placeholder;
        let file = reopen_to_fill(
            file,
            OpenOptions {
                access: Access::ReadWrite,
                durability: Durability::Lazy,
            },
        )?;
        let state = FetchState {
            stamp,
            planner: RangePlanner::new(stamp.size, held, options.head_bytes, options.request_bytes),
            open_count: 0,
            phase: Phase::Fetching,
            task: Task::Idle,
            last_progress: Instant::now(),
            last_failure: None,
        };
        Ok(Self {
            id,
            file,
            fingerprint,
            state: Mutex::new(state),
            write_lock: Mutex::default(),
            changes: watch::Sender::new(0),
            reader_waits: Notify::new(),
        })
    }

    pub(super) const fn id(&self) -> FileId {
        self.id
    }

    pub(super) const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Size and modification time of the photo.
    pub(super) fn stamp(&self) -> Stamp {
        self.state.lock().stamp
    }

    /// Changes whenever [`Self::outcome`] may have changed.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether the file is still a placeholder, so that everyone who opens it shares this fetch.
    pub(super) fn is_placeholder(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Fetching | Phase::Failed(_))
    }

    /// Whether the file is an ordinary one by now.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Complete | Phase::Discarded)
    }

    /// Whether all bytes are here but not verified.
    pub(super) fn awaits_verification(&self) -> bool {
        let state = self.state.lock();
        matches!(state.phase, Phase::Fetching) && state.planner.is_complete()
    }

    /// Whether a task downloads ranges of the file.
    pub(super) fn is_running(&self) -> bool {
        self.state.lock().task == Task::Running
    }

    /// Whether these bytes can be read from the file now.
    pub(super) fn has(&self, range: ByteRange) -> bool {
        let state = self.state.lock();
        match state.phase {
            Phase::Complete | Phase::Discarded => true,
            Phase::Fetching | Phase::Failed(_) => state.planner.has(range),
        }
    }

    /// The file was opened once more.
    pub(super) fn add_open(&self) {
        self.state.lock().open_count += 1;
    }

    /// One of those who opened the file has closed it.
    pub(super) fn remove_open(&self) {
        self.state.lock().open_count -= 1;
    }

    /// A reader begins to wait for these bytes, or for the verification where there are none.
    /// Returns whether the caller must start the download task, which counts as running from now
    /// on.
    pub(super) fn add_reader(&self, range: Option<ByteRange>) -> bool {
        let mut state = self.state.lock();
        if let Phase::Failed(_) = state.phase {
            state.phase = Phase::Fetching;
        }
        if let Some(range) = range {
            state.planner.add_wanted(range);
        }
        self.reader_waits.notify_one();
        std::mem::replace(&mut state.task, Task::Running) == Task::Idle
    }

    /// A reader has stopped waiting for these bytes.
    pub(super) fn cancel(&self, range: ByteRange) {
        self.state.lock().planner.cancel(range);
    }

    /// Returns when a reader has begun to wait since the last call.
    pub(super) async fn reader_waits(&self) {
        self.reader_waits.notified().await;
    }

    /// The result for a reader that waits for `range`, or for the whole file if there is none;
    /// nothing while the fetch goes on.
    pub(super) fn outcome(&self, range: Option<ByteRange>) -> Option<Result<(), FetchError>> {
        let state = self.state.lock();
        match &state.phase {
            Phase::Complete => Some(Ok(())),
            Phase::Discarded => Some(Err(FetchError::Discarded)),
            Phase::Failed(error) => Some(Err(error.clone())),
            Phase::Fetching => range
                .filter(|range| state.planner.has(*range))
                .map(|_| Ok(())),
        }
    }

    /// When bytes last arrived, and why the last request since then failed, if one did.
    pub(super) fn last_progress(&self) -> (Instant, Option<String>) {
        let state = self.state.lock();
        (state.last_progress, state.last_failure.clone())
    }

    /// Bytes arrive from the server.
    pub(super) fn record_progress(&self) {
        self.state.lock().last_progress = Instant::now();
    }

    /// The next range to request, in flight from now on.
    pub(super) fn next_range(&self) -> Option<ByteRange> {
        self.state.lock().next_range()
    }

    /// What the download task does now that no range is in flight.
    pub(super) fn next_task(&self) -> NextTask {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Fetching) && state.planner.is_complete() {
            return NextTask::Verify;
        }
        if let Some(range) = state.next_range() {
            return NextTask::Request(range);
        }
        state.task = Task::Idle;
        NextTask::End
    }

    /// Stores a range that has arrived: when this returns it is on the disk and recorded in the
    /// placeholder's attribute. Blocks.
    pub(super) fn store_range(&self, range: ByteRange, bytes: &Bytes) -> Result<(), FetchError> {
        let written = {
            let _writing = self.write_lock.lock();
            if !self.is_placeholder() {
                return Err(FetchError::Discarded);
            }
            self.write_range(range, bytes)
        };
        let mut state = self.state.lock();
        match &written {
            Ok(()) => (state.last_failure, state.last_progress) = (None, Instant::now()),
            Err(_) => state.planner.failed(range),
        }
        drop(state);
        self.notify();
        written
    }

    fn write_range(&self, range: ByteRange, bytes: &Bytes) -> Result<(), FetchError> {
        let failed = |source| disk_error("fill", source);
        let filled = self.file.write_all_at(bytes, range.start());
        // Also after an error: a part may have been written, which changes the time.
        let restored = self.placeholder().restore_time(&self.file);
        filled
            .and(restored)
            .and_then(|()| self.file.sync_data())
            .map_err(failed)?;
        heirloom_crash::reached(CrashPoint::FetchedRangeSynced);
        let mut state = self.state.lock();
        state.planner.arrived(range);
        self.placeholder_in(&state)
            .write_to(&self.file)
            .map_err(failed)?;
        heirloom_crash::reached(CrashPoint::FetchedRangeRecorded);
        Ok(())
    }

    /// The request for a range failed. Nothing is read ahead until the next read.
    pub(super) fn range_failed(&self, range: ByteRange, failure: RangeFailure) {
        let mut state = self.state.lock();
        state.planner.failed(range);
        state.planner.stop_read_ahead();
        match failure {
            RangeFailure::Retry(why) => state.last_failure = Some(why),
            RangeFailure::Final(error) if matches!(state.phase, Phase::Fetching) => {
                state.phase = Phase::Failed(error);
            }
            RangeFailure::Final(_) => {}
        }
        drop(state);
        self.notify();
    }

    /// Ends the fetch: makes the file an ordinary one if `fingerprint_of` its bytes is the photo's,
    /// and throws the bytes away otherwise. No byte changes meanwhile. Blocks.
    pub(super) fn finish(
        &self,
        fingerprint_of: impl FnOnce(&File) -> io::Result<Fingerprint>,
    ) -> Result<(), FetchError> {
        let failed = |doing| move |source| disk_error(doing, source);
        let _writing = self.write_lock.lock();
        if !self.is_placeholder() {
            return Err(FetchError::Discarded);
        }
        let finished = match fingerprint_of(&self.file).map_err(failed("read")) {
            Ok(found) if found == self.fingerprint => {
                self.make_ordinary().map_err(failed("complete"))
            }
            Ok(_) => self
                .discard_bytes()
                .map_err(failed("empty"))
                .and(Err(FetchError::Corrupt)),
            Err(error) => Err(error),
        };
        let mut state = self.state.lock();
        state.phase = match &finished {
            Ok(()) => Phase::Complete,
            Err(error) => Phase::Failed(error.clone()),
        };
        state.task = Task::Idle;
        drop(state);
        self.notify();
        finished
    }

    /// Bytes and time are on the disk before the attribute is removed that says they are missing.
    fn make_ordinary(&self) -> io::Result<()> {
        self.placeholder().restore_time(&self.file)?;
        self.file.sync_all()?;
        heirloom_crash::reached(CrashPoint::FetchedFileSynced);
        Placeholder::clear(&self.file)?;
        self.file.sync_all()?;
        heirloom_crash::reached(CrashPoint::PlaceholderCleared);
        Ok(())
    }

    fn discard_bytes(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.planner.invalidate();
        let empty = self.placeholder_in(&state);
        drop(state);
        empty.discard_data(&self.file)
    }

    /// The file is about to be truncated to nothing: it becomes an ordinary one, and the fetch
    /// writes no more bytes into it.
    pub(super) fn discard(&self) -> io::Result<()> {
        let _writing = self.write_lock.lock();
        if !self.is_placeholder() {
            return Ok(());
        }
        Placeholder::clear(&self.file)?;
        self.state.lock().phase = Phase::Discarded;
        self.notify();
        Ok(())
    }

    /// Sets the modification time that the file shows, in nanoseconds.
    pub(super) fn set_mtime(&self, mtime_ns: i64) -> io::Result<()> {
        let _writing = self.write_lock.lock();
        let mut state = self.state.lock();
        state.stamp.mtime_ns = mtime_ns;
        if !matches!(state.phase, Phase::Fetching | Phase::Failed(_)) {
            return Ok(());
        }
        let placeholder = self.placeholder_in(&state);
        placeholder.write_to(&self.file)?;
        placeholder.restore_time(&self.file)
    }

    fn placeholder(&self) -> Placeholder {
        self.placeholder_in(&self.state.lock())
    }

    fn placeholder_in(&self, state: &FetchState) -> Placeholder {
        Placeholder {
            fingerprint: self.fingerprint,
            stamp: state.stamp,
            held: state.planner.held().clone(),
        }
    }

    fn notify(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl FetchState {
    fn next_range(&mut self) -> Option<ByteRange> {
        let read_ahead = if self.open_count > 0 {
            ReadAhead::Allowed
        } else {
            ReadAhead::Off
        };
        match self.phase {
            Phase::Fetching => self.planner.next(read_ahead),
            Phase::Complete | Phase::Discarded | Phase::Failed(_) => None,
        }
    }
}

/// Sets the modification time of a placeholder that is not being fetched. Nothing is done to an
/// ordinary file.
pub(super) fn set_placeholder_mtime(file: &File, mtime_ns: i64) -> io::Result<()> {
    match Placeholder::of(file)? {
        Some(mut placeholder) => {
            placeholder.stamp.mtime_ns = mtime_ns;
            placeholder.write_to(file)
        }
        None => Ok(()),
    }
}

fn disk_error(doing: &'static str, source: io::Error) -> FetchError {
    FetchError::Disk {
        doing,
        source: Arc::new(source),
    }
}

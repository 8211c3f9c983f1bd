//! The intake: turns a closed file into a journal entry that says whether it is to be uploaded.
//!
//! The mount reports what happens to files; each report only enters the queue (`queue`). When a
//! file has been quiet for a moment, a worker scans it (`worker`, `scan`): is it to be backed up
//! (`name`, `kind`), is it complete (`completeness`), what is its fingerprint? The file is made
//! durable, name and all (`folder_sync`), and recorded as pending (`disposition`). Renames are
//! applied in their order (`rename`). What happened while no mount was running is found by
//! comparing the tree with the journal (`reconcile`).
//!
//! A file is recorded as pending only if its bytes are on the disk and were the same before and
//! after they were read.

use std::sync::Arc;

use heirloom_protocol::LibraryPath;

use crate::config::Accept;
use crate::journal::{FileId, Journal, JournalError, Tally};
use crate::library::Library;
use crate::spool::Spool;
use crate::uploader::Uploader;

// The order is that of the layers: a file names only files listed below it.
mod workers;
mod worker;
mod reconcile;
mod retry;
mod status;
mod rename;
mod context;
mod disposition;
mod scan;
mod incomplete_reason;
mod queue;
mod folder_sync;
mod source;
mod journal_writer;
mod downstream;
mod clock;
mod name;
mod completeness;
mod kind;
mod skip_reason;
mod writeback;
#[cfg(test)]
mod tests;

#[cfg(any(test, fuzzing))]
pub use completeness::fuzz as fuzz_image_files;
pub use kind::HEAD_BYTES;
pub use retry::{RetryError, RetryReport};
pub use status::{BackupState, FileStatus};
pub use workers::IntakeError;

use clock::SystemClock;
use context::IntakeContext;
use downstream::UploaderAndLibrary;
use queue::{Admission, NameEvent, PENDING_MAX};
use rename::changes_skip_reason;
use skip_reason::SkipReason;
use workers::Workers;

/// Handle of the intake. When the last clone is dropped its threads end at once, as in a crash;
/// [`Self::stop`] ends them in order.
#[derive(Clone, Debug)]
pub struct Intake {
    workers: Arc<Workers>,
}

/// Why a file of this name that begins with `head` would not be backed up under `accept`; `None` if
/// it would. The first [`HEAD_BYTES`] are enough of a head; an empty one is an empty file.
pub fn skip_reason(accept: Accept, path: &LibraryPath, head: &[u8]) -> Option<String> {
    let by_content = || {
        if head.is_empty() {
            Some(SkipReason::Empty)
        } else {
            kind::skip_reason_for_content(accept, path, head)
        }
    };
    name::skip_reason_for_name(path)
        .or_else(by_content)
        .map(|reason| reason.to_string())
}

/// Start and stop.
impl Intake {
    /// Starts the workers and the comparison of tree and journal (in the background).
    pub fn start(
        spool: Spool,
        journal: Arc<Journal>,
        library: Library,
        uploader: Uploader,
        accept: Accept,
    ) -> Result<Self, IntakeError> {
        Self::with_context(IntakeContext::new(
            Box::new(spool),
            journal,
            Box::new(UploaderAndLibrary { uploader, library }),
            Arc::new(SystemClock),
            accept,
            PENDING_MAX,
        ))
    }

    fn with_context(context: IntakeContext) -> Result<Self, IntakeError> {
        Ok(Self {
            workers: Arc::new(Workers::start(context)?),
        })
    }

    /// Scans what is closed, for a few seconds at most, then stops the workers. The rest is found
    /// by the next comparison. Blocks; to be called when the mount reports no more.
    pub fn stop(&self) {
        self.workers.stop();
    }
}

/// Reports of the mount, on its threads. Each only changes the queue, in memory; none touches disk
/// or network.
impl Intake {
    /// A handle that can write was opened (or created the file). From now on the file counts as
    /// pending. To be called before the file is marked as open (`spool::WriteStateMarker`);
    /// [`Self::closed_after_write`] after it was marked as closed.
    pub fn opened_for_write(&self, id: FileId, path: &LibraryPath) {
        self.context().queue.admit_opening(id, path);
        self.context().downstream.abandon(id);
    }

    /// That handle was released.
    pub fn closed_after_write(&self, id: FileId, path: &LibraryPath) {
        self.context()
            .queue
            .admit(|pending, now| pending.closed(id, path, now));
    }

    /// Content or times changed without a handle (truncate, utimens).
    pub fn changed(&self, id: FileId, path: &LibraryPath) {
        self.context()
            .queue
            .admit(|pending, now| pending.changed(id, path, now));
        self.context().downstream.abandon(id);
    }

    /// A file was renamed. `replaced` is the file that had the name `to` before, if there was one.
    pub fn file_renamed(
        &self,
        id: FileId,
        from: &LibraryPath,
        to: &LibraryPath,
        replaced: Option<FileId>,
    ) {
        let event = NameEvent::FileRenamed {
            id,
            from: from.clone(),
            to: to.clone(),
            replaced,
        };
        self.context().queue.push_event(event, |pending, now| {
            if let Some(replaced) = replaced {
                pending.remove(replaced);
            }
            pending.rename(id, to);
            if changes_skip_reason(from, to) {
                pending.changed(id, to, now)
            } else {
                Admission::Accepted
            }
        });
        if let Some(replaced) = replaced {
            self.context().downstream.abandon(replaced);
        }
    }

    /// A folder was renamed, with everything in it.
    pub fn folder_renamed(&self, from: &LibraryPath, to: &LibraryPath) {
        self.context().folder_sync.forget();
        let event = NameEvent::FolderRenamed {
            from: from.clone(),
            to: to.clone(),
        };
        self.context().queue.push_event(event, |pending, _| {
            pending.rename_folder(from, to);
            Admission::Accepted
        });
    }

    /// Two names were exchanged, with everything below them.
    pub fn exchanged(&self, one: &LibraryPath, other: &LibraryPath) {
        self.context().folder_sync.forget();
        let event = NameEvent::Exchanged {
            one: one.clone(),
            other: other.clone(),
        };
        self.context().queue.push_event(event, |pending, _| {
            pending.exchange(one, other);
            Admission::Accepted
        });
    }

    /// A file was removed.
    pub fn removed(&self, id: FileId, path: &LibraryPath) {
        let event = NameEvent::Removed {
            id,
            path: path.clone(),
        };
        self.context().queue.push_event(event, |pending, _| {
            pending.remove(id);
            Admission::Accepted
        });
        self.context().downstream.abandon(id);
    }
}

/// Queries and requests. These read the journal.
impl Intake {
    /// The state of one file, now.
    pub fn status(&self, id: FileId, path: &LibraryPath) -> FileStatus {
        status::file_status(self.context(), id, path)
    }

    /// Counts and sizes by state, with the files that wait for a scan counted as pending.
    pub fn tally(&self) -> Tally {
        status::tally(self.context())
    }

    /// Whether the comparison of tree and journal after start is done.
    pub fn is_reconciled(&self) -> bool {
        self.context().queue.is_reconciled()
    }

    /// Whether any changed file waits for a scan (or is open for writing), or any rename is not
    /// applied yet.
    pub fn is_busy(&self) -> bool {
        self.context().queue.is_busy()
    }

    /// Changes whenever `is_busy`, `is_reconciled` or a tally may have changed.
    pub fn subscribe(&self) -> tokio::sync::watch::Receiver<u64> {
        self.context().queue.subscribe()
    }

    /// Retries failed files: these, and those below these folders; all if there are no paths.
    /// Incomplete files count as complete from now on. Blocks on the disk.
    pub fn retry(&self, paths: &[LibraryPath]) -> Result<RetryReport, JournalError> {
        retry::retry(self.context(), paths)
    }

    fn context(&self) -> &IntakeContext {
        self.workers.context()
    }
}

//! The uploader's state: what other threads read, and may change, while the scheduler runs. One
//! lock, held for moments and never across a wait.

use std::collections::VecDeque;

use heirloom_protocol::LibraryPath;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::job_table::JobTable;
use super::limits::FAILURES_SHOWN_MAX;
use super::types::Connection;

/// The uploader's state behind its lock, with a signal that it changed.
#[derive(Debug)]
pub(super) struct SharedState {
    state: Mutex<UploaderState>,
    changes: watch::Sender<u64>,
}

/// What the uploader is doing, and what it did since it was started.
#[derive(Debug)]
pub(super) struct UploaderState {
    pub(super) connection: Connection,
    pub(super) jobs: JobTable,
    pub(super) saved: UnsentBytes,
    /// The latest failures, newest first, one for each file.
    failures: VecDeque<(LibraryPath, String)>,
}

/// Bytes of photos that did not have to be sent, by what made that possible.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UnsentBytes {
    /// The sync list had the image.
    pub(super) sync_list: u64,
    /// The server had the image from this user.
    pub(super) check: u64,
    /// The server had the image from another user, and accepted the proof.
    pub(super) instant_upload: u64,
}

impl SharedState {
    pub(super) fn new() -> Self {
        let state = UploaderState {
            connection: Connection::Starting,
            jobs: JobTable::default(),
            saved: UnsentBytes::default(),
            failures: VecDeque::new(),
        };
        Self {
            state: Mutex::new(state),
            changes: watch::Sender::new(0),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, UploaderState> {
        self.state.lock()
    }

    /// Wakes everything that watches.
    pub(super) fn notify_changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Sets the state of the connection; wakes watchers only if it changed.
    pub(super) fn set_connection(&self, connection: &Connection) {
        if std::mem::replace(&mut self.lock().connection, connection.clone()) != *connection {
            self.notify_changed();
        }
    }
}

impl UploaderState {
    /// The latest failures, newest first.
    pub(super) fn failures(&self) -> Vec<(LibraryPath, String)> {
        self.failures.iter().cloned().collect()
    }

    /// Records why a file failed, in place of what was recorded for it before.
    pub(super) fn add_failure(&mut self, path: &LibraryPath, why: String) {
        self.remove_failure(path);
        self.failures.push_front((path.clone(), why));
        self.failures.truncate(FAILURES_SHOWN_MAX);
    }

    /// Forgets the failure of a file that is backed up after all.
    pub(super) fn remove_failure(&mut self, path: &LibraryPath) {
        self.failures.retain(|(failed, _)| failed != path);
    }
}

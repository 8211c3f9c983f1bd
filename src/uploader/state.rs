//! The board: what anybody may look at or change while the line works. One lock, held for moments,
//! never across a wait.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use heirloom_protocol::LibraryPath;
use tokio::sync::watch;

use super::Connection;
use super::job_table::JobTable;

/// Failures that are remembered for people.
const FAILING_MAX: usize = 20;

/// What is known now, and a bell for those who wait for news.
#[derive(Debug)]
pub(super) struct SharedState {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) connection: Connection,
    pub(super) roster: JobTable,
    pub(super) saved: Saved,
    failing: VecDeque<(LibraryPath, String)>,
}

/// Photo bytes that did not have to be sent, because of each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Saved {
    pub(super) sync_list: u64,
    pub(super) check: u64,
    pub(super) instant_upload: u64,
}

impl SharedState {
    pub(super) fn new() -> Self {
        let state = State {
            connection: Connection::Starting,
            roster: JobTable::default(),
            saved: Saved::default(),
            failing: VecDeque::new(),
        };
        Self {
            state: Mutex::new(state),
            changes: watch::Sender::new(0),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings the bell.
    pub(super) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The connection is like this now. Rings the bell if that is news.
    pub(super) fn connect(&self, connection: &Connection) {
        if std::mem::replace(&mut self.lock().connection, connection.clone()) != *connection {
            self.changed();
        }
    }
}

impl State {
    /// The last failures, newest first.
    pub(super) fn failing(&self) -> Vec<(LibraryPath, String)> {
        self.failing.iter().cloned().collect()
    }

    /// A file failed; one line for each file.
    pub(super) fn note_failure(&mut self, path: &LibraryPath, why: String) {
        self.forget_failure(path);
        self.failing.push_front((path.clone(), why));
        self.failing.truncate(FAILING_MAX);
    }

    /// A file came through after all.
    pub(super) fn forget_failure(&mut self, path: &LibraryPath) {
        self.failing.retain(|(failing, _)| failing != path);
    }
}

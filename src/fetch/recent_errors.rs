//! The last error of each file that could not be fetched, for `status`.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::journal::FileId;

/// Files whose error is remembered. `status` is not more useful with more of them.
const ERRORS_MAX: usize = 100;

/// The last error of each file that could not be fetched.
#[derive(Debug, Default)]
pub(super) struct RecentErrors {
    messages: Mutex<BTreeMap<FileId, String>>,
}

impl RecentErrors {
    /// Remembers an error, unless there are too many already.
    pub(super) fn record(&self, id: FileId, message: String) {
        let mut messages = self.messages.lock();
        if messages.len() < ERRORS_MAX || messages.contains_key(&id) {
            messages.insert(id, message);
        }
    }

    /// Forgets a file's error: the file was fetched.
    pub(super) fn clear(&self, id: FileId) {
        self.messages.lock().remove(&id);
    }

    /// A file's last error, if its last fetch failed.
    pub(super) fn of(&self, id: FileId) -> Option<String> {
        self.messages.lock().get(&id).cloned()
    }

    /// All files with an error.
    pub(super) fn all(&self) -> Vec<(FileId, String)> {
        let messages = self.messages.lock();
        messages
            .iter()
            .map(|(id, message)| (*id, message.clone()))
            .collect()
    }
}

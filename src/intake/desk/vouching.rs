//! *Vouching*: changing a file's mark for its owner, while nobody writes it.

use heirloom_protocol::LibraryPath;

use super::Desk;
use crate::journal::FileId;

impl Desk {
    /// Changes a file's mark by `mark`, and notes that it is to be looked at; nothing if somebody
    /// has it open for writing. Who opens it meanwhile waits for that single system call, so that
    /// the mark of an open file is never taken for ours.
    pub(in crate::intake) fn vouch<T>(
        &self,
        id: FileId,
        path: &LibraryPath,
        mark: impl FnOnce() -> T,
    ) -> Option<T> {
        let mut state = self.state();
        if state.notes.is_open(id) {
            return None;
        }
        state.sealing.push(id);
        drop(state);
        let outcome = mark();
        let mut state = self.state();
        state.sealing.retain(|sealing| *sealing != id);
        self.write_note(&mut state, |notes, now| notes.vouch(id, path, now));
        drop(state);
        self.sealed.notify_all();
        self.ring();
        Some(outcome)
    }
}

//! From a closed file to a promise in the journal (M1, M2).

use std::sync::Arc;

use heirloom_protocol::{Fingerprint, LibraryPath};

use crate::config::Accept;
use crate::journal::{FileId, Journal, Tally};
use crate::library::Library;
use crate::spool::Spool;
use crate::uploader::{Progress, Uploader};

#[derive(Clone, Debug)]
pub struct Intake {}

/// What a file's state is, for its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStatus {
    pub state: StateWord,
    pub fingerprint: Option<Fingerprint>,
    pub progress: Option<Progress>,
    /// Why it is not backed up, where there is more to say than the state.
    pub why: Option<String>,
}
/// The words of `status` and of `user.heirloom.state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateWord {
    BackedUp,
    Pending,
    Uploading,
    Local,
    Failed,
    Placeholder,
}

/// Told by the mount, on its threads: each call only takes a note, in memory; none touches disk or network.
impl Intake {
    /// Starts the workers and the comparison of tree and journal (in the background).
    pub fn start(spool: Spool, journal: Arc<Journal>, library: Library, uploader: Uploader, accept: Accept) -> Self {
        todo!()
    }
    /// A handle that can write was opened (or made the file). From now on the file counts as pending.
    pub fn writing(&self, id: FileId, path: &LibraryPath) {
        todo!()
    }
    /// That handle was released.
    pub fn written(&self, id: FileId, path: &LibraryPath) {
        todo!()
    }
    /// Content or times changed without a handle (truncate, utimens).
    pub fn touched(&self, id: FileId, path: &LibraryPath) {
        todo!()
    }
    /// A file has another name. If it replaced one at `to`, that one's id is `replaced`.
    pub fn renamed_file(&self, id: FileId, from: &LibraryPath, to: &LibraryPath, replaced: Option<FileId>) {
        todo!()
    }
    /// A folder, with all that is in it, has another name.
    pub fn renamed_folder(&self, from: &LibraryPath, to: &LibraryPath) {
        todo!()
    }
    pub fn removed(&self, id: FileId, path: &LibraryPath) {
        todo!()
    }

    /// The state of one file, now. Reads the journal.
    pub fn status(&self, id: FileId, path: &LibraryPath) -> FileStatus {
        todo!()
    }
    /// Counts and bytes by state, with the files not looked at yet counted as pending.
    pub fn tally(&self) -> Tally {
        todo!()
    }
    /// Whether the comparison of tree and journal after start is done.
    pub fn compared(&self) -> bool {
        todo!()
    }
    /// Whether any noted file has not been looked at yet (or is open for writing).
    pub fn busy(&self) -> bool {
        todo!()
    }
    /// Changes whenever `busy`, `compared` or a tally may have changed: for `wait`.
    pub fn watch(&self) -> tokio::sync::watch::Receiver<u64> {
        todo!()
    }
    /// Takes in what is quiet, then stops the workers. What is left is found by the next comparison.
    pub fn stop(&self) {
        todo!()
    }
}

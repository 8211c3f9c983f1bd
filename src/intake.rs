//! From a closed file to a promise in the journal (M1, M2).
//!
//! The mount says what happens to files; each call only takes a note. When a file is quiet
//! (`notes`), a worker looks at it (`look`): is it to be kept (`name`, `kind`), what is its
//! fingerprint? It is made durable, name and all (`folders`), and promised (`taking`). Names are
//! followed in their order (`follow`). What happened while nobody watched is found by comparing the
//! tree with the journal (`compare`).
//!
//! A promise is made only of bytes that are on the disk and were the same before and after they
//! were read.

use std::io;
use std::sync::Arc;

use heirloom_protocol::{Fingerprint, LibraryPath};

use crate::config::Accept;
use crate::journal::{FileId, Journal, JournalError, Tally};
use crate::library::Library;
use crate::spool::Spool;
use crate::uploader::{Progress, Uploader};

mod compare;
mod desk;
mod ending;
mod folders;
mod follow;
mod inside;
mod kind;
mod lack;
mod look;
mod name;
mod neighbours;
mod notes;
mod retrying;
mod staff;
mod standing;
mod taking;
#[cfg(test)]
mod tests;
mod weighing;
mod writeback;

#[cfg(any(test, fuzzing))]
pub use ending::trial as pictures_trial;
pub use kind::HEAD_BYTES;
pub use retrying::{RetryError, RetryReport};

use desk::Telling;
use follow::judged_differently;
use inside::Inside;
use neighbours::Below;
use notes::{NOTES_MAX, Noting};
use staff::Staff;

/// The room, as its users hold it. When the last clone is dropped its threads end at once, as in a
/// crash; `stop` ends them in order.
#[derive(Clone, Debug)]
pub struct Intake {
    staff: Arc<Staff>,
}

/// What a file's state is, for its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStatus {
    /// In one word.
    pub state: BackupState,
    /// Its content, where that is known.
    pub fingerprint: Option<Fingerprint>,
    /// How far its upload is, while it is uploading.
    pub progress: Option<Progress>,
    /// Why it is not backed up, where there is more to say than the state.
    pub why: Option<String>,
}

/// The words of `status` and of `user.heirloom.state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupState {
    /// The server has it.
    BackedUp,
    /// To be backed up.
    Pending,
    /// Being sent now.
    Uploading,
    /// Stays here, by its kind or name.
    Local,
    /// Cannot be backed up as it is.
    Failed,
    /// Its bytes are only on the server.
    Placeholder,
}

/// The room could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The system gave no thread.
    #[error("start the intake's thread {name}")]
    Thread {
        /// Which.
        name: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Starting and stopping. Why a file of this name that begins with `head` would be left out under
/// `accept`; nothing if it is backed up. The first [`HEAD_BYTES`] are enough of a head; an empty
/// one is an empty file.
pub fn skip_reason(accept: Accept, path: &LibraryPath, head: &[u8]) -> Option<String> {
    let by_content = || {
        if head.is_empty() {
            Some(kind::Left::Empty)
        } else {
            kind::left_by_kind(accept, path, head)
        }
    };
    name::left_alone(path)
        .or_else(by_content)
        .map(|left| left.to_string())
}

impl Intake {
    /// Starts the workers and the comparison of tree and journal (in the background).
    pub fn start(
        spool: Spool,
        journal: Arc<Journal>,
        library: Library,
        uploader: Uploader,
        accept: Accept,
    ) -> Result<Self, IntakeError> {
        let below = Box::new(Below { uploader, library });
        let marker = spool.marker().clone();
        Self::open(Inside::new(
            spool, marker, journal, below, accept, NOTES_MAX,
        ))
    }

    fn open(inside: Inside) -> Result<Self, IntakeError> {
        Ok(Self {
            staff: Arc::new(Staff::hire(inside)?),
        })
    }

    /// Takes in what is closed, for a few seconds at most, then stops the workers. What is left is
    /// found by the next comparison. Blocks; to be called when the mount tells no more.
    pub fn stop(&self) {
        self.staff.dismiss();
    }
}

/// Told by the mount, on its threads: each call only takes a note, in memory; none touches disk or
/// network.
impl Intake {
    /// A handle that can write was opened (or made the file). From now on the file counts as
    /// pending. To be told before the file is marked as open (`spool::WriteStateMarker`), and `written` after
    /// it was marked as closed.
    pub fn opened_for_write(&self, id: FileId, path: &LibraryPath) {
        self.inside().desk.note_opening(id, path);
        self.inside().neighbours.abandon(id);
    }

    /// That handle was released.
    pub fn closed_after_write(&self, id: FileId, path: &LibraryPath) {
        self.inside()
            .desk
            .note(|notes, now| notes.close(id, path, now));
    }

    /// Content or times changed without a handle (truncate, utimens).
    pub fn changed(&self, id: FileId, path: &LibraryPath) {
        self.inside()
            .desk
            .note(|notes, now| notes.touch(id, path, now));
        self.inside().neighbours.abandon(id);
    }

    /// A file has another name. If it replaced one at `to`, that one's id is `replaced`.
    pub fn file_renamed(
        &self,
        id: FileId,
        from: &LibraryPath,
        to: &LibraryPath,
        replaced: Option<FileId>,
    ) {
        let telling = Telling::RenamedFile {
            id,
            from: from.clone(),
            to: to.clone(),
            replaced,
        };
        self.inside().desk.tell(telling, |notes, now| {
            if let Some(replaced) = replaced {
                notes.remove(replaced);
            }
            notes.rename(id, to);
            if judged_differently(from, to) {
                notes.touch(id, to, now)
            } else {
                Noting::Noted
            }
        });
        if let Some(replaced) = replaced {
            self.inside().neighbours.abandon(replaced);
        }
    }

    /// A folder, with all that is in it, has another name.
    pub fn folder_renamed(&self, from: &LibraryPath, to: &LibraryPath) {
        self.inside().folders.forget();
        let telling = Telling::RenamedFolder {
            from: from.clone(),
            to: to.clone(),
        };
        self.inside().desk.tell(telling, |notes, _| {
            notes.rename_folder(from, to);
            Noting::Noted
        });
    }

    /// Two names have changed places, with all that is below them.
    pub fn exchanged(&self, one: &LibraryPath, other: &LibraryPath) {
        self.inside().folders.forget();
        let telling = Telling::Exchanged {
            one: one.clone(),
            other: other.clone(),
        };
        self.inside().desk.tell(telling, |notes, _| {
            notes.exchange(one, other);
            Noting::Noted
        });
    }

    /// A file was removed.
    pub fn removed(&self, id: FileId, path: &LibraryPath) {
        self.inside().desk.tell(
            Telling::Removed {
                id,
                path: path.clone(),
            },
            |notes, _| {
                notes.remove(id);
                Noting::Noted
            },
        );
        self.inside().neighbours.abandon(id);
    }
}

/// Asked by whoever wants to know. These read the journal.
impl Intake {
    /// The state of one file, now.
    pub fn status(&self, id: FileId, path: &LibraryPath) -> FileStatus {
        self.inside().status(id, path)
    }

    /// Counts and bytes by state, with the files not looked at yet counted as pending.
    pub fn tally(&self) -> Tally {
        self.inside().tally()
    }

    /// Whether the comparison of tree and journal after start is done.
    pub fn is_reconciled(&self) -> bool {
        self.inside().desk.compared()
    }

    /// Whether any noted file has not been looked at yet (or is open for writing), or any name not
    /// been followed.
    pub fn is_busy(&self) -> bool {
        self.inside().desk.is_busy()
    }

    /// Changes whenever `busy`, `compared` or a tally may have changed: for `wait`.
    pub fn subscribe(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inside().desk.watch()
    }

    /// Takes failed files in once more: these, and those below these folders; all if there is none.
    /// What is torn counts as whole from now on. Blocks on the disk.
    pub fn retry(&self, paths: &[LibraryPath]) -> Result<RetryReport, JournalError> {
        self.inside().retry(paths)
    }

    fn inside(&self) -> &Inside {
        self.staff.inside()
    }
}

//! *Standing*: the state of one file and the count of all, for their owner. Honest at any moment:
//! what was noted and not looked at counts as pending, whatever the journal still says of it.

use std::collections::HashSet;

use heirloom_protocol::LibraryPath;

use super::desk::{State, Telling};
use super::inside::Inside;
use super::kind::Left;
use super::name::left_alone;
use super::{BackupState, FileStatus};
use crate::journal::{Amount, FileId, FileRecord, FileState, JournalError, Tally};
use crate::spool::SpoolPath;

/// While the uploader settles files, the journal's count may move under us; after so many tries the
/// last count is good enough.
const COUNTS_MAX: usize = 4;

impl FileStatus {
    fn plain(state: BackupState) -> Self {
        Self {
            state,
            fingerprint: None,
            progress: None,
            why: None,
        }
    }

    fn because(state: BackupState, why: impl Into<String>) -> Self {
        Self {
            why: Some(why.into()),
            ..Self::plain(state)
        }
    }
}

impl Inside {
    pub(super) fn status(&self, id: FileId, path: &LibraryPath) -> FileStatus {
        if let Some(left) = left_alone(path)
            && !self.is_placeholder(id)
        {
            return FileStatus::because(BackupState::Local, left.to_string());
        }
        if self.desk.state().notes.awaits(id) {
            return FileStatus::plain(BackupState::Pending);
        }
        match self.known(id) {
            Ok(Some(record)) => self.status_of(id, record),
            Ok(None) => FileStatus::plain(BackupState::Pending),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the state of a file could not be read"
                );
                FileStatus::because(BackupState::Pending, "the journal cannot be read")
            }
        }
    }

    /// Under whatever name: its bytes are not here.
    fn is_placeholder(&self, id: FileId) -> bool {
        matches!(self.known(id), Ok(Some(record)) if matches!(record.state, FileState::Placeholder { .. }))
    }

    fn status_of(&self, id: FileId, record: FileRecord) -> FileStatus {
        match record.state {
            FileState::Pending { fingerprint } => {
                let progress = self.neighbours.progress(id);
                let state = if progress.is_some() {
                    BackupState::Uploading
                } else {
                    BackupState::Pending
                };
                FileStatus {
                    fingerprint: Some(fingerprint),
                    progress,
                    ..FileStatus::plain(state)
                }
            }
            FileState::BackedUp { fingerprint } => FileStatus {
                fingerprint: Some(fingerprint),
                ..FileStatus::plain(BackupState::BackedUp)
            },
            FileState::Placeholder { fingerprint } => FileStatus {
                fingerprint: Some(fingerprint),
                ..FileStatus::plain(BackupState::Placeholder)
            },
            // It has a photo's name since, and is about to be looked at again.
            FileState::Local { why } if Left::said(&why).is_some_and(Left::is_by_name) => {
                FileStatus::plain(BackupState::Pending)
            }
            FileState::Local { why } => FileStatus::because(BackupState::Local, why),
            FileState::Failed { fingerprint, why } => FileStatus {
                fingerprint,
                ..FileStatus::because(BackupState::Failed, why)
            },
        }
    }

    pub(super) fn tally(&self) -> Tally {
        // While we hold the ledger, nobody but the uploader changes a file's state.
        let mut ledger = self.ledger();
        // A note may have the name from before a change of names that was not followed yet.
        if let Err(error) = self.catch_up(&mut ledger) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "names could not be followed"
            );
        }
        let (awaiting, gone) = unsettled(&self.desk.state());
        let mut counted = Tally::default();
        for _ in 0..COUNTS_MAX {
            let journal = self.journal.tally();
            match self.corrected(journal, &awaiting, &gone) {
                Ok(tally) => counted = tally,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "noted files could not be counted"
                    );
                    return journal;
                }
            }
            if self.journal.tally() == journal {
                break;
            }
        }
        counted
    }

    fn corrected(
        &self,
        mut tally: Tally,
        awaiting: &[(FileId, LibraryPath)],
        gone: &HashSet<FileId>,
    ) -> Result<Tally, JournalError> {
        let ids: HashSet<FileId> = awaiting
            .iter()
            .map(|(id, _)| *id)
            .chain(gone.iter().copied())
            .collect();
        for id in ids {
            if let Some(record) = self.known(id)? {
                let amount = of_state(&mut tally, &record.state);
                amount.files = amount.files.saturating_sub(1);
                amount.bytes = amount.bytes.saturating_sub(record.stamp.size);
            }
        }
        for (id, path) in awaiting {
            // One that is gone meanwhile, or was renamed this moment, is told of in a moment.
            let Ok(facts) = self.spool.metadata(&SpoolPath::Entry(path.clone())) else {
                continue;
            };
            if facts.id == *id {
                let amount = if left_alone(path).is_some() {
                    &mut tally.local
                } else {
                    &mut tally.pending
                };
                amount.files += 1;
                amount.bytes = amount.bytes.saturating_add(facts.size);
            }
        }
        Ok(tally)
    }
}

/// The files that wait to be looked at, and those that are gone while the journal does not know it
/// yet.
fn unsettled(state: &State) -> (Vec<(FileId, LibraryPath)>, HashSet<FileId>) {
    let awaiting = state
        .notes
        .awaiting()
        .map(|(id, path)| (id, path.clone()))
        .collect();
    let gone = state.tellings.iter().filter_map(|telling| match telling {
        Telling::Removed { id, .. } => Some(*id),
        Telling::RenamedFile { replaced, .. } => *replaced,
        Telling::RenamedFolder { .. } | Telling::Exchanged { .. } | Telling::Found { .. } => None,
    });
    (awaiting, gone.collect())
}

fn of_state<'a>(tally: &'a mut Tally, state: &FileState) -> &'a mut Amount {
    match state {
        FileState::Pending { .. } => &mut tally.pending,
        FileState::BackedUp { .. } => &mut tally.backed_up,
        FileState::Placeholder { .. } => &mut tally.placeholder,
        FileState::Local { .. } => &mut tally.local,
        FileState::Failed { .. } => &mut tally.failed,
    }
}

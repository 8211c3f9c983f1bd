//! *Weighing*: what a look at a file means for the journal and for the file's note.

use std::io;
use std::time::{Duration, Instant};

use heirloom_protocol::{Fingerprint, LibraryPath};

use super::inside::Inside;
use super::look::Found;
use super::notes::{Glance, QUIET};
use crate::journal::{FileId, FileRecord, FileState, JournalError, NameChange, Stamp};

/// After a file could not be read, it is tried again so much later, then twice that, and so on.
const READ_RETRY_FIRST: Duration = Duration::from_secs(1);
/// But at least so often: somebody may have plugged the disk in again.
const READ_RETRY_MAX: Duration = Duration::from_mins(5);

/// What becomes of a note after the look.
#[derive(Debug)]
pub(super) enum Afterwards {
    Settled,
    /// Due again at this time.
    Again(Instant),
    /// The journal says that it failed; due again at this time.
    Failing(Instant),
    /// It was not there; due again at this time.
    Missing(Instant),
    /// It is not there.
    Lost,
}

/// What a batch changes in the journal, and what becomes of its notes.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) records: Vec<(FileId, FileRecord)>,
    pub(super) gone: Vec<FileId>,
    /// Names whose photos have another time. Of what is only on the server nothing is sent again,
    /// which would tell it.
    pub(super) retimed: Vec<NameChange>,
    pub(super) notes: Vec<(Glance, Afterwards)>,
}

impl Entries {
    /// What will be promised when these are written.
    pub(super) fn promises(&self) -> Vec<(FileId, Fingerprint, u64)> {
        self.records.iter().filter_map(promise).collect()
    }
}

impl Inside {
    /// Decides what one look means.
    pub(super) fn weigh(
        &self,
        entries: &mut Entries,
        glance: Glance,
        found: Found,
    ) -> Result<(), JournalError> {
        let (now, id) = (Instant::now(), glance.id);
        // Changed or removed since: another look is due, or none.
        let Some((path, was_renamed)) = self.where_it_is(&glance) else {
            return Ok(());
        };
        let known = self.known(id)?;
        let afterwards = match &found {
            Found::Interrupted => Afterwards::Again(now),
            Found::Changed => Afterwards::Again(now + QUIET),
            // It is looked for under its new name.
            Found::Gone if was_renamed => Afterwards::Again(now),
            // A rename may have been done and not told yet. What is not there the next time either,
            // is gone.
            Found::Gone if !glance.was_missing => Afterwards::Missing(now + QUIET),
            Found::Gone => Afterwards::Lost,
            Found::Unreadable { error, .. } if is_transient(error) => {
                Afterwards::Failing(now + read_retry(glance.failures))
            }
            Found::Unreadable { .. }
            | Found::Left { .. }
            | Found::Placeholder { .. }
            | Found::Whole { .. }
            | Found::Torn { .. }
            | Found::NotDurable { .. } => Afterwards::Settled,
        };
        if let Afterwards::Lost = afterwards {
            // Unless the journal knows it under another name: then it is there.
            entries
                .gone
                .extend(known.as_ref().filter(|it| it.path == path).map(|_| id));
        }
        if let Some((stamp, state)) = state_of(id, found) {
            let record = FileRecord { path, stamp, state };
            if !says_as_much(known.as_ref(), &record) {
                entries
                    .retimed
                    .extend(known.and_then(|known| retimed(&known, &record)));
                entries.records.push((id, record));
            }
        }
        entries.notes.push((glance, afterwards));
        Ok(())
    }

    fn where_it_is(&self, glance: &Glance) -> Option<(LibraryPath, bool)> {
        let state = self.desk.state();
        state
            .notes
            .name_now(glance)
            .map(|path| (path.clone(), state.notes.was_renamed(glance)))
    }
}

/// What a record promises, if it does.
fn promise((id, record): &(FileId, FileRecord)) -> Option<(FileId, Fingerprint, u64)> {
    match record.state {
        FileState::Pending { fingerprint } => Some((*id, fingerprint, record.stamp.size)),
        FileState::BackedUp { .. }
        | FileState::Placeholder { .. }
        | FileState::Local { .. }
        | FileState::Failed { .. } => None,
    }
}

/// What the journal is to say of a file after a look, if the look came to an end.
fn state_of(id: FileId, found: Found) -> Option<(Stamp, FileState)> {
    Some(match found {
        Found::Interrupted | Found::Changed | Found::Gone => return None,
        Found::Left { stamp, left } => (
            stamp,
            FileState::Local {
                why: left.to_string(),
            },
        ),
        Found::Placeholder { stamp, fingerprint } => {
            (stamp, FileState::Placeholder { fingerprint })
        }
        Found::Whole { stamp, fingerprint } => (stamp, FileState::Pending { fingerprint }),
        Found::Torn { stamp, lack } => {
            tracing::warn!(file = id.0, %lack, "not backed up");
            (
                stamp,
                FileState::Failed {
                    fingerprint: None,
                    why: lack.to_string(),
                },
            )
        }
        Found::Unreadable { stamp, error } => {
            tracing::warn!(file = id.0, %error, "cannot be read");
            (
                stamp,
                FileState::Failed {
                    fingerprint: None,
                    why: format!("it cannot be read: {error}"),
                },
            )
        }
        Found::NotDurable {
            stamp,
            fingerprint,
            error,
        } => {
            tracing::warn!(file = id.0, %error, "could not be made durable");
            let why = format!("this disk failed to store it ({error}): copy it here again");
            (
                stamp,
                FileState::Failed {
                    fingerprint: Some(fingerprint),
                    why,
                },
            )
        }
    })
}

/// Whether the journal need not be told: a photo that was only opened, or written again with the
/// same bytes and time.
fn says_as_much(known: Option<&FileRecord>, found: &FileRecord) -> bool {
    let Some(known) = known else { return false };
    let same_state = match (&known.state, &found.state) {
        (FileState::BackedUp { fingerprint: old }, FileState::Pending { fingerprint }) => {
            old == fingerprint
        }
        (old, new) => old == new,
    };
    same_state && known.path == found.path && known.stamp == found.stamp
}

/// What the library has to hear of a placeholder that its owner gave another time.
fn retimed(known: &FileRecord, found: &FileRecord) -> Option<NameChange> {
    let fingerprint = match (&known.state, &found.state) {
        (
            FileState::Placeholder { fingerprint: old } | FileState::BackedUp { fingerprint: old },
            FileState::Placeholder { fingerprint },
        ) if old == fingerprint => *fingerprint,
        _ => return None,
    };
    let mtime_ns = found.stamp.mtime_ns;
    let is_news = known.path == found.path && known.stamp.mtime_ns != mtime_ns;
    is_news.then(|| NameChange::Put {
        path: found.path.clone(),
        fingerprint,
        mtime_ns,
    })
}

fn read_retry(failures: u32) -> Duration {
    READ_RETRY_FIRST
        .saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX))
        .min(READ_RETRY_MAX)
}

/// Whether reading may go better later without anybody changing the file. Rights and kinds stay as
/// they are until then.
fn is_transient(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

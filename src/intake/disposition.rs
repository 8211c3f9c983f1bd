//! What the result of a scan means: the journal update and what happens to the queue entry.
//!
//! Pure functions of what was observed; nothing here reads a disk, a journal or a clock.

use std::io;
use std::time::{Duration, Instant};

use heirloom_protocol::Fingerprint;

use super::queue::{CurrentName, DueFile, NextStep, QUIET};
use super::scan::ScanOutcome;
use crate::journal::{FileId, FileRecord, FileState, NameChange, Stamp};

/// First delay before a file that could not be read is tried again; doubled at each failure.
const READ_RETRY_FIRST: Duration = Duration::from_secs(1);

/// Longest delay before it is tried again: somebody may have plugged the disk in.
const READ_RETRY_MAX: Duration = Duration::from_mins(5);

/// Changes to the journal that a batch of scans leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct JournalUpdate {
    /// Records to replace.
    pub(super) records: Vec<(FileId, FileRecord)>,
    /// Files that no longer exist.
    pub(super) gone: Vec<FileId>,
    /// Library entries whose modification time changed. Nothing of a placeholder is uploaded again,
    /// which would carry the new time.
    pub(super) retimed: Vec<NameChange>,
}

impl JournalUpdate {
    /// The files that are pending once this is written, with fingerprint and size.
    pub(super) fn pending(&self) -> Vec<(FileId, Fingerprint, u64)> {
        self.records.iter().filter_map(pending_file).collect()
    }
}

/// Decides what one scan means for the journal (added to `update`) and for the queue entry.
///
/// `name` is the file's name at the time of the decision; `known` is its record in the journal.
pub(super) fn decide(
    update: &mut JournalUpdate,
    due: &DueFile,
    outcome: ScanOutcome,
    name: CurrentName,
    known: Option<FileRecord>,
    now: Instant,
) -> NextStep {
    let (id, path) = (due.id, name.path);
    let next = match &outcome {
        ScanOutcome::Interrupted => NextStep::Retry(now),
        ScanOutcome::Changed => NextStep::Retry(now + QUIET),
        // Looked for again under its new name.
        ScanOutcome::NotFound if name.was_renamed => NextStep::Retry(now),
        // A rename may be done and not reported yet. A file missing twice is gone.
        ScanOutcome::NotFound if !due.was_missing => NextStep::RetryMissing(now + QUIET),
        ScanOutcome::NotFound => NextStep::Lost,
        ScanOutcome::Unreadable { error, .. } if is_transient(error) => {
            NextStep::RetryFailed(now + read_retry_delay(due.failures))
        }
        ScanOutcome::Unreadable { .. }
        | ScanOutcome::Skipped { .. }
        | ScanOutcome::Placeholder { .. }
        | ScanOutcome::Complete { .. }
        | ScanOutcome::Incomplete { .. }
        | ScanOutcome::NotDurable { .. } => NextStep::Done,
    };
    if next == NextStep::Lost {
        // Unless the journal knows it under another name: then it exists there.
        update
            .gone
            .extend(known.as_ref().filter(|it| it.path == path).map(|_| id));
    }
    if let Some((stamp, state)) = state_after(id, outcome) {
        let record = FileRecord { path, stamp, state };
        if !is_unchanged(known.as_ref(), &record) {
            update
                .retimed
                .extend(known.and_then(|known| retimed(&known, &record)));
            update.records.push((id, record));
        }
    }
    next
}

/// Id, fingerprint and size of a pending file's record.
fn pending_file((id, record): &(FileId, FileRecord)) -> Option<(FileId, Fingerprint, u64)> {
    match record.state {
        FileState::Pending { fingerprint } => Some((*id, fingerprint, record.stamp.size)),
        FileState::BackedUp { .. }
        | FileState::Placeholder { .. }
        | FileState::Local { .. }
        | FileState::Failed { .. } => None,
    }
}

/// The stamp and state to record after a scan; `None` if it did not come to a result.
fn state_after(id: FileId, outcome: ScanOutcome) -> Option<(Stamp, FileState)> {
    Some(match outcome {
        ScanOutcome::Interrupted | ScanOutcome::Changed | ScanOutcome::NotFound => return None,
        ScanOutcome::Skipped { stamp, reason } => {
            let why = reason.to_string();
            (stamp, FileState::Local { why })
        }
        ScanOutcome::Placeholder { stamp, fingerprint } => {
            (stamp, FileState::Placeholder { fingerprint })
        }
        ScanOutcome::Complete { stamp, fingerprint } => (stamp, FileState::Pending { fingerprint }),
        ScanOutcome::Incomplete { stamp, reason } => {
            tracing::warn!(file = id.0, %reason, "file is not backed up");
            (stamp, failed(None, reason.to_string()))
        }
        ScanOutcome::Unreadable { stamp, error } => {
            tracing::warn!(file = id.0, %error, "cannot read file");
            (stamp, failed(None, format!("file cannot be read: {error}")))
        }
        ScanOutcome::NotDurable {
            stamp,
            fingerprint,
            error,
        } => {
            tracing::warn!(file = id.0, %error, "cannot make file durable");
            let why = format!("this disk failed to store it ({error}): copy it here again");
            (stamp, failed(Some(fingerprint), why))
        }
    })
}

fn failed(fingerprint: Option<Fingerprint>, why: String) -> FileState {
    FileState::Failed { fingerprint, why }
}

/// Whether the journal already says this: a photo was only opened, or written again with the same
/// bytes and time.
fn is_unchanged(known: Option<&FileRecord>, found: &FileRecord) -> bool {
    let Some(known) = known else { return false };
    let same_state = match (&known.state, &found.state) {
        (FileState::BackedUp { fingerprint: old }, FileState::Pending { fingerprint }) => {
            old == fingerprint
        }
        (old, new) => old == new,
    };
    same_state && known.path == found.path && known.stamp == found.stamp
}

/// The change that tells the library a placeholder's new modification time.
fn retimed(known: &FileRecord, found: &FileRecord) -> Option<NameChange> {
    let fingerprint = match (&known.state, &found.state) {
        (
            FileState::Placeholder { fingerprint: old } | FileState::BackedUp { fingerprint: old },
            FileState::Placeholder { fingerprint },
        ) if old == fingerprint => *fingerprint,
        _ => return None,
    };
    let mtime_ns = found.stamp.mtime_ns;
    let is_new = known.path == found.path && known.stamp.mtime_ns != mtime_ns;
    is_new.then(|| NameChange::Put {
        path: found.path.clone(),
        fingerprint,
        mtime_ns,
    })
}

fn read_retry_delay(failures: u32) -> Duration {
    READ_RETRY_FIRST
        .saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX))
        .min(READ_RETRY_MAX)
}

/// Whether reading may succeed later without a change to the file. Permissions and file types do
/// not change by themselves.
fn is_transient(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

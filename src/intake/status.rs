//! The state of one file and the counts of all, for their owner.
//!
//! They are right at any moment: a file that waits for a scan counts as pending, whatever the
//! journal still says of it.

use std::collections::HashSet;

use heirloom_protocol::{Fingerprint, LibraryPath};

use super::context::IntakeContext;
use super::name::skip_reason_for_name;
use super::queue::{NameEvent, QueueState};
use super::rename::Renamer;
use super::skip_reason::SkipReason;
use crate::journal::{Amount, FileId, FileRecord, FileState, JournalError, Tally};
use crate::uploader::Progress;

/// The journal's counts may change while they are corrected, because the uploader finishes files.
/// After this many tries the last result is good enough.
const COUNT_TRIES_MAX: usize = 4;

/// Backup state of a file, for its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStatus {
    /// The state in one word.
    pub state: BackupState,
    /// Fingerprint of its content, if known.
    pub fingerprint: Option<Fingerprint>,
    /// Progress of its upload, while it is uploading.
    pub progress: Option<Progress>,
    /// Why it is not backed up, if there is more to say than the state.
    pub why: Option<String>,
}

/// Backup state of a file in one word, as in `heirloom status` and `user.heirloom.state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupState {
    /// The server has it.
    BackedUp,
    /// To be backed up.
    Pending,
    /// Being uploaded now.
    Uploading,
    /// Not to be backed up, for its kind or name.
    Local,
    /// Cannot be backed up as it is.
    Failed,
    /// Its bytes are only on the server.
    Placeholder,
}

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

/// The state of one file, now.
pub(super) fn file_status(context: &IntakeContext, id: FileId, path: &LibraryPath) -> FileStatus {
    if let Some(reason) = skip_reason_for_name(path)
        && !is_placeholder(context, id)
    {
        return FileStatus::because(BackupState::Local, reason.to_string());
    }
    if context.queue.state().pending.is_unscanned(id) {
        return FileStatus::plain(BackupState::Pending);
    }
    match context.journal.file(id) {
        Ok(Some(record)) => status_of_record(context, id, record),
        Ok(None) => FileStatus::plain(BackupState::Pending),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot read the state of a file"
            );
            FileStatus::because(BackupState::Pending, "the journal cannot be read")
        }
    }
}

/// Whether the file is a placeholder, under whatever name.
fn is_placeholder(context: &IntakeContext, id: FileId) -> bool {
    matches!(
        context.journal.file(id),
        Ok(Some(record)) if matches!(record.state, FileState::Placeholder { .. })
    )
}

fn status_of_record(context: &IntakeContext, id: FileId, record: FileRecord) -> FileStatus {
    match record.state {
        FileState::Pending { fingerprint } => {
            let progress = context.downstream.progress(id);
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
        // It has a photo's name since, and is about to be scanned again.
        FileState::Local { why }
            if SkipReason::from_text(&why).is_some_and(SkipReason::is_by_name) =>
        {
            FileStatus::plain(BackupState::Pending)
        }
        FileState::Local { why } => FileStatus::because(BackupState::Local, why),
        FileState::Failed { fingerprint, why } => FileStatus {
            fingerprint,
            ..FileStatus::because(BackupState::Failed, why)
        },
    }
}

/// Counts and sizes of all files by state.
pub(super) fn tally(context: &IntakeContext) -> Tally {
    // While we hold the journal's lock, only the uploader changes a file's state.
    let mut guard = context.lock_journal();
    // A queue entry may have the name from before a rename that was not applied yet.
    if let Err(error) = Renamer::new(context).catch_up(&mut guard) {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "cannot apply renames to the journal"
        );
    }
    let (unscanned, gone) = not_in_journal(&context.queue.state());
    let mut corrected = Tally::default();
    for _ in 0..COUNT_TRIES_MAX {
        let recorded = context.journal.tally();
        match correct(context, recorded, &unscanned, &gone) {
            Ok(tally) => corrected = tally,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot count the files that wait for a scan"
                );
                return recorded;
            }
        }
        if context.journal.tally() == recorded {
            break;
        }
    }
    corrected
}

/// The journal's counts, with files that wait for a scan counted as pending and removed ones not at
/// all.
fn correct(
    context: &IntakeContext,
    mut tally: Tally,
    unscanned: &[(FileId, LibraryPath)],
    gone: &HashSet<FileId>,
) -> Result<Tally, JournalError> {
    let ids: HashSet<FileId> = unscanned
        .iter()
        .map(|(id, _)| *id)
        .chain(gone.iter().copied())
        .collect();
    for id in ids {
        if let Some(record) = context.journal.file(id)? {
            let amount = amount_of(&mut tally, &record.state);
            amount.files = amount.files.saturating_sub(1);
            amount.bytes = amount.bytes.saturating_sub(record.stamp.size);
        }
    }
    for (id, path) in unscanned {
        // The removal or rename of one that is not there will be reported in a moment.
        let Ok(metadata) = context.source.metadata(path) else {
            continue;
        };
        if metadata.id == *id {
            let amount = if skip_reason_for_name(path).is_some() {
                &mut tally.local
            } else {
                &mut tally.pending
            };
            amount.files += 1;
            amount.bytes = amount.bytes.saturating_add(metadata.size);
        }
    }
    Ok(tally)
}

/// The files that wait for a scan, and those that are removed while the journal does not know it
/// yet.
fn not_in_journal(state: &QueueState) -> (Vec<(FileId, LibraryPath)>, HashSet<FileId>) {
    let unscanned = state
        .pending
        .unscanned()
        .map(|(id, path)| (id, path.clone()))
        .collect();
    let gone = state.events().filter_map(|event| match event {
        NameEvent::Removed { id, .. } => Some(*id),
        NameEvent::FileRenamed { replaced, .. } => *replaced,
        NameEvent::FolderRenamed { .. }
        | NameEvent::Exchanged { .. }
        | NameEvent::Discovered { .. } => None,
    });
    (unscanned, gone.collect())
}

fn amount_of<'a>(tally: &'a mut Tally, state: &FileState) -> &'a mut Amount {
    match state {
        FileState::Pending { .. } => &mut tally.pending,
        FileState::BackedUp { .. } => &mut tally.backed_up,
        FileState::Placeholder { .. } => &mut tally.placeholder,
        FileState::Local { .. } => &mut tally.local,
        FileState::Failed { .. } => &mut tally.failed,
    }
}
